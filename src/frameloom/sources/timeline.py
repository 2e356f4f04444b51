"""Media time: a container's time stamps as nanoseconds from the start of the stream, without gaps and jumps.

Containers start anywhere, miss stamps, jump back when a camera's clock is set or a server begins its film again.
When a packet may go out belongs to `frameloom.sources.pacing`.
"""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

from frameloom.model.clock import NS_PER_S

_BACKWARD_NS = NS_PER_S
"""Decoding times that step back by more than this belong to a new beginning, not to a sloppy muxer."""

_FORWARD_NS = 5 * NS_PER_S
"""A live stream whose media time runs ahead of the host's clock by more than this has had its clock set."""

_SHORTEST_NS = 1_000_000
_LONGEST_NS = 10 * NS_PER_S
_USUAL_NS = 40_000_000


PTS_IS_DTS = "pts_is_dts"
"""Mark in a packet's metadata: its container tells no time of presentation, only an order of decoding."""


class Times(NamedTuple):
    """Times of one packet, ns from the start of the stream; `dts_ns` always increases."""

    pts_ns: int
    dts_ns: int
    duration_ns: int


class Stamps(NamedTuple):
    """What a container says of a packet, in units of its time base; None where it says nothing."""

    pts: int | None
    dts: int | None
    duration: int | None


class Timeline:
    """Places packets in time, in the order in which they are read.

    time_base     seconds per unit of a container's stamps
    start         stamp of the stream's first picture, if the container tells it
    rate          pictures per second, if known: the distance of packets without stamps
    reorder       pictures that a decoder holds back to bring B-frames into order
    live          media time must keep up with the host's clock
    by_arrival    the stamps mean nothing (MJPEG over HTTP): media time is the time of arrival
    """

    def __init__(
        self,
        time_base: Fraction,
        *,
        start: int | None = None,
        rate: Fraction | None = None,
        reorder: int = 0,
        live: bool = False,
        by_arrival: bool = False,
    ) -> None:
        tick_ns = time_base * NS_PER_S
        self._num, self._den = tick_ns.numerator, tick_ns.denominator
        self._tick_ns = self._ns(1)
        self._usual_ns = _sane(round(NS_PER_S / rate)) if rate else _USUAL_NS
        self._reorder = reorder
        self._live = live
        self._by_arrival = by_arrival
        self._start = start
        self._offset_ns: int | None = None
        self._last_dts_ns: int | None = None
        self._last_arrival_ns = 0
        self._first_arrival_ns: int | None = None
        self._end_ns = 0

    def place(self, stamps: Stamps, arrival_ns: int) -> Times:
        """Times of the next packet, which was read at `arrival_ns` (host monotonic)."""
        if self._first_arrival_ns is None:
            self._first_arrival_ns = arrival_ns
        duration_ns = self._duration_ns(stamps.duration)
        if self._by_arrival or (stamps.pts is None and stamps.dts is None):
            pts_ns = dts_ns = self._guess(arrival_ns)
        else:
            pts_ns, dts_ns = self._stamped(stamps, arrival_ns)
        if self._last_dts_ns is not None:
            dts_ns = max(dts_ns, self._last_dts_ns + 1)
        pts_ns = max(pts_ns, dts_ns)
        self._last_dts_ns, self._last_arrival_ns = dts_ns, arrival_ns
        self._end_ns = max(self._end_ns, pts_ns + duration_ns)
        return Times(pts_ns, dts_ns, duration_ns)

    def begin_again(self) -> None:
        """The film starts over: its first picture comes right after the last one so far."""
        if self._start is not None:
            self._offset_ns = self._end_ns - self._ns(self._start)
        else:
            self._offset_ns = None

    def _stamped(self, stamps: Stamps, arrival_ns: int) -> tuple[int, int]:
        pts, dts = stamps.pts, stamps.dts
        first = pts if pts is not None else dts
        assert first is not None
        if self._offset_ns is None:
            self._offset_ns = self._next_ns() - self._ns(self._first(first))
        if dts is None:
            pts_ns = self._ns(first) + self._offset_ns
            return pts_ns, self._missing_dts(pts_ns)
        from_start_ns = self._ns(dts)
        self._offset_ns += self._jump_ns(from_start_ns + self._offset_ns, arrival_ns)
        dts_ns = from_start_ns + self._offset_ns
        return (dts_ns if pts == dts else self._ns(first) + self._offset_ns), dts_ns

    def _first(self, stamp: int) -> int:
        """The stamp that is the beginning: a container's own word, unless packets without stamps came before."""
        return self._start if self._start is not None and self._last_dts_ns is None else stamp

    def _jump_ns(self, dts_ns: int, arrival_ns: int) -> int:
        """What makes up for a jump of the container's stamps to `dts_ns`; 0 if it is none."""
        if self._last_dts_ns is None:
            return 0
        step_ns = dts_ns - self._last_dts_ns
        passed_ns = arrival_ns - self._last_arrival_ns
        if step_ns >= -_BACKWARD_NS and not (self._live and step_ns > passed_ns + _FORWARD_NS):
            return 0
        wanted_ns = max(passed_ns, self._usual_ns) if self._live else self._usual_ns
        return wanted_ns - step_ns

    def _missing_dts(self, pts_ns: int) -> int:
        if self._last_dts_ns is None:
            return pts_ns - self._reorder * self._usual_ns
        return min(pts_ns, self._last_dts_ns + self._usual_ns)

    def _guess(self, arrival_ns: int) -> int:
        """When a packet without stamps is due."""
        assert self._first_arrival_ns is not None
        if self._by_arrival:
            return arrival_ns - self._first_arrival_ns
        return self._next_ns()

    def _next_ns(self) -> int:
        return self._end_ns

    def _duration_ns(self, duration: int | None) -> int:
        """The container's word, unless it is the single tick that AVI, and FFmpeg for MJPEG over RTP, give."""
        is_placeholder = duration == 1 and self._usual_ns > 2 * self._tick_ns
        told_ns = self._ns(duration) if duration and not is_placeholder else 0
        return told_ns if _SHORTEST_NS <= told_ns <= _LONGEST_NS else self._usual_ns

    def _ns(self, stamp: int) -> int:
        return stamp * self._num // self._den


def _sane(interval_ns: int) -> int:
    return interval_ns if _SHORTEST_NS <= interval_ns <= _LONGEST_NS else _USUAL_NS
