"""FFmpeg's chatter, kept off the terminal: the last lines are held here for a report, without any URL in them.

The whole process shares one `recent_lines()`. Translating errors belongs to `frameloom.sources.errors`.
"""

from __future__ import annotations

import logging
import re
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Self

import av.logging

_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]{1,9}://\S*")
_CREDENTIALS = re.compile(r"\S+:\S+@\S+")
_KEPT = 20
_LONGEST = 300


def scrub(text: str, secrets: Iterable[str] = ()) -> str:
    """`text` in one line without URLs, without what looks like user:password@host, and without `secrets`.

    Give `secrets` longest first. What is neither a URL nor given as a secret is not recognised.
    """
    for secret in secrets:
        text = text.replace(secret, "…")
    return _CREDENTIALS.sub("…", _URL.sub("…", " ".join(text.split())))[:_LONGEST]


class _Recent(logging.Handler):
    """Keeps the last lines, and gives nothing to the terminal."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: deque[str] = deque(maxlen=_KEPT)
        self.secrets: tuple[str, ...] = ()

    def emit(self, record: logging.LogRecord) -> None:
        self.keep(record.name.removeprefix("libav."), record.getMessage())

    def keep(self, part: str, text: str) -> None:
        self.lines.append(f"{part}: {scrub(text, self.secrets)}")


_recent = _Recent()
_lock = threading.Lock()


def quieten(secrets: Sequence[str] = ()) -> None:
    """Send FFmpeg's errors to `recent_lines()` instead of anywhere else, from now on, in the whole process.

    `secrets` are added to those that no line may hold. May be called again.
    """
    logger = logging.getLogger("libav")
    with _lock:
        _recent.secrets = tuple(sorted({*_recent.secrets, *secrets}, key=len, reverse=True))
        if _recent not in logger.handlers:
            logger.addHandler(_recent)
            logger.propagate = False
            # Warnings too, for `Warnings`; and each of them, for every lost packet counts.
            av.logging.set_level(av.logging.WARNING)
            av.logging.set_skip_repeated(False)


def recent_lines() -> list[str]:
    """The last things FFmpeg complained about, oldest first: 'tcp: Connection to … failed: Connection refused'."""
    return list(_recent.lines)


class Warnings:
    """What FFmpeg warns of in one thread, from `with` on to the end of the block. See `quieten`."""

    def __enter__(self) -> Self:
        self._capture = av.logging.Capture()
        self._caught = self._capture.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.take()
        self._capture.__exit__(None, None, None)

    def take(self) -> Sequence[str]:
        """What is new since the last call; cheap where there is nothing."""
        if not self._caught:
            return ()
        caught = self._caught.copy()
        self._caught.clear()
        for level, part, text in caught:
            if level <= av.logging.ERROR:
                _recent.keep(part, text)
        return [text for _, _, text in caught]
