"""Listing of V4L2 devices, by what a kernel may answer that no device at hand does.

Real devices (the kernel's vivid driver) are in tests/v4l2/in_guest.
"""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest

from frameloom.sources import v4l2
from frameloom.sources.v4l2 import (
    Ask,
    Device,
    Size,
    SizeRange,
    describe,
    input_format_name,
    list_devices,
    open_descriptors,
)

QUERYCAP, ENUM_FMT, ENUM_FRAMESIZES, ENUM_FRAMEINTERVALS = 0, 2, 74, 75
CAPTURE, CAPTURE_MPLANE, M2M, META, IO_MC, DEVICE_CAPS = 0x1, 0x1000, 0x8000, 0x800000, 0x20000000, 0x80000000
Entry = TypeVar("Entry")
DISCRETE, CONTINUOUS, STEPWISE = 1, 2, 3


def fourcc(letters: str) -> int:
    return int.from_bytes(letters.encode(), "little")


@dataclass
class ScriptedKernel:
    """Answers like a driver: a list entry by entry, then EINVAL. Layouts as in <linux/videodev2.h>."""

    device_caps: int = CAPTURE
    capabilities: int = DEVICE_CAPS | CAPTURE | META
    formats: list[tuple[int, bytes, int]] = field(default_factory=lambda: [(fourcc("YUYV"), b"YUYV", 0)])
    sizes: list[tuple[int, ...]] = field(default_factory=list)  # type, then width, height or six numbers
    intervals: list[tuple[int, ...]] = field(default_factory=list)  # type, then one fraction or three
    endless: int | None = None  # number of the request that always has one more
    fails: dict[int, int] = field(default_factory=dict)  # number of a request -> errno
    asked_sizes: list[tuple[int, int]] = field(default_factory=list)

    @contextmanager
    def open(self, path: str) -> Iterator[Ask]:
        yield self.ioctl

    def ioctl(self, request: int, argument: bytearray) -> None:
        number = request & 0xFF
        assert request >> 16 & 0x3FFF == len(argument)
        if number in self.fails:
            raise OSError(self.fails[number], "scripted")
        {QUERYCAP: self.querycap, ENUM_FMT: self.enum_fmt}.get(number, self.enumerate)(argument)

    def querycap(self, argument: bytearray) -> None:
        names = struct.pack("16s32s32s", b"uvcvideo", b"Caf\xc3\xa9 cam\0junk", b"usb-1")
        argument[:] = names + struct.pack("3I12x", 0x60100, self.capabilities, self.device_caps)

    def enum_fmt(self, argument: bytearray) -> None:
        (index,) = struct.unpack_from("I", argument)
        code, description, flags = self.entry(ENUM_FMT, self.formats, index)
        struct.pack_into("I32sI", argument, 8, flags, description, code)

    def enumerate(self, argument: bytearray) -> None:
        """Frame sizes (44 bytes) or intervals (52 bytes)."""
        index, _, *size = struct.unpack_from("4I", argument)
        if len(argument) == 44:
            numbers, at = self.entry(ENUM_FRAMESIZES, self.sizes, index), 8
        else:
            self.asked_sizes.append((size[0], size[1]))
            numbers, at = self.entry(ENUM_FRAMEINTERVALS, self.intervals, index), 16
        struct.pack_into(f"{len(numbers)}I", argument, at, *numbers)

    def entry(self, number: int, entries: Sequence[Entry], index: int) -> Entry:
        if index >= len(entries) and number != self.endless:
            raise OSError(errno.EINVAL, "no more")
        return entries[index % len(entries)]


def described(kernel: ScriptedKernel) -> Device:
    return describe("/dev/video7", kernel.open)


def test_a_camera_is_told_with_its_formats_sizes_and_rates() -> None:
    kernel = ScriptedKernel(
        formats=[(fourcc("YUYV"), b"YUYV 4:2:2", 0), (fourcc("MJPG"), b"Motion-JPEG", 1)],
        sizes=[(DISCRETE, 640, 480), (DISCRETE, 1920, 1080)],
        intervals=[(DISCRETE, 1, 5), (DISCRETE, 1001, 30000)],
    )
    device = described(kernel)
    assert (device.path, device.name, device.driver, device.bus_info) == (
        "/dev/video7",
        "Café cam",
        "uvcvideo",
        "usb-1",
    )
    assert (device.capture, device.readable, device.problem) == (True, True, None)
    rates_fps = (30000 / 1001, 5.0)
    sizes = (Size(640, 480, rates_fps), Size(1920, 1080, rates_fps))
    assert [(form.fourcc, form.compressed, form.sizes) for form in device.formats] == [
        ("YUYV", False, sizes),
        ("MJPG", True, sizes),
    ]


@pytest.mark.parametrize("kind", [CONTINUOUS, STEPWISE])
def test_a_range_of_sizes_keeps_its_ends_and_steps(kind: int) -> None:
    kernel = ScriptedKernel(sizes=[(kind, 16, 4096, 2, 8, 2160, 4)], intervals=[(kind, 1, 60, 1, 1, 1, 1)])
    (form,) = described(kernel).formats
    smallest, largest = (Size(*ends, (60.0, 1.0), rates_continuous=True) for ends in ((16, 8), (4096, 2160)))
    assert form.size_range == SizeRange(smallest, largest, step_width=2, step_height=4)
    assert form.sizes == ()
    assert kernel.asked_sizes == [(16, 8), (4096, 2160)]  # asked once each: a range has one entry


