"""The live H.264 of a view: of the frames that it says, encoded once, at nobody's cost where nobody reads it."""

from __future__ import annotations

import errno
import itertools
import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pytest

from frameloom.bus.publisher import FramePublisher
from frameloom.bus.subscriber import Subscription
from frameloom.model.clock import NS_PER_S
from frameloom.model.frame import Array, ColorMatrix, Frame, PictureFormat, PixelFormat
from frameloom.model.packet import Packet, PacketFormat
from frameloom.model.worker import State, WorkerReport, WorkerSpec
from frameloom.sources.decode import Decoder
from frameloom.testing.cameras import MjpegHttpCamera
from frameloom.testing.films import Film, counter, encode, read_counter
from frameloom.workers.encode import LiveOutput
from frameloom.workers.link import Link
from frameloom.workers.view import ViewHost, live_stream
from tests.journey.running import RunningSite, running_site, wait_until

FORMAT = PictureFormat(PixelFormat.GRAY, 320, 240, full_range=True)
PATIENCE_S = 60.0
STEP_NS = 40_000_000


class View:
    """A ViewHost in a thread, and a camera whose pictures hold their numbers."""

    def __init__(self, **params: Any) -> None:
        self.link, self._theirs = Link.pair()
        self.frames = FramePublisher("hall")
        self.film = counter(frames=1000)
        self.host = ViewHost(WorkerSpec("hall.view", "view", "", {}, params, ("hall",)), self.link)
        self._captured_ns = time.monotonic_ns()
        self._numbers = itertools.count()
        self._thread = threading.Thread(target=self.host.run)
        self._thread.start()

    @property
    def report(self) -> WorkerReport:
        return self.host.report()

    @property
    def encoding(self) -> bool:
        return any(output.encoding for output in self.host._outputs if isinstance(output, LiveOutput))

    def show(self, format: PictureFormat = FORMAT) -> int:
        """Publish the next picture of the film, a 25th of a second after the last one; returns its number in both."""
        number = next(self._numbers)
        self.publish(number, drawn(self.film, number, format), format)
        return number

    def publish(self, number: int, gray: Array, format: PictureFormat) -> None:
        slot = self.frames.reserve(format)
        slot.planes[0][:] = gray
        self._captured_ns += STEP_NS
        seq = self.frames.publish(
            slot, pts_ns=number * STEP_NS, captured_ns=self._captured_ns, captured_at_ns=number
        )
        assert seq == number + 1

    def close(self) -> None:
        self.link.stop()
        self._thread.join(PATIENCE_S)
        self.frames.close()
        self.link.close()
        self._theirs.close()
        assert not self._thread.is_alive()


def drawn(film: Film, number: int, format: PictureFormat) -> Array:
    """Luma of a film's picture, in the size of this format."""
    gray = film.render(number)[..., 1]
    rows = np.arange(format.height) * film.height // format.height
    columns = np.arange(format.width) * film.width // format.width
    picture: Array = gray[np.ix_(rows, columns)]
    return picture


@contextmanager
def viewing(**params: Any) -> Iterator[View]:
    view = View(**params)
    try:
        yield view
    finally:
        view.close()


@pytest.fixture
def view(runtime_dir: Path) -> Iterator[View]:
    with viewing() as view:
        yield view


class Viewer:
    """A reader of a live stream that decodes what it gets, as a browser does."""

    def __init__(self, stream: str = "hall.live", site: str = "default", policy: str = "every") -> None:
        self.packets = Subscription(stream, site=site, policy=policy, leases=64, client="viewer")
        self._decoder: Decoder | None = None

    def __enter__(self) -> Viewer:
        return self

    def __exit__(self, *_: object) -> None:
        self.packets.close()

    def next(self) -> tuple[Packet, int | None]:
        """The next packet, and the number that is read in its picture."""
        packet = packet_of(self.packets)
        return packet, self._number(packet)

    def _number(self, packet: Packet) -> int | None:
        if self._decoder is None or packet.format != self._decoder.format:
            assert packet.is_key
            self._decoder = Decoder(packet.format)
        (picture,) = self._decoder.decode(packet)
        planes: list[Array] = [
            np.zeros((plane.height, plane.width, plane.channels)[: 2 + (plane.channels > 1)], np.uint8)
            for plane in picture.format.planes
        ]
        picture.fill(planes)
        return read_counter(planes[0])


