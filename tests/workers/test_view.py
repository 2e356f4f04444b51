"""The host of views: one encode for all viewers and none without, of the frame that it says, as the parameters say."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest

from frameloom.bus.publisher import FramePublisher
from frameloom.bus.subscriber import Subscription
from frameloom.model.clock import NS_PER_S
from frameloom.model.errors import ParameterError
from frameloom.model.frame import ColorMatrix, PictureFormat, PixelFormat
from frameloom.model.packet import Packet
from frameloom.model.worker import State, WorkerSpec
from frameloom.workers.link import Link
from frameloom.workers.view import Pace, ViewHost

pytestmark = pytest.mark.usefixtures("runtime_dir")

FORMAT = PictureFormat(PixelFormat.GRAY, 320, 240, ColorMatrix.BT601, full_range=True)
PATIENCE_S = 60


class View:
    """A ViewHost in a thread, and the camera that it shows."""

    def __init__(self, **params: Any) -> None:
        self.link, self._theirs = Link.pair()
        self.frames = FramePublisher("hall")
        self._captured_ns = time.monotonic_ns()
        self.host = ViewHost(WorkerSpec("hall.view", "view", "", {}, params, ("hall",)), self.link)
        self._thread = threading.Thread(target=self.host.run)
        self._thread.start()

    def show(self, level: int, format: PictureFormat = FORMAT) -> int:
        """Publish a picture of one level of gray, a 25th of a second after the last; returns the frame's number."""
        self._captured_ns += NS_PER_S // 25
        slot = self.frames.reserve(format)
        slot.data[:] = level
        return self.frames.publish(slot, pts_ns=level, captured_ns=self._captured_ns, captured_at_ns=level)

    def close(self) -> None:
        self.link.stop()
        self._thread.join(PATIENCE_S)
        self.frames.close()
        self.link.close()
        self._theirs.close()
        assert not self._thread.is_alive()


@pytest.fixture
def view() -> Iterator[View]:
    view = View()
    yield view
    view.close()


def watching() -> Subscription:
    return Subscription("hall.view", client="viewer")


def picture(viewer: Subscription) -> tuple[Packet, Any]:
    """The next picture: the packet, and its pixels."""
    packet = viewer.get(PATIENCE_S)
    assert isinstance(packet, Packet)
    return packet, cv2.imdecode(np.frombuffer(packet.data, np.uint8), cv2.IMREAD_UNCHANGED)


def until(condition: Any) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.002)


def test_nobody_looks_nothing_is_read_or_encoded(view: View) -> None:
    for level in range(5):
        view.show(level)
    assert not view.frames.wanted
    report = view.host.report()
    assert (report.frames, report.detail, report.state) == (0, "nobody is watching", State.RUNNING)


def test_a_picture_says_which_frame_it_shows(view: View) -> None:
    with watching() as viewer:
        assert view.frames.wait_wanted(PATIENCE_S)
        for level in (30, 120, 250):
            seq = view.show(level)
            packet, pixels = picture(viewer)
            assert packet.metadata["frame_seq"] == seq
            assert (packet.pts_ns, packet.captured_at_ns, packet.is_key) == (level, level, True)
            assert (packet.format.codec, packet.format.width, packet.format.height) == ("mjpeg", 320, 240)
            assert pixels.shape[:2] == (240, 320) and abs(float(pixels.mean()) - level) < 2


def test_many_viewers_one_encode(view: View) -> None:
    viewers = [watching() for _ in range(8)]
    until(lambda: len(view.host.report().streams["hall.view"]["readers"]) == 8)
    assert view.frames.wait_wanted(PATIENCE_S)
    for level in range(10):
        view.show(level)
        assert {picture(viewer)[0].metadata["frame_seq"] for viewer in viewers} == {level + 1}
    assert view.host.report().frames == 10
    assert len(view.frames.readers()) == 1
    for viewer in viewers:
        viewer.close()


def test_the_last_viewer_ends_the_reading(view: View) -> None:
    one, other = watching(), watching()
    assert view.frames.wait_wanted(PATIENCE_S)
    one.close()
    view.show(1)
    assert picture(other)[0].metadata["frame_seq"] == 1
    assert view.frames.wanted
    other.close()
    until(lambda: not view.frames.wanted)
    view.show(2)
    assert view.host.report().frames == 1


