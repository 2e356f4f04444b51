"""The camera's own time, out of what FFmpeg says beside its packets."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, get_args

import av
import pytest
from av.packet import PacketSideData, PktSideDataT

from frameloom.sources.camera_time import DriverTime, ReportedTime
from frameloom.sources.timeline import Times

TIMES = Times(0, 0, 40_000_000)
UTC_US = 1_767_225_600_123_456


def reported(pts_ms: int, utc_us: int | None) -> Any:
    """A packet with the side data of an RTP demuxer, or without."""
    packet = av.Packet(b"x")
    packet.pts = pts_ms * 90
    if utc_us is not None:
        packet.set_sidedata(side_data(utc_us.to_bytes(8, "little") + (24).to_bytes(8, "little")))
    return packet


def side_data(content: bytes) -> PacketSideData:
    """FFmpeg's structure: eight bytes of time, four of flags, four of nothing."""
    made = PacketSideData(get_args(PktSideDataT).index("prft"), len(content))
    made.update(content)
    return made


class Camera:
    """Gives a packet every 40 ms, and tells what is made of its time: UTC in us, or None."""

    def __init__(self) -> None:
        self.time = ReportedTime(Fraction(1, 90_000))
        self.pts_ms = 1000

    def __call__(self, utc_us: int | None) -> int | None:
        self.pts_ms += 40
        told = self.time.of(reported(self.pts_ms, utc_us), TIMES, 0, 0)
        assert not told or 0 < told["camera_utc_error_ns"] <= 1_000_000
        return told["camera_utc_ns"] // 1000 if told else None


@pytest.mark.parametrize("quiet", range(8))
def test_the_first_report_is_its_neighbours_and_left_out(quiet: int) -> None:
    camera = Camera()
    assert [camera(None) for _ in range(quiet)] == [None] * quiet
    late_us = UTC_US + 40_000  # the next picture's time
    told = [camera(late_us), *(camera(UTC_US + n * 40_000) for n in range(1, 30))]
    first = next(n for n, utc_us in enumerate(told) if utc_us is not None)
    assert 1 <= first <= 9
    assert told[first:] == [UTC_US + n * 40_000 for n in range(first, 30)]


def test_between_two_looks_time_goes_on_evenly_and_a_set_clock_is_followed() -> None:
    camera = Camera()
    for n in range(20):
        camera(UTC_US + n * 40_000)
    hour_us = 3_600_000_000
    told = [camera(UTC_US + n * 40_000 + hour_us) for n in range(20, 40)]
    assert told[-1] == UTC_US + 39 * 40_000 + hour_us


def test_a_jump_of_the_stamps_is_looked_at_at_once() -> None:
    camera = Camera()
    for n in range(20):
        camera(UTC_US + n * 40_000)
    camera.pts_ms -= 50_000
    assert camera(UTC_US + 20 * 40_000) == UTC_US + 20 * 40_000


def test_a_packet_without_a_stamp_says_nothing() -> None:
    packet = reported(0, UTC_US)
    packet.pts = None
    assert ReportedTime(Fraction(1, 90_000)).of(packet, TIMES, 0, 0) == {}


def stamped(pts_us: int | None) -> Any:
    packet = av.Packet(b"x")
    packet.pts = pts_us
    return packet


def test_a_drivers_stamp_is_host_monotonic_time() -> None:
    told = DriverTime().of(stamped(5_000_000), TIMES, 5_003_000_000, 1_000_000_000_000)
    assert told == {"camera_utc_ns": 1_000_000_000_000 - 3_000_000, "camera_utc_error_ns": 40_000_000}


def test_a_stamp_of_another_clock_says_nothing() -> None:
    for pts_us in (UTC_US, 1, None):
        assert DriverTime().of(stamped(pts_us), TIMES, 5_003_000_000_000, 0) == {}
