"""RTP payload formats, RTP and RTCP packets, and the lines that describe them in SDP; bytes in, bytes out.

H.264 (RFC 6184), H.265 (RFC 7798) and JPEG (RFC 2435). No sockets, no clocks, no sessions: who sends what to whom,
and when, is the business of `sessions` and its mounts.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

CLOCK_HZ = 90_000
"""Ticks per second of RTP time stamps of every video format here."""

HEADER_BYTES = 12
MAX_PAYLOAD_BYTES = 1400
"""Payload of one packet: what fits an Ethernet frame with IP, UDP and RTP headers, and room for tunnels."""

_SEQUENCE_MASK, _TICKS_MASK = 0xFFFF, 0xFFFFFFFF
_NTP_EPOCH_S = 2_208_988_800  # from 1900, where NTP begins, to 1970
_SENDER_REPORT, _SOURCE_DESCRIPTION = 200, 202


class Packetiser(Protocol):
    """One payload format: how pictures are cut into payloads, and how SDP announces them."""

    payload_type: int

    def payloads(self, access_unit: bytes, *, is_key: bool) -> list[bytes]:
        """The RTP payloads of one encoded picture, in order; the last one carries the marker bit."""

    def sdp_lines(self) -> list[str]:
        """The attribute lines (`a=rtpmap:...`, `a=fmtp:...`) of the media description."""


def header(payload_type: int, sequence: int, ticks: int, ssrc: int, *, marker: bool) -> bytes:
    """The 12 bytes before a payload; sequence and ticks are taken modulo their width."""
    second = payload_type | (0x80 if marker else 0)
    return struct.pack("!BBHII", 0x80, second, sequence & _SEQUENCE_MASK, ticks & _TICKS_MASK, ssrc)


def packets(
    payloads: Sequence[bytes], payload_type: int, sequence: int, ticks: int, ssrc: int
) -> Iterator[bytes]:
    """The RTP packets of one picture, the marker on the last."""
    last = len(payloads) - 1
    for index, payload in enumerate(payloads):
        yield header(payload_type, sequence + index, ticks, ssrc, marker=index == last) + payload


def interleaved(packet: bytes, channel: int) -> bytes:
    """A packet as it travels inside the RTSP connection (RFC 2326, 10.12)."""
    return struct.pack("!cBH", b"$", channel, len(packet)) + packet


def ntp_time(unix_s: float) -> int:
    """UTC seconds since 1970 as the 64-bit fixed point that RTCP uses."""
    return round((unix_s + _NTP_EPOCH_S) * (1 << 32)) & 0xFFFFFFFFFFFFFFFF


def sender_report(
    ssrc: int, unix_s: float, ticks: int, packet_count: int, octet_count: int, cname: str
) -> bytes:
    """A compound RTCP packet: at UTC `unix_s` the media clock showed `ticks`; then the sender's name."""
    report = struct.pack(
        "!BBHIQIII",
        0x80,
        _SENDER_REPORT,
        6,
        ssrc,
        ntp_time(unix_s),
        ticks & _TICKS_MASK,
        packet_count & 0xFFFFFFFF,
        octet_count & 0xFFFFFFFF,
    )
    return report + _source_description(ssrc, cname)


