"""One opened container: finds the pictures in it and gives them as packets with times. For one thread at a time.

What blocks here is waited for by `frameloom.sources.feed`; pacing and beginning again is `av_source`'s business.
"""

from __future__ import annotations

import os
import select
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from fractions import Fraction
from typing import Any

import av
import av.error
from av.container import InputContainer
from av.stream import Discard
from av.video.stream import VideoStream

from frameloom.model.clock import NS_PER_S, Clock
from frameloom.model.errors import SourceMisconfigured
from frameloom.model.packet import Packet, PacketFormat

from . import errors, libav_log, v4l2
from .camera_time import AvPacket, DriverTime, ReportedTime
from .settings import Kind, SourceSettings
from .timeline import PTS_IS_DTS, Stamps, Timeline, Times

_TEXT_ART = frozenset({"ansi", "bintext", "xbin", "idf"})  # FFmpeg "plays" text files
_CAN_BE_TURNED = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"})
_TIMELESS = frozenset({"mpjpeg", "rawvideo"})
_CONTAINERS = {"mpegts": "mpegts", "mjpeg": "mpjpeg", "raw": "rawvideo"}
_RAW_SIZE = (640, 480)
_RAW_FPS = 20  # how long a picture lasts where nobody says; when each one came is measured
_LOST_PART = "RTP: missed"
_MOST_BROKEN = 50
_MOST_SKIPPED = 600
_PROBE_BYTES = 32 << 20


