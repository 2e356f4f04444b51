"""Packets of one camera as an MPEG transport stream, without decoding: one stream for all clients, without end.

Each packet's part is complete when it is given out (libavformat's muxer keeps nothing back), so a client may begin
or go on at any key frame. Who gets what belongs to `tcp_fanout`.
"""

from __future__ import annotations

import io
from fractions import Fraction
from typing import Any

import av
import av.error

from frameloom.model.clock import NS_PER_S
from frameloom.model.packet import Packet, PacketFormat

from .annex_b import AnnexB

CODECS = ("h264", "hevc")
TICKS_PER_S = 90_000
_TIME_BASE = Fraction(1, TICKS_PER_S)
_PACKET_BYTES = 188
_TABLES_S = 0.5  # how often the tables are sent again; a client gets them before its first picture anyway
_AHEAD_S = 0.1  # so much earlier than it is decoded a picture arrives, as the clock of the stream says
_CLOCK_MS = 1  # the clock stands in every picture: that they come less often than it should, we cannot change
_FIRST_NS = NS_PER_S  # media time 0, so that no clock is negative
_FORWARD_NS = 5 * NS_PER_S  # media time that runs ahead of the host's clock by more has begun anew
_START = b"\0\0\1"
_SEARCH_BYTES = 4096  # parameter sets stand before the first slice
_SEQUENCE_SET = {"h264": (0, 31, 7), "hevc": (1, 63, 33)}  # shift, mask, kind of a unit's first byte
_PID_TABLES = frozenset({0, 0x11, 0x1000})  # programs, names, the one program


class CannotMux(ValueError):
    """This stream cannot be sent as MPEG-TS; the message says why."""


