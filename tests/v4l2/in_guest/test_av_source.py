"""Frameloom's source, decoder and camera worker on cameras of the kernel's vivid driver."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import numpy as np
import pytest

from frameloom.bus.subscriber import Subscription
from frameloom.model.clock import SystemClock
from frameloom.model.errors import SourceLost, SourceMisconfigured
from frameloom.model.frame import Frame
from frameloom.model.packet import Packet
from frameloom.model.stages import Source
from frameloom.model.worker import State, WorkerReport, WorkerSpec
from frameloom.sources import SourceSettings, open_source
from frameloom.sources.decode import Decoder
from frameloom.workers.camera import CameraHost
from frameloom.workers.link import Link
from tests.journey.running import wait_until
from tests.v4l2.in_guest import vivid

GRABBER, NO_CAMERA = "/dev/video1", "/dev/video11"
RED, NO_TEXT = 7, 2  # values of vivid's menus
NS_PER_S = 1_000_000_000
SMALL: dict[str, Any] = {"format": "YUYV", "width": 320, "height": 180, "fps": 30}
PATIENCE_S = 60.0


@contextmanager
def source(path: str, **settings: Any) -> Iterator[Source]:
    made = open_source("porch", SourceSettings(url=path, **settings), SystemClock())
    with closing(made):
        yield made


def some(opened: Source, count: int) -> list[Packet]:
    return list(itertools.islice(opened.packets(), count))


def picture(opened: Source) -> Frame:
    """The first picture of a source that is not open yet, as a reader would get it."""
    decoder = Decoder(opened.open())
    for packet in opened.packets():
        for found in decoder.decode(packet):
            data = np.zeros(found.format.nbytes, np.uint8)
            found.fill([plane.of(data) for plane in found.format.planes])
            return Frame(data, found.format)
    raise AssertionError("no picture came")


@pytest.mark.parametrize(
    ("format", "pixel"),
    [
        ("YUYV", "yuv420p"),
        ("yuyv422", "yuv420p"),
        ("NV12", "nv12"),
        ("YU12", "yuv420p"),
        ("RGB3", "rgb24"),
        ("GREY", "gray"),
    ],
)
def test_a_format_is_chosen_and_its_colours_are_right(camera: str, format: str, pixel: str) -> None:
    vivid.control(camera, "Test Pattern", RED)
    vivid.control(camera, "OSD Text Mode", NO_TEXT)
    with source(camera, **SMALL | {"format": format}) as opened:
        frame = picture(opened)
    assert (frame.format.pixel.value, frame.width, frame.height) == (pixel, 320, 180)
    blue, green, red = np.mean(frame.bgr, axis=(0, 1)) / 255
    if pixel != "gray":
        assert red > 0.8
        assert max(blue, green) < 0.2


@pytest.mark.parametrize(("width", "height", "fps"), [(640, 360, 25), (320, 180, 50), (320, 180, 5)])
def test_size_and_rate_are_chosen(camera: str, width: int, height: int, fps: int) -> None:
    with source(camera, format="YUYV", width=width, height=height, fps=fps) as opened:
        format = opened.open()
        packets = some(opened, 8)
    assert (format.codec, format.pixel, format.width, format.height) == ("rawvideo", "yuyv422", width, height)
    assert {len(packet.data) for packet in packets} == {width * height * 2}
    assert {packet.duration_ns for packet in packets} == {NS_PER_S // fps}
    assert all(packet.is_key for packet in packets)
    # A busy machine may lose pictures, but none can come too soon.
    assert packets[-1].pts_ns - packets[0].pts_ns > 0.8 * 7 * NS_PER_S / fps


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"width": 333, "height": 222}, "333x222"),
        ({"format": "MJPG"}, "(?i)mjp"),
        ({"format": "nonsense"}, "nonsense"),
        ({"fps": 17}, "17"),
    ],
)
def test_what_the_device_does_not_have_is_said(camera: str, settings: dict[str, Any], words: str) -> None:
    with (
        source(camera, **SMALL | settings) as opened,
        pytest.raises(SourceMisconfigured, match=words) as told,
    ):
        opened.open()
    assert "'porch'" in str(told.value)
    assert camera in str(told.value)


def test_a_range_of_sizes_is_respected() -> None:
    with source(GRABBER, format="YUYV", width=322, height=178) as opened:
        frame = picture(opened)
        assert (frame.width, frame.height) == (322, 178)
    with (
        source(GRABBER, format="YUYV", width=321, height=178) as opened,
        pytest.raises(
            SourceMisconfigured, match=r"size: read 321x178, it offers 16x16 to .* in steps of 2x2"
        ),
    ):
        opened.open()


def test_packets_stay_as_they_are_after_the_device_is_closed(camera: str) -> None:
    """They would lie in the driver's memory otherwise, which is gone then."""
    with source(camera, **SMALL) as opened:
        opened.open()
        packets = some(opened, 40)  # more than the driver has buffers
    copies = [bytes(packet.data) for packet in packets]
    with source(camera, **SMALL) as again:
        again.open()
        some(again, 5)
    assert [bytes(packet.data) for packet in packets] == copies
    assert len({len(copy) for copy in copies}) == 1


