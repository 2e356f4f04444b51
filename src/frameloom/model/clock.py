"""Clocks. All decisions are made on monotonic time; UTC is only carried along.

The code that waits takes a `Clock`, so that tests give it `frameloom.testing.clock.FakeClock` and nobody sleeps.
"""

from __future__ import annotations

import threading
import time
from typing import Protocol

NS_PER_S = 1_000_000_000


class Clock(Protocol):
    """What time it is, and waiting that can be interrupted."""

    def monotonic_ns(self) -> int:
        """Host monotonic time in nanoseconds, from an arbitrary zero; the same zero for all processes of a host."""

    def utc_ns(self) -> int:
        """Nanoseconds since 1970-01-01T00:00:00Z; may jump, so never used for a decision."""

    def wait(self, interrupt: threading.Event, timeout_s: float) -> bool:
        """Wait until `interrupt` is set (True) or `timeout_s` seconds have passed (False)."""


class SystemClock:
    """The host's clocks: CLOCK_MONOTONIC and CLOCK_REALTIME."""

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def utc_ns(self) -> int:
        return time.time_ns()

    def wait(self, interrupt: threading.Event, timeout_s: float) -> bool:
        return interrupt.wait(timeout_s)
