"""What workers write: the last lines of each, with their times, and without the secrets of its configuration.

Keeping logs on disk does not belong here.
"""

from __future__ import annotations

import contextlib
import re
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

LINES_KEPT = 500
LINE_BYTES = 2000

_SECRET_KEY = re.compile(r"password|passwd|secret|token|credential|api_?key", re.IGNORECASE)
_SHORTEST_SECRET = 4  # shorter ones would be found in half of all words
_CONTROL = {code: None for code in range(32) if code != 9} | {127: None}


class LogLine(NamedTuple):
    """One line; `seq` counts the lines of a worker since the supervisor started, from 1."""

    seq: int
    at_utc_ns: int
    text: str


class LogRing:
    """The last `LINES_KEPT` lines of one worker, across its restarts."""

    def __init__(self) -> None:
        self._lines: deque[LogLine] = deque(maxlen=LINES_KEPT)
        self._last_seq = 0

    @property
    def last_seq(self) -> int:
        """Number of the newest line, 0 before the first."""
        return self._last_seq

    def append(self, text: str, at_utc_ns: int) -> LogLine:
        """Keep one line, and forget the oldest if there are too many."""
        self._last_seq += 1
        line = LogLine(self._last_seq, at_utc_ns, text)
        self._lines.append(line)
        return line

    def tail(self, lines: int, after: int = 0) -> list[LogLine]:
        """At most the last `lines` lines whose number is greater than `after`, oldest first."""
        found = [line for line in self._lines if line.seq > after]
        return found[-lines:] if lines > 0 else []

    def text_after(self, seq: int, marker: str = "") -> str | None:
        """The text from the last line after `seq` that begins with `marker`; None if there is none."""
        texts = [line.text for line in self.tail(LINES_KEPT, seq)]
        starts = [number for number, text in enumerate(texts) if text.startswith(marker)]
        if not starts:
            return None
        return "\n".join(texts[starts[-1] if marker else 0 :])


def printable(data: bytes, cut: bool) -> str:
    """A line as text that is harmless in a terminal."""
    text = data.decode(errors="replace").translate(_CONTROL)
    return f"{text} [...]" if cut else text


class Redactor:
    """Takes a worker's addresses and secrets out of what is shown: libraries print the URLs that they open."""

    def __init__(self, name: str, config: Mapping[str, Any]) -> None:
        secrets = sorted(set(_secrets(config)), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, secrets))) if secrets else None
        self._shown = f"<secret of {name}>"

    def __call__(self, text: str) -> str:
        return self._pattern.sub(self._shown, text) if self._pattern else text


def _secrets(value: Any, key: str = "") -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _secrets(item, str(name))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _secrets(item, key)
    elif isinstance(value, str):
        yield from _secrets_of_text(value, key)


def _secrets_of_text(text: str, key: str) -> Iterator[str]:
    if len(text) >= _SHORTEST_SECRET and _SECRET_KEY.search(key):
        yield text
    if "://" in text and not text.startswith("file:"):
        yield from _secrets_of_url(text)


def _secrets_of_url(url: str) -> Iterator[str]:
    """The URL with and without its user, since some cameras carry the password in the path, and the password."""
    yield url
    with contextlib.suppress(ValueError):
        parts = urlsplit(url)
        yield parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        if parts.password and len(parts.password) >= _SHORTEST_SECRET:
            yield parts.password
