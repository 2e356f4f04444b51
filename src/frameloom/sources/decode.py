"""From packets to pictures, without a container: the packets may come from a source or over the bus.

Whoever hosts this decides when to decode; where the pixels go, `Picture.fill` is told.
"""

from __future__ import annotations

import heapq
import weakref
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol, cast

import av
import av.error
import numpy as np
from av.codec.context import ThreadType
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from av.video.reformatter import ColorRange, VideoReformatter

from frameloom.model.frame import Array, ColorMatrix, PictureFormat, PixelFormat
from frameloom.model.packet import Packet, PacketFormat

from . import libav_log
from .camera_time import AvPacket
from .h264 import PictureNumbers
from .picture import Picture
from .rawvideo import SUPPORTED, RawPictures, usual_matrix
from .timeline import PTS_IS_DTS

_DECODERS = {"av1": "libdav1d"}  # FFmpeg's own av1 needs special hardware
_MATRICES = {
    1: ColorMatrix.BT709,
    4: ColorMatrix.BT601,
    5: ColorMatrix.BT601,
    6: ColorMatrix.BT601,
    9: ColorMatrix.BT2020,
    10: ColorMatrix.BT2020,
}
"""ISO/IEC 23091-2 matrix coefficients, which are FFmpeg's `AVColorSpace` too."""

_MOST_PENDING = 64
_MOST_REORDERED = 17


class _Backend(Protocol):
    @property
    def errors(self) -> int: ...
    @property
    def withheld(self) -> int: ...
    def decode(self, packet: Packet) -> list[Picture]: ...
    def flush(self) -> list[Picture]: ...
    def close(self) -> None: ...


class Decoder:
    """Decodes the packets of one stream. Raises `ValueError` for a codec that is not known.

    threads  1 costs the least CPU and delays nothing; more decode a single heavy stream faster, and hold back
             `threads - 1` pictures
    strict   after a loss or an error, withhold pictures until the next key picture, for they smear; otherwise
             everything that FFmpeg makes of the stream is delivered

    errors    packets that could not be decoded, pictures that were damaged or never came
    withheld  pictures kept back by `strict`
    """

    def __init__(self, format: PacketFormat, threads: int = 1, strict: bool = True) -> None:
        self.format = format
        raw = format.codec == "rawvideo" and format.pixel in SUPPORTED
        self._backend: _Backend = RawPictures(format) if raw else _AvPictures(format, threads, strict)

    @property
    def errors(self) -> int:
        return self._backend.errors

    @property
    def withheld(self) -> int:
        return self._backend.withheld

    def decode(self, packet: Packet) -> Sequence[Picture]:
        """The pictures that are ready after `packet`, in the order of their media time: none, one or more.

        Never raises for damaged data: that is counted in `errors`. Copy the pictures out before the next call.
        """
        return self._backend.decode(packet)

    def flush(self) -> Sequence[Picture]:
        """The pictures that were held back for reordering. After that, the decoder may be used for a new beginning."""
        return self._backend.flush()

    def close(self) -> None:
        """Let go of the codec; may be called twice."""
        self._backend.close()


