"""What processors saw is drawn by the view: on the very frame, once for all, for nobody not at all."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest

from frameloom.bus.publisher import FramePublisher, ResultPublisher
from frameloom.bus.subscriber import Subscription
from frameloom.model.clock import NS_PER_S
from frameloom.model.errors import ParameterError
from frameloom.model.frame import Frame, PictureFormat, PixelFormat
from frameloom.model.packet import Packet
from frameloom.model.result import Result
from frameloom.model.worker import WorkerSpec
from frameloom.sources.decode import Decoder
from frameloom.testing.clock import FakeClock
from frameloom.workers.annotating import MOST_WAITING, WAIT_S, Annotator, FrameId, Said
from frameloom.workers.encode import for_recording
from frameloom.workers.link import Link
from frameloom.workers.view import ViewHost
from tests.annotated import Square, where_drawn, where_shown
from tests.journey.running import wait_until

pytestmark = pytest.mark.usefixtures("runtime_dir")

PATIENCE_S = 60.0
FORMAT = PictureFormat(PixelFormat.BGR, 320, 240, full_range=True)
STEP_NS = NS_PER_S // 25


class View:
    """A ViewHost in a thread, the camera that it shows, and a processor; what both say, and when, is up to the test."""

    def __init__(self, processors: tuple[str, ...] = ("finder",), **names: Any) -> None:
        self.link, self._theirs = Link.pair()
        self.film = Square()
        self.frames = FramePublisher("hall")
        self.results = ResultPublisher("finder")
        params = {"processors": list(processors), "recorders": ["rec"], **names}
        self.host = ViewHost(WorkerSpec("hall.view", "view", "", {}, params, ("hall",)), self.link)
        self._began_ns = time.monotonic_ns()
        self._thread = threading.Thread(target=self.host.run)
        self._thread.start()

    def show(self, number: int) -> int:
        """Publish picture `number` of the film, and return the frame's number."""
        slot = self.frames.reserve(FORMAT)
        self.film.render_into(number, slot.planes[0])
        return self.frames.publish(slot, **self._times(number))

    def say(self, number: int, *, seen_in: int | None = None, source: str = "hall") -> None:
        """Publish where the square is in picture `number`, or in another."""
        box = self.film.truth(number if seen_in is None else seen_in).box
        self.results.publish(
            {"boxes": [list(box.normalised)]}, source=source, frame_seq=number + 1, **self._times(number)
        )

    def _times(self, number: int) -> dict[str, int]:
        captured_ns = self._began_ns + number * STEP_NS
        return {"pts_ns": number * STEP_NS, "captured_ns": captured_ns, "captured_at_ns": number}

    def until_watched(self) -> None:
        assert self.frames.wait_wanted(PATIENCE_S)

    def until_heard(self) -> None:
        """Annotating begins with the first picture that somebody wants."""
        assert self.results.wait_wanted(PATIENCE_S)

    def close(self) -> None:
        self.link.stop()
        self._thread.join(PATIENCE_S)
        for publisher in (self.frames, self.results):
            publisher.close()
        self.link.close()
        self._theirs.close()
        assert not self._thread.is_alive()


@pytest.fixture
def view() -> Iterator[View]:
    view = View()
    yield view
    view.close()


def reader(stream: str = "hall.annotated", client: str = "viewer") -> Subscription:
    return Subscription(stream, policy="every", leases=16, client=client)


def next_picture(viewer: Subscription) -> tuple[int, Any]:
    """The number in the film of the next picture, and its pixels."""
    packet = viewer.get(PATIENCE_S)
    assert isinstance(packet, Packet)
    return packet.metadata["frame_seq"] - 1, cv2.imdecode(
        np.frombuffer(packet.data, np.uint8), cv2.IMREAD_COLOR
    )


def begin(view: View, viewer: Subscription) -> None:
    """Show the first picture, so that the view hears the processor."""
    view.until_watched()
    view.show(0)
    view.until_heard()
    view.say(0)
    assert next_picture(viewer)[0] == 0


def assert_drawn_where_it_is(picture: Any) -> None:
    assert where_drawn(picture) == pytest.approx(where_shown(picture), abs=2)


def test_the_box_is_drawn_on_the_very_frame(view: View) -> None:
    """Whether the result comes before the picture, after it, or after the next one."""
    with reader() as viewer, reader("hall.view") as plain:
        begin(view, viewer)
        next_picture(plain)
        for number in range(1, 7):
            acts = (view.show, view.say) if number % 2 else (view.say, view.show)
            for act in acts:
                act(number)
            shown, picture = next_picture(viewer)
            assert shown == number == next_picture(plain)[0]
            assert_drawn_where_it_is(picture)
        for number in (7, 8):
            view.show(number)
            assert next_picture(plain)[0] == number  # so the view has it
        view.say(7)
        view.say(8)
        for number in (7, 8):
            shown, picture = next_picture(viewer)
            assert shown == number
            assert_drawn_where_it_is(picture)


