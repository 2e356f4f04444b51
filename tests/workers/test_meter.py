"""Rates and latencies, on a clock that the test moves."""

from __future__ import annotations

import itertools
import threading

import pytest

from frameloom.model.clock import NS_PER_S
from frameloom.testing.clock import FakeClock
from frameloom.workers.meter import Meter

MS = NS_PER_S // 1000


def ticked(clock: FakeClock, times: int, gap_s: float, latency_ms: int = 5) -> Meter:
    meter = Meter(clock)
    for _ in range(times):
        clock.advance(gap_s)
        meter.tick(clock.monotonic_ns() - latency_ms * MS)
    return meter


@pytest.mark.parametrize("fps", [0.2, 1, 12.5, 25, 60, 500])
def test_a_steady_rate_is_told_exactly(fps: float) -> None:
    meter = ticked(FakeClock(), 1000, 1 / fps)
    assert meter.fps() == pytest.approx(fps, rel=1e-3)
    assert meter.count == 1000


def test_the_last_seconds_count_and_not_what_was_before() -> None:
    clock = FakeClock()
    meter = ticked(clock, 500, 0.01)
    for _ in range(100):
        clock.advance(0.1)
        meter.tick()
    assert meter.fps() == pytest.approx(10, rel=0.01)


def test_nothing_is_no_rate() -> None:
    meter = Meter(FakeClock())
    assert (meter.fps(), meter.latency_ms(), meter.count) == (0.0, None, 0)
    meter.tick()
    assert meter.fps() == 0.0


def test_a_stalled_stream_slows_down_at_once_and_then_stands_still() -> None:
    clock = FakeClock()
    meter = ticked(clock, 100, 0.04)
    seen = []
    for _ in range(7):
        seen.append(meter.fps())
        clock.advance(0.5)
    assert seen[0] == pytest.approx(25)
    assert all(later < earlier for earlier, later in itertools.pairwise(seen))
    assert meter.fps() == 0.0 and meter.latency_ms() is None


def test_slow_work_has_a_rate_until_it_is_overdue() -> None:
    """A picture every ten seconds is a camera, too."""
    clock = FakeClock()
    meter = ticked(clock, 3, 10)
    clock.advance(9)
    assert meter.fps() == pytest.approx(0.1) and meter.latency_ms() == 5
    clock.advance(6)
    assert 0 < meter.fps() < 0.1
    clock.advance(6)
    assert meter.fps() == 0.0


def test_latency_is_the_median_of_what_was_measured() -> None:
    clock = FakeClock()
    meter = Meter(clock)
    for latency_ms in (1, 2, 3, 4, 1000):
        clock.advance(0.1)
        meter.tick(clock.monotonic_ns() - latency_ms * MS)
        meter.tick()  # of this one nothing is known
    assert meter.latency_ms() == 3
    assert meter.count == 10


def test_latency_of_work_that_knows_none() -> None:
    clock = FakeClock()
    meter = Meter(clock)
    clock.advance(1)
    meter.tick()
    assert meter.latency_ms() is None


def test_it_is_read_while_it_is_written() -> None:
    meter = Meter()
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            meter.tick(0)

    writer = threading.Thread(target=write)
    writer.start()
    rates = [meter.fps() for _ in range(200)]
    stop.set()
    writer.join()
    assert all(rate >= 0 for rate in rates) and meter.count > 0