class _AvPictures:
    """What `Decoder` does for everything that FFmpeg has to decode."""

    def __init__(self, format: PacketFormat, threads: int, strict: bool) -> None:
        libav_log.quieten()
        self.errors = 0
        self._context: VideoCodecContext | None = (context := _context(format, threads))
        # Its threads must stand still when it is freed, also at the interpreter's end: one that asks for the
        # interpreter then is killed, and FFmpeg waits for it for ever.
        self._drain = weakref.finalize(self, _drain, context)
        self._format = format
        self._converter = _Converter(format.codec)
        self._token = 0
        self._pending: dict[int, Packet] = {}
        self._times = _PresentationTimes()
        self._trust = _Trust(strict)
        self._numbers = PictureNumbers(format.extradata) if strict and format.codec == "h264" else None

    @property
    def withheld(self) -> int:
        return self._trust.withheld

    def decode(self, packet: Packet) -> list[Picture]:
        if self._context is None:
            return []
        self._token += 1
        self._remember(packet)
        self._look_for_loss(packet)
        return self._pictures(self._sent(_av_packet(packet, self._token)))

    def flush(self) -> list[Picture]:
        if self._context is None:
            return []
        pictures = self._pictures(self._sent(None))
        self._context.flush_buffers()
        self._pending.clear()
        self._times = _PresentationTimes()
        return pictures

    def close(self) -> None:
        self._drain()
        self._context = None

    def _remember(self, packet: Packet) -> None:
        self._pending[self._token] = packet
        self._times.add(packet)
        if len(self._pending) > _MOST_PENDING:
            del self._pending[next(iter(self._pending))]
            self.errors += 1

    def _look_for_loss(self, packet: Packet) -> None:
        damaged = bool(packet.metadata.get("damaged"))
        if self._numbers is not None:
            damaged |= self._numbers.gap_before(memoryview(packet.data))
        if damaged:
            self._trust.lose(self._token)

    def _sent(self, packet: AvPacket | None) -> list[VideoFrame]:
        assert self._context is not None
        try:
            return self._context.decode(packet)
        except av.error.EOFError:
            return []
        except av.error.FFmpegError:
            self.errors += 1
            self._trust.lose(self._token)
            return []

    def _pictures(self, frames: list[VideoFrame]) -> list[Picture]:
        return [picture for frame in frames if (picture := self._picture(frame)) is not None]

    def _picture(self, frame: VideoFrame) -> Picture | None:
        token = frame.pts or 0
        packet = self._pending.pop(token, None)
        if frame.is_corrupt:
            self.errors += 1
            self._trust.lose(token)
        if packet is None or not self._trust.delivers(token, frame.key_frame):
            return None
        stored, frame = self._converter.fitting(frame)
        rotation_deg = (self._format.rotation_deg + round(frame.rotation / 90) * 90) % 360
        pts_ns = self._times.take(packet.pts_ns)
        return Picture.of(
            packet, pts_ns, frame.key_frame, stored, lambda: _views(frame, stored), rotation_deg
        )


class _Trust:
    """Knows which pictures can be believed after a loss. Tokens count packets in decoding order, from 1."""

    def __init__(self, strict: bool) -> None:
        self.withheld = 0
        self._strict = strict
        self._bad_from: int | None = None
        self._heals_after = 0

    def lose(self, token: int) -> None:
        """What is decoded from packet `token` on is not to be believed, up to a key picture after it."""
        self._bad_from = token if self._bad_from is None else min(self._bad_from, token)
        self._heals_after = max(self._heals_after, token)

    def delivers(self, token: int, is_key: bool) -> bool:
        """Whether the picture of packet `token` is to be delivered; pictures come in the order of display."""
        if is_key and token > self._heals_after:
            self._bad_from = None
        if not self._strict or self._bad_from is None or token < self._bad_from:
            return True
        self.withheld += 1
        return False


class _PresentationTimes:
    """Gives media times to pictures in the order of display, always increasing.

    Where a container has no presentation times (a bare H.264 stream), its packets bear times in decoding order: then
    the smallest time that has not been given yet is the right one.
    """

    def __init__(self) -> None:
        self._open: list[int] = []
        self._last_ns: int | None = None

    def add(self, packet: Packet) -> None:
        if packet.metadata.get(PTS_IS_DTS):
            heapq.heappush(self._open, packet.pts_ns)
            if len(self._open) > _MOST_REORDERED:
                heapq.heappop(self._open)

    def take(self, pts_ns: int) -> int:
        if self._open:
            pts_ns = heapq.heappop(self._open)
        self._last_ns = pts_ns if self._last_ns is None else max(pts_ns, self._last_ns + 1)
        return self._last_ns


