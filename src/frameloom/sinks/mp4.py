"""Packets as a fragmented MP4, without decoding or encoding: what comes out can be played up to any whole fragment.

Knows no files: it gives bytes that are to be appended, and whoever writes them can do so piece by whole piece.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import suppress
from fractions import Fraction
from typing import Any

import av
import av.error

from frameloom.model.clock import NS_PER_S
from frameloom.model.packet import Packet, PacketFormat

from .annex_b import AnnexB

TICKS_PER_S = 90_000
"""The time scale of a recording: that of RTP, so that the time stamps of network cameras are kept exactly."""

FRAGMENT_S = 2
"""A group of pictures that takes longer is cut into fragments of this length, so that no more can be lost."""

CODECS = ("h264", "hevc", "mjpeg")
_TIME_BASE = Fraction(1, TICKS_PER_S)
_INTRA = frozenset({"mjpeg"})  # each picture is a key frame: a fragment for each would be one too many


class CannotMux(ValueError):
    """This packet, or what comes from here on, cannot be put into an MP4; the message says why."""


class Mp4:
    """One file: `head`, then what `add` and `end` give.

    first   the packet that it begins with, a key frame; it must be added like all others
    tags    texts for the file's metadata

    The head comes with the first fragment, so that there is no file without a picture.
    Time 0 of the file is the decoding time of `first`, so that no time is negative. Raises `CannotMux`.

    added   packets that were added; `given`: those of them that are in what was given out
    shown   when the packet that was added last is shown, in ticks from the beginning of the file
    """

    def __init__(self, first: Packet, tags: Mapping[str, str]) -> None:
        self.format = first.format
        self.zero_ns = first.dts_ns
        self._units = _units(first.format)
        self._sink = _Pieces()
        self._held: Any = None
        self._last_dts = -1
        self._muxed = self.added = self.given = self.shown = 0
        try:
            self._open(first, tags)
        except (av.error.FFmpegError, IndexError) as error:
            raise CannotMux(f"no MP4 can begin with this key frame: {_words(error)}") from error

    def add(self, packet: Packet) -> bytes:
        """What the file grows by: as a rule nothing, at the begin of a group of pictures the group before."""
        data = self._bytes_of(packet)
        self.added += 1
        dts = max(self._ticks(packet.dts_ns), self._last_dts + 1)
        made = av.Packet(data)
        self.shown = max(dts, self._ticks(packet.pts_ns))
        made.dts, made.pts = dts, self.shown
        made.duration = max(1, packet.duration_ns * TICKS_PER_S // NS_PER_S)
        made.is_keyframe, made.time_base, made.stream = packet.is_key, _TIME_BASE, self._stream
        # Held until the next one tells how long it lasts: pictures come at any distance from each other.
        held, self._held, self._last_dts = self._held, made, dts
        if held is not None:
            held.duration = dts - held.dts
            self._mux(held)
        return self._take()

    def end(self) -> bytes:
        """The rest of the file. Nothing may be added any more."""
        held, self._held = self._held, None
        try:
            if held is not None:
                self._mux(held)
            self._container.close()
        except av.error.FFmpegError as error:
            raise CannotMux(f"the last fragment cannot be made: {_words(error)}") from error
        self.given = self.added
        return self._take()

    def abandon(self) -> None:
        """Let go of it; what was not given out yet is lost."""
        self._held = None
        with suppress(av.error.FFmpegError):
            self._container.close()
        self._sink.take()

    def _open(self, first: Packet, tags: Mapping[str, str]) -> None:
        self._container = av.open(self._sink, "w", format="mp4", options=_options(self.format.codec))
        with av.open(io.BytesIO(self._probe(first)), format=self.format.codec) as described:
            template = described.streams.video[0]
            # libavformat has read its parameter sets; nothing is decoded or encoded for the recording itself.
            self._stream: Any = self._container.add_stream_from_template(template, opaque=True)
        self._stream.time_base = _TIME_BASE
        if self.format.codec == "hevc":
            self._stream.codec_tag = "hvc1"  # the only kind that Apple's players take
        if self.format.rotation_deg:
            self._stream.set_display_rotation(self.format.rotation_deg)
        self._container.metadata.update(tags)
        self._container.start_encoding()  # which writes the head
        self._head = self._sink.take()

    def _probe(self, first: Packet) -> bytes:
        return self._units.sets + self._bytes_of(first)

    def _bytes_of(self, packet: Packet) -> bytes:
        try:
            return self._units.of(bytes(packet.data))
        except ValueError as error:
            raise CannotMux(str(error)) from None

    def _mux(self, packet: Any) -> None:
        try:
            self._container.mux_one(packet)
        except av.error.FFmpegError as error:
            raise CannotMux(f"the packet does not fit: {_words(error)}") from error
        if self._sink.has_some:  # a fragment, of all packets before this one
            self.given = self._muxed
        self._muxed += 1

    def _take(self) -> bytes:
        if not self._sink.has_some:
            return b""
        head, self._head = self._head, b""
        return head + self._sink.take()

    def _ticks(self, time_ns: int) -> int:
        return ((time_ns - self.zero_ns) * TICKS_PER_S + NS_PER_S // 2) // NS_PER_S


class _Pieces(io.RawIOBase):
    """What libavformat writes to; it never fails, so that a full disk is our business and not libavformat's."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    @property
    def has_some(self) -> bool:
        return bool(self._pieces)

    def take(self) -> bytes:
        taken = b"".join(self._pieces)
        self._pieces.clear()
        return taken


def _units(format: PacketFormat) -> AnnexB:
    if format.codec not in CODECS:
        raise CannotMux(
            f"codec {format.codec!r} cannot be recorded as it comes, allowed: {', '.join(CODECS)}"
        )
    try:
        return AnnexB(format)
    except ValueError as error:
        raise CannotMux(str(error)) from None


def _options(codec: str) -> dict[str, str]:
    cut = "" if codec in _INTRA else "+frag_keyframe"
    return {
        "movflags": f"empty_moov+default_base_moof+use_metadata_tags{cut}",
        "frag_duration": str(FRAGMENT_S * 1_000_000),
        "video_track_timescale": str(TICKS_PER_S),
        "flush_packets": "1",
    }


def _words(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
