"""H.264 of frames that are watched live: a packet for each picture at once, of the kind that every browser decodes.

Used where a camera sends what browsers do not play. Who wants the packets, and which frames are left out, belongs to
`frameloom.workers`; JPEG and the accessible forms of a frame are `frameloom.pixels`'.

The packets are as a network camera sends them: Annex B, parameter sets in the format and again before every key
picture, constrained baseline (the one profile that WebRTC has everywhere), no reordering. libx264, one thread, 1280x720
at 30 pictures/s, a camera that stands still | one that pans over a rough ground, both with noise:

    preset       rate factor   ms a picture    Mbit/s         PSNR of luma, dB
    ultrafast    23            2.0 |  4.9      0.8 | 8.1      44.3 | 36.2
    superfast    25            3.3 |  5.5      0.8 | 2.5      44.2 | 36.2
    superfast    23            4.5 |  6.0      1.8 | 3.9      44.5 | 37.3
    veryfast     23            5.8 | 10.8      1.0 | 2.8      44.0 | 36.6
    faster       23            9.9 | 18.3      0.9 | 2.6      44.4 | 36.8

So it is superfast with a rate factor two higher than is usual: half the work of veryfast for the same picture.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import av
import av.error
import numpy as np
from av.codec.codec import UnknownCodecError
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

from frameloom import pixels
from frameloom.model.clock import NS_PER_S
from frameloom.model.errors import FrameloomError
from frameloom.model.frame import Array, ColorMatrix, Frame, PictureFormat, PixelFormat
from frameloom.model.packet import Packet, PacketFormat

PRESET = "superfast"
KEY_EVERY_S = 2.0

_FIRST_RATE, _HIGHEST_RATE = 30, 240  # pictures per second; the first until it is known
_LEAST_GAPS, _MOST_GAPS = 3, 256
_USUAL_NS = 40_000_000
_SHORTEST_NS, _LONGEST_NS = 1_000_000, 10 * NS_PER_S
_COLOURS = {  # ISO/IEC 23091-2: primaries, transfer, matrix. A frame tells the matrix only, with which the others go
    ColorMatrix.BT601: (6, 6, 6),
    ColorMatrix.BT709: (1, 1, 1),
    ColorMatrix.BT2020: (9, 14, 9),
}
_START = b"\0\0\1"
_SETS = frozenset({7, 8})  # NAL units: sequence and picture parameter sets
_SETS_BYTES = 512  # they stand before everything else, and are a tenth of this
_PACKED = (PixelFormat.BGR, PixelFormat.RGB)
_LEVELS = (
    (3600, "3.1"),
    (5120, "3.2"),
    (8192, "4.0"),
    (22080, "5.0"),
    (36864, "5.1"),
)  # of so many macroblocks
_LARGEST_LEVEL = "6.2"


class CannotEncode(FrameloomError):
    """H.264 cannot be made of this picture; the next one may do."""


@dataclass(frozen=True, slots=True)
class LiveSettings:
    """max_width: wider pictures are shrunk to it, pixels. quality: as of JPEG, 20 to 95. max_kbps: kbit/s at most."""

    max_width: int = 1280
    quality: int = 80
    max_kbps: int = 4000

    @property
    def crf(self) -> float:
        """x264's rate factor, for a JPEG's quality: 20 for 95, 25 for 80, 45 for 20."""
        return 25 + (80 - self.quality) / 3


class LiveEncoder:
    """Encodes the frames of one stream, each as it comes; for one thread.

    A key picture comes first, then every `key_every_s` seconds of media time, and wherever decoding has to begin anew:
    after a change of the settings or of the frames' format, and when media time steps back.
    """

    def __init__(self, *, preset: str = PRESET, key_every_s: float = KEY_EVERY_S) -> None:
        self._preset = preset
        self._key_every_ns = round(key_every_s * NS_PER_S)
        self._rate = _Rate()
        self._made_for: tuple[PictureFormat, LiveSettings] | None = None
        self._session: _Session | None = None
        self._wants_key = False
        self._key_pts_ns = 0
        self._last_pts_ns: int | None = None

    def encode(self, frame: Frame, settings: LiveSettings) -> Packet:
        """The packet of this very frame, with its times, and its number as `frame_seq` in the metadata.

        Raises `CannotEncode`; then the next picture begins anew.
        """
        try:
            is_key = self._prepare(frame, settings)
            unit, format = cast(_Session, self._session).encode(frame, is_key)
        except (av.error.FFmpegError, UnknownCodecError, MemoryError, _NoPacket) as error:
            self.close()
            raise CannotEncode(f"{_named(frame)}: {type(error).__name__}: {error}") from None
        duration_ns = self._duration_ns(frame.pts_ns)
        self._follow(frame.pts_ns, is_key)
        return Packet(
            unit,
            format,
            frame.pts_ns,
            is_key,
            frame.captured_ns,
            frame.captured_at_ns,
            dts_ns=frame.pts_ns,
            duration_ns=duration_ns,
            metadata={"frame_seq": frame.seq},
        )

    def force_key(self) -> None:
        """Make the next picture a key picture, as after a packet was lost."""
        self._wants_key = True

    def close(self) -> None:
        """Let go of the codec. What is encoded after that begins anew."""
        self._session = self._last_pts_ns = None

    def _prepare(self, frame: Frame, settings: LiveSettings) -> bool:
        """See that there is a session for this frame; True if it has to be a key picture."""
        if self._session is None or self._made_for != (frame.format, settings) or self._steps_back(frame):
            self._begin(frame, settings)
            return True
        if self._wants_key:
            return True
        if frame.pts_ns - self._key_pts_ns < self._key_every_ns:
            return False
        if self._rate.settle():
            self._begin(frame, settings)
        return True

    def _steps_back(self, frame: Frame) -> bool:
        """The camera began anew, and counts from the start."""
        return self._last_pts_ns is not None and frame.pts_ns <= self._last_pts_ns

    def _duration_ns(self, pts_ns: int) -> int:
        """How long a picture will be shown, which nobody knows yet: as long as the one before it."""
        if self._last_pts_ns is None or pts_ns <= self._last_pts_ns:
            return _USUAL_NS
        return min(max(pts_ns - self._last_pts_ns, _SHORTEST_NS), _LONGEST_NS)

    def _begin(self, frame: Frame, settings: LiveSettings) -> None:
        self._session = None
        width, height = fitting(frame.format, settings.max_width)
        if min(width, height) < 2:
            raise CannotEncode(f"{_named(frame)}: H.264 wants 2x2 pixels at least")
        self._session = _Session(frame.format, width, height, settings, self._preset, self._rate.per_s)
        self._made_for = (frame.format, settings)

    def _follow(self, pts_ns: int, is_key: bool) -> None:
        if self._last_pts_ns is not None and pts_ns > self._last_pts_ns:
            self._rate.add(pts_ns - self._last_pts_ns)
        if is_key:
            self._key_pts_ns, self._wants_key = pts_ns, False
        self._last_pts_ns = pts_ns


class _Rate:
    """How many pictures come in a second of media time: `per_s`, a guess at first.

    x264 shares out the bit rate by pictures, so with a wrong one a slow camera would get only a part of what it may
    take. To tell it the time of each picture instead would cost a picture of delay.
    """

    def __init__(self) -> None:
        self.per_s = _FIRST_RATE
        self._gaps_ns: deque[int] = deque(maxlen=_MOST_GAPS)

    def add(self, gap_ns: int) -> None:
        """From one picture to the next."""
        self._gaps_ns.append(gap_ns)

    def settle(self) -> bool:
        """Judge by the gaps since the last time; True if `per_s` was far off and has changed."""
        gaps_ns = self._gaps_ns
        if len(gaps_ns) < _LEAST_GAPS:
            return False
        # Without the longest, for a camera that was lost for a while is no slow one.
        usual_ns = (sum(gaps_ns) - max(gaps_ns)) / (len(gaps_ns) - 1)
        gaps_ns.clear()
        seen = min(max(1, math.ceil(NS_PER_S / usual_ns)), _HIGHEST_RATE)
        if 0.75 * self.per_s <= seen <= 1.1 * self.per_s:
            return False
        self.per_s = seen
        return True


def fitting(format: PictureFormat, max_width: int) -> tuple[int, int]:
    """Width and height that a picture is encoded in, pixels: both even, not wider than `max_width`.

    A picture that fits loses its last column or row where their number is odd; a wider one is shrunk.
    """
    if format.width <= max_width:
        return format.width & ~1, format.height & ~1
    width = max_width & ~1
    return width, max(2, 2 * round(format.height * width / format.width / 2))


class _NoPacket(Exception):
    """x264 holds pictures back, against what it was told."""


class _Session:
    """x264 at work on pictures of one format, from a key picture on. `count`: of pictures so far."""

    def __init__(
        self, source: PictureFormat, width: int, height: int, settings: LiveSettings, preset: str, rate: int
    ) -> None:
        self.count = 0
        self._layer = _Layer(source, width, height, source.width > settings.max_width)
        self._context = _context(self._layer.stored, settings, preset, rate)
        self._tick = Fraction(1, rate)
        self._format: PacketFormat | None = None

    def encode(self, frame: Frame, is_key: bool) -> tuple[memoryview, PacketFormat]:
        """The picture as a packet's data and what it is. Raises FFmpeg's errors and `_NoPacket`."""
        picture = self._layer.lay(frame)
        picture.pts, picture.time_base = self.count, self._tick
        picture.pict_type = PictureType.I if is_key else PictureType.NONE
        units = self._context.encode(picture)
        if len(units) != 1:
            raise _NoPacket(f"want a packet for each picture, got {len(units)}")
        self.count += 1
        unit = memoryview(units[0]).toreadonly()
        if self._format is None:
            stored = self._layer.stored
            self._format = PacketFormat("h264", stored.width, stored.height, _parameter_sets(unit))
        return unit, self._format


class _Layer:
    """Lays frames out as x264 takes them: planes of 4:2:0, always in the same memory, and shrunk where need be.

    `stored`: how they lie there. Colours stay in the matrix and range they come in; BGR and RGB become BT.601 of full
    range, as they do in a JPEG.
    """

    def __init__(self, source: PictureFormat, width: int, height: int, shrinks: bool) -> None:
        is_packed, is_nv12 = source.pixel in _PACKED, source.pixel is PixelFormat.NV12
        self.stored = PictureFormat(
            PixelFormat.NV12 if is_nv12 else PixelFormat.YUV420P,
            width,
            height,
            ColorMatrix.BT601 if is_packed else source.matrix,
            source.full_range or is_packed,
        )
        self._canvas = _Canvas(self.stored)
        self._shrinks = shrinks
        self._shrunk = _Shrunk(source, width, height) if shrinks and not is_packed else None
        self._half: Array = np.empty((height // 2, width // 2, 3), np.uint8) if is_packed else _NOTHING
        if source.pixel is PixelFormat.GRAY:
            for plane in self._canvas.planes[1:]:
                plane[:] = 128

    def lay(self, frame: Frame) -> VideoFrame:
        """The picture of `frame`, valid until the next one is laid out."""
        if frame.format.pixel in _PACKED:
            return self._from_packed(frame)
        if frame.format.pixel is PixelFormat.GRAY:
            return self._from_gray(frame)
        return self._from_planes(frame) if self._shrunk is None else self._shrunk.of(frame)

    def _from_planes(self, frame: Frame) -> VideoFrame:
        for plane, given in zip(self._canvas.planes, frame.planes, strict=True):
            np.copyto(plane, given[: plane.shape[0], : plane.shape[1]])
        return self._canvas.frame

    def _from_gray(self, frame: Frame) -> VideoFrame:
        luma = self._canvas.planes[0]
        given = frame.planes[0] if self._shrunk is None else _rows(self._shrunk.of(frame))
        np.copyto(luma, given[: luma.shape[0], : luma.shape[1]])
        return self._canvas.frame

    def _from_packed(self, frame: Frame) -> VideoFrame:
        """Colours from the mean of four pixels. OpenCV's own way to 4:2:0 takes those of one of them."""
        import cv2

        stored = self.stored
        width, height = (stored.width, stored.height) if self._shrinks else (frame.width, frame.height)
        picture = pixels.convert(frame, "bgr24", width, height)[: stored.height, : stored.width]
        luma, blue, red = self._canvas.planes
        cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY, dst=luma)
        cv2.resize(
            picture, (stored.width // 2, stored.height // 2), dst=self._half, interpolation=cv2.INTER_AREA
        )
        cv2.cvtColor(self._half, cv2.COLOR_BGR2YCrCb, dst=self._half)
        cv2.extractChannel(self._half, 2, dst=blue)
        cv2.extractChannel(self._half, 1, dst=red)
        return self._canvas.frame


class _Canvas:
    """A picture in libav's memory that is drawn on again and again. `planes`: writable views, (height, width, ...)."""

    def __init__(self, stored: PictureFormat) -> None:
        self.frame = VideoFrame(stored.width, stored.height, stored.pixel.value)
        self.planes = [
            _view(memoryview(lines), lines.line_size, plane.height, plane.width, plane.channels)
            for lines, plane in zip(self.frame.planes, stored.planes, strict=True)
        ]


class _Shrunk:
    """Frames with planes, made smaller by libswscale; its output is overwritten by nobody."""

    def __init__(self, source: PictureFormat, width: int, height: int) -> None:
        self._canvas = _Canvas(source)
        self._reformatter = VideoReformatter()
        self._size = (width, height)

    def of(self, frame: Frame) -> VideoFrame:
        # Copied first, because libswscale reads some bytes behind the end of a row.
        for plane, given in zip(self._canvas.planes, frame.planes, strict=True):
            np.copyto(plane, given)
        return self._reformatter.reformat(
            self._canvas.frame,
            *self._size,
            src_color_range=ColorRange.JPEG,  # the same on both sides: levels stay what they are
            dst_color_range=ColorRange.JPEG,
            interpolation=Interpolation.AREA | Interpolation.ACCURATE_RND,
            threads=1,
        )


_NOTHING: Array = np.empty(0, np.uint8)


def _view(lines: memoryview, stride: int, height: int, width: int, channels: int) -> Array:
    if channels == 1:
        return np.ndarray((height, width), np.uint8, lines, 0, (stride, 1))
    return np.ndarray((height, width, channels), np.uint8, lines, 0, (stride, channels, 1))


def _rows(gray: VideoFrame) -> Array:
    return _view(memoryview(gray.planes[0]), gray.planes[0].line_size, gray.height, gray.width, 1)


def _context(stored: PictureFormat, settings: LiveSettings, preset: str, rate: int) -> VideoCodecContext:
    context = av.CodecContext.create("libx264", "w")
    context.width, context.height, context.pix_fmt = stored.width, stored.height, stored.pixel.value
    context.framerate, context.time_base = Fraction(rate), Fraction(1, rate)
    context.color_primaries, context.color_trc, context.colorspace = _COLOURS[stored.matrix]
    context.color_range = ColorRange.JPEG if stored.full_range else ColorRange.MPEG
    context.thread_count = 1
    bits = str(settings.max_kbps * 1000)
    context.options = {
        "preset": preset,
        "tune": "zerolatency",
        "profile": "baseline",
        "level": _level(stored),
        "crf": f"{settings.crf:.2f}",
        "maxrate": bits,
        "bufsize": bits,  # a second of it: a key picture may take what the pictures before it have left
        "forced-idr": "1",
        # Key pictures come by media time, which x264 does not know; headers that no setting of quality changes.
        "x264-params": "keyint=infinite:scenecut=0:stitchable=1",
    }
    return context


def _level(stored: PictureFormat) -> str:
    """By the size alone, so that it stays whatever the settings; 3.1 is what WebRTC has everywhere."""
    blocks = (stored.width + 15) // 16 * ((stored.height + 15) // 16)
    return next((level for most, level in _LEVELS if blocks <= most), _LARGEST_LEVEL)


def _parameter_sets(unit: memoryview) -> bytes:
    """The sets before the first picture, as Annex B."""
    nals = bytes(unit[:_SETS_BYTES]).split(_START)[1:]
    return b"".join(b"\0" + _START + nal.rstrip(b"\0") for nal in nals if nal and nal[0] & 31 in _SETS)


def _named(frame: Frame) -> str:
    return f"{frame.stream!r}: a picture of {frame.width}x{frame.height} cannot be encoded"