def test_a_new_viewer_is_shown_no_picture_of_long_ago(view: View) -> None:
    with watching() as first:
        assert view.frames.wait_wanted(PATIENCE_S)
        view.show(50)
        picture(first)
    until(lambda: not view.frames.wanted)
    with watching() as second:
        assert view.frames.wait_wanted(PATIENCE_S)
        seq = view.show(60)
        assert picture(second)[0].metadata["frame_seq"] == seq


def test_parameters_change_while_it_works(view: View) -> None:
    with watching() as viewer:
        assert view.frames.wait_wanted(PATIENCE_S)
        assert view.host.change({"max_width": "160", "quality": 20}) == {"max_width": 160, "quality": 20}
        view.show(99)
        packet, pixels = picture(viewer)
        assert pixels.shape[:2] == (120, 160)
        assert (packet.format.width, packet.format.height) == (160, 120)
        with pytest.raises(ParameterError, match="quality: read 200"):
            view.host.change({"quality": 200})
    assert view.host.report().values == {
        "max_width": 160,
        "quality": 20,
        "max_fps": 30.0,
        "max_kbps": 4000,
    }


def test_parameters_change_while_nobody_looks(view: View) -> None:
    assert view.host.change({"max_fps": 5}) == {"max_fps": 5.0}


def test_a_camera_that_changes_its_size(view: View) -> None:
    with watching() as viewer:
        assert view.frames.wait_wanted(PATIENCE_S)
        for width, height in ((320, 240), (641, 479), (64, 48)):
            view.show(100, PictureFormat(PixelFormat.GRAY, width, height, ColorMatrix.BT601, full_range=True))
            packet, pixels = picture(viewer)
            assert pixels.shape[:2] == (height, width) == (packet.format.height, packet.format.width)


def test_a_camera_that_dies_and_returns(view: View) -> None:
    with watching() as viewer:
        assert view.frames.wait_wanted(PATIENCE_S)
        view.show(10)
        picture(viewer)
        view.frames.close()
        view.frames = FramePublisher("hall")
        assert view.frames.wait_wanted(PATIENCE_S)
        view.show(20)
        packet, _ = picture(viewer)
        assert (packet.metadata["frame_seq"], packet.pts_ns) == (1, 20)


def test_a_film_that_ends_is_waited_for_again(view: View) -> None:
    with watching() as viewer:
        assert view.frames.wait_wanted(PATIENCE_S)
        view.show(10)
        picture(viewer)
        view.frames.end()
        until(lambda: "end of stream" in view.host.report().detail)
        view.frames.close()
        view.frames = FramePublisher("hall")
        assert view.frames.wait_wanted(PATIENCE_S)
        view.show(20)
        assert picture(viewer)[0].pts_ns == 20
        until(lambda: view.host.report().detail == "")


def test_waiting_for_pictures_is_said(view: View) -> None:
    with watching():
        until(lambda: view.host.report().detail == "waiting for pictures of 'hall'")
        assert view.host.report().state is State.RUNNING, "it is not the view that is in trouble"


def test_stop_while_it_waits_for_a_viewer_or_a_frame() -> None:
    view = View()
    view.close()
    view = View()
    with watching():
        assert view.frames.wait_wanted(PATIENCE_S)
        view.close()


@pytest.mark.parametrize(
    ("camera_fps", "most_fps", "shown"), [(25, 30, 250), (25, 10, 100), (25, 25, 250), (60, 1, 10)]
)
def test_pace_over_ten_seconds(camera_fps: int, most_fps: float, shown: int) -> None:
    pace = Pace()
    times_ns = [NS_PER_S + n * NS_PER_S // camera_fps for n in range(10 * camera_fps)]
    assert abs(sum(pace.lets_through(at_ns, most_fps) for at_ns in times_ns) - shown) <= 1


def test_pace_lets_a_camera_jitter() -> None:
    """Every picture of a camera of just that rate is shown, though some come early."""
    pace = Pace()
    jitter_ns = [0, 9_000_000, -9_000_000, 4_000_000]
    times_ns = [NS_PER_S + n * 40_000_000 + jitter_ns[n % 4] for n in range(100)]
    assert all(pace.lets_through(at_ns, 25) for at_ns in times_ns)


def test_pace_after_a_faster_rate_was_chosen() -> None:
    pace = Pace()
    assert pace.lets_through(NS_PER_S, 0.2)
    assert not pace.lets_through(2 * NS_PER_S, 0.2)
    assert pace.lets_through(2 * NS_PER_S, 30)


def test_pace_when_time_begins_anew() -> None:
    pace = Pace()
    assert pace.lets_through(1000 * NS_PER_S, 1)
    assert pace.lets_through(5 * NS_PER_S, 1)
