"""What Video4Linux2 cameras a host has, and what each of them can give: formats, sizes, frame rates.

Pure Python on the kernel's own interface (ioctl), so that the command line and the supervisor may import it:
no codec, no OpenCV. Nothing here takes pictures; that is done through FFmpeg's `v4l2` input, in
`frameloom.sources.av_source`.

**The clock of a picture.** A V4L2 driver stamps every buffer when the device had it, not when a program
fetched it. Nearly all drivers (all of USB video since Linux 3.6) take CLOCK_MONOTONIC, the clock of
`time.monotonic_ns()`, and say so by V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC; `uvcvideo` loaded with
clock=CLOCK_REALTIME is an exception a user may choose. FFmpeg hands the stamp on as the packet's `pts`,
unchanged, in microseconds (time base 1/1000000), unless its option `timestamps` asks for a conversion: such a
`pts` is host monotonic time as the driver saw it and needs no offset. Most drivers stamp the end of the
frame, some its start (V4L2_BUF_FLAG_TSTAMP_SRC_SOE). A driver that computes the end of a frame from its start
may be up to one frame ahead of the clock.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import grp
import os
import re
import stat
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

Ask = Callable[[int, bytearray], None]
"""One ioctl on an open node: request number, argument that is read and overwritten; raises OSError."""

OpenNode = Callable[[str], AbstractContextManager[Ask]]
"""Opens the node at a path; raises OSError."""


@dataclass(frozen=True)
class Size:
    """A picture size in pixels and the frame rates it comes in, highest first.

    `rates_continuous`: the two rates are the ends of a range, and what is between them can be had as well.
    """

    width: int
    height: int
    rates_fps: tuple[float, ...] = ()
    rates_continuous: bool = False


@dataclass(frozen=True)
class SizeRange:
    """Sizes in pixels that a scaler or a grabber gives: from the smallest to the largest in these steps."""

    smallest: Size
    largest: Size
    step_width: int
    step_height: int


@dataclass(frozen=True)
class Format:
    """A pixel format or codec; it has either single sizes or a range of them.

    `fourcc` is V4L2's name without trailing spaces ("YUYV", "MJPG", "Y16"; "-BE" added where the bytes are
    swapped).
    """

    fourcc: str
    description: str
    compressed: bool
    sizes: tuple[Size, ...] = ()
    size_range: SizeRange | None = None


@dataclass(frozen=True)
class Device:
    """A V4L2 node. `problem` says to its user why no pictures can be had from it, or is None.

    `capture` is True if the node gives pictures; a USB camera has a second node, for metadata, that does not.
    Of a node that could not be asked (`readable` is False) it is not known: `capture` is False, and there is
    a problem.
    """

    path: str
    name: str = ""
    driver: str = ""
    bus_info: str = ""
    capture: bool = False
    formats: tuple[Format, ...] = ()
    readable: bool = True
    problem: str | None = None


@dataclass(frozen=True)
class Wish:
    """What a person wants of a device, None where anything will do; `format` by FFmpeg's name or the kernel's."""

    format: str | None = None
    width: int | None = None
    height: int | None = None
    fps: float | None = None


def list_devices(root: str | os.PathLike[str] = "/dev") -> list[Device]:
    """The V4L2 video nodes of the host, by number: cameras, and what is not one (`Device.capture` tells).

    Never raises for a device: one that may not be opened or does not answer is listed with its problem.
    """
    entries = os.listdir(root) if os.path.isdir(root) else []
    numbers = sorted(int(name[5:]) for name in entries if re.fullmatch(r"video\d+", name))
    paths = [os.path.join(root, f"video{number}") for number in numbers]
    return [describe(path) for path in paths if _is_character_device(path)]


@contextmanager
def open_node(path: str) -> Iterator[Ask]:
    """Opens a node of the kernel. Others may go on using it: to open is not to stream."""
    fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield lambda request, argument: _ioctl(fd, request, argument)
    finally:
        os.close(fd)


def describe(path: str | os.PathLike[str], open_node: OpenNode = open_node) -> Device:
    """What the device at a path is and can give; what stands in the way is said by `problem`, not raised."""
    path = os.fspath(path)
    try:
        with open_node(path) as ask:
            return _asked(path, ask)
    except OSError as error:
        return Device(path, name=_name_in_sysfs(path), readable=False, problem=_explained(path, error))


def open_descriptors(path: str | os.PathLike[str]) -> list[int]:
    """File descriptors that this process has open on a device, FFmpeg's own among them.

    To wait with a time limit: FFmpeg waits for a picture for ever, whatever its timeout, when a camera gives
    none. poll() on the descriptor tells when a picture is there, and at once when the camera has gone.
    Raises FileNotFoundError if the node has gone.
    """
    device = os.stat(path).st_rdev
    return [fd for fd in map(int, os.listdir("/proc/self/fd")) if _is_open_on(fd, device)]


def not_offered(device: Device, wish: Wish) -> str:
    """What of a wish the device does not have, and what it has instead; nothing if all can be had."""
    formats = [form for form in device.formats if wish.format is None or _is_called(form, wish.format)]
    if not formats:
        return f"format: read {wish.format!r}, it offers {_some(form.fourcc for form in device.formats)}"
    if wish.width is None or wish.height is None:
        return ""
    sizes = [size for form in formats if (size := _offered_size(form, wish.width, wish.height))]
    if not sizes:
        offered = _some(name for form in formats for name in _sizes_called(form))
        return f"size: read {wish.width}x{wish.height}, it offers {offered}"
    if wish.fps is None or any(_has_rate(size, wish.fps) for size in sizes):
        return ""
    rates = _some(f"{rate:g}" for size in sizes for rate in size.rates_fps)
    return f"fps: read {wish.fps:g}, it offers {rates} at {wish.width}x{wish.height}"


def _is_called(form: Format, name: str) -> bool:
    names = {form.fourcc.upper(), (input_format_name(form.fourcc) or "").upper()}
    return (input_format_name(name.upper()) or name).upper() in names


def _offered_size(form: Format, width: int, height: int) -> Size | None:
    if (sizes := form.size_range) is not None:
        fits = _is_step(width, sizes.smallest.width, sizes.largest.width, sizes.step_width)
        fits &= _is_step(height, sizes.smallest.height, sizes.largest.height, sizes.step_height)
        return sizes.largest if fits else None
    return next((size for size in form.sizes if (size.width, size.height) == (width, height)), None)


def _is_step(value: int, smallest: int, largest: int, step: int) -> bool:
    return smallest <= value <= largest and (value - smallest) % max(1, step) == 0


def _has_rate(size: Size, fps: float) -> bool:
    """Drivers round: 30 frames a second may be told as 30.0003."""
    if not size.rates_fps:
        return True
    if size.rates_continuous:
        return min(size.rates_fps) * 0.99 <= fps <= max(size.rates_fps) * 1.01
    return any(abs(rate - fps) <= 0.01 * fps for rate in size.rates_fps)


def _sizes_called(form: Format) -> list[str]:
    if (sizes := form.size_range) is not None:
        low, high = sizes.smallest, sizes.largest
        steps = f"in steps of {sizes.step_width}x{sizes.step_height}"
        return [f"{low.width}x{low.height} to {high.width}x{high.height} {steps}"]
    return [f"{size.width}x{size.height}" for size in form.sizes]


def _some(names: Iterable[str]) -> str:
    """Names in their order, each once; not too many of them."""
    found = list(dict.fromkeys(names))
    return ", ".join(found[:_MOST_NAMED]) + (", ..." if len(found) > _MOST_NAMED else "")


def stop_streaming(path: str | os.PathLike[str]) -> None:
    """End what this process streams from a device, from any thread: whoever waits for a picture in a call wakes."""
    with suppress(OSError):
        for fd in open_descriptors(path):
            for buffers in (_BUFFERS, _PLANAR_BUFFERS):
                with suppress(OSError):
                    _ioctl(fd, _STREAMOFF, bytearray(buffers.to_bytes(4, sys.byteorder)))


def unmap(path: str | os.PathLike[str]) -> None:
    """Unmap what is left mapped of a device that this process no longer has open.

    FFmpeg leaves its buffers mapped where streaming could not be started; the kernel calls the device busy for as long
    as that lasts, which would be the life of the process.
    """
    with suppress(OSError):
        if open_descriptors(path):
            return
    libc = ctypes.CDLL(None, use_errno=True)
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, _, _, _, _, *name = line.split(maxsplit=5)
        if name == [os.path.realpath(path)]:
            first, end = (int(address, 16) for address in span.split("-"))
            libc.munmap(ctypes.c_void_p(first), ctypes.c_size_t(end - first))


def input_format_name(fourcc: str) -> str | None:
    """FFmpeg's name of a V4L2 format, for the option `input_format` of its `v4l2` input.

    None if it cannot read the format.

    FFmpeg takes another format without a word when the device does not have the one asked for: compare the
    format of the opened stream.
    """
    return _INPUT_FORMATS.get(fourcc.rstrip())


# Not here although FFmpeg takes them, because it gets their colours wrong: YV12 and YVU9 (it exchanges the colour
# planes), RGBR and RGBQ (its conversions, up to libswscale 9.5 at least, exchange the bytes).
_INPUT_FORMATS = {
    "411P": "yuv411p",
    "422P": "yuv422p",
    "AR24": "bgra",
    "BA24": "argb",
    "BA81": "bayer_bggr8",
    "BGR3": "bgr24",
    "BGR4": "bgr0",
    "BX24": "0rgb",
    "GBRG": "bayer_gbrg8",
    "GREY": "gray",
    "GRBG": "bayer_grbg8",
    "H264": "h264",
    "JPEG": "mjpeg",
    "MJPG": "mjpeg",
    "NV12": "nv12",
    "NV16": "nv16",
    "NV24": "nv24",
    "RGB3": "rgb24",
    "RGB4": "0rgb",
    "RGBO": "rgb555le",
    "RGBP": "rgb565le",
    "RGGB": "bayer_rggb8",
    "UYVY": "uyvy422",
    "XR24": "bgr0",
    "Y16": "gray16le",
    "YU12": "yuv420p",
    "YUV9": "yuv410p",
    "YUYV": "yuyv422",
}


# The kernel's structures (<linux/videodev2.h>): unsigned 32-bit fields and byte strings, the same everywhere.

_CAPABILITY = struct.Struct("=16s32s32s3I12x")  # driver, card, bus_info, version, capabilities, device_caps
_FORMAT = struct.Struct("=3I32s2I12x")  # index, type, flags, description, pixelformat, mbus_code
_FRAME_SIZE = struct.Struct("=3I6I8x")  # index, pixel_format, type; width, height or min, max, step of both
_FRAME_INTERVAL = struct.Struct("=5I6I8x")  # index, pixel_format, width, height, type; fractions: 1 or 3

_DISCRETE = 1  # the type of sizes and of intervals; continuous is 2, stepwise is 3
_BUFFERS, _PLANAR_BUFFERS = 1, 9  # V4L2_BUF_TYPE_VIDEO_CAPTURE, ..._MPLANE
_COMPRESSED = 0x1  # V4L2_FMT_FLAG_COMPRESSED

_CAN_CAPTURE, _CAN_CAPTURE_PLANAR = 0x1, 0x1000  # V4L2_CAP_VIDEO_CAPTURE, ..._MPLANE
_MEMORY_TO_MEMORY = 0x8000 | 0x4000  # V4L2_CAP_VIDEO_M2M, ..._MPLANE: a converter, not a camera
_MEDIA_CONTROLLED = 0x20000000  # V4L2_CAP_IO_MC
_HAS_DEVICE_CAPS = 0x80000000

_MOST_NAMED = 12
_MOST_ENTRIES = 512  # of one list; a driver that never says "no more" is not believed


def _request(number: int, layout: struct.Struct, *, write: bool = True) -> int:
    """Number of an ioctl of V4L2: direction, size of the argument, 'V', number."""
    return (3 if write else 2) << 30 | layout.size << 16 | ord("V") << 8 | number


_QUERYCAP = _request(0, _CAPABILITY, write=False)
_ENUM_FMT = _request(2, _FORMAT)
_ENUM_FRAMESIZES = _request(74, _FRAME_SIZE)
_ENUM_FRAMEINTERVALS = _request(75, _FRAME_INTERVAL)
_STREAMOFF = _request(19, struct.Struct("=i"), write=True) & ~(2 << 30)  # takes a number, gives nothing back


def _ioctl(fd: int, request: int, argument: bytearray) -> None:
    fcntl.ioctl(fd, request, argument, True)


def _asked(path: str, ask: Ask) -> Device:
    answer = bytearray(_CAPABILITY.size)
    ask(_QUERYCAP, answer)
    driver, card, bus_info, _, everything, of_this_node = _CAPABILITY.unpack(answer)
    able = of_this_node if everything & _HAS_DEVICE_CAPS else everything
    capture = bool(able & (_CAN_CAPTURE | _CAN_CAPTURE_PLANAR)) and not able & _MEMORY_TO_MEMORY
    formats = tuple(_formats(ask, _BUFFERS if able & _CAN_CAPTURE else _PLANAR_BUFFERS)) if capture else ()
    problem = _problem(able, formats) if capture else None
    return Device(path, _text(card), _text(driver), _text(bus_info), capture, formats, problem=problem)


def _problem(able: int, formats: tuple[Format, ...]) -> str | None:
    if able & _MEDIA_CONTROLLED:
        return "its parts must be connected first (media-ctl), or it is used through libcamera"
    return None if formats else "it offers no picture format; is its signal connected?"


def _formats(ask: Ask, buffers: int) -> Iterator[Format]:
    for answer in _entries(ask, _ENUM_FMT, lambda index: _FORMAT.pack(index, buffers, 0, b"", 0, 0)):
        _, _, flags, description, code, _ = _FORMAT.unpack(answer)
        sizes, size_range = _sizes(ask, code)
        compressed = bool(flags & _COMPRESSED)
        yield Format(_fourcc(code), _text(description), compressed, sizes, size_range)


def _sizes(ask: Ask, code: int) -> tuple[tuple[Size, ...], SizeRange | None]:
    sizes = []
    for answer in _entries(ask, _ENUM_FRAMESIZES, lambda index: _FRAME_SIZE.pack(index, code, *[0] * 7)):
        _, _, kind, *numbers = _FRAME_SIZE.unpack(answer)
        if kind != _DISCRETE:  # there is only one entry then
            return (), _size_range(ask, code, numbers)
        sizes.append(_size(ask, code, *numbers[:2]))
    return tuple(sizes), None


def _size_range(ask: Ask, code: int, numbers: list[int]) -> SizeRange:
    min_width, max_width, step_width, min_height, max_height, step_height = numbers
    smallest, largest = _size(ask, code, min_width, min_height), _size(ask, code, max_width, max_height)
    return SizeRange(smallest, largest, step_width, step_height)


def _size(ask: Ask, code: int, width: int, height: int) -> Size:
    rates_fps: list[float] = []
    rest = (code, width, height, *[0] * 7)
    for answer in _entries(ask, _ENUM_FRAMEINTERVALS, lambda index: _FRAME_INTERVAL.pack(index, *rest)):
        _, _, _, _, kind, *fractions = _FRAME_INTERVAL.unpack(answer)
        if kind != _DISCRETE:  # there is only one entry then
            return Size(width, height, _rates(fractions[:4]), rates_continuous=True)
        rates_fps += _rates(fractions[:2])
    return Size(width, height, tuple(sorted(rates_fps, reverse=True)))


def _rates(intervals: list[int]) -> tuple[float, ...]:
    """Frame rates of intervals (numerator, denominator, ...); the shortest interval comes first."""
    pairs = zip(intervals[::2], intervals[1::2], strict=True)
    return tuple(denominator / numerator for numerator, denominator in pairs if numerator)


def _entries(ask: Ask, request: int, question: Callable[[int], bytes]) -> Iterator[bytearray]:
    """The answers to a question for index 0, 1, ..., until the driver has no more (or does not know it)."""
    for index in range(_MOST_ENTRIES):
        argument = bytearray(question(index))
        try:
            ask(request, argument)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOTTY, errno.ENODATA):
                return
            raise
        yield argument


def _fourcc(code: int) -> str:
    letters = (code & 0x7FFFFFFF).to_bytes(4, "little").decode("ascii", errors="replace").rstrip()
    return f"{letters}-BE" if code >> 31 else letters


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode(errors="replace").strip()


def _is_open_on(fd: int, device: int) -> bool:
    with suppress(OSError):
        return os.fstat(fd).st_rdev == device
    return False


def _is_character_device(path: str) -> bool:
    with suppress(OSError):
        return stat.S_ISCHR(os.stat(path).st_mode)
    return False


def _name_in_sysfs(path: str) -> str:
    """The name of a device that may not be opened: sysfs tells everybody."""
    with suppress(OSError):
        return Path("/sys/class/video4linux", Path(path).resolve().name, "name").read_text().strip()
    return ""


def _explained(path: str, error: OSError) -> str:
    match error.errno:
        case errno.EACCES | errno.EPERM:
            return _no_permission(path)
        case errno.ENOENT | errno.ENODEV | errno.ENXIO:
            return "no such device: it was unplugged, or has another number now"
        case errno.EBUSY:
            return "in use by another program"
        case errno.ENOTTY | errno.EINVAL:
            return "not a V4L2 device"
    return f"it does not answer: {os.strerror(error.errno or errno.EIO)}"


def _no_permission(path: str) -> str:
    with suppress(OSError, KeyError):
        status = os.stat(path)
        group = grp.getgrgid(status.st_gid).gr_name
        if status.st_mode & 0o060 == 0o060 and group != "root":
            return (
                f"no permission: add your user to the group {group} (usermod -aG {group} USER), log in again"
            )
    return "no permission: only its owner may use this device"