class Demuxer:
    """Opens what `settings` name, once. All methods but `interrupt` belong to the thread that reads.

    bounded   True where the container knows its own end, so that its end is not a loss
    broken    reads that failed for damaged data so far
    """

    def __init__(self, name: str, settings: SourceSettings, clock: Clock) -> None:
        self.name = name
        self.bounded = False
        self.broken = 0
        self._settings = settings
        self._clock = clock
        self._container: InputContainer | None = None
        self._reading: Iterator[AvPacket] = iter(())
        self._ahead: deque[AvPacket] = deque()
        self._most_silent_ns = round(settings.silence_s * NS_PER_S)
        self._begun = False
        self._skipped = 0
        self._warnings = libav_log.Warnings() if settings.kind is Kind.RTSP else None
        self._has_lost = False
        self._in_doubt = False
        self._keys = 0
        self._wait = _DeviceWait() if settings.kind is Kind.DEVICE else None

    def open(self) -> PacketFormat:
        """Connect and find out what comes. Raises `SourceLost` or `SourceMisconfigured`."""
        libav_log.quieten(self._settings.secrets)
        began_ns = self._clock.monotonic_ns()
        try:
            with libav_log.Warnings() as warnings:
                self._container = self._open_container()
                self._in_doubt = _tells_of_loss(warnings)
            self.format = self._described(self._container)
        except (av.error.FFmpegError, OSError) as error:
            if self._wait is not None and self._container is None:
                v4l2.unmap(self._settings.device)
            waited_s = (self._clock.monotonic_ns() - began_ns) / NS_PER_S
            raise errors.on_open(self.name, self._settings, error, waited_s) from None
        self._timeline = self._new_timeline()
        return self.format

    def packets(self) -> Iterator[Packet]:
        """Packets to the end of the container. Raises `SourceLost` when they stop coming before."""
        with self._warnings or nullcontext():
            while (picture := self._next()) is not None:
                yield self._packet(picture)

    def follow(self, earlier: Demuxer) -> None:
        """Go on in media time where `earlier`, the last pass over the same film, has ended."""
        self._timeline = earlier._timeline
        self._timeline.begin_again()

    def interrupt(self) -> None:
        """End a wait for a device, from any thread. What waits in FFmpeg for a network ends by its time-out."""
        if self._wait is not None:
            self._wait.interrupt()
            if self._container is None:  # in FFmpeg, which waits for a first picture to come
                v4l2.stop_streaming(self._settings.device)

    def close(self) -> None:
        """Let go of the connection, file or device."""
        container, self._container = self._container, None
        self._ahead.clear()
        # PyAV keeps the packet that it gave last: a device's must go back to the driver before the device is closed.
        self._reading = iter(())
        self._reading = iter(())  # it may hold a packet, and that must not outlive a device
        if container is not None:
            container.close()
        if self._wait is not None:
            self._wait.close()

    def _open_container(self) -> InputContainer:
        settings = self._settings
        if settings.kind is Kind.DEVICE:
            self._check_device_offers()
        before = _descriptors(settings)
        container = av.open(
            _address(settings),
            format=container_of(settings),
            options=options_of(settings),
            timeout=(settings.connect_s, settings.silence_s),
        )
        if self._wait is not None:
            self._wait.watch(set(_descriptors(settings)) - set(before))
        return container

    def _described(self, container: InputContainer) -> PacketFormat:
        if not container.streams.video:
            raise self._wrong("there are no pictures in it")
        self._stream: VideoStream = container.streams.video[0]
        self._container_format = container.format.name
        self._reading = container.demux()
        self._heard_ns = self._clock.monotonic_ns()
        self.bounded = _is_bounded(self._settings, container)
        self._camera_time = DriverTime() if self._wait is not None else ReportedTime(_time_base(self._stream))
        for other in container.streams:
            if other is not self._stream:
                other.discard = Discard.all
        return self._format()

    def _format(self) -> PacketFormat:
        codec, context = self._codec(), self._stream.codec_context
        if context.width <= 0 or context.height <= 0:
            raise errors.lost(self.name, "nothing came from which the picture's size could be told")
        return PacketFormat(
            codec=codec,
            width=context.width,
            height=context.height,
            extradata=context.extradata or b"",
            rotation_deg=self._rotation_deg(),
            pixel=(context.pix_fmt or "") if codec == "rawvideo" else "",
        )

    def _codec(self) -> str:
        context = self._stream.codec_context
        if context is None:
            raise self._wrong("its codec is not known here: choose H.264, H.265 or MJPEG")
        codec = context.codec.canonical_name
        if codec in _TEXT_ART:
            raise self._wrong(f"not a video but a text: {self._settings.path}")
        self._check_device_format(codec, context.pix_fmt or "an unknown format")
        return codec

    def _check_device_format(self, codec: str, pixel: str) -> None:
        """FFmpeg takes another format without a word where the device lacks the one that was asked for."""
        wanted = _device_format(self._settings)
        if wanted and wanted not in (codec, pixel):
            got = pixel if codec == "rawvideo" else codec
            raise self._wrong(f"format: read {wanted!r}, the device gives {got!r}; see `frameloom devices`")

    def _check_device_offers(self) -> None:
        """FFmpeg takes what the device makes of size and rate, and tells the wish."""
        settings = self._settings
        wanted = v4l2.Wish(settings.format, settings.width, settings.height, settings.fps)
        device = v4l2.describe(settings.device)
        if device.formats and (what := v4l2.not_offered(device, wanted)):
            raise self._wrong(f"{settings.device}: {what}; see `frameloom devices`")

    def _rotation_deg(self) -> int:
        """How the film is to be turned for display, which FFmpeg tells only with a decoded picture."""
        if self._container_format not in _CAN_BE_TURNED:
            return 0
        context = self._stream.codec_context
        context.thread_count = 1
        while (packet := self._read()) is not None:
            self._ahead.append(packet)
            try:
                pictures = context.decode(packet)
            except av.error.FFmpegError:
                return 0
            if pictures:
                return round(pictures[0].rotation / 90) * 90 % 360
        return 0

    def _new_timeline(self) -> Timeline:
        stream, live = self._stream, not self.bounded
        return Timeline(
            _time_base(stream),
            start=None if live else stream.start_time,
            rate=stream.guessed_rate or stream.average_rate,
            reorder=stream.codec_context.reorder_depth,
            live=live,
            by_arrival=live and self._container_format in _TIMELESS,
        )

    def _next(self) -> AvPacket | None:
        packet = self._ahead.popleft() if self._ahead else self._read()
        while packet is not None and not (self._begun or self._begins(packet)):
            packet = self._read()
        return packet

    def _begins(self, packet: AvPacket) -> bool:
        """A camera that others watch too is joined between two key pictures: nothing can be made of what is left.

        One that never says where its key pictures are is believed after a while.
        """
        self._skipped += 1
        self._begun = self.bounded or packet.is_keyframe or self._skipped > _MOST_SKIPPED
        return self._begun

    def _read(self) -> AvPacket | None:
        """The next packet with a picture; None at the proper end."""
        broken = 0
        while True:
            try:
                packet = self._read_any()
            except av.error.InvalidDataError as error:
                broken += 1
                self._pass_over(error, broken)
                continue
            if packet is None:
                self._check_end()
                return None
            now_ns = self._clock.monotonic_ns()
            self._check_silence(now_ns)
            if packet.stream is self._stream and packet.size and not self._is_cut_off(packet):
                self._heard_ns = now_ns
                return packet

    def _is_cut_off(self, packet: AvPacket) -> bool:
        """Of plain pixels, FFmpeg gives what there is of the last picture too."""
        return packet.is_corrupt and self._container_format == "rawvideo"

    def _read_any(self) -> AvPacket | None:
        if self._container is None:
            return None
        if self._wait is not None and not self._wait_for_device(self._wait):
            return None
        try:
            watched = self._warnings
            packet = next(self._reading, None) if watched is None else self._read_watched(watched)
            return packet if self._wait is None or packet is None else _copied(packet)
        except av.error.InvalidDataError:
            raise
        except BlockingIOError:
            self._reading = self._container.demux()
            return self._read_any()
        except (av.error.FFmpegError, OSError) as error:
            raise errors.on_read(self.name, self._settings, error) from None

    def _read_watched(self, warnings: libav_log.Warnings) -> AvPacket | None:
        """Over RTP, FFmpeg puts together what it has got of a picture; that a part was lost, it only logs."""
        try:
            packet = next(self._reading, None)
        finally:
            has_lost = _tells_of_loss(warnings)
        is_doubtful = self._in_doubt and packet is not None and self._is_doubtful(packet)
        if packet is not None and (has_lost or self._has_lost or is_doubtful):
            packet.is_corrupt = True
        # It gives a picture when the next one has begun: the lost part may belong to either.
        self._has_lost = has_lost
        return packet

    def _is_doubtful(self, packet: AvPacket) -> bool:
        """Where parts were lost while FFmpeg looked at the stream to open it, what it had read by then may be damaged.

        How much that is, it does not tell: what comes from the second key picture on is surely read later.
        """
        self._keys += packet.is_keyframe
        self._in_doubt = self._keys < 2
        return self._in_doubt

    def _wait_for_device(self, wait: _DeviceWait) -> bool:
        if not wait.ready(self._settings.silence_s):
            raise errors.lost(self.name, f"no picture for {self._settings.silence_s:g} s")
        return not wait.interrupted

    def _pass_over(self, error: Exception, in_a_row: int) -> None:
        """A damaged place in a film is passed over; from a camera it means that the connection is of no use."""
        self.broken += 1
        if not self.bounded or self._container is None:
            raise errors.on_read(self.name, self._settings, error) from None
        self._reading = self._container.demux() if in_a_row < _MOST_BROKEN else iter(())

    def _check_silence(self, now_ns: int) -> None:
        """Sound may come while pictures do not; and FFmpeg, when its time is up, first gives what its parser held."""
        if not self.bounded and now_ns - self._heard_ns > self._most_silent_ns:
            raise errors.lost(self.name, f"no picture for {self._settings.silence_s:g} s")

    def _check_end(self) -> None:
        interrupted = self._container is None or (self._wait is not None and self._wait.interrupted)
        if not self.bounded and not interrupted:
            raise errors.lost(self.name, "it closed the connection")

    def _packet(self, picture: AvPacket) -> Packet:
        captured_ns, captured_at_ns = self._heard_ns, self._clock.utc_ns()
        times = self._timeline.place(Stamps(picture.pts, picture.dts, picture.duration), captured_ns)
        return Packet(
            data=memoryview(picture).toreadonly(),
            format=self.format,
            pts_ns=times.pts_ns,
            dts_ns=times.dts_ns,
            duration_ns=times.duration_ns,
            is_key=picture.is_keyframe,
            captured_ns=captured_ns,
            captured_at_ns=captured_at_ns,
            metadata=self._metadata(picture, times, captured_ns, captured_at_ns),
        )

    def _metadata(
        self, picture: AvPacket, times: Times, captured_ns: int, captured_at_ns: int
    ) -> Mapping[str, Any]:
        metadata = self._camera_time.of(picture, times, captured_ns, captured_at_ns)
        if picture.is_corrupt:
            metadata = {**metadata, "damaged": True}
        if picture.pts is None and self._stream.codec_context.reorder_depth:
            metadata = {**metadata, PTS_IS_DTS: True}
        return metadata

    def _wrong(self, what: str) -> SourceMisconfigured:
        return errors.misconfigured(self.name, what)


