"""JSON lines: cutting a byte stream into lines of bounded length, and messages to and from them.

Used on both ends of a worker's link, on a worker's output and on the control socket. What the messages mean
does not belong here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from frameloom.model.errors import PeerError

MESSAGE_BYTES = 1 << 20
"""The longest message between the supervisor and anybody, line feed included."""


class Line(NamedTuple):
    """One line without its line feed. `cut` says that it was longer than allowed, and that its end is
    missing.
    """

    data: bytes
    cut: bool


class Lines:
    """Cuts what it is fed into lines; never holds more than `limit_bytes` of an unfinished one."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._begun = bytearray()
        self._cut = False

    def feed(self, chunk: bytes) -> list[Line]:
        """The lines that `chunk` completes, in order."""
        *ends, rest = chunk.split(b"\n")
        lines = [self._finish(end) for end in ends]
        self._keep(rest)
        return lines

    def flush(self) -> list[Line]:
        """What is left when the stream has ended without a last line feed."""
        return [self._finish(b"")] if self._begun else []

    def _keep(self, part: bytes) -> None:
        room = self._limit_bytes - len(self._begun)
        self._begun += part[:room]
        self._cut = self._cut or len(part) > room

    def _finish(self, end: bytes) -> Line:
        self._keep(end)
        line = Line(bytes(self._begun), self._cut)
        self._begun.clear()
        self._cut = False
        return line


def to_line(message: Mapping[str, Any]) -> bytes:
    """`message` as one line of JSON; raises TypeError or ValueError for what JSON cannot say, NaN included."""
    return json.dumps(message, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def from_line(line: bytes) -> dict[str, Any]:
    """The message in `line`, which `to_line` can write again; raises `PeerError` if it is not a JSON object."""
    try:
        message = json.loads(line, parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError) as error:
        raise PeerError(f"want a line with a JSON object, read {_excerpt(line)}: {error}") from None
    if not isinstance(message, dict):
        raise PeerError(f"want a line with a JSON object, read {_excerpt(line)}")
    return message


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is no number of JSON")
    return number


def _excerpt(line: bytes) -> str:
    return repr(line[:40]) + ("..." if len(line) > 40 else "")
