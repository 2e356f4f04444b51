"""Payload formats: what is cut apart can be put together, and the headers say what the standards want."""

import re
import struct

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frameloom.rtsp import rtp
from frameloom.testing.films import rotating_tank
from tests.testing.rtsp_client import Rtp, SenderReport

SETS = {"h264": [b"\x67\x42\xc0\x1e\x01", b"\x68\xce\x01"]}
SETS["hevc"] = [b"\x40\x01\x0c", b"\x42\x01\x01", b"\x44\x01\xc1"]


def annexb(units):
    return b"".join(b"\0\0\0\1" + unit for unit in units)


def check_edges(fragment_headers, units):
    """Fragments of one unit begin with the start bit and end with the end bit, nowhere else."""
    edges = "".join({0x80: "(", 0x40: ")", 0: "."}[header & 0xC0] for header in fragment_headers)
    assert re.fullmatch(r"(\(\.*\))*", edges)
    assert edges.count("(") == units


def reassembled_h264(payloads):
    """NAL units out of single NAL unit packets and FU-A (RFC 6184, 5.6 and 5.8)."""
    units = []
    for payload in payloads:
        if payload[0] & 31 != 28:
            units.append(payload)
        elif payload[1] & 0x80:
            units.append(bytes([payload[0] & 0xE0 | payload[1] & 31]) + payload[2:])
        else:
            units[-1] += payload[2:]
    return units


def reassembled_hevc(payloads):
    """NAL units out of single NAL unit packets and fragmentation units (RFC 7798, 4.4.1 and 4.4.3)."""
    units = []
    for payload in payloads:
        if payload[0] >> 1 & 63 != 49:
            units.append(payload)
        elif payload[2] & 0x80:
            units.append(bytes([payload[0] & 0x81 | (payload[2] & 63) << 1, payload[1]]) + payload[3:])
        else:
            units[-1] += payload[3:]
    return units


@given(sizes=st.lists(st.integers(2, 5000), min_size=1, max_size=5), max_payload=st.integers(50, 1400))
def test_h264_units_come_together_again(sizes, max_payload):
    units = [b"\x65" + b"\xaa" * size for size in sizes]
    packetiser = rtp.H264Packetiser(annexb(SETS["h264"]), max_payload)
    payloads = packetiser.payloads(annexb(units), is_key=True)
    assert reassembled_h264(payloads) == SETS["h264"] + units
    assert max(map(len, payloads)) <= max_payload
    fragments = [payload[1] for payload in payloads if payload[0] & 31 == 28]
    check_edges(fragments, sum(len(unit) > max_payload for unit in units))


@given(sizes=st.lists(st.integers(3, 5000), min_size=1, max_size=5), max_payload=st.integers(50, 1400))
def test_h265_units_come_together_again(sizes, max_payload):
    units = [b"\x26\x01" + b"\xaa" * size for size in sizes]
    packetiser = rtp.H265Packetiser(annexb(SETS["hevc"]), max_payload)
    payloads = packetiser.payloads(annexb(units), is_key=True)
    assert reassembled_hevc(payloads) == SETS["hevc"] + units
    assert max(map(len, payloads)) <= max_payload
    fragments = [payload[2] for payload in payloads if payload[0] >> 1 & 63 == 49]
    check_edges(fragments, sum(len(unit) > max_payload for unit in units))


def test_delimiters_and_fillers_are_left_out_and_sets_go_before_key_pictures_only():
    stream = annexb([b"\x09\xf0", b"\x0c\xff", b"\x41slice"])
    packetiser = rtp.H264Packetiser(annexb(SETS["h264"]))
    assert packetiser.payloads(stream, is_key=False) == [b"\x41slice"]
    assert packetiser.payloads(annexb([b"\x65key"]), is_key=True) == [*SETS["h264"], b"\x65key"]


def test_sets_in_the_stream_replace_those_of_the_container():
    packetiser = rtp.H264Packetiser(annexb(SETS["h264"]))
    other = [b"\x67\x64\x00\x28\x99", b"\x68\xee\x99"]
    assert packetiser.payloads(annexb([*other, b"\x65key"]), is_key=True) == [*other, b"\x65key"]
    assert "profile-level-id=640028" in packetiser.sdp_lines()[1]


def test_h264_without_any_sets_is_still_described():
    lines = rtp.H264Packetiser(b"").sdp_lines()
    assert lines == ["a=rtpmap:96 H264/90000", "a=fmtp:96 packetization-mode=1;profile-level-id=42E01F"]