def size(format: PacketFormat) -> tuple[int, int]:
    return format.width, format.height


def test_nobody_reads_it_so_there_is_no_encoder(view: View) -> None:
    with Subscription("hall.view", client="jpeg viewer") as jpeg:
        assert view.frames.wait_wanted(PATIENCE_S)
        for _ in range(3):
            view.show()
            assert isinstance(jpeg.get(PATIENCE_S), Packet)
        assert not view.encoding
        assert view.report.streams["hall.live"] == {"kind": "packets", "readers": [], "fps": 0.0}
    wait_until(lambda: not view.frames.wanted)
    with Viewer() as viewer:
        assert view.frames.wait_wanted(PATIENCE_S)
        view.show()
        assert viewer.next()[0].seq == 1, "the first packet that was ever made"


def test_a_packet_says_which_frame_it_shows(view: View) -> None:
    with Viewer() as viewer:
        assert view.frames.wait_wanted(PATIENCE_S)
        for index in range(5):
            number = view.show()
            packet, read = viewer.next()
            assert read == number
            assert packet.metadata == {"frame_seq": number + 1}
            assert (packet.pts_ns, packet.dts_ns) == (number * STEP_NS, number * STEP_NS)
            assert (packet.captured_ns, packet.captured_at_ns) == (view._captured_ns, number)
            assert (packet.is_key, packet.duration_ns) == (index == 0, STEP_NS)
            assert (packet.format.codec, *size(packet.format)) == ("h264", 320, 240)


def test_nobody_reads_jpeg_so_none_is_made(view: View) -> None:
    with Viewer() as viewer:
        assert view.frames.wait_wanted(PATIENCE_S)
        for _ in range(3):
            view.show()
            viewer.next()
        assert view.report.streams["hall.view"]["fps"] == 0
        with Subscription("hall.view", client="jpeg viewer") as jpeg:
            wait_until(lambda: view.report.streams["hall.view"]["readers"])
            view.show()
            first = jpeg.get(PATIENCE_S)
            assert isinstance(first, Packet) and (first.seq, first.metadata["frame_seq"]) == (1, 4)


def test_both_at_once_from_one_reading(view: View) -> None:
    with Viewer() as one, Viewer() as other, Subscription("hall.view", client="jpeg viewer") as jpeg:
        await_readers(view, live=2, jpeg=1)
        for _ in range(5):
            number = view.show()
            (packet, read), (same, _) = one.next(), other.next()
            picture = jpeg.get(PATIENCE_S)
            assert isinstance(picture, Packet) and read == number
            assert bytes(packet.data) == bytes(same.data)
            assert packet.metadata == picture.metadata
            for what in ("pts_ns", "captured_ns", "captured_at_ns"):
                assert getattr(packet, what) == getattr(picture, what)
        assert len(view.frames.readers()) == 1
        assert view.report.frames == 5


def await_readers(view: View, live: int, jpeg: int) -> None:
    """Wait until so many have joined, and the view its camera."""
    wanted = {"hall.live": live, "hall.view": jpeg}
    wait_until(lambda: wanted == {name: len(view.report.streams[name]["readers"]) for name in wanted})
    assert view.frames.wait_wanted(PATIENCE_S)


def test_who_joins_later_begins_at_the_newest_key_picture(view: View) -> None:
    """And gets all that came after it at once, so that nobody has to make a key picture for him."""
    with Viewer() as first:
        assert view.frames.wait_wanted(PATIENCE_S)
        for _ in range(70):
            view.show()
            first.next()
        with Viewer() as late, Viewer(policy="latest") as latest:
            shown = [late.next() for _ in range(20)]
            assert shown[0][0].is_key
            assert [read for _, read in shown] == list(range(50, 70)), (
                "key pictures are 2 s apart, 50 pictures"
            )
            assert latest.next()[1] == 50
            view.show()
            assert first.next()[1] == late.next()[1] == 70
        assert not first.packets.stats.dropped