def test_one_frame_late_would_be_seen(view: View) -> None:
    """This is what the tests here tell apart."""
    with reader() as viewer:
        begin(view, viewer)
        view.show(1)
        view.say(1, seen_in=0)
        _, picture = next_picture(viewer)
        with pytest.raises(AssertionError):
            assert_drawn_where_it_is(picture)


def test_as_h264_too_from_one_reading_and_one_drawing(view: View) -> None:
    with reader() as jpeg, reader("hall.annotated-live") as live:
        begin(view, jpeg)
        decoder: Decoder | None = None
        for number in range(5):
            if number:
                view.show(number)
                view.say(number)
                next_picture(jpeg)
            packet = live.get(PATIENCE_S)
            assert isinstance(packet, Packet)
            assert (packet.metadata["frame_seq"], packet.pts_ns) == (number + 1, number * STEP_NS)
            decoder = decoder or Decoder(packet.format)
            (decoded,) = decoder.decode(packet)
            picture = as_bgr(decoded)
            if number:
                assert_drawn_where_it_is(picture)
        assert decoder is not None
        decoder.close()
        assert (len(view.frames.readers()), len(view.results.readers())) == (1, 1)


def as_bgr(decoded: Any) -> Any:
    data = np.zeros(decoded.format.nbytes, np.uint8)
    decoded.fill([plane.of(data) for plane in decoded.format.planes])
    return Frame(data, decoded.format).bgr


def test_pictures_for_others_stay_as_they_are_and_wait_for_nobody(view: View) -> None:
    with reader() as viewer, reader("hall.view") as plain:
        begin(view, viewer)
        next_picture(plain)
        view.show(1)
        number, picture = next_picture(plain)  # before anything was said of it
        assert number == 1 and where_drawn(picture) is None
        view.say(1)
        assert_drawn_where_it_is(next_picture(viewer)[1])
        assert view.host.report().frames == 2, "a frame that is shown in two ways is one frame"


def test_a_processor_that_is_too_slow_stops_no_picture(view: View) -> None:
    """Its last result is drawn, as the page does."""
    with reader() as viewer:
        begin(view, viewer)
        for number in range(1, 7):
            view.show(number)
            shown, picture = next_picture(viewer)
            assert shown == number
            assert where_drawn(picture) == pytest.approx(edges_of(view, 0), abs=2)


def edges_of(view: View, number: int) -> list[int]:
    left, top, width, height = view.film.truth(number).box.pixels
    return [left, top, left + width, top + height]


def test_nothing_is_heard_or_drawn_for_nobody(view: View) -> None:
    with reader("hall.view") as plain:
        view.until_watched()
        view.show(0)
        next_picture(plain)
        assert not view.results.readers()
        with reader() as viewer:
            wait_until(lambda: view.host.report().streams["hall.annotated"]["readers"])
            view.show(1)
            view.until_heard()
            view.say(1)
            assert next_picture(viewer)[0] == 1
        wait_until(lambda: not view.results.readers())
        next_picture(plain)
        view.show(2)
        assert next_picture(plain)[0] == 2
    wait_until(lambda: not view.frames.wanted)


def test_processors_that_come_and_go_with_the_site(view: View) -> None:
    with reader() as viewer:
        begin(view, viewer)
        assert view.host.change({"processors": []}) == {"processors": []}
        wait_until(lambda: not view.results.readers())
        view.show(1)
        assert where_drawn(next_picture(viewer)[1]) is None
        view.host.change({"processors": ["finder"], "quality": 90})
        view.until_heard()
        view.show(2)
        view.say(2)
        assert_drawn_where_it_is(next_picture(viewer)[1])
        with pytest.raises(ParameterError, match="processors: read 'finder', allowed: a list of names"):
            view.host.change({"processors": "finder"})


def test_what_is_said_of_another_camera_is_not_drawn(view: View) -> None:
    with reader() as viewer:
        begin(view, viewer)
        view.say(1, source="yard")
        view.show(1)
        _, picture = next_picture(viewer)
        assert where_drawn(picture) == pytest.approx(edges_of(view, 0), abs=2)


def test_a_camera_that_dies_and_returns(view: View) -> None:
    with reader() as viewer:
        begin(view, viewer)
        view.frames.close()
        view.frames = FramePublisher("hall")
        view.until_watched()
        view._began_ns += 10 * NS_PER_S
        view.show(0)
        view.say(0)
        number, picture = next_picture(viewer)
        assert number == 0
        assert_drawn_where_it_is(picture)