def test_times_are_those_of_the_driver(camera: str) -> None:
    with source(camera, **SMALL) as opened:
        before_ns = time.monotonic_ns()
        opened.open()
        packets = some(opened, 10)
        after_ns = time.monotonic_ns()
    for packet in packets:
        assert before_ns < packet.captured_ns < after_ns
        taken_ns, error_ns = packet.metadata["camera_utc_ns"], packet.metadata["camera_utc_error_ns"]
        assert error_ns == packet.duration_ns
        # The stamp may be that of the picture's end, which the driver has worked out beforehand.
        assert -error_ns <= packet.captured_at_ns - taken_ns < 10 * NS_PER_S
    steps = [
        b.metadata["camera_utc_ns"] - a.metadata["camera_utc_ns"] for a, b in itertools.pairwise(packets)
    ]
    assert all(step > NS_PER_S / 60 for step in steps)


def test_who_reads_late_is_not_shown_what_the_driver_had_kept(camera: str) -> None:
    """The driver has 32 buffers, which are full after a second: a thread empties them all the time."""
    with source(camera, **SMALL | {"fps": 60}) as opened:
        opened.open()
        opened_ns = time.monotonic_ns()
        wait_until(lambda: time.monotonic_ns() - opened_ns > 2 * NS_PER_S)
        packets = some(opened, 60)
    ages_ns = [packet.captured_at_ns - packet.metadata["camera_utc_ns"] for packet in packets]
    assert sorted(ages_ns)[30] < NS_PER_S // 2  # captured when taken, though handed out later


def test_a_camera_that_is_unplugged_is_lost_until_it_is_back(camera: str) -> None:
    with source(camera, **SMALL) as opened:
        opened.open()
        packets = opened.packets()
        next(packets)
        vivid.control(camera, "Disconnect")
        with pytest.raises(SourceLost, match=f"'porch': {camera} has gone"):
            list(packets)
        opened.close()
        opened.open()  # vivid plugs it in again when all have closed it
        assert len(some(opened, 5)) == 5


def test_a_camera_that_is_not_there_is_lost(camera: str) -> None:
    with source("/dev/video77", **SMALL) as opened, pytest.raises(SourceLost, match="/dev/video77 has gone"):
        opened.open()


def test_a_node_that_gives_no_pictures_is_told() -> None:
    with source(NO_CAMERA) as opened, pytest.raises(SourceMisconfigured, match=NO_CAMERA):
        opened.open()


def test_a_camera_that_another_program_reads_is_tried_again(camera: str) -> None:
    with source(camera, **SMALL) as first, source(camera, **SMALL) as second:
        first.open()
        with pytest.raises(SourceLost, match="in use by another program"):
            second.open()
        first.close()
        second.open()
        assert len(some(second, 3)) == 3


def test_a_camera_that_stands_still_is_lost(camera: str) -> None:
    with source(camera, **SMALL, silence_s=1) as opened:
        opened.open()
        packets = opened.packets()
        next(packets)
        vivid.control(camera, "Percentage of Dropped Buffers", 100)
        with pytest.raises(SourceLost, match="no picture for 1 s"):
            list(packets)
        vivid.control(camera, "Percentage of Dropped Buffers", 0)
        opened.open()
        assert len(some(opened, 5)) == 5


