"""A film at the speed at which it was taken, on a clock of our own."""

from __future__ import annotations

import itertools

import pytest

from frameloom.sources.pacing import Pacer

MS = 1_000_000


class Player:
    """Asks a pacer for each packet, and waits on a clock that is a number."""

    def __init__(self) -> None:
        self.pacer = Pacer()
        self.now_ns = 1000 * MS

    def play(self, dts_ms: int, busy_ms: int = 0) -> int:
        """When the packet goes out, ms; the host is busy for a while before it asks."""
        self.now_ns += busy_ms * MS
        self.now_ns += round(self.pacer.wait_s(dts_ms * MS, self.now_ns) * 1e9)
        return self.now_ns // MS - 1000


def test_packets_go_out_at_their_times() -> None:
    player = Player()
    assert [player.play(n) for n in (0, 40, 80, 300)] == [0, 40, 80, 300]


def test_a_first_packet_before_zero_goes_out_at_once() -> None:
    player = Player()
    assert [player.play(n) for n in (-80, -40, 0)] == [0, 40, 80]


def test_the_hosts_own_work_costs_no_time() -> None:
    player = Player()
    assert [player.play(n, busy_ms=30) for n in (0, 40, 80)] == [30, 70, 110]


def test_what_is_late_catches_up_at_double_speed() -> None:
    player = Player()
    player.play(0)
    out = [player.play(40, busy_ms=400), *(player.play(n) for n in range(80, 1000, 40))]
    steps = [b - a for a, b in itertools.pairwise(out)]
    assert out[0] == 400
    assert min(steps) == 20  # no burst
    assert out[-1] == 960  # in time again
    assert steps[-1] == 40


def test_after_a_long_stop_the_lost_time_stays_lost() -> None:
    player = Player()
    player.play(0)
    assert player.play(40, busy_ms=3_600_000) == 3_600_000
    assert player.play(80) == 3_600_040


@pytest.mark.parametrize("busy_ms", [0, 39, 41, 200, 4999, 5001])
def test_it_is_never_ahead_of_media_time(busy_ms: int) -> None:
    player = Player()
    player.play(0)
    player.play(40, busy_ms=busy_ms)
    for n in range(2, 50):
        assert player.play(n * 40) >= n * 40