def test_recorded_in_full_size_and_seen_in_a_smaller_one() -> None:
    """Where the view's H.264 is recorded too, and while it is; JPEG stays what its viewers want."""
    view = View(max_width=160)
    try:
        with reader() as jpeg, reader("hall.annotated-live") as live:
            begin(view, jpeg)
            with reader("hall.annotated-live", "rec") as recorder:
                assert size(live) == size(recorder) == (160, 120)
                view.show(1)
                assert (size(jpeg), size(live), size(recorder)) == ((160, 120), (320, 240), (320, 240))
            wait_until(lambda: len(view.host.report().streams["hall.annotated-live"]["readers"]) == 1)
            view.show(2)
            assert (size(jpeg), size(live)) == ((160, 120), (160, 120))
    finally:
        view.close()


def size(viewer: Subscription) -> tuple[int, int]:
    """Width and height of the next picture."""
    packet = viewer.get(PATIENCE_S)
    assert isinstance(packet, Packet)
    return packet.format.width, packet.format.height


def test_a_recording_gets_every_frame_of_a_burst_where_viewers_get_the_newest() -> None:
    view = View()
    try:
        with reader("hall.live", "rec") as live:
            view.until_watched()
            for number in range(4):
                view.show(number)
            for number in range(4):
                packet = live.get(PATIENCE_S)
                assert isinstance(packet, Packet) and packet.metadata["frame_seq"] == number + 1
            with reader("hall.view") as jpeg:
                wait_until(lambda: view.host.report().streams["hall.view"]["readers"])
                view.show(4)
                assert next_picture(jpeg)[0] == 4
        assert view.host.report().dropped == 0
    finally:
        view.close()


def test_what_is_recorded_is_no_worse_than_what_viewers_get() -> None:
    values = {"quality": 90, "max_width": 1280, "max_kbps": 4000, "max_fps": 30}
    assert for_recording(values) == {"quality": 90, "max_width": 7680, "max_kbps": 16000, "max_fps": 30}


# --- who is waited for ---


def result_of(frame: FrameId, **values: Any) -> Result:
    return Result("finder", 0, "hall", frame.seq, 0, frame.captured_ns, 0, values or {"seq": frame.seq})


def frame_id(seq: int, began_ns: int = 0) -> FrameId:
    return FrameId(seq, began_ns + seq * STEP_NS)


def test_who_is_late_is_not_waited_for_until_it_keeps_up_again() -> None:
    said, late_ns = Said(), round(WAIT_S * NS_PER_S) + 1
    now_ns, waited = 0, []
    for seq in range(1, 31):
        now_ns += NS_PER_S
        said.expect(frame_id(seq), now_ns)
        waited.append(said.is_worth_waiting(frame_id(seq)))
        said.add(result_of(frame_id(seq)), now_ns + (late_ns if seq < 10 else 0))
    assert waited[0] and not any(waited[3:10]) and waited[-1]


def test_who_leaves_a_frame_out_is_not_waited_for_at_that_one() -> None:
    said = Said()
    said.add(result_of(frame_id(3)), 0)
    assert not said.is_worth_waiting(frame_id(2)) and said.is_worth_waiting(frame_id(4))


def test_numbers_that_begin_anew_and_what_is_old() -> None:
    said, later_ns = Said(), 3600 * NS_PER_S
    for seq in range(1, 31):
        said.add(result_of(frame_id(seq)), 0)
    assert said.of(frame_id(30, later_ns)) is None, "the same number, of another life"
    assert said.of(frame_id(60)) is not None and said.of(frame_id(90)) is None, "of something else by now"
    said.add(result_of(frame_id(1, later_ns)), 0)
    found = said.of(frame_id(2, later_ns))
    assert found is not None and found.captured_ns == later_ns + STEP_NS and said.of(frame_id(30)) is None


def test_frames_that_wait_are_few(runtime_dir: Any) -> None:
    clock = FakeClock()
    annotator = Annotator("hall", "default", "test", clock, ("finder",))
    try:
        for seq in range(1, MOST_WAITING + 4):
            picture = np.zeros((32, 32, 3), np.uint8)
            annotator.give(
                Frame.from_array(picture, stream="hall", seq=seq, captured_ns=clock.monotonic_ns())
            )
        assert [frame.seq for frame in annotator.drawn(320)] == [1, 2, 3]
        wait_s = annotator.wait_s()
        assert wait_s is not None and 0 < wait_s <= WAIT_S
        clock.advance(WAIT_S)
        assert annotator.wait_s() == 0
        assert len(list(annotator.drawn(320))) == MOST_WAITING
        assert annotator.wait_s() is None
    finally:
        annotator.close()