def test_a_camera_that_stands_still_from_the_beginning_is_lost_and_let_go(camera: str) -> None:
    vivid.control(camera, "Percentage of Dropped Buffers", 100)
    with source(camera, **SMALL, silence_s=1, connect_s=1) as opened:
        with pytest.raises(SourceLost, match=r"no answer for|no picture for"):
            some_of_new(opened)
        vivid.control(camera, "Percentage of Dropped Buffers", 0)
        assert len(some_of_new(opened)) == 3


def some_of_new(unopened: Source) -> list[Packet]:
    unopened.open()
    return some(unopened, 3)


def test_close_ends_the_waiting_for_a_camera_that_stands_still(camera: str) -> None:
    with source(camera, **SMALL, silence_s=3600) as opened:
        opened.open()
        packets = opened.packets()
        next(packets)
        vivid.control(camera, "Percentage of Dropped Buffers", 100)
        closing_it = threading.Timer(0.5, opened.close)
        closing_it.start()
        assert len(list(packets)) < 100
        closing_it.join()
        vivid.control(camera, "Percentage of Dropped Buffers", 0)
        opened.open()  # the device is free at once
        assert len(some(opened, 3)) == 3


def test_damaged_pictures_are_left_out(camera: str) -> None:
    with source(camera, **SMALL) as opened:
        opened.open()
        packets = opened.packets()
        next(packets)
        vivid.control(camera, "Inject V4L2_BUF_FLAG_ERROR")
        assert {len(packet.data) for packet in itertools.islice(packets, 40)} == {320 * 180 * 2}


def test_a_device_that_could_not_be_started_is_free_for_the_next_try(camera: str) -> None:
    """FFmpeg leaves its buffers mapped then, and the device would stay busy for as long as this process lives."""
    vivid.control(camera, "Inject VIDIOC_STREAMON Error")
    with source(camera, **SMALL) as opened:
        with pytest.raises((SourceLost, SourceMisconfigured), match=camera):
            opened.open()
        opened.open()
        assert len(some(opened, 5)) == 5


class Worker:
    """A camera worker in a thread, with a reader of its frames."""

    def __init__(self, path: str, **settings: Any) -> None:
        self.link, self._theirs = Link.pair()
        spec = WorkerSpec("porch", "camera", "", {"source": {"url": path, **settings}})
        self.host = CameraHost(spec, self.link)
        self.frames = Subscription("porch", policy="every", leases=8)
        self._thread = threading.Thread(target=self.host.run, daemon=True)
        self._thread.start()

    def wait(self, good: Callable[[WorkerReport], bool]) -> WorkerReport:
        found: WorkerReport = wait_until(
            lambda: report if good(report := self.host.report()) else None, lambda: str(self.host.report())
        )
        return found

    def close(self) -> None:
        self.frames.close()
        self.link.stop()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        self.link.close()
        self._theirs.close()


@pytest.mark.usefixtures("runtime_dir")
def test_a_worker_goes_on_after_its_camera_was_unplugged_and_stood_still(camera: str) -> None:
    with closing(Worker(camera, **SMALL, silence_s=1)) as worker:
        frame = worker.frames.get(PATIENCE_S)
        assert isinstance(frame, Frame)
        assert (frame.width, frame.height) == (320, 180)
        vivid.control(camera, "Disconnect")
        told = worker.wait(lambda report: report.state is State.DEGRADED)
        assert "has gone" in told.detail
        worker.wait(lambda report: report.state is State.RUNNING)
        vivid.control(camera, "Percentage of Dropped Buffers", 100)
        worker.wait(lambda report: report.state is State.DEGRADED and "no picture for 1 s" in report.detail)
        vivid.control(camera, "Percentage of Dropped Buffers", 0)
        back = worker.wait(lambda report: report.state is State.RUNNING)
        assert back.info["losses"] >= 2
        assert back.info["decode_errors"] == 0
        resumed_ns = time.monotonic_ns()
        while (frame := worker.frames.get(PATIENCE_S)) is not None and frame.captured_ns < resumed_ns:
            pass
        assert frame is not None
