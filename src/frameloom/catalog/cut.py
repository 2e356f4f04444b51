"""A time range of a camera's recordings as one film, from picture to picture, with nothing encoded.

It begins at the key frame before, and says by an edit list that it is to be shown from the asked moment on. Where
nothing was recorded the film goes on at once: a gap takes no time in it. What was recorded twice is there once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from frameloom.model.clock import NS_PER_S

from .boxes import BadFilm
from .film import Film, Head, Samples
from .player import Piece, Take, Virtual, film_of, look_of

MOST_PICTURES = 8_000_000
"""Three days at 30 pictures a second: the head of a longer film is too much for players, and for us."""

_TOGETHER_NS = (
    2 * NS_PER_S
)  # a file that begins so little before the end of the last one follows it: clocks are not exact


class CannotCut(ValueError):
    """There is no such film; the message says why."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A film and the UTC of its first picture and of its end."""

    film: Virtual
    begin_utc_ns: int
    end_utc_ns: int
    pictures: int


def cut(paths: Sequence[Path], from_utc_ns: int, to_utc_ns: int) -> Cut:
    """What was recorded in that time, of these files of one camera. Raises `CannotCut`.

    A file that cannot be read, or is no recording, is passed over.
    """
    takes: list[Take] = []
    pictures = 0
    for take in _takes(paths, from_utc_ns, to_utc_ns):
        _check_alike(takes, take)
        pictures += len(take.samples.size)
        if pictures > MOST_PICTURES:
            raise CannotCut(f"more than {MOST_PICTURES:,} pictures: export less at a time")
        takes.append(take)
    if not takes:
        raise CannotCut("nothing was recorded in that time")
    begin, end = _shown_from(takes[0], from_utc_ns), _shown_until(takes[-1], to_utc_ns)
    skip, trim = begin - int(takes[0].samples.dts[0]), takes[-1].samples.end - end
    begin_utc_ns, end_utc_ns = takes[0].head.utc_ns(begin), takes[-1].head.utc_ns(end)
    return Cut(film_of(takes, skip, trim), begin_utc_ns, end_utc_ns, pictures)


def _takes(paths: Sequence[Path], from_ns: int, to_ns: int) -> Iterator[Take]:
    reached_ns: int | None = None
    slack_ns = 0
    for path, begin_ns in _in_order(paths):
        try:
            with Film(path) as film:
                samples, head = film.samples(), film.head
        except (OSError, BadFilm):
            continue
        follows = reached_ns is not None and begin_ns >= reached_ns - slack_ns
        take = _take(path, head, samples, 0 if follows else _first(head, samples, from_ns, reached_ns), to_ns)
        if take is not None and (reached_ns is not None or head.utc_ns(take.samples.end) > from_ns):
            reached_ns = head.utc_ns(take.samples.end)
            slack_ns = min(_TOGETHER_NS, (reached_ns - begin_ns) // 2)
            yield take


def _take(path: Path, head: Head, samples: Samples, first: int | None, to_ns: int) -> Take | None:
    last = int(np.flatnonzero(_utc(head, samples) < to_ns).max(initial=-1)) + 1
    if first is None or first >= last:
        return None
    part = samples.part(first, last)
    start, end = int(part.offset.min()), int((part.offset + part.size).max())
    return Take(head, part, Piece(path, start, end - start))


def _in_order(paths: Sequence[Path]) -> list[tuple[Path, int]]:
    """Files with the UTC of their beginning, in order of it."""
    begins = []
    for path in paths:
        try:
            with Film(path) as film:
                first = next(film.fragments(), None)
                if first is not None:
                    begins.append((path, film.head.utc_ns(int(first.pts.min()))))
        except (OSError, BadFilm):
            continue
    return sorted(begins, key=lambda one: one[1])


def _first(head: Head, samples: Samples, from_ns: int, reached_ns: int | None) -> int | None:
    """The key frame to begin with, as its number in the file; None if there is none."""
    keys = np.flatnonzero(samples.key)
    keys_ns = _utc(head, samples)[keys]
    if reached_ns is None:  # the last one that is not after the asked moment, or else the first one
        before = keys[keys_ns <= from_ns]
        wanted = before[-1:] if len(before) else keys[:1]
    else:
        wanted = keys[keys_ns >= reached_ns][:1]
    return int(wanted[0]) if len(wanted) else None


def _shown_from(take: Take, from_ns: int) -> int:
    """The time in its file of the picture that is to be seen at `from_ns`."""
    pts = take.samples.pts
    before = pts[_utc(take.head, take.samples) <= from_ns]
    return int(before.max()) if len(before) else int(pts.min())


def _shown_until(take: Take, to_ns: int) -> int:
    """The time in its file at which the film ends: pictures that others need may be of later than `to_ns`."""
    after = take.samples.pts[_utc(take.head, take.samples) >= to_ns]
    return int(after.min()) if len(after) else take.samples.end


def _utc(head: Head, samples: Samples) -> NDArray[np.int64]:
    """UTC of each picture in ns; in two steps, for the numbers are large."""
    seconds, rest = np.divmod(samples.pts, head.timescale)
    at_ns: NDArray[np.int64] = seconds * NS_PER_S + rest * NS_PER_S // head.timescale + head.zero_utc_ns
    return at_ns


def _check_alike(takes: Sequence[Take], take: Take) -> None:
    if takes and _kind(takes[0].head) != _kind(take.head):
        moment = datetime.fromtimestamp(take.head.utc_ns(int(take.samples.pts.min())) / NS_PER_S, UTC)
        words = "the picture changes its size or codec at"
        raise CannotCut(f"{words} {moment:%Y-%m-%dT%H:%M:%SZ}: export up to there, and from there on")


def _kind(head: Head) -> tuple[object, ...]:
    return head.codec, head.width, head.height, head.timescale, look_of(head)