def test_h265_is_described_by_its_sets():
    lines = rtp.H265Packetiser(annexb(SETS["hevc"])).sdp_lines()
    assert lines == ["a=rtpmap:97 H265/90000", "a=fmtp:97 sprop-vps=QAEM;sprop-sps=QgEB;sprop-pps=RAHB"]


def test_length_prefixes_are_read_and_wrong_ones_refused():
    stream = b"\x00\x03abc\x00\x01d"
    assert rtp.prefixed_units(stream, 2) == [b"abc", b"d"]
    with pytest.raises(ValueError, match="a NAL unit ends at byte 9 of 5"):
        rtp.prefixed_units(b"\x00\x07abc", 2)


def test_start_codes_of_three_and_four_bytes_are_read():
    assert rtp.annexb_units(b"\0\0\1abc\0\0\0\1de\0\0\1f") == [b"abc", b"de", b"f"]
    assert rtp.annexb_units(b"") == []


def test_packets_of_one_picture_share_its_time_and_the_last_is_marked():
    packets = [Rtp.parse(p) for p in rtp.packets([b"a", b"b", b"c"], 96, 0xFFFF, 1 << 32 | 5, 77)]
    assert [p.sequence for p in packets] == [0xFFFF, 0, 1]
    assert [p.marker for p in packets] == [False, False, True]
    assert {(p.payload_type, p.ticks, p.ssrc) for p in packets} == {(96, 5, 77)}
    assert b"".join(p.payload for p in packets) == b"abc"


def test_a_packet_inside_the_connection_has_its_channel_and_length():
    assert rtp.interleaved(b"packet", 3) == b"$\x03\x00\x06packet"


@pytest.mark.parametrize("cname", ["a", "ab", "abc", "abcd", "tank@frameloom"])
def test_a_sender_report_tells_both_clocks_and_the_counts(cname):
    packet = rtp.sender_report(99, 1_700_000_000.25, (1 << 32) + 9, 1000, 1_400_000, cname)
    assert SenderReport.parse(packet) == SenderReport(99, 1_700_000_000.25, 9, 1000, 1_400_000)
    head, kind, words, ssrc, item, length = struct.unpack("!BBHIBB", packet[28:38])
    assert (head, kind, ssrc, item, length) == (0x81, 202, 99, 1, len(cname))
    assert len(packet) == 28 + 4 * (words + 1)
    assert packet[38:].rstrip(b"\0") == cname.encode()
    assert packet[-1] == 0


# JPEG


def jpeg(width=320, height=240, *options):
    picture = rotating_tank(width=width, height=height).render(0)
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 80, *options])[1].tobytes()


@pytest.mark.parametrize(
    ("sampling", "kind"),
    [(cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422, 0), (cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420, 1)],
)
@pytest.mark.parametrize("restart_interval", [0, 8])
def test_a_jpeg_is_cut_into_fragments_that_follow_each_other(sampling, kind, restart_interval):
    data = jpeg(
        320, 240, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling, cv2.IMWRITE_JPEG_RST_INTERVAL, restart_interval
    )
    payloads = rtp.JpegPacketiser(max_payload=500).payloads(data)
    head = 8 + (4 if restart_interval else 0)
    scan = b""
    for index, payload in enumerate(payloads):
        assert len(payload) <= 500
        assert int.from_bytes(payload[:4], "big") == len(scan)
        assert tuple(payload[4:8]) == (kind + (64 if restart_interval else 0), 255, 40, 30)
        if restart_interval:
            assert payload[8:12] == struct.pack("!HH", restart_interval, 0xFFFF)
        tables = 4 + 128 if index == 0 else 0
        scan += payload[head + tables :]
    assert payloads[0][head : head + 4] == b"\0\0\0\x80"
    assert data.endswith(scan + b"\xff\xd9")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (jpeg(324, 240), "wants multiples of 8 up to 2040, got 324x240"),
        (jpeg(2048, 64), "wants multiples of 8 up to 2040, got 2048x64"),
        (jpeg(320, 240, cv2.IMWRITE_JPEG_PROGRESSIVE, 1), "got a progressive one"),
        (jpeg(320, 240, cv2.IMWRITE_JPEG_OPTIMIZE, 1), "only the standard Huffman tables"),
        (
            cv2.imencode(".jpg", np.zeros((64, 64), np.uint8))[1].tobytes(),
            "carries 4:2:0 or 4:2:2, got sampling 11",
        ),
        (b"\xff\xd8 no picture", "no scan"),
    ],
)
def test_a_jpeg_that_rtp_cannot_carry_is_refused_with_the_reason(data, message):
    with pytest.raises(ValueError, match=message):
        rtp.JpegPacketiser().payloads(data)