def test_the_last_reader_ends_it_and_the_next_begins_anew(view: View) -> None:
    with Viewer() as viewer:
        assert view.frames.wait_wanted(PATIENCE_S)
        view.show()
        viewer.next()
        assert view.encoding
    wait_until(lambda: not view.frames.wanted and not view.encoding)
    view.show()
    assert (view.report.frames, view.report.detail) == (1, "nobody is watching")
    with Viewer() as viewer:
        assert view.frames.wait_wanted(PATIENCE_S)
        number = view.show()
        packet, read = viewer.next()
        assert (packet.is_key, read) == (True, number), "no picture of long ago comes first"


def test_it_ends_while_jpeg_goes_on_though_no_frame_comes(view: View) -> None:
    with Subscription("hall.view", client="jpeg viewer") as jpeg:
        with Viewer() as viewer:
            await_readers(view, live=1, jpeg=1)
            view.show()
            viewer.next()
        wait_until(lambda: not view.encoding)
        assert jpeg.get(PATIENCE_S) is not None
        assert view.frames.wanted


def test_sizes_and_formats_that_change_in_the_midst(view: View) -> None:
    """The worker goes on, with a key picture and what a decoder must know of it."""
    sizes = [(320, 240), (641, 479), (320, 240)]
    with Viewer() as viewer:
        assert view.frames.wait_wanted(PATIENCE_S)
        for width, height in sizes:
            for pixel in (PixelFormat.GRAY, PixelFormat.NV12):
                format = PictureFormat(pixel, width, height, ColorMatrix.BT709, full_range=True)
                for is_first in (True, False):
                    number = view.show(format)
                    packet, read = viewer.next()
                    assert (packet.is_key, read) == (is_first, number)
                    assert size(packet.format) == (width & ~1, height & ~1)


def test_parameters_change_while_it_is_watched(view: View) -> None:
    with Viewer() as viewer:
        assert view.frames.wait_wanted(PATIENCE_S)
        view.show()
        before, _ = viewer.next()
        assert view.host.change({"max_width": 200}) == {"max_width": 200}
        number = view.show()
        smaller, read = viewer.next()
        assert (smaller.is_key, size(smaller.format), read) == (True, (200, 150), number)
        assert view.host.change({"quality": 20, "max_kbps": 500}) == {"quality": 20, "max_kbps": 500}
        number = view.show()
        coarser, read = viewer.next()
        assert (coarser.is_key, coarser.format, read) == (True, smaller.format, number)
        assert len(coarser.data) < len(smaller.data) < len(before.data)


def test_what_cannot_be_encoded_is_told_and_harms_nobody(view: View) -> None:
    with Viewer() as viewer, Subscription("hall.view", client="jpeg viewer") as jpeg:
        await_readers(view, live=1, jpeg=1)
        view.show(PictureFormat(PixelFormat.GRAY, 1, 1))
        assert isinstance(jpeg.get(PATIENCE_S), Packet)
        wait_until(lambda: view.report.state is State.DEGRADED)
        assert (
            view.report.detail
            == "'hall': a picture of 1x1 cannot be encoded: H.264 wants 2x2 pixels at least"
        )
        assert view.report.dropped == 1
        number = view.show()
        assert viewer.next()[1] == number
        wait_until(lambda: view.report.state is State.RUNNING and not view.report.detail)


def test_what_cannot_be_encoded_is_forgotten_when_nobody_reads(view: View) -> None:
    with Viewer():
        assert view.frames.wait_wanted(PATIENCE_S)
        view.show(PictureFormat(PixelFormat.GRAY, 1, 1))
        wait_until(lambda: view.report.state is State.DEGRADED)
    wait_until(lambda: view.report.state is State.RUNNING)
    assert view.report.detail == "nobody is watching"


