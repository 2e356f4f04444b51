"""Plain values as YAML text, the way a person would write them. Placing the text is the business of `edit.py`."""

from __future__ import annotations

import json
import re
from typing import Any

from frameloom.model.errors import SiteError

STEP = 2

# Texts that need no quotes, neither in a line of their own nor between brackets.
_PLAIN = re.compile(r"[A-Za-z/](?:[\w./@%+=~&?-]|:(?=[\w./@%+=~&?-]))*", re.ASCII)
_NOT_TEXT = {"true", "false", "yes", "no", "on", "off", "y", "n", "null"}


def flow(value: Any) -> str:
    """`value` in one line: texts, numbers, lists and mappings, as in `{threshold: 25, ignore: [[0, 0], [1, 0]]}`."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{flow(str(key))}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(flow(item) for item in value) + "]"
    if isinstance(value, str):
        return value if _is_plain(value) else _quoted(value)
    return json.dumps(value, allow_nan=False)


def block(key: str, value: Any, column: int, step: int = STEP) -> list[str]:
    """The lines of `key: value` from `column` on: mappings in lines of their own, everything else in one line."""
    head = " " * column + flow(key) + ":"
    if not isinstance(value, dict) or not value:
        return [f"{head} {flow(value)}"]
    return [head, *(line for k, v in value.items() for line in block(str(k), v, column + step, step))]


def plain(value: Any, where: str) -> Any:
    """`value` as JSON values, 30.0 as 30; raises `SiteError` that names `where` if it cannot be written to a file."""
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        text.encode()
    except (TypeError, ValueError, RecursionError):
        allowed = "texts, finite numbers, true or false, lists and mappings"
        raise SiteError(
            f"{where}: a value that cannot be written to the site file, allowed: {allowed}"
        ) from None
    return json.loads(text, parse_float=_number)


def _number(text: str) -> float:
    number = float(text)
    return int(number) if number.is_integer() and abs(number) < 1e15 else number


def _is_plain(text: str) -> bool:
    return _PLAIN.fullmatch(text) is not None and text.lower() not in _NOT_TEXT


def _quoted(text: str) -> str:
    """JSON's quotes are YAML's too, once everything that YAML calls unprintable is escaped."""
    return "".join(c if c.isprintable() else _escaped(c) for c in json.dumps(text, ensure_ascii=False))


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
