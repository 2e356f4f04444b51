"""Cameras of the kernel's vivid driver: are they listed as they are, and does PyAV read them?"""

from __future__ import annotations

import errno
import os
import re
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import islice

import av
import numpy as np
import pytest
from av.container import InputContainer

from frameloom.sources.v4l2 import Size, describe, input_format_name, list_devices, open_descriptors
from tests.v4l2.in_guest import vivid

WEBCAM, GRABBER, MULTI_PLANAR, METADATA, OUTPUT = (f"/dev/video{number}" for number in (0, 1, 2, 10, 11))
RED, NO_TEXT, START_OF_EXPOSURE = 7, 2, 1  # values of vivid's menus
SECOND_US = 1_000_000
READ_WRONGLY = {  # formats that FFmpeg takes for something else: we have no name for them
    "Planar YVU 4:2:0": "yuv420p",
    "16-bit RGB 5-6-5 BE": "rgb565be",
    "16-bit A/XRGB 1-5-5-5 BE": "rgb555be",
}


def opened(path: str, **options: str) -> InputContainer:
    chosen = {"input_format": "yuyv422", "video_size": "320x180", "framerate": "30"} | options
    return av.open(path, format="v4l2", options=chosen)


@contextmanager
def as_nobody() -> Iterator[None]:
    """With the rights of a user who is in no group."""
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


def test_cameras_are_told_from_the_other_nodes() -> None:
    capture = {device.path: device.capture for device in list_devices()}
    assert capture == {WEBCAM: True, GRABBER: True, MULTI_PLANAR: True, METADATA: False, OUTPUT: False}
    assert {device.problem for device in list_devices()} == {None}


def test_a_webcam_tells_its_formats_sizes_and_rates() -> None:
    device = describe(WEBCAM)
    assert (device.name, device.driver, device.bus_info) == ("vivid", "vivid", "platform:vivid-000")
    formats = {form.fourcc: form for form in device.formats}
    assert {"YUYV", "NV12", "YU12", "GREY", "Y16", "Y16-BE", "RGB3"} <= formats.keys()
    yuyv = formats["YUYV"]
    assert (yuyv.description, yuyv.compressed, yuyv.size_range) == ("YUYV 4:2:2", False, None)
    assert {(320, 180), (640, 360), (1280, 720), (1920, 1080)} <= {
        (size.width, size.height) for size in yuyv.sizes
    }
    small = yuyv.sizes[0]
    assert isinstance(small, Size)
    assert {60.0, 30.0, 25.0, 12.5, 5.0, 1.0} <= set(small.rates_fps)
    assert list(small.rates_fps) == sorted(small.rates_fps, reverse=True)
    assert not small.rates_continuous


def test_a_grabber_tells_the_range_of_its_sizes() -> None:
    (form, *_) = describe(GRABBER).formats
    assert form.sizes == ()
    assert form.size_range is not None
    smallest, largest = form.size_range.smallest, form.size_range.largest
    assert (smallest.width, smallest.height) == (16, 16)
    assert (largest.width, largest.height) >= (3840, 2160)
    assert (form.size_range.step_width, form.size_range.step_height) == (2, 2)


def test_who_may_not_open_a_camera_is_told_what_to_do() -> None:
    with as_nobody():
        device = describe(WEBCAM)
    assert (
        device.problem
        == "no permission: add your user to the group video (usermod -aG video USER), log in again"
    )
    assert (device.readable, device.capture) == (False, False)
    assert device.name == "vivid-000-vid-cap"  # all that sysfs knows


def ffmpeg_names(path: str) -> dict[str, str]:
    """Description -> name of the formats that FFmpeg can read, by its own list."""
    level = av.logging.get_level()
    av.logging.set_level(av.logging.INFO)
    try:
        with av.logging.Capture() as lines, pytest.raises(av.error.ExitError):
            av.open(path, format="v4l2", options={"list_formats": "all"})
    finally:
        av.logging.set_level(level)
    rows = (re.match(r"(?:Raw|Compressed) *: *(\S+) : *(\S.*?) :", message) for _, _, message in lines)
    return {row[2]: row[1] for row in rows if row and row[1] != "Unsupported"}


@pytest.mark.parametrize("path", [WEBCAM, MULTI_PLANAR])
def test_formats_have_ffmpegs_names(path: str) -> None:
    ours = {form.description: input_format_name(form.fourcc) for form in describe(path).formats}
    theirs = ffmpeg_names(path)
    assert len(theirs) > 20
    assert {theirs.pop(description) for description in READ_WRONGLY} == set(READ_WRONGLY.values())
    assert {description: name for description, name in ours.items() if name} == theirs


def test_every_named_format_gives_pictures_in_the_right_colours(camera: str) -> None:
    vivid.control(camera, "Test Pattern", RED)
    vivid.control(camera, "OSD Text Mode", NO_TEXT)
    names = {input_format_name(form.fourcc) for form in describe(camera).formats} - {None}
    seen = {str(name): red_share(camera, str(name)) for name in names}
    coloured = {name: shares for name, shares in seen.items() if not name.startswith(("gray", "bayer"))}
    assert {name for name, (red, other) in coloured.items() if not (red > 0.8 and other < 0.2)} == set()
    assert len(coloured) >= 10


