"""What is wrong with a site file, said so that a person finds the place and no secret gets out.

Everything is collected first and raised once, as `InvalidSite`. Finding what is wrong belongs to the other modules.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from frameloom.model.errors import SiteError

Path = tuple[str | int, ...]

_PLAIN_KEY = re.compile(r"[\w.-]{1,64}")
_MOST_SHOWN = 40
_MOST_TOLD = 50

MASK = "***"
"""Stands for a secret where one that is there is shown to somebody else."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing to put right. `line` and `column` count from 1; 0 where the file as a whole is meant."""

    line: int
    column: int
    where: str
    message: str

    def text(self, file: str) -> str:
        """'site.yaml:7: server.port: read ...', without the parts that are not known."""
        place = f"{file}:{self.line}" if self.line else file
        return f"{place}: {self.where}: {self.message}" if self.where else f"{place}: {self.message}"


class InvalidSite(SiteError):
    """A site file that is not valid. `problems` are in the order of the file; `str()` tells the first 50."""

    def __init__(self, file: str, problems: Iterable[Problem]) -> None:
        self.file = file
        self.problems = tuple(sorted(set(problems)))
        lines = [problem.text(file) for problem in self.problems[:_MOST_TOLD]]
        more = len(self.problems) - len(lines)
        super().__init__("\n".join([*lines, f"{file}: and {more} more"] if more else lines))


def whole_file(file: str, message: str) -> InvalidSite:
    """The error for a file that cannot be read at all."""
    return InvalidSite(file, [Problem(0, 0, "", message)])


def dotted(path: Path) -> str:
    """'cameras.yard.url', 'sinks.small.areas[2]'. A key that looks like no name is not repeated: it may be a URL."""
    return "".join(_step(part) for part in path).lstrip(".")


def shown(value: Any) -> str:
    """How a value that was read is repeated in a message: short, and nothing that may hold a password."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _shown_text(value)
    if isinstance(value, int | float):
        return str(value) if len(str(value)) <= _MOST_SHOWN else "a very long number"
    return kind_of(value)


def kind_of(value: Any) -> str:
    """What sort of value it is, for those that must not be repeated."""
    kinds: dict[type, str] = {
        bool: "true or false",
        str: "a text",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "a mapping",
    }
    return kinds.get(type(value), "nothing")


def _step(part: str | int) -> str:
    if isinstance(part, int):
        return f"[{part}]"
    return f".{part}" if _PLAIN_KEY.fullmatch(part) else f".{_shown_text(part)}"


def _shown_text(value: str) -> str:
    if "://" in value:
        scheme = value.split("://", 1)[0]
        return f"'{scheme}://…'" if scheme.isalpha() and len(scheme) < 10 else "'…'"
    if "@" in value:
        return "'…'"
    return repr(value if len(value) <= _MOST_SHOWN else value[:_MOST_SHOWN] + "…")
