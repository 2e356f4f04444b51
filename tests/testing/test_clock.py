"""FakeClock keeps the contract of model.clock.Clock, without any waiting."""

import threading

import pytest

from frameloom.model.clock import Clock, SystemClock
from frameloom.testing.clock import UTC_START_NS, FakeClock


def test_both_clocks_start_where_told_and_stand_still():
    clock: Clock = FakeClock(start_ns=5, utc_start_ns=7)
    assert [clock.monotonic_ns(), clock.monotonic_ns(), clock.utc_ns()] == [5, 5, 7]
    assert FakeClock().utc_ns() == UTC_START_NS


def test_advance_moves_both_clocks_exactly():
    clock = FakeClock(start_ns=0, utc_start_ns=100)
    for _ in range(10):
        clock.advance(0.1)
    assert clock.monotonic_ns() == 1_000_000_000
    assert clock.utc_ns() == 1_000_000_100


def test_time_never_goes_back():
    clock = FakeClock(start_ns=50)
    with pytest.raises(ValueError, match=r"read -0\.5 s, allowed: 0 or more"):
        clock.advance(-0.5)
    assert clock.monotonic_ns() == 50


def test_a_wait_passes_at_once_and_is_recorded():
    clock = FakeClock(start_ns=0)
    never = threading.Event()
    assert clock.wait(never, 3600) is False
    assert clock.wait(never, 0.25) is False
    assert clock.monotonic_ns() == 3_600_250_000_000
    assert clock.waits_s == [3600, 0.25]


def test_a_set_interrupt_ends_a_wait_before_time_moves():
    clock = FakeClock(start_ns=0)
    interrupt = threading.Event()
    interrupt.set()
    assert clock.wait(interrupt, 60) is True
    assert clock.monotonic_ns() == 0
    assert clock.waits_s == [60]


def test_an_interrupt_can_come_during_a_wait():
    interrupt = threading.Event()
    clock = FakeClock(start_ns=0, on_wait=lambda seconds: interrupt.set() if seconds > 8 else None)
    assert [clock.wait(interrupt, 2.0**n) for n in range(5)] == [False, False, False, False, True]
    assert clock.monotonic_ns() == 15_000_000_000


def test_a_negative_wait_is_over_at_once_as_with_the_real_clock():
    event = threading.Event()
    clock = FakeClock(start_ns=0)
    assert clock.wait(event, -1) is SystemClock().wait(event, -1) is False
    assert clock.monotonic_ns() == 0


def test_utc_jumps_without_monotonic_time():
    clock = FakeClock(start_ns=0, utc_start_ns=10_000_000_000)
    clock.step_utc(-4)
    clock.step_utc(0.5)
    assert (clock.monotonic_ns(), clock.utc_ns()) == (0, 6_500_000_000)


def test_waits_of_many_threads_add_up():
    clock = FakeClock(start_ns=0)
    never = threading.Event()
    together = threading.Barrier(8)

    def waiting() -> None:
        together.wait()
        for _ in range(200):
            clock.wait(never, 0.001)

    threads = [threading.Thread(target=waiting) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clock.monotonic_ns() == 8 * 200 * 1_000_000
    assert len(clock.waits_s) == 1600


def test_the_recorded_waits_are_a_copy():
    clock = FakeClock()
    clock.waits_s.append(1.0)
    assert clock.waits_s == []
