"""A clock for tests: time passes when the test says so, and waiting takes none.

It implements `frameloom.model.clock.Clock`. Give it to what waits (reconnecting, back-off, time-outs), and a
test that spans an hour of camera trouble ends in a millisecond. The real clock is
`frameloom.model.clock.SystemClock`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from frameloom.model.clock import NS_PER_S

UTC_START_NS = 1_767_225_600 * NS_PER_S
"""2026-01-01T00:00:00Z, where the UTC of a new `FakeClock` stands."""


class FakeClock:
    """A `Clock` whose time moves by `advance`, and by `wait` for just as long as was to be waited.

    start_ns      first value of `monotonic_ns()`, ns
    utc_start_ns  first value of `utc_ns()`, ns since 1970
    on_wait       called with the seconds of each wait before time moves, outside of any lock: there a test
                  sets the interrupt in the middle of a wait, or ends a loop that waits for ever

    Any number of threads may use one clock; their waits add up.
    """

    def __init__(
        self,
        start_ns: int = NS_PER_S,
        utc_start_ns: int = UTC_START_NS,
        on_wait: Callable[[float], None] | None = None,
    ) -> None:
        self._lock = threading.Lock()
        self._monotonic_ns = start_ns
        self._utc_ns = utc_start_ns
        self._waits_s: list[float] = []
        self._on_wait = on_wait

    def monotonic_ns(self) -> int:
        """Fake monotonic time, ns."""
        with self._lock:
            return self._monotonic_ns

    def utc_ns(self) -> int:
        """Fake UTC, ns since 1970."""
        with self._lock:
            return self._utc_ns

    def wait(self, interrupt: threading.Event, timeout_s: float) -> bool:
        """True at once if `interrupt` is set; else time moves on by `timeout_s` and the answer is False."""
        with self._lock:
            self._waits_s.append(timeout_s)
        if self._on_wait is not None:
            self._on_wait(timeout_s)
        if interrupt.is_set():
            return True
        self.advance(max(0.0, timeout_s))
        return False

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass on both clocks; raises `ValueError` for a negative number."""
        if seconds < 0:
            raise ValueError(f"advance: read {seconds} s, allowed: 0 or more, monotonic time never goes back")
        step_ns = round(seconds * NS_PER_S)
        with self._lock:
            self._monotonic_ns += step_ns
            self._utc_ns += step_ns

    def step_utc(self, seconds: float) -> None:
        """Let UTC jump by `seconds`, forth or back, as when a host's clock is set; monotonic time stays."""
        with self._lock:
            self._utc_ns += round(seconds * NS_PER_S)

    @property
    def waits_s(self) -> list[float]:
        """The time-out of every `wait` so far, in order, also of those that were interrupted; a copy."""
        with self._lock:
            return list(self._waits_s)
