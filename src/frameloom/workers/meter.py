"""Rates and latencies of a worker's own work, over the last few seconds."""

from __future__ import annotations

import statistics
import threading
from collections import deque

from frameloom.model.clock import NS_PER_S, Clock, SystemClock

_WINDOW_NS = 3 * NS_PER_S
_MOST = 400  # more in three seconds are not needed to tell a rate


class Meter:
    """Counts pieces of work. Written by the thread that works, read by the one that reports."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._done: deque[tuple[int, int]] = deque(maxlen=_MOST)  # (when, latency) in ns of monotonic time
        self.count = 0

    def tick(self, captured_ns: int | None = None) -> None:
        """One piece is done, of a picture captured at `captured_ns` (monotonic)."""
        now_ns = self._clock.monotonic_ns()
        with self._lock:
            self.count += 1
            self._done.append((now_ns, now_ns - captured_ns if captured_ns is not None else -1))

    def fps(self) -> float:
        """Pieces per second over the last three; 0 when nothing has been done for so long."""
        recent = self._recent()
        if len(recent) < 2:
            return 0.0
        span_ns = max(1, recent[-1][0] - recent[0][0])
        # The time since the last piece counts once it is longer than usual: a stalled stream slows down at once.
        idle_ns = self._clock.monotonic_ns() - recent[-1][0]
        usual_ns = span_ns / (len(recent) - 1)
        return (len(recent) - 1) * NS_PER_S / (span_ns + max(0.0, idle_ns - usual_ns))

    def latency_ms(self) -> float | None:
        """Median over the last three seconds, milliseconds; None if nothing was measured."""
        known = [latency for _, latency in self._recent() if latency >= 0]
        return statistics.median(known) / 1e6 if known else None

    def _recent(self) -> list[tuple[int, int]]:
        oldest_ns = self._clock.monotonic_ns() - _WINDOW_NS
        with self._lock:
            return [piece for piece in self._done if piece[0] >= oldest_ns]