class _DeviceWait:
    """Waits for a V4L2 device to have a picture, since FFmpeg itself would wait for ever."""

    def __init__(self) -> None:
        self.interrupted = False
        self._lock = threading.Lock()
        self._open = True
        self._wake_read, self._wake_write = os.pipe()
        self._poll = select.poll()
        self._poll.register(self._wake_read, select.POLLIN)

    def watch(self, descriptors: set[int]) -> None:
        """Wait for these, FFmpeg's own; reading them must not block any more."""
        for fd in descriptors:
            os.set_blocking(fd, False)
            self._poll.register(fd, select.POLLIN)

    def ready(self, timeout_s: float) -> bool:
        """True when there is a picture, an error to be read or an interruption; False when time is up."""
        return bool(self._poll.poll(timeout_s * 1000))

    def interrupt(self) -> None:
        with self._lock:
            self.interrupted = True
            if self._open:
                os.write(self._wake_write, b"\0")

    def close(self) -> None:
        with self._lock:
            if self._open:
                os.close(self._wake_read)
                os.close(self._wake_write)
            self._open = False


def _tells_of_loss(warnings: libav_log.Warnings) -> bool:
    texts = warnings.take()
    return bool(texts) and any(_LOST_PART in text for text in texts)


def _time_base(stream: VideoStream) -> Fraction:
    return stream.time_base or Fraction(1, 1_000_000)