class _Converter:
    """Leaves pictures alone that a frame can hold, and converts the others, keeping colour matrix and range."""

    def __init__(self, codec: str) -> None:
        self._full_range = codec == "mjpeg"  # JFIF knows no other, and FFmpeg does not say so for gray
        self._reformatter = VideoReformatter()
        self._key: tuple[object, ...] = ()
        self._stored = PictureFormat(PixelFormat.GRAY, 1, 1)

    def fitting(self, frame: VideoFrame) -> tuple[PictureFormat, VideoFrame]:
        """How the picture is stored, and the picture itself or its conversion."""
        name = frame.format.name
        key = (name, frame.width, frame.height, frame.colorspace, frame.color_range)
        if key != self._key:
            self._key, self._stored = key, _stored_format(frame, self._full_range)
        return self._stored, frame if name in SUPPORTED else self._converted(frame)

    def _converted(self, frame: VideoFrame) -> VideoFrame:
        color_range = ColorRange.JPEG if self._stored.full_range else ColorRange.MPEG
        both = {} if frame.format.is_rgb else {"src_color_range": color_range, "dst_color_range": color_range}
        return self._reformatter.reformat(frame, format=self._stored.pixel.value, threads=1, **both)


def _context(format: PacketFormat, threads: int) -> VideoCodecContext:
    name = _DECODERS.get(format.codec, format.codec)
    try:
        context = cast(VideoCodecContext, av.CodecContext.create(name, "r"))
    except ValueError:
        raise ValueError(f"codec: read {format.codec!r}, FFmpeg has no decoder for it") from None
    context.extradata = format.extradata or None
    context.width, context.height = format.width, format.height
    if format.pixel:
        context.pix_fmt = format.pixel
    context.thread_count = threads
    context.thread_type = ThreadType.FRAME if threads > 1 else ThreadType.NONE
    return context


def _drain(context: VideoCodecContext) -> None:
    with suppress(av.error.FFmpegError):
        context.decode(None)


def _av_packet(packet: Packet, token: int) -> AvPacket:
    """FFmpeg's packet: the source's own if it is still there, else a copy with the padding that decoders need."""
    data = packet.data
    own = data.obj if isinstance(data, memoryview) else None
    if isinstance(own, av.Packet) and own.size == len(data):
        sent: AvPacket = own
    else:
        sent = av.Packet(len(data))
        sent.update(data)
    sent.pts = sent.dts = token
    return sent


def _stored_format(frame: VideoFrame, full_range: bool) -> PictureFormat:
    name = frame.format.name
    pixel = SUPPORTED[name][0] if name in SUPPORTED else _converted_pixel(frame)
    full_range |= pixel in (PixelFormat.BGR, PixelFormat.RGB) or name.startswith("yuvj")
    if frame.color_range in (ColorRange.MPEG, ColorRange.JPEG):
        full_range = frame.color_range == ColorRange.JPEG
    matrix = _MATRICES.get(frame.colorspace) or usual_matrix(frame.height)
    return PictureFormat(pixel, frame.width, frame.height, matrix, full_range)


def _converted_pixel(frame: VideoFrame) -> PixelFormat:
    """The layout for a picture that no frame can hold as it is."""
    if frame.format.is_rgb or frame.format.has_palette:
        return PixelFormat.BGR
    return PixelFormat.GRAY if frame.format.name.startswith(("gray", "mono", "ya")) else PixelFormat.YUV420P


def _views(frame: VideoFrame, stored: PictureFormat) -> list[Array]:
    return [
        _view(av_plane, plane.width, plane.height, plane.channels)
        for av_plane, plane in zip(frame.planes, stored.planes, strict=True)
    ]


def _view(plane: VideoPlane, width: int, height: int, channels: int) -> Array:
    # All at once, since every step on the way to it would cost as much as the whole.
    stride = plane.line_size
    offset = 0 if stride > 0 else (1 - height) * stride  # upside down, as some codecs have it
    if channels == 1:
        return np.ndarray((height, width), np.uint8, memoryview(plane), offset, (stride, 1))
    return np.ndarray((height, width, channels), np.uint8, memoryview(plane), offset, (stride, channels, 1))