class MpegTs:
    """One transport stream with one track.

    name     of the camera, which players show
    first    the packet it begins with, a key frame; it must be added like all others
    zero_ns  where its media time begins; others than 0 are for tests of the clock that begins anew every 26 hours

    Media time goes on where the camera's own begins anew, by the time that has passed. Raises `CannotMux`.
    """

    media_type = "video/mp2t"

    def __init__(self, name: str, first: Packet, zero_ns: int = 0) -> None:
        self.format = first.format
        self._units = _units(first.format)
        self._out = io.BytesIO()
        self._tables = b""
        self._shift_ns = _FIRST_NS + zero_ns
        self._last_dts_ns = self._last_captured_ns = 0
        self._begun = False
        try:
            self._open(name, first)
        except (av.error.FFmpegError, IndexError) as error:
            raise CannotMux(f"no MPEG-TS can begin with this key frame: {_words(error)}") from error

    def add(self, packet: Packet) -> bytes:
        """The part of the stream that is this packet, of whole transport packets."""
        if packet.format is not self.format:
            self._follow(packet.format)
        data = self._fit_to_begin(packet) if packet.is_key else self._bytes_of(packet)
        made = av.Packet(data)
        dts_ns = self._placed(packet)
        made.dts, made.pts = _ticks(dts_ns), _ticks(packet.pts_ns + self._shift_ns)
        made.is_keyframe, made.time_base, made.stream = packet.is_key, _TIME_BASE, self._stream
        try:
            self._container.mux_one(made)
        except av.error.FFmpegError as error:
            raise CannotMux(f"the packet does not fit: {_words(error)}") from error
        part = self._take()
        if not self._tables:
            self._tables = _tables_in(part)
        return part

    def joining(self, part: bytes) -> bytes:
        """`part`, a key frame's, for a client that begins here, or goes on here after it has missed some."""
        return self._tables + _broken_off(part)

    def close(self) -> None:
        """Let go of it."""
        self._container.close()

    def _open(self, name: str, first: Packet) -> None:
        options = {
            "flush_packets": "1",
            "pat_period": str(_TABLES_S),
            "max_delay": str(round(_AHEAD_S * 1e6)),
            "pcr_period": str(_CLOCK_MS),
            "omit_video_pes_length": "0",  # so that a picture is known to be whole before the next one comes
        }
        self._container = av.open(self._out, "w", format="mpegts", options=options)
        self._container.metadata.update({"service_name": name, "service_provider": "Frameloom"})
        with av.open(
            io.BytesIO(self._units.sets + self._bytes_of(first)), format=self.format.codec
        ) as described:
            template = described.streams.video[0]
            self._stream: Any = self._container.add_stream_from_template(template, opaque=True)
        self._stream.time_base = _TIME_BASE
        self._container.start_encoding()

    def _follow(self, format: PacketFormat) -> None:
        """Another size or other parameter sets; they come with the next key frame."""
        if format.codec != self.format.codec:
            raise CannotMux(f"codec {format.codec!r} cannot go on a stream of {self.format.codec!r}")
        self._units = _units(format)
        self.format = format

    def _placed(self, packet: Packet) -> int:
        """When it is decoded, in the time of this stream, which never goes back."""
        dts_ns = packet.dts_ns + self._shift_ns
        if self._begun:
            step_ns, passed_ns = dts_ns - self._last_dts_ns, packet.captured_ns - self._last_captured_ns
            if step_ns <= 0 or step_ns > passed_ns + _FORWARD_NS:
                self._shift_ns += self._last_dts_ns + max(passed_ns, NS_PER_S // 50) - dts_ns
                dts_ns = packet.dts_ns + self._shift_ns
        self._begun, self._last_dts_ns, self._last_captured_ns = True, dts_ns, packet.captured_ns
        return dts_ns

    def _fit_to_begin(self, packet: Packet) -> bytes:
        """A key frame with the parameter sets before it, for whoever begins here."""
        data = self._bytes_of(packet)
        return data if _has_sets(data, self.format.codec) else self._units.sets + data

    def _bytes_of(self, packet: Packet) -> bytes:
        try:
            return self._units.of(bytes(packet.data))
        except ValueError as error:
            raise CannotMux(str(error)) from None

    def _take(self) -> bytes:
        taken = self._out.getvalue()
        self._out.seek(0)
        self._out.truncate()
        return taken


def _words(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)


def _units(format: PacketFormat) -> AnnexB:
    if format.codec not in CODECS:
        raise CannotMux(f"codec {format.codec!r} is not sent as MPEG-TS, allowed: {', '.join(CODECS)}")
    try:
        return AnnexB(format)
    except ValueError as error:
        raise CannotMux(str(error)) from None


def _has_sets(data: bytes, codec: str) -> bool:
    shift, mask, kind = _SEQUENCE_SET[codec]
    heads = (part[0] for part in data[:_SEARCH_BYTES].split(_START)[1:] if part)
    return any(head >> shift & mask == kind for head in heads)


def _ticks(time_ns: int) -> int:
    return (time_ns * TICKS_PER_S + NS_PER_S // 2) // NS_PER_S


def _pid(packets: bytes, at: int) -> int:
    return (packets[at + 1] & 0x1F) << 8 | packets[at + 2]


def _tables_in(part: bytes) -> bytes:
    """The transport packets before the first one of the picture: what there is, and how it is coded."""
    at = 0
    while at < len(part) and _pid(part, at) in _PID_TABLES:
        at += _PACKET_BYTES
    return part[:at]


def _broken_off(part: bytes) -> bytes:
    """`part` without its tables, its first packet marked: those that came before it are missing on purpose.

    Without the mark (discontinuity_indicator, ISO/IEC 13818-1, 2.4.3.5), demultiplexers take the gap in the numbering
    for damage, and throw away the picture before it.
    """
    picture = bytearray(part[len(_tables_in(part)) :])
    if picture[3] & 0x20 and picture[4]:  # it bears the clock, and so has the field for the mark
        picture[5] |= 0x80
    return bytes(picture)


__all__ = ["CODECS", "CannotMux", "MpegTs"]
