"""Frameloom's own source on V4L2 cameras: the kernel's test driver plays webcams that misbehave."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from frameloom.model.clock import SystemClock
from frameloom.model.errors import SourceLost, SourceMisconfigured
from frameloom.model.frame import Frame, PixelFormat
from frameloom.model.stages import Source
from frameloom.sources import SourceSettings, open_source
from frameloom.sources.decode import Decoder
from frameloom.sources.reconnect import Reconnecting
from tests.v4l2.in_guest import vivid

GRABBER = "/dev/video1"
RED, NO_TEXT = 7, 2
PATIENCE_S = 60.0


class Cameras:
    def __init__(self) -> None:
        self.made: list[Source] = []

    def __call__(self, path: str, **settings: object) -> Source:
        chosen = {"url": path, "format": "YUYV", "width": 320, "height": 180, "fps": 30, **settings}
        self.made.append(open_source("desk", SourceSettings.model_validate(chosen), SystemClock()))
        return self.made[-1]


@pytest.fixture
def source() -> Iterator[Cameras]:
    cameras = Cameras()
    yield cameras
    for made in cameras.made:
        made.close()


def first_frame(made: Source) -> Frame:
    decoder = Decoder(made.open())
    picture = next(picture for packet in made.packets() for picture in decoder.decode(packet))
    slot = np.zeros(picture.format.nbytes, np.uint8)
    picture.fill([plane.of(slot) for plane in picture.format.planes])
    return Frame(slot, picture.format, pts_ns=picture.pts_ns)


@pytest.mark.parametrize(
    ("format", "pixel"),
    [
        ("YUYV", PixelFormat.YUV420P),
        ("yuyv422", PixelFormat.YUV420P),
        ("NV12", PixelFormat.NV12),
        ("YU12", PixelFormat.YUV420P),
        ("422P", PixelFormat.YUV420P),
        ("RGB3", PixelFormat.RGB),
        ("BGR3", PixelFormat.BGR),
        ("RGBP", PixelFormat.BGR),
    ],
)
def test_pictures_come_in_their_colours(
    camera: str, source: Cameras, format: str, pixel: PixelFormat
) -> None:
    vivid.control(camera, "Test Pattern", RED)
    vivid.control(camera, "OSD Text Mode", NO_TEXT)
    frame = first_frame(source(camera, format=format))
    assert (frame.format.pixel, frame.width, frame.height) == (pixel, 320, 180)
    blue, green, red = np.mean(frame.bgr, axis=(0, 1))
    assert red > 200
    assert max(blue, green) < 60


def test_packets_have_their_times_and_outlive_the_device(camera: str, source: Cameras) -> None:
    made = source(camera)
    format = made.open()
    assert (format.codec, format.pixel, format.width, format.height) == ("rawvideo", "yuyv422", 320, 180)
    packets = list(itertools.islice(made.packets(), 40))  # more than the driver has buffers
    copies = [bytes(packet.data) for packet in packets]
    made.close()
    assert [bytes(packet.data) for packet in packets] == copies
    assert all(len(packet.data) == 320 * 180 * 2 and packet.is_key for packet in packets)
    assert packets[0].pts_ns == 0
    assert all(a.pts_ns < b.pts_ns for a, b in itertools.pairwise(packets))
    assert made.live


def test_the_drivers_time_comes_with_the_pictures(camera: str, source: Cameras) -> None:
    made = source(camera)
    made.open()
    for packet in itertools.islice(made.packets(), 5):
        age_ns = packet.captured_at_ns - packet.metadata["camera_utc_ns"]
        error_ns = packet.metadata["camera_utc_error_ns"]
        assert 0 < error_ns < 100_000_000
        assert -error_ns <= age_ns < 10_000_000_000


@pytest.mark.parametrize(
    ("format", "complaint"),
    [("H264", "does not offer this format"), ("yuv440p", "format: read 'yuv440p', the device gives")],
)
def test_a_format_that_it_lacks_is_for_a_person(source: Cameras, format: str, complaint: str) -> None:
    with pytest.raises(SourceMisconfigured, match=complaint) as caught:
        source("/dev/video0", format=format).open()
    assert "see `frameloom devices`" in str(caught.value)


def test_who_may_not_use_it_is_told_which_group_to_join(source: Cameras) -> None:
    with as_nobody(), pytest.raises(SourceMisconfigured, match="no permission"):
        source("/dev/video0").open()


@contextmanager
def as_nobody() -> Iterator[None]:
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


def test_a_camera_that_another_uses_is_busy(camera: str, source: Cameras) -> None:
    first = source(camera)
    first.open()
    next(first.packets())
    with pytest.raises(SourceLost, match="/dev/video0 is in use by another program"):
        source(camera).open()
    first.close()
    source(camera).open()


def test_a_camera_that_stands_still_is_lost_and_free_at_once(camera: str, source: Cameras) -> None:
    made = source(camera, silence_s=1)
    made.open()
    packets = made.packets()
    next(packets)
    vivid.control(camera, "Percentage of Dropped Buffers", 100)
    with pytest.raises(SourceLost, match="'desk': no picture for 1 s"):
        list(packets)
    vivid.control(camera, "Percentage of Dropped Buffers", 0)
    made.close()
    made.open()
    assert next(made.packets()).is_key


def test_closing_a_camera_that_stands_still_frees_it_at_once(camera: str, source: Cameras) -> None:
    made = source(camera, silence_s=3600)
    made.open()
    packets = made.packets()
    next(packets)
    vivid.control(camera, "Percentage of Dropped Buffers", 100)
    reader = threading.Thread(target=lambda: list(packets), daemon=True)
    reader.start()
    made.close()
    reader.join(PATIENCE_S)
    assert not reader.is_alive()
    vivid.control(camera, "Percentage of Dropped Buffers", 0)
    made.open()
    assert next(made.packets()).is_key


def test_a_damaged_picture_is_left_out(camera: str, source: Cameras) -> None:
    made = source(camera)
    made.open()
    packets = made.packets()
    next(packets)
    vivid.control(camera, "Inject V4L2_BUF_FLAG_ERROR")
    assert {len(packet.data) for packet in itertools.islice(packets, 40)} == {320 * 180 * 2}


def test_a_camera_that_is_unplugged_comes_back(camera: str) -> None:
    settings = SourceSettings(url=camera, format="YUYV", width=320, height=180)
    told: list[str] = []
    reconnecting = Reconnecting(
        lambda: open_source("desk", settings, SystemClock()),
        SystemClock(),
        threading.Event(),
        lambda state, detail, wait_s: told.append(f"{state} {detail}"),
    )
    for n, (_, packets) in enumerate(reconnecting):
        assert next(packets).is_key
        if n == 1:
            reconnecting.close()
            break
        vivid.control(camera, "Disconnect")
        list(packets)
    assert "lost 'desk': /dev/video0 has gone: is the camera plugged in?" in told


def test_a_grabber_takes_any_size(source: Cameras) -> None:
    frame = first_frame(source(GRABBER, width=322, height=178))
    assert (frame.width, frame.height) == (322, 178)
