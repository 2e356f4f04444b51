"""H.264 in payloads, read back by aiortc; RTP and RTCP as others parse them."""

from __future__ import annotations

import itertools

import pytest
from aiortc import rtp as theirs
from aiortc.codecs.h264 import H264Encoder, h264_depayload
from hypothesis import given
from hypothesis import strategies as st

from frameloom.workers.webrtc import rtp

UNITS = st.lists(
    st.builds(
        lambda head, size: bytes([head]) + bytes(itertools.islice(itertools.cycle(range(1, 256)), size)),
        st.sampled_from([0x65, 0x41, 0x06, 0x01]),
        st.sampled_from([1, 2, 100, 600, 1194, 1195, 1198, 1199, 1200, 2396, 2397, 9000]),
    ),
    min_size=1,
    max_size=6,
)
SPS, PPS = b"\x67\x64\x00\x28\xac\x01", b"\x68\xee\x3c\x80"
AVCC = b"\1\x64\x00\x28\xff\xe1\x00\x06" + SPS + b"\1\x00\x04" + PPS + b"\xfd\xf8\xf8\0"


def with_lengths(units: list[bytes]) -> bytes:
    return b"".join(len(unit).to_bytes(4, "big") + unit for unit in units)


def read_back(payloads: list[bytes]) -> list[bytes]:
    return list(H264Encoder._split_bitstream(b"".join(h264_depayload(each) for each in payloads)))


@given(UNITS)
def test_payloads_hold_what_was_given(units: list[bytes]) -> None:
    payloads = rtp.payloads(with_lengths(units), b"")
    assert read_back(payloads) == units
    assert all(0 < len(each) <= rtp.MOST_BYTES for each in payloads)


def test_a_large_unit_is_cut_evenly() -> None:
    payloads = rtp.payloads(with_lengths([b"\x65" + b"\7" * 5000]), b"")
    assert len(payloads) == 5
    assert max(map(len, payloads)) - min(map(len, payloads)) <= 5


def test_parameter_sets_come_before_a_key_frame_in_one_packet() -> None:
    picture = b"\x65" + b"\7" * 100
    payloads = rtp.payloads(with_lengths([picture]), AVCC)
    assert len(payloads) == 1
    assert read_back(payloads) == [SPS, PPS, picture]


@pytest.mark.parametrize("end", range(6, len(AVCC)))
def test_parameter_sets_that_are_cut_short_harm_nobody(end: int) -> None:
    assert all(rtp.parameter_sets(AVCC[:end]))


def test_heads_are_as_others_read_them() -> None:
    extensions = theirs.HeaderExtensionsMap()
    values = {"payload_type": 108, "number": 65535, "time": 1 << 31, "ssrc": 7}
    plain = rtp.head(marker=True, **values, has_extension=False) + b"data"
    longer = rtp.head(marker=False, **values, has_extension=True) + rtp.playout_extension(6) + b"data"
    for data, marker in ((plain, 1), (longer, 0)):
        packet = theirs.RtpPacket.parse(data, extensions)
        assert (packet.marker, packet.payload_type, packet.sequence_number) == (marker, 108, 65535)
        assert (packet.timestamp, packet.ssrc, packet.payload) == (1 << 31, 7, b"data")
    assert theirs.unpack_header_extensions(0xBEDE, rtp.playout_extension(6)[4:]) == [(6, b"\0\0\0")]


def test_a_report_says_when_a_picture_was_captured() -> None:
    data = rtp.sender_report(7, 1_500_000_000_250_000_000, 90_000, 12, 3456)
    report, names = theirs.RtcpPacket.parse(data)
    assert isinstance(report, theirs.RtcpSrPacket) and isinstance(names, theirs.RtcpSdesPacket)
    told = report.sender_info
    assert told.ntp_timestamp == (1_500_000_000 + 2_208_988_800 << 32) + (1 << 30)
    assert (report.ssrc, told.rtp_timestamp, told.packet_count, told.octet_count) == (7, 90_000, 12, 3456)
    assert [(chunk.ssrc, chunk.items) for chunk in names.chunks] == [(7, [(1, b"frameloom")])]
    (goodbye,) = theirs.RtcpPacket.parse(rtp.goodbye(7))
    assert goodbye == theirs.RtcpByePacket(sources=[7])


def test_ticks_are_rounded_down() -> None:
    assert [rtp.ticks(ns) for ns in (0, 11_111, 11_112, 40_000_000, 1_000_000_000)] == [0, 0, 1, 3600, 90_000]