def test_a_driver_that_knows_no_sizes_is_a_camera_all_the_same() -> None:
    (form,) = described(ScriptedKernel(fails={ENUM_FRAMESIZES: errno.ENOTTY})).formats
    assert (form.sizes, form.size_range) == ((), None)


@pytest.mark.parametrize(
    ("capabilities", "device_caps", "capture"),
    [
        (DEVICE_CAPS | CAPTURE | META, META, False),  # the metadata node of a USB camera
        (CAPTURE, META, True),  # an old driver: device_caps mean nothing
        (DEVICE_CAPS | CAPTURE_MPLANE, CAPTURE_MPLANE, True),
        (DEVICE_CAPS | CAPTURE | M2M, CAPTURE | M2M, False),  # a converter
    ],
)
def test_only_what_this_very_node_can_do_makes_it_a_camera(
    capabilities: int, device_caps: int, capture: bool
) -> None:
    device = described(ScriptedKernel(capabilities=capabilities, device_caps=device_caps))
    assert device.capture is capture
    assert bool(device.formats) is capture
    assert device.problem is None


def test_a_camera_behind_the_media_controller_says_what_it_needs() -> None:
    assert "libcamera" in str(described(ScriptedKernel(device_caps=CAPTURE | IO_MC)).problem)


def test_a_camera_without_formats_is_a_problem() -> None:
    assert "no picture format" in str(described(ScriptedKernel(formats=[])).problem)


@pytest.mark.parametrize("endless", [ENUM_FMT, ENUM_FRAMESIZES, ENUM_FRAMEINTERVALS])
def test_a_driver_that_never_ends_a_list_does_not_hold_us(endless: int) -> None:
    kernel = ScriptedKernel(sizes=[(DISCRETE, 64, 48)], intervals=[(DISCRETE, 1, 30)], endless=endless)
    assert described(kernel).formats[0].sizes[0].rates_fps[0] == 30.0


def test_swapped_bytes_are_part_of_the_name() -> None:
    kernel = ScriptedKernel(
        formats=[(fourcc("Y16 "), b"16-bit", 0), (fourcc("Y16 ") | 1 << 31, b"16-bit BE", 0)]
    )
    assert [form.fourcc for form in described(kernel).formats] == ["Y16", "Y16-BE"]


def test_an_interval_of_no_time_is_no_rate() -> None:
    kernel = ScriptedKernel(sizes=[(DISCRETE, 64, 48)], intervals=[(DISCRETE, 0, 30), (DISCRETE, 1, 25)])
    assert described(kernel).formats[0].sizes == (Size(64, 48, (25.0,)),)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENODEV, "unplugged"),
        (errno.EBUSY, "in use by another program"),
        (errno.ENOTTY, "not a V4L2 device"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_what_stands_in_the_way_is_told_and_not_raised(number: int, words: str) -> None:
    device = described(ScriptedKernel(fails={QUERYCAP: number}))
    assert words in str(device.problem)
    assert (device.readable, device.capture) == (False, False)


def test_a_camera_that_goes_while_it_is_asked_is_a_problem() -> None:
    device = described(ScriptedKernel(fails={ENUM_FMT: errno.ENODEV}))
    assert not device.readable
    assert "unplugged" in str(device.problem)


def test_nodes_are_listed_by_number_and_nothing_else_is(tmp_path: Path) -> None:
    for name in ("video10", "video2", "video", "videos2", "null"):
        (tmp_path / name).symlink_to("/dev/null")
    (tmp_path / "video3").write_text("not a device")
    (tmp_path / "video4").symlink_to("nowhere")
    devices = list_devices(tmp_path)
    assert [device.path for device in devices] == [str(tmp_path / "video2"), str(tmp_path / "video10")]
    assert {device.problem for device in devices} == {"not a V4L2 device"}


def test_no_such_folder_is_no_devices(tmp_path: Path) -> None:
    assert list_devices(tmp_path / "nowhere") == []


def test_a_device_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    assert "no such device" in str(describe(tmp_path / "video0").problem)


def test_descriptors_on_a_device_are_found_while_they_are_open() -> None:
    before = open_descriptors("/dev/null")
    fd = os.open("/dev/null", os.O_RDONLY)
    try:
        assert set(open_descriptors("/dev/null")) - set(before) == {fd}
    finally:
        os.close(fd)
    assert open_descriptors("/dev/null") == before


@pytest.mark.parametrize(
    ("letters", "name"),
    [
        ("MJPG", "mjpeg"),
        ("YUYV", "yuyv422"),
        ("H264", "h264"),
        ("NV12", "nv12"),
        ("Y16 ", "gray16le"),
        ("XXXX", None),
    ],
)
def test_ffmpeg_has_other_names(letters: str, name: str | None) -> None:
    assert input_format_name(letters) == name


def test_the_module_needs_nothing_but_the_standard_library() -> None:
    alone = [sys.executable, "-I", "-S", v4l2.__file__]  # without site-packages, and without frameloom
    assert subprocess.run(alone, capture_output=True, text=True).stderr == ""


def test_listing_loads_no_codec() -> None:
    check = "import sys, frameloom.sources.v4l2; print({'av', 'cv2'} & set(sys.modules))"
    environment = os.environ | {"PYTHONPATH": str(Path(v4l2.__file__).parents[2])}
    outcome = subprocess.run([sys.executable, "-c", check], env=environment, capture_output=True, text=True)
    assert (outcome.stdout, outcome.stderr) == ("set()\n", "")
