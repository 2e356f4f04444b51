"""What processors say of recorded pictures, beside the recording: a JSON text in each line, a file for each film.

Results come later than packets, often when the next segment has begun, and before an event of its beginning is known;
each goes to the film that shows its very frame, found by the frame's media time. Who hears the processors is the
business of `frameloom.workers.recorder`.
"""

from __future__ import annotations

import json
import os
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from frameloom.model.clock import NS_PER_S, Clock
from frameloom.model.result import Result

from .mp4 import TICKS_PER_S
from .names import results_of
from .segment import sync

LATE_S = 10.0
"""A film's results are waited for so long after its end."""

MOST_BYTES = 16 << 20
"""Of results that wait for their film."""

_MOST_SHOWN = 16384  # pictures that are known by their times: of minutes
_MOST_WAITING = 16384
_MOST_OPEN = 4  # files
_SAME_NS = 2 * NS_PER_S  # media time begins anew with a camera's worker


class _Shown(NamedTuple):
    """Where a picture is: its film, and its time in it."""

    film: FilmResults
    ticks: int
    captured_ns: int


class _Line(NamedTuple):
    """A result that waits: what stands before and after its time in the film."""

    captured_ns: int
    head: str
    tail: str

    @property
    def nbytes(self) -> int:
        return len(self.head) + len(self.tail)

    def at(self, ticks: int) -> bytes:
        return f"{self.head}{json.dumps(ticks / TICKS_PER_S)}{self.tail}\n".encode()


class FilmResults:
    """The results of one film. Nothing is written before there is a film, and no file is made for no result."""

    def __init__(self) -> None:
        self.nbytes = 0
        self.ended_ns: int | None = None  # monotonic
        self._path: Path | None = None
        self._early: list[bytes] = []
        self._early_bytes = 0
        self._fd = -1
        self._is_over = False

    @property
    def has_begun(self) -> bool:
        """Whether there is a film."""
        return self._path is not None

    def begin(self, film: Path) -> None:
        """The film is there. Raises `OSError`."""
        self._path = results_of(film)
        early, self._early, self._early_bytes = self._early, [], 0
        if early:
            self.add(b"".join(early))

    def add(self, lines: bytes) -> None:
        """All of it or, where that raises `OSError`, nothing."""
        if self._is_over:
            return
        if self._path is None:
            if self._early_bytes + len(lines) <= MOST_BYTES:
                self._early.append(lines)
                self._early_bytes += len(lines)
            return
        if self._fd < 0:  # the film is new, so nobody's results can be there
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
            self._fd = os.open(self._path, flags, 0o644)
        self._write(lines)

    def close(self) -> threading.Thread | None:
        """Nothing more comes. Returns who waits for the disk."""
        self._is_over, fd, self._fd = True, self._fd, -1
        if fd < 0 or self._path is None:
            return None
        thread = threading.Thread(target=sync, args=(fd, self._path), name="sync", daemon=True)
        thread.start()
        return thread

    def discard(self) -> None:
        """There is no film any more."""
        self._is_over, fd, self._fd = True, self._fd, -1
        with suppress(OSError):
            if fd >= 0:
                os.close(fd)
        with suppress(OSError):
            if self._path is not None:
                self._path.unlink()

    def _write(self, lines: bytes) -> None:
        rest = memoryview(lines)
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._fd, self.nbytes)
            raise
        self.nbytes += len(lines)