def red_share(path: str, name: str) -> tuple[float, float]:
    """How much red, and how much of the other colours, a picture in a format has; 1 is full."""
    with opened(path, input_format=name) as container:
        frame = next(container.decode(video=0))
        assert (frame.format.name, frame.width, frame.height) == (name, 320, 180)
        means = np.mean(frame.to_ndarray(format="rgb24"), axis=(0, 1)) / 255
        del frame  # a frame lies in the driver's memory: let it go before the device is closed
    return float(means[0]), float(means[1:].max())


@pytest.mark.parametrize(("size", "rate_fps"), [("320x180", 50), ("640x360", 25), ("320x180", 5)])
def test_size_and_rate_are_chosen(camera: str, size: str, rate_fps: int) -> None:
    vivid.control(camera, "Timestamp Source", START_OF_EXPOSURE)
    with opened(camera, video_size=size, framerate=str(rate_fps)) as container:
        assert container.streams.video[0].average_rate == rate_fps
        told = [
            (f"{frame.width}x{frame.height}", frame.pts) for frame in islice(container.decode(video=0), 11)
        ]
    shapes, stamps_us = zip(*told, strict=True)
    assert set(shapes) == {size}
    # A busy machine may lose pictures, but none can come too soon.
    assert stamps_us[-1] - stamps_us[0] > 0.8 * 10 * SECOND_US / rate_fps


def test_a_grabber_takes_any_size() -> None:
    with opened(GRABBER, video_size="322x178") as container:
        frame = next(container.decode(video=0))
        assert (frame.width, frame.height) == (322, 178)
        del frame


def test_multi_planar_buffers_are_read_too() -> None:
    with opened(MULTI_PLANAR, input_format="nv12") as container:
        frame = next(container.decode(video=0))
        assert (frame.format.name, frame.width, frame.height) == ("nv12", 320, 180)
        del frame


def test_pictures_are_stamped_with_the_hosts_monotonic_clock(camera: str) -> None:
    vivid.control(camera, "Timestamp Source", START_OF_EXPOSURE)
    before_ns = time.monotonic_ns()
    with opened(camera) as container:
        assert container.streams.video[0].time_base == Fraction(1, 10**6)
        stamps_ns = [1000 * (frame.pts or 0) for frame in islice(container.decode(video=0), 4)]
    # vivid takes the time of the first picture when it is told to start.
    assert before_ns < stamps_ns[0] < stamps_ns[-1] < time.monotonic_ns()


def test_a_camera_that_is_unplugged_and_comes_back(camera: str) -> None:
    with opened(camera) as container:
        frames = container.decode(video=0)
        next(frames)
        vivid.control(camera, "Disconnect")
        with pytest.raises(OSError, match="No such device") as lost:
            list(frames)
        assert lost.value.errno == errno.ENODEV
        assert "unplugged" in str(describe(camera).problem)
        with pytest.raises(OSError, match="No such device"):
            opened(camera)
    assert describe(camera).problem is None  # vivid plugs it in again when all have closed it
    with opened(camera) as container:
        assert next(container.decode(video=0)).width == 320


def picture_waits(path: str, timeout_s: float) -> bool:
    """Is there a picture for who has opened the device, or an end to tell of, within the time?"""
    return bool(select.select(open_descriptors(path), [], [], timeout_s)[0])


def test_a_camera_that_stands_still_and_goes_on_is_seen_by_poll(camera: str) -> None:
    with opened(camera) as container:
        packets = container.demux(video=0)
        assert picture_waits(camera, 60)
        next(packets)
        vivid.control(camera, "Percentage of Dropped Buffers", 100)
        while picture_waits(camera, 1):  # those that were ready before
            next(packets)
        vivid.control(camera, "Percentage of Dropped Buffers", 0)
        assert picture_waits(camera, 60)
        assert next(packets).size == 320 * 180 * 2


def test_poll_is_woken_when_a_camera_that_stands_still_is_unplugged(camera: str) -> None:
    with opened(camera) as container:
        vivid.control(camera, "Percentage of Dropped Buffers", 100)
        while picture_waits(camera, 1):
            next(container.demux(video=0))
        vivid.control(camera, "Disconnect")
        assert picture_waits(camera, 60)


def test_a_damaged_picture_is_an_empty_packet_among_good_ones(camera: str) -> None:
    with opened(camera) as container:
        packets = container.demux(video=0)
        next(packets)
        vivid.control(camera, "Inject V4L2_BUF_FLAG_ERROR")
        sizes = [packet.size for packet in islice(packets, 40)]
    assert sizes.count(0) == 1
    assert set(sizes) == {0, 320 * 180 * 2}
    assert sizes[-1] > 0


def test_a_camera_that_another_reads_is_busy_but_can_be_described(camera: str) -> None:
    with opened(camera) as container:
        next(container.demux(video=0))
        with pytest.raises(OSError, match="busy"):
            opened(camera)
        assert describe(camera).problem is None