def _copied(packet: AvPacket) -> AvPacket:
    """`packet` in memory of its own: a device's packets lie in the driver's buffers, which are few and may go."""
    copy: AvPacket = av.Packet(packet.size)
    if packet.size:
        copy.update(bytes(packet))
    copy.pts, copy.dts, copy.duration = packet.pts, packet.dts, packet.duration
    copy.is_keyframe, copy.is_corrupt = packet.is_keyframe, packet.is_corrupt
    copy.time_base, copy.stream = packet.time_base, packet.stream
    return copy


def _address(settings: SourceSettings) -> str:
    # Without "file:" FFmpeg takes what is before a colon in the path for a protocol.
    return f"file:{settings.path}" if settings.kind is Kind.FILE else settings.address


def container_of(settings: SourceSettings) -> str | None:
    """FFmpeg's name of the container that comes, where it is not to find that out."""
    match settings.kind:
        case Kind.DEVICE:
            return "v4l2"
        case Kind.TCP | Kind.LISTEN:  # what a stranger sends is not to choose the demuxer that reads it
            return _CONTAINERS[settings.format or "mpegts"]
        case _:
            return None


def options_of(settings: SourceSettings) -> dict[str, str]:
    """FFmpeg's demuxer options; the settings' own come last."""
    quick = {
        "fpsprobesize": "0",
        "analyzeduration": str(round(settings.connect_s * 1e6)),
        "probesize": str(_PROBE_BYTES),
    }
    match settings.kind:
        case Kind.RTSP:
            # Without sound: it would keep a dead picture alive, and bring RTCP's jumps into media time.
            rtsp = {
                "rtsp_transport": settings.transport,
                "allowed_media_types": "video",
                "buffer_size": "2097152",
                # Over TCP too, where nothing is put in order: without it a gap in the numbering goes unnoticed.
                "reorder_queue_size": "500",
            }
            return {**quick, **rtsp, **settings.options}
        case Kind.HTTP:
            return {**quick, **settings.options}
        case Kind.TCP | Kind.LISTEN:
            return {**(_raw_options(settings) if settings.format == "raw" else quick), **settings.options}
        case Kind.DEVICE:
            return {**_device_options(settings), **settings.options}
        case _:
            return dict(settings.options)


def _raw_options(settings: SourceSettings) -> dict[str, str]:
    """Pictures without a head, one after the other: their size has to be known."""
    width, height = settings.width or _RAW_SIZE[0], settings.height or _RAW_SIZE[1]
    rate = Fraction(settings.fps or _RAW_FPS).limit_denominator(1001)
    return {"pixel_format": "bgr24", "video_size": f"{width}x{height}", "framerate": str(rate)}


def _device_options(settings: SourceSettings) -> dict[str, str]:
    options = {}
    if wanted := _device_format(settings):
        options["input_format"] = wanted
    if settings.width and settings.height:
        options["video_size"] = f"{settings.width}x{settings.height}"
    if settings.fps:
        options["framerate"] = str(Fraction(settings.fps).limit_denominator(1001))
    return options


def _device_format(settings: SourceSettings) -> str | None:
    """FFmpeg's name for the format asked for, which may be given by the kernel's name too."""
    if settings.format is None or settings.kind is not Kind.DEVICE:
        return None
    return v4l2.input_format_name(settings.format.upper()) or settings.format.lower()


def _descriptors(settings: SourceSettings) -> list[int]:
    return v4l2.open_descriptors(settings.device) if settings.kind is Kind.DEVICE else []


def _is_bounded(settings: SourceSettings, container: InputContainer) -> bool:
    return settings.kind is Kind.FILE or (settings.kind is Kind.HTTP and container.duration is not None)
