"""`${NAME}` and `${NAME:-default}` in texts: secrets live in the environment, not in the file.

`$$` stands for one `$`; a `$` that no `{` follows stands for itself. Only values are looked at, never keys.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .problems import Path

_REFERENCE = re.compile(r"\$\$|\$\{(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<default>:-[^}]*)?\})?")
HOW = "write ${NAME}, ${NAME:-default}, or $$ for a dollar sign"


@dataclass(slots=True)
class Expansion:
    """Values with their references resolved. `secrets` are the texts that came from outside the file."""

    data: Any
    secrets: set[str] = field(default_factory=set)
    troubles: list[tuple[Path, str]] = field(default_factory=list)


def expand(data: Any, environment: Mapping[str, str]) -> Expansion:
    """Resolve every reference in plain `data`. What cannot be resolved stays as it is and is told in `troubles`."""
    result = Expansion(None)
    result.data = _walk(data, (), lambda text, path: _expand_text(text, path, environment, result))
    return result


def escape(data: Any) -> Any:
    """Plain `data` such that `expand` gives it back, whatever dollar signs are in it."""
    return _walk(data, (), lambda text, _: text.replace("$", "$$"))


def _walk(data: Any, path: Path, change: Callable[[str, Path], str]) -> Any:
    if isinstance(data, str):
        return change(data, path)
    if isinstance(data, dict):
        return {key: _walk(value, (*path, key), change) for key, value in data.items()}
    if isinstance(data, list):
        return [_walk(value, (*path, index), change) for index, value in enumerate(data)]
    return data


def _expand_text(text: str, path: Path, environment: Mapping[str, str], result: Expansion) -> str:
    def replaced(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        name, default = match["name"], match["default"]
        if name is None:
            result.troubles.append((path, f"a '${{' that cannot be read, allowed: {HOW}"))
            return match[0]
        value = environment.get(name)
        if default is not None and not value:
            return str(default[2:])
        if value is None:
            result.troubles.append((path, f"the environment variable {name} is not set"))
            return match[0]
        result.secrets.add(value)
        return value

    return _REFERENCE.sub(replaced, text)
