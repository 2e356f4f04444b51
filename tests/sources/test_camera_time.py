"""The camera's own time, out of what FFmpeg says beside its packets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import av
from av.packet import PacketSideData, PktSideDataT

from frameloom.sources.camera_time import DriverTime, ReportedTime
from frameloom.sources.timeline import Times

TIMES = Times(0, 0, 40_000_000)
UTC_US = 1_767_225_600_123_456


def reported(utc_us: int | None) -> Any:
    """A packet with the side data of an RTP demuxer, or without."""
    packet = av.Packet(b"x")
    if utc_us is not None:
        packet.set_sidedata(side_data(utc_us.to_bytes(8, "little") + (24).to_bytes(8, "little")))
    return packet


def side_data(content: bytes) -> PacketSideData:
    """FFmpeg's structure: eight bytes of time, four of flags, four of nothing."""
    made = PacketSideData(get_args(PktSideDataT).index("prft"), len(content))
    made.update(content)
    return made


def of(time: ReportedTime, packet: Any) -> Mapping[str, Any]:
    return time.of(packet, TIMES, 0, 0)


def test_a_report_is_read() -> None:
    time = ReportedTime()
    of(time, reported(UTC_US))
    told = of(time, reported(UTC_US + 40_000))
    assert told["camera_utc_ns"] == (UTC_US + 40_000) * 1000
    assert 0 < told["camera_utc_error_ns"] <= 1_000_000


def test_the_first_report_is_its_neighbours_and_left_out() -> None:
    time = ReportedTime()
    assert of(time, reported(None)) == {}
    assert of(time, reported(UTC_US)) == {}
    assert of(time, reported(UTC_US)) != {}
    assert of(time, reported(None)) == {}
    assert of(time, reported(UTC_US)) == {}


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
