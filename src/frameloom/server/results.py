"""What a processor said of the frames of a stream, and which of it belongs to a picture that is shown.

A picture is encoded while processors look at the same frame, so their results come a few milliseconds before or after
it. Whoever is fast enough to be waited for is decided here; the waiting is done in `frameloom.server.live`.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import NamedTuple

from frameloom.model.clock import NS_PER_S
from frameloom.model.result import Result

WAIT_S = 0.06
"""How long a picture may wait for the results of its frame."""

_KEPT = 64
_OLD_NS = 2 * NS_PER_S  # a box that is older is of something else
_LEARNING = 0.2
_WORTH_WAITING = 0.7


class FrameId(NamedTuple):
    """Which frame of a stream: its number, and when it was captured, for numbers begin anew with their publisher."""

    seq: int
    captured_ns: int


class Results:
    """The last results of one processor on one stream, by frame. Times are the event loop's, in seconds.

    keeps_up    True while most results come early enough to be shown with their frame
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[FrameId, tuple[Result, float]] = OrderedDict()
        self._on_time = 1.0  # the share of the last pictures whose result was there in time
        self._expected: tuple[FrameId, float] | None = None

    @property
    def keeps_up(self) -> bool:
        return self._on_time > _WORTH_WAITING

    def add(self, result: Result) -> None:
        """Keep what was said of a frame."""
        newest = next(reversed(self._kept), None)
        if newest is not None and result.frame_seq <= newest.seq:
            self._kept.clear()  # the camera began to count anew
        frame = FrameId(result.frame_seq, result.captured_ns)
        self._kept[frame] = (result, asyncio.get_running_loop().time())
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)

    def expect(self, frame: FrameId) -> None:
        """A picture of `frame` has come: its result had better come, too. Judges how it was with the one before."""
        if self._expected is not None:
            there = self._was_there(*self._expected)
            self._on_time += _LEARNING * (there - self._on_time)
        self._expected = (frame, asyncio.get_running_loop().time() + WAIT_S)

    def is_worth_waiting(self, frame: FrameId) -> bool:
        """Whether the result of `frame` is still to come, and likely to come soon."""
        return self.keeps_up and frame not in self._kept and not self._has_passed(frame)

    def of(self, frame: FrameId) -> Result | None:
        """The result of `frame`, or else the last one before it, if that is not too old."""
        if (exact := self._kept.get(frame)) is not None:
            return exact[0]
        before = (kept for kept in reversed(self._kept) if kept.seq < frame.seq and _are_close(kept, frame))
        found = next(before, None)
        return self._kept[found][0] if found is not None else None

    def _was_there(self, frame: FrameId, deadline_s: float) -> bool:
        found = self._kept.get(frame)
        return found is not None and found[1] <= deadline_s

    def _has_passed(self, frame: FrameId) -> bool:
        """Whether it has gone on to later frames, and so has left this one out."""
        newest = next(reversed(self._kept), None)
        return newest is not None and newest.seq > frame.seq and _are_close(newest, frame)


def _are_close(one: FrameId, other: FrameId) -> bool:
    return abs(one.captured_ns - other.captured_ns) < _OLD_NS