class Results:
    """Brings results and recorded pictures together, in whatever order they come. All may raise `OSError`.

    reach_s  results wait so long for their picture to be recorded, as before an event
    """

    def __init__(self, clock: Clock) -> None:
        self.reach_s = LATE_S
        self.written = 0
        self._clock = clock
        self._shown: dict[int, _Shown] = {}  # by media time
        self._waiting: dict[int, list[_Line]] = {}
        self._order: deque[int] = deque()  # media times of those that wait, each once for each line
        self._waiting_bytes = 0
        self._films: list[FilmResults] = []

    @property
    def is_open(self) -> bool:
        """Whether there is a film whose results may still come."""
        return bool(self._films)

    def begin_film(self) -> FilmResults:
        """A segment begins; its file may come later."""
        film = FilmResults()
        self._films.append(film)
        while len(self._films) > _MOST_OPEN:
            self._films.pop(0).close()
        return film

    def end_film(self, film: FilmResults) -> None:
        """Its last picture is recorded; what is said of its pictures may still come for a while."""
        film.ended_ns = self._clock.monotonic_ns()

    def discard_film(self, film: FilmResults) -> None:
        """It came to nothing."""
        film.discard()
        self._films = [one for one in self._films if one is not film]

    def shows(self, film: FilmResults, pts_ns: int, captured_ns: int, ticks: int) -> None:
        """The picture of that media time stands at `ticks` of a recording's time scale in this film."""
        self._shown.pop(pts_ns, None)  # so that it becomes the newest
        self._shown[pts_ns] = shown = _Shown(film, ticks, captured_ns)
        if len(self._shown) > _MOST_SHOWN:
            del self._shown[next(iter(self._shown))]
        if self._waiting and pts_ns in self._waiting:
            self._write_waiting(pts_ns, shown)

    def hear(self, result: Result) -> None:
        """Write a result beside its picture, or keep it in case that is recorded yet."""
        line = _line(result)
        shown = self._shown.get(result.pts_ns)
        if shown is not None and _are_close(shown.captured_ns, line.captured_ns):
            self._write(shown, line)
        else:
            self._keep(result.pts_ns, line)

    def tick(self) -> None:
        """Close what has waited long enough."""
        before_ns = self._clock.monotonic_ns() - round(LATE_S * NS_PER_S)
        late = [film for film in self._films if film.ended_ns is not None and film.ended_ns < before_ns]
        for film in late:
            self._films.remove(film)
            film.close()

    def close(self) -> None:
        """Close all; when this returns they are on the disk."""
        threads = [film.close() for film in self._films]
        self._films.clear()
        for thread in threads:
            if thread is not None:
                thread.join()

    def _write_waiting(self, pts_ns: int, shown: _Shown) -> None:
        lines = self._waiting.pop(pts_ns)
        self._waiting_bytes -= sum(line.nbytes for line in lines)
        for line in lines:
            if _are_close(shown.captured_ns, line.captured_ns):
                self._write(shown, line)

    def _write(self, shown: _Shown, line: _Line) -> None:
        shown.film.add(line.at(shown.ticks))
        self.written += 1

    def _keep(self, pts_ns: int, line: _Line) -> None:
        self._waiting.setdefault(pts_ns, []).append(line)
        self._waiting_bytes += line.nbytes
        self._order.append(pts_ns)
        oldest_ns = line.captured_ns - round(self.reach_s * NS_PER_S)
        while self._order and self._is_too_much(oldest_ns):
            self._drop_oldest()

    def _is_too_much(self, oldest_ns: int) -> bool:
        if self._waiting_bytes > MOST_BYTES or len(self._order) > _MOST_WAITING:
            return True
        lines = self._waiting.get(self._order[0])
        return not lines or not oldest_ns <= lines[0].captured_ns

    def _drop_oldest(self) -> None:
        pts_ns = self._order.popleft()
        lines = self._waiting.get(pts_ns)
        if lines:
            self._waiting_bytes -= lines.pop(0).nbytes
        if not lines:
            self._waiting.pop(pts_ns, None)


def _line(result: Result) -> _Line:
    head = {
        "processor": result.stream,
        "frame_seq": result.frame_seq,
        "pts_ns": result.pts_ns,
        "captured_at_ns": result.captured_at_ns,
    }
    told = json.dumps(result.values, separators=(",", ":"))
    return _Line(
        result.captured_ns, json.dumps(head, separators=(",", ":"))[:-1] + ',"film_s":', f',"values":{told}}}'
    )


def _are_close(one_ns: int, other_ns: int) -> bool:
    return abs(one_ns - other_ns) < _SAME_NS