def _source_description(ssrc: int, cname: str) -> bytes:
    name = cname.encode()[:255]
    item = struct.pack("!IBB", ssrc, 1, len(name)) + name
    item += bytes(4 - len(item) % 4)  # ends with at least one zero, on a word
    return struct.pack("!BBH", 0x81, _SOURCE_DESCRIPTION, len(item) // 4) + item


def annexb_units(stream: bytes) -> list[bytes]:
    """The NAL units between the start codes of H.264 or H.265 in Annex B form, without the codes."""
    units = []
    start = stream.find(b"\0\0\1")
    while start >= 0:
        following = stream.find(b"\0\0\1", start + 3)
        end = following if following >= 0 else len(stream)
        units.append(stream[start + 3 : end].rstrip(b"\0"))
        start = following
    return [unit for unit in units if unit]


def prefixed_units(stream: bytes, length_bytes: int) -> list[bytes]:
    """The NAL units of the form that MP4 and Matroska keep: each behind its length.

    Raises ValueError where a length points beyond the end.
    """
    units, at = [], 0
    while at < len(stream):
        start = at + length_bytes
        at = start + int.from_bytes(stream[at:start], "big")
        if at > len(stream):
            raise ValueError(f"a NAL unit ends at byte {at} of {len(stream)}")
        units.append(stream[start:at])
    return [unit for unit in units if unit]


@dataclass(frozen=True)
class _NalForm:
    """How a file keeps its NAL units (0: Annex B; else bytes of the length), and its parameter sets."""

    length_bytes: int
    parameter_sets: tuple[bytes, ...]

    def split(self, access_unit: bytes) -> list[bytes]:
        if self.length_bytes:
            return prefixed_units(access_unit, self.length_bytes)
        return annexb_units(access_unit)


def _avc_form(extradata: bytes) -> _NalForm:
    """Read an AVCDecoderConfigurationRecord, or Annex B parameter sets."""
    if not extradata or extradata[0] != 1:
        return _NalForm(0, tuple(annexb_units(extradata)))
    sets: list[bytes] = []
    at, count = 6, extradata[5] & 0x1F
    at = _take_sets(extradata, at, count, sets)
    _take_sets(extradata, at + 1, extradata[at], sets)
    return _NalForm((extradata[4] & 3) + 1, tuple(sets))


def _hevc_form(extradata: bytes) -> _NalForm:
    """Read an HEVCDecoderConfigurationRecord, or Annex B parameter sets."""
    if not extradata or extradata[:3] in (b"\0\0\0", b"\0\0\1"):
        return _NalForm(0, tuple(annexb_units(extradata)))
    sets: list[bytes] = []
    at = 23
    for _ in range(extradata[22]):
        count = int.from_bytes(extradata[at + 1 : at + 3], "big")
        at = _take_sets(extradata, at + 3, count, sets)
    return _NalForm((extradata[21] & 3) + 1, tuple(sets))


def _take_sets(record: bytes, at: int, count: int, sets: list[bytes]) -> int:
    """Append `count` sets, each behind two bytes of length, and return where the next thing begins."""
    for _ in range(count):
        length = int.from_bytes(record[at : at + 2], "big")
        sets.append(record[at + 2 : at + 2 + length])
        at += 2 + length
    return at


def _base64_list(sets: Iterable[bytes]) -> str:
    return ",".join(base64.b64encode(unit).decode() for unit in sets)


class H264Packetiser:
    """RFC 6184, packetization-mode 1: single NAL unit packets and FU-A fragments.

    Parameter sets are sent in front of every key picture, so that a client may join at any of them.
    `extradata` is what the container keeps: an avcC record or Annex B bytes (then sets may also come in-band).
    """

    payload_type = 96
    _SPS, _PPS, _DELIMITER, _FILLER, _FU_A = 7, 8, 9, 12, 28

    def __init__(self, extradata: bytes, max_payload: int = MAX_PAYLOAD_BYTES) -> None:
        self._form = _avc_form(extradata)
        self._sets = tuple(
            unit for unit in self._form.parameter_sets if unit[0] & 31 in (self._SPS, self._PPS)
        )
        self._max_payload = max_payload

    def payloads(self, access_unit: bytes, *, is_key: bool) -> list[bytes]:
        units = self._form.split(access_unit)
        if is_key:
            self._learn(units)
        dropped = (self._SPS, self._PPS, self._DELIMITER, self._FILLER)
        sent = [unit for unit in units if unit[0] & 31 not in dropped]
        return [
            payload for unit in (*(self._sets if is_key else ()), *sent) for payload in self._fragments(unit)
        ]

    def _learn(self, units: Iterable[bytes]) -> None:
        """Sets in the stream itself replace those of the container."""
        found = tuple(unit for unit in units if unit[0] & 31 in (self._SPS, self._PPS))
        self._sets = found or self._sets

    def _fragments(self, unit: bytes) -> list[bytes]:
        if len(unit) <= self._max_payload:
            return [unit]
        indicator, kind = unit[0] & 0xE0 | self._FU_A, unit[0] & 31
        return [
            bytes((indicator, kind | edge)) + part for edge, part in _parts(unit[1:], self._max_payload - 2)
        ]

    def sdp_lines(self) -> list[str]:
        profile = self._sets[0][1:4].hex().upper() if self._sets else "42E01F"
        sprop = f";sprop-parameter-sets={_base64_list(self._sets)}" if self._sets else ""
        return [
            f"a=rtpmap:{self.payload_type} H264/{CLOCK_HZ}",
            f"a=fmtp:{self.payload_type} packetization-mode=1;profile-level-id={profile}{sprop}",
        ]


class H265Packetiser:
    """RFC 7798: single NAL unit packets and fragmentation units; parameter sets before every key picture."""

    payload_type = 97
    _VPS, _SPS, _PPS, _DELIMITER, _FILLER, _FU = 32, 33, 34, 35, 38, 49

    def __init__(self, extradata: bytes, max_payload: int = MAX_PAYLOAD_BYTES) -> None:
        self._form = _hevc_form(extradata)
        self._sets = self._only_sets(self._form.parameter_sets)
        self._max_payload = max_payload

    def payloads(self, access_unit: bytes, *, is_key: bool) -> list[bytes]:
        units = self._form.split(access_unit)
        if is_key:
            self._sets = self._only_sets(units) or self._sets
        dropped = (self._VPS, self._SPS, self._PPS, self._DELIMITER, self._FILLER)
        sent = [unit for unit in units if self._kind(unit) not in dropped]
        return [
            payload for unit in (*(self._sets if is_key else ()), *sent) for payload in self._fragments(unit)
        ]

    def _only_sets(self, units: Iterable[bytes]) -> tuple[bytes, ...]:
        return tuple(unit for unit in units if self._kind(unit) in (self._VPS, self._SPS, self._PPS))

    @staticmethod
    def _kind(unit: bytes) -> int:
        return unit[0] >> 1 & 63

    def _fragments(self, unit: bytes) -> list[bytes]:
        if len(unit) <= self._max_payload:
            return [unit]
        first, kind = unit[0] & 0x81 | self._FU << 1, self._kind(unit)
        parts = _parts(unit[2:], self._max_payload - 3)
        return [bytes((first, unit[1], kind | edge)) + part for edge, part in parts]

    def sdp_lines(self) -> list[str]:
        names = {self._VPS: "sprop-vps", self._SPS: "sprop-sps", self._PPS: "sprop-pps"}
        found = {name: [u for u in self._sets if self._kind(u) == kind] for kind, name in names.items()}
        sprops = ";".join(f"{name}={_base64_list(units)}" for name, units in found.items() if units)
        lines = [f"a=rtpmap:{self.payload_type} H265/{CLOCK_HZ}"]
        return [*lines, f"a=fmtp:{self.payload_type} {sprops}"] if sprops else lines


def _parts(payload: bytes, size: int) -> Iterator[tuple[int, bytes]]:
    """Pieces of at most `size` bytes with the start bit (0x80) on the first and the end bit (0x40) on the last."""
    for at in range(0, len(payload), size):
        edge = (0x80 if at == 0 else 0) | (0x40 if at + size >= len(payload) else 0)
        yield edge, payload[at : at + size]


class JpegPacketiser:
    """RFC 2435 with the quantisation tables in the stream: baseline JPEG, 4:2:0 or 4:2:2, standard Huffman tables.

    `payloads` raises ValueError, saying why, for what the format cannot carry: other samplings, own Huffman
    tables, sizes that are no multiple of 8 or above 2040.
    """

    payload_type = 26

    def __init__(self, max_payload: int = MAX_PAYLOAD_BYTES) -> None:
        self._max_payload = max_payload

    def payloads(self, access_unit: bytes, *, is_key: bool = True) -> list[bytes]:
        picture = _Jpeg(access_unit)
        tables = struct.pack("!BBH", 0, 0, len(picture.tables)) + picture.tables
        payloads, at = [], 0
        while at < len(picture.scan):
            head = self._head(picture, at) + (tables if at == 0 else b"")
            part = picture.scan[at : at + self._max_payload - len(head)]
            payloads.append(head + part)
            at += len(part)
        return payloads

    @staticmethod
    def _head(picture: _Jpeg, offset: int) -> bytes:
        in_band_tables = 255
        kind, restarts = picture.kind, b""
        if picture.restart_interval:
            kind += 64
            restarts = struct.pack(
                "!HH", picture.restart_interval, 0xFFFF
            )  # put together again before decoding
        words = struct.pack("!I", offset)  # its first byte is the type-specific field, 0: progressive scan
        return words + bytes((kind, in_band_tables, picture.width // 8, picture.height // 8)) + restarts

    def sdp_lines(self) -> list[str]:
        return [f"a=rtpmap:{self.payload_type} JPEG/{CLOCK_HZ}"]


class _Jpeg:
    """The parts of a JPEG file that RFC 2435 sends: sampling, size, tables, and the scan without its markers."""

    _SOF0, _SOF2, _DHT, _EOI, _SOS, _DQT, _DRI = 0xC0, 0xC2, 0xC4, 0xD9, 0xDA, 0xDB, 0xDD

    def __init__(self, data: bytes) -> None:
        self.kind = -1
        self.width = self.height = self.restart_interval = 0
        self._quantisers: dict[int, bytes] = {}
        self._chosen: list[int] = []
        self.scan = self._read(data)
        if self.kind < 0:
            raise ValueError("JPEG over RTP: no baseline frame header (SOF0) found")

    @property
    def tables(self) -> bytes:
        """Luma table, then chroma table, 64 bytes each, in zigzag order."""
        return b"".join(self._quantisers[index] for index in self._chosen)

    def _read(self, data: bytes) -> bytes:
        at = 2  # after SOI
        while at + 4 <= len(data):
            marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
            body = data[at + 4 : at + 2 + length]
            at += 2 + length
            if marker == self._SOS:
                end = data.rfind(b"\xff\xd9")
                return data[at : end if end >= at else len(data)]
            self._segment(marker, body)
        raise ValueError("JPEG over RTP: no scan (SOS) found")

    def _segment(self, marker: int, body: bytes) -> None:
        if marker == self._DQT:
            self._quantiser(body)
        elif marker == self._SOF0:
            self._frame(body)
        elif marker == self._SOF2:
            raise ValueError("JPEG over RTP carries baseline JPEG, got a progressive one")
        elif marker == self._DHT:
            _check_huffman(body)
        elif marker == self._DRI:
            self.restart_interval = int.from_bytes(body[:2], "big")

    def _quantiser(self, body: bytes) -> None:
        for at in range(0, len(body), 65):
            if body[at] >> 4:
                raise ValueError("JPEG over RTP: 16-bit quantisation tables are not supported here")
            self._quantisers[body[at] & 15] = body[at + 1 : at + 65]

    def _frame(self, body: bytes) -> None:
        self.height, self.width = struct.unpack("!HH", body[1:5])
        if self.width % 8 or self.height % 8 or max(self.width, self.height) > 2040:
            raise ValueError(f"JPEG over RTP wants multiples of 8 up to 2040, got {self.width}x{self.height}")
        components = [body[at : at + 3] for at in range(6, len(body), 3)]
        sampling = tuple(component[1] for component in components)
        kinds = {(0x21, 0x11, 0x11): 0, (0x22, 0x11, 0x11): 1}
        # some encoders write 4:2:2 as 2x2 luma with 1x2 chroma: the same ratio, but not what decoders of RTP expect
        if sampling not in kinds:
            raise ValueError(f"JPEG over RTP carries 4:2:0 or 4:2:2, got sampling {bytes(sampling).hex(' ')}")
        self.kind = kinds[sampling]
        self._chosen = [components[0][2], components[1][2]]


# The first bytes of the four standard Huffman tables (ITU T.81, annex K): class and id, then codes per length.
_STANDARD_HUFFMAN = {
    0x00: bytes((0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0)),
    0x10: bytes((0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 0x7D)),
    0x01: bytes((0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0)),
    0x11: bytes((0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 0x77)),
}


def _check_huffman(body: bytes) -> None:
    at = 0
    while at + 17 <= len(body):
        counts = body[at + 1 : at + 17]
        if _STANDARD_HUFFMAN.get(body[at]) != counts:
            raise ValueError(
                "JPEG over RTP carries only the standard Huffman tables; encode with huffman=default"
            )
        at += 17 + sum(counts)
