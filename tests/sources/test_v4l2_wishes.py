"""What a person wants of a device, held against what the device has."""

from __future__ import annotations

import pytest

from frameloom.sources.v4l2 import Device, Format, Size, SizeRange, Wish, not_offered

CAMERA = Device(
    "/dev/video0",
    capture=True,
    formats=(
        Format("MJPG", "", True, (Size(1920, 1080, (30.00003, 15.0)), Size(640, 480, (60.0, 30.0)))),
        Format("YUYV", "", False, (Size(1920, 1080, (5.0,)), Size(640, 480, (30.0,)))),
    ),
)
GRABBER = Device(
    "/dev/video1",
    capture=True,
    formats=(
        Format("NV12", "", False, (), SizeRange(Size(16, 16), Size(1920, 1200, (60.0, 1.0), True), 2, 8)),
    ),
)


@pytest.mark.parametrize(
    "wish",
    [
        Wish(),
        Wish("mjpeg"),
        Wish("MJPG", 1920, 1080, 30),
        Wish("yuyv422", 640, 480),
        Wish("YUYV", 1920, 1080, 5),
        Wish(None, 640, 480, 60),
        Wish(fps=17),  # of which size is not known
    ],
)
def test_what_a_camera_has(wish: Wish) -> None:
    assert not_offered(CAMERA, wish) == ""


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (Wish("h264"), "format: read 'h264', it offers MJPG, YUYV"),
        (Wish("nonsense"), "format: read 'nonsense', it offers MJPG, YUYV"),
        (Wish("YUYV", 800, 600), "size: read 800x600, it offers 1920x1080, 640x480"),
        (Wish("YUYV", 1920, 1080, 30), "fps: read 30, it offers 5 at 1920x1080"),
        (Wish(None, 640, 480, 25), "fps: read 25, it offers 60, 30 at 640x480"),
    ],
)
def test_what_a_camera_does_not_have_is_said_with_what_it_has(wish: Wish, said: str) -> None:
    assert not_offered(CAMERA, wish) == said


@pytest.mark.parametrize(("width", "height", "fps"), [(16, 16, 1), (1920, 1200, 60), (18, 24, 29.97)])
def test_what_lies_in_a_range(width: int, height: int, fps: float) -> None:
    assert not_offered(GRABBER, Wish("NV12", width, height, fps)) == ""


@pytest.mark.parametrize(("width", "height"), [(17, 16), (16, 20), (14, 16), (1920, 1208)])
def test_what_lies_outside_a_range(width: int, height: int) -> None:
    said = not_offered(GRABBER, Wish("NV12", width, height))
    assert said == f"size: read {width}x{height}, it offers 16x16 to 1920x1200 in steps of 2x8"


def test_a_rate_outside_a_range() -> None:
    assert not_offered(GRABBER, Wish("NV12", 16, 16, 90)).startswith("fps: read 90")


def test_long_lists_are_cut() -> None:
    sizes = tuple(Size(16 * n, 16 * n) for n in range(1, 30))
    said = not_offered(Device("/dev/video2", formats=(Format("GREY", "", False, sizes),)), Wish("GREY", 5, 5))
    assert said.endswith("192x192, ...")
