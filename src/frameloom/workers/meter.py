"""Rates and latencies of a worker's own work, over the last few seconds."""

from __future__ import annotations

import statistics
import threading
from bisect import bisect_left
from collections import deque
from itertools import islice

from frameloom.model.clock import NS_PER_S, Clock, SystemClock

_WINDOW_NS = 3 * NS_PER_S
_MOST = 400  # more in three seconds are not needed to tell a rate
_LATE = 2.0  # times the usual gap: so long after the last piece, slow work counts as stopped

Piece = tuple[int, int]  # when it was done, and its latency or -1, in ns of monotonic time


class Meter:
    """Counts pieces of work. Written by the thread that works, read by the one that reports."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._done: deque[Piece] = deque(maxlen=_MOST)
        self.count = 0

    def tick(self, captured_ns: int | None = None) -> None:
        """One piece is done, of a picture captured at `captured_ns` (monotonic)."""
        now_ns = self._clock.monotonic_ns()
        with self._lock:
            self.count += 1
            self._done.append((now_ns, now_ns - captured_ns if captured_ns is not None else -1))

    def fps(self) -> float:
        """Pieces per second over the last three seconds, or of the last two pieces where they are rarer.

        A stalled stream slows down at once, and is 0 after three seconds, or two of its usual gaps.
        """
        now_ns = self._clock.monotonic_ns()
        recent = self._recent(now_ns)
        if len(recent) < 2:
            return 0.0
        span_ns = max(1, recent[-1][0] - recent[0][0])
        late_ns = now_ns - recent[-1][0] - span_ns / (len(recent) - 1)
        return (len(recent) - 1) * NS_PER_S / (span_ns + max(0.0, late_ns))

    def latency_ms(self) -> float | None:
        """Median over the same time, milliseconds; None if nothing was measured."""
        known = [latency for _, latency in self._recent(self._clock.monotonic_ns()) if latency >= 0]
        return statistics.median(known) / 1e6 if known else None

    def _recent(self, now_ns: int) -> list[Piece]:
        with self._lock:
            first = bisect_left(self._done, (now_ns - _WINDOW_NS, -1))
            recent = list(islice(self._done, first, None))
            return recent if len(recent) > 1 else self._last_two(now_ns)

    def _last_two(self, now_ns: int) -> list[Piece]:
        """Of work that is slow by nature, like a picture every five seconds; none if it has stopped."""
        if len(self._done) < 2:
            return list(self._done)
        one, other = self._done[-2], self._done[-1]
        gap_ns = other[0] - one[0]
        return [one, other] if now_ns - other[0] <= max(_WINDOW_NS / _LATE, _LATE * gap_ns) else []