def test_frames_that_come_too_fast_are_dropped_by_count(runtime_dir: Path) -> None:
    """As from a camera that an encoder cannot follow: what it shows in the end is the newest."""
    with viewing(max_fps=120) as view, Viewer() as viewer:
        assert view.frames.wait_wanted(PATIENCE_S)
        large = PictureFormat(PixelFormat.GRAY, 1280, 960, full_range=True)
        pictures = [drawn(view.film, number, large) for number in range(60)]
        for number, picture in enumerate(pictures):
            view.publish(number, picture, large)
        wait_until(lambda: view.report.frames + view.report.dropped == 60, lambda: str(view.report))
        assert view.report.dropped > 0
        shown = [viewer.next() for _ in range(view.report.frames)]
        assert [read for _, read in shown] == [packet.metadata["frame_seq"] - 1 for packet, _ in shown]
        assert shown[-1][1] == 59


def test_a_camera_that_dies_and_returns(view: View) -> None:
    with Viewer() as viewer:
        assert view.frames.wait_wanted(PATIENCE_S)
        for _ in range(3):
            view.show()
            before, _ = viewer.next()
        view.frames.close()
        view.frames = FramePublisher("hall")
        view._numbers = itertools.count()
        assert view.frames.wait_wanted(PATIENCE_S)
        number = view.show()
        packet, read = viewer.next()
        assert (packet.is_key, packet.pts_ns, read) == (True, 0, number)
        assert packet.format == before.format


def test_after_a_packet_without_room_comes_a_key_picture(
    runtime_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else could be decoded. The refusal is made up, since no test may use up the memory of its machine."""
    film, output = counter(), LiveOutput("hall.live", "default", lambda: None)
    values = {"max_width": 1280, "quality": 95, "max_kbps": 16000}

    def show(number: int) -> bool:
        picture = drawn(film, number, FORMAT).reshape(-1).copy()
        return output.show(Frame(picture, FORMAT, seq=number, pts_ns=number * STEP_NS), values)

    with Viewer() as viewer:
        wait_until(lambda: output.wanted)
        assert show(0) and show(1)
        with monkeypatch.context() as context:
            context.setattr(os, "posix_fallocate", refuse)
            number = next(n for n in range(2, 1000) if not show(n))
        assert "No space left on device" in output.trouble and output.dropped == 1
        assert show(number + 1) and show(number + 2)
        assert not output.trouble
        shown = [viewer.next() for _ in range(number + 2)]
        output.close()
    assert [read for _, read in shown] == [*range(number), number + 1, number + 2]
    assert [packet.metadata["frame_seq"] for packet, _ in shown if packet.is_key][-1] == number + 1


def refuse(*_: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("name", "stream", "live"),
    [
        ("hall.view", "hall", "hall.live"),
        ("small", "hall", "small.live"),
        ("yard.view", "hall", "yard.view.live"),
    ],
)
def test_names(name: str, stream: str, live: str) -> None:
    assert live_stream(WorkerSpec(name, "view", "", streams=(stream,))) == live


# --- real cameras, in processes of their own ---

FPS = 25
WIDTH, HEIGHT = 640, 480


@pytest.fixture(scope="module")
def site(module_runtime_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSite]:
    folder = tmp_path_factory.mktemp("live")
    film = counter(width=WIDTH, height=HEIGHT, frames=100, fps=FPS)
    encode(film, folder / "film.mp4", codec="hevc", gop=10, bframes=2)
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setenv("FRAMELOOM_RUNTIME_DIR", str(module_runtime_dir))
        mjpeg = stack.enter_context(MjpegHttpCamera(film))
        (folder / "site.yaml").write_text(
            "site: live\n"
            "server: {enabled: false}\n"
            "cameras:\n"
            "  hevc: {url: film.mp4, loop: true}\n"
            f"  mjpeg: {{url: '{mjpeg.url}'}}\n"
            f"  raw: {{url: 'synthetic:coloured_lights?stamp=1&fps={FPS}', loop: true}}\n"
            "sinks:\n"
            "  small: {kind: view, stream: raw, max_width: 200}\n"
        )
        site = stack.enter_context(running_site(folder / "site.yaml", "--quiet", name="live"))
        for camera in ("hevc", "mjpeg", "raw"):
            site.wait_state(camera, "running")
        yield site


@pytest.mark.parametrize("camera", ["hevc", "mjpeg"])
def test_what_no_browser_plays_comes_as_h264(site: RunningSite, camera: str) -> None:
    """And shows of each frame what the JPEG of it shows."""
    with (
        Viewer(f"{camera}.live", site="live") as viewer,
        Subscription(f"{camera}.view", site="live", policy="every", client="jpeg viewer") as jpeg,
    ):
        shown = [viewer.next() for _ in range(2 * FPS)]
        pictures = [packet_of(jpeg) for _ in range(2 * FPS)]
    assert {(packet.format.codec, *size(packet.format)) for packet, _ in shown} == {("h264", WIDTH, HEIGHT)}
    numbers = {packet.metadata["frame_seq"]: read for packet, read in shown}
    assert None not in numbers.values()
    same = {p.metadata["frame_seq"]: number_in(p) for p in pictures if p.metadata["frame_seq"] in numbers}
    assert len(same) > FPS
    assert same == {seq: numbers[seq] for seq in same}


def test_a_picture_has_the_time_of_its_place_in_the_film(site: RunningSite) -> None:
    with Viewer("hevc.live", site="live") as viewer:
        shown = [viewer.next() for _ in range(2 * FPS)]
    first, zero = shown[0]
    for packet, number in shown[1:]:
        assert number is not None and zero is not None
        steps = (packet.pts_ns - first.pts_ns) * FPS / NS_PER_S
        assert abs(steps - round(steps)) < 0.05
        assert (number - zero) % 100 == round(steps) % 100


def packet_of(packets: Subscription) -> Packet:
    packet = packets.get(PATIENCE_S)
    assert isinstance(packet, Packet)
    return packet


def number_in(jpeg: Packet) -> int | None:
    gray = cv2.imdecode(np.frombuffer(jpeg.data, np.uint8), cv2.IMREAD_GRAYSCALE)
    return read_counter(np.asarray(gray, np.uint8))


def test_two_views_of_a_raw_camera(site: RunningSite) -> None:
    with Viewer("raw.live", site="live") as one, Viewer("small.live", site="live") as other:
        assert [size(viewer.next()[0].format) for viewer in (one, other)] == [(320, 240), (200, 150)]
        for viewer in (one, other):
            numbers = [viewer.next()[1] for _ in range(10)]
            assert None not in numbers and len(set(numbers)) == 10


def test_nothing_is_done_while_nobody_reads(site: RunningSite) -> None:
    """The camera is not decoded, and its view takes no time of the processor."""

    def spent_s() -> float:
        times = psutil.Process(site.pids()["hevc.view"]).cpu_times()
        return times.user + times.system

    def wait_pictures(count: int) -> float:
        """CPU seconds that the view takes while its camera gets so many pictures."""
        began = site.worker("hevc")["report"]["frames"]
        before_s = spent_s()
        site.wait_worker("hevc", lambda w: w["report"]["frames"] >= began + count)
        return spent_s() - before_s

    with Viewer("hevc.live", site="live") as viewer, Subscription("hevc.view", site="live") as jpeg:
        viewer.next()
        packet_of(jpeg)
        watched_s = wait_pictures(2 * FPS)
    site.wait_worker("hevc", lambda w: not w["report"]["info"]["decoding"])
    site.wait_worker("hevc.view", lambda w: w["report"]["detail"] == "nobody is watching")
    wait_pictures(FPS)  # what was under way is done, and reported
    count = site.worker("hevc.view")["report"]["frames"]
    assert wait_pictures(2 * FPS) < watched_s / 2
    assert site.worker("hevc.view")["report"]["frames"] == count
