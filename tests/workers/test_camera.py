"""The host of cameras, in this process: real films, a real RTSP server, and readers on the bus."""

from __future__ import annotations

import contextlib
import itertools
import json
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from frameloom import sources as sources_module
from frameloom.bus.publisher import PacketPublisher
from frameloom.bus.subscriber import Subscription
from frameloom.model.errors import SourceMisconfigured, StreamEnded
from frameloom.model.frame import Frame
from frameloom.model.packet import BEGINS, Packet, PacketFormat
from frameloom.model.stages import Source
from frameloom.model.worker import State, WorkerReport, WorkerSpec
from frameloom.sources import open_source
from frameloom.sources.decode import Decoder
from frameloom.testing.films import counter, encode, read_counter
from frameloom.testing.rtsp_server import RtspServer
from frameloom.workers import camera as camera_module
from frameloom.workers.camera import CameraHost
from frameloom.workers.link import Link
from tests.journey.running import wait_until

pytestmark = pytest.mark.usefixtures("runtime_dir")

FPS = 50
FRAMES = 60
STEP_NS = 1_000_000_000 // FPS
PATIENCE_S = 60.0


class Camera:
    """A CameraHost at work in a thread, as a worker process would have it in its main thread."""

    def __init__(self, url: str | Path, give_up: bool = False, **settings: Any) -> None:
        self.link, self.supervisor = Link.pair()
        config = {"source": {"url": str(url), **settings}, "give_up": give_up}
        self.host = CameraHost(WorkerSpec("yard", "camera", "", config), self.link)
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.host.run()
        except BaseException as error:
            self.error = error

    @property
    def told(self) -> WorkerReport:
        return self.host.report()

    @property
    def info(self) -> dict[str, Any]:
        return self.told.info

    def wait(self, good: Callable[[WorkerReport], bool]) -> WorkerReport:
        found: WorkerReport = wait_until(
            lambda: (report := self.told) if good(self.told) else None, lambda: str(self.told)
        )
        return found

    def wait_state(self, state: State, words: str = "") -> WorkerReport:
        return self.wait(lambda report: report.state is state and words in report.detail)

    def join(self) -> None:
        """Wait until the work is done, and say so if it ended by an error."""
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        self.link.stop()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        self.link.close()
        self.supervisor.close()


@contextlib.contextmanager
def running(url: str | Path, **settings: Any) -> Iterator[Camera]:
    camera = Camera(url, **settings)
    try:
        yield camera
    finally:
        camera.close()


def frames_of(policy: str = "every", leases: int = 16) -> Subscription:
    return Subscription("yard", policy=policy, leases=leases)


def packets_of() -> Subscription:
    return Subscription("yard.packets", policy="every", leases=16)


def frame(frames: Subscription) -> Frame:
    found = frames.get(PATIENCE_S)
    assert isinstance(found, Frame)
    return found


def packet(packets: Subscription) -> Packet:
    found = packets.get(PATIENCE_S)
    assert isinstance(found, Packet)
    return found


def to_the_end(frames: Subscription) -> list[Frame]:
    """All frames up to the proper end."""
    seen = []
    with contextlib.suppress(StreamEnded):
        while True:
            seen.append(frame(frames))
    return seen


def number(found: Frame) -> int:
    read = read_counter(found.gray)
    assert read is not None
    return read


def numbers(frames: Subscription, count: int) -> list[int]:
    return [number(frame(frames)) for _ in range(count)]


def follows(seen: list[int], frames: int = FRAMES) -> bool:
    """Whether each number is the next one of a film that begins again after `frames`."""
    return all(b == (a + 1) % frames for a, b in itertools.pairwise(seen))


class Films:
    """Films in which every picture bears its number, each encoded once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(
        self, name: str, width: int = 320, height: int = 240, fps: int = FPS, **options: Any
    ) -> Path:
        path = self._folder / name
        what = counter(width=width, height=height, fps=fps, frames=FRAMES)
        return path if path.exists() else encode(what, path, **{"gop": FRAMES, **options})


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Films:
    return Films(tmp_path_factory.mktemp("films"))


@pytest.fixture
def server(films: Films) -> Iterator[RtspServer]:
    """A camera whose film has one key frame only, at its beginning, every 1.2 s."""
    with RtspServer({"yard": films("long.mp4")}) as server:
        yield server


# --- decoding on demand ------------------------------------------------------------------------------------------


def test_nobody_wants_frames_so_none_is_decoded(server: RtspServer) -> None:
    with running(server.url("yard")) as camera, packets_of() as packets:
        assert packet(packets).is_key
        for _ in range(FRAMES):
            packet(packets)
        assert camera.info["decoded"] == 0
        assert camera.told.state is State.RUNNING
        with frames_of() as frames:
            assert follows(numbers(frames, 5))
            assert camera.info["decoding"]
        camera.wait(lambda report: not report.info["decoding"])


def test_packets_are_handed_on_by_who_has_read_them_while_nobody_wants_frames(
    server: RtspServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that decodes need not be woken for them; both threads together lose nothing and keep the order."""
    publish, threads = PacketPublisher.publish, []

    def noted(self: PacketPublisher, found: Packet) -> int:
        threads.append(threading.current_thread().name)
        return publish(self, found)

    monkeypatch.setattr(PacketPublisher, "publish", noted)
    with running(server.url("yard")) as camera, packets_of() as packets:
        seqs, times = [], []

        def read(count: int) -> None:
            for found in (packet(packets) for _ in range(count)):
                seqs.append(found.seq)
                times.append(found.dts_ns)

        for _ in range(3):
            read(20)
            assert threads[-1] == "feed yard"
            with frames_of() as frames:
                frame(frames)
                read(20)
                assert threads[-1] != "feed yard"
            camera.wait(lambda report: not report.info["decoding"])
        assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
        assert times == sorted(set(times))
        assert camera.told.dropped == camera.info["decode_errors"] == 0


def test_a_camera_that_is_lost_while_nobody_wants_frames_is_told(server: RtspServer) -> None:
    with running(server.url("yard"), silence_s=0.5) as camera, packets_of() as packets:
        for _ in range(5):
            packet(packets)
        server["yard"].stall()
        camera.wait_state(State.DEGRADED, "no picture for 0.5 s")
        server["yard"].resume()
        camera.wait_state(State.RUNNING)
        assert packet(packets)


@pytest.mark.parametrize("bframes", [0, 3])
def test_a_newcomer_sees_the_present_picture_first(films: Films, bframes: int) -> None:
    """Not the next key frame's, and not those before it that had to be decoded for it."""
    film = films(f"long-{bframes}.mp4", bframes=bframes, preset="veryfast")
    with RtspServer({"yard": film}) as server, running(server.url("yard")) as camera:
        firsts = []
        for _ in range(3):
            came = camera.told.frames
            camera.wait(lambda report, at=came + 17: report.frames > at)  # type: ignore[misc]
            with frames_of() as frames:
                joined_ns = time.monotonic_ns()
                first = frame(frames)
                seen = [number(first), *numbers(frames, 10)]
                assert follows(seen), seen
                firsts.append(seen[0])
                # Pictures that wait for their order were captured a little earlier.
                assert first.captured_ns > joined_ns - (bframes + 1) * 2 * STEP_NS
        assert firsts.count(0) <= 1  # it may have been its turn once
        assert camera.info["decode_errors"] == camera.info["withheld"] == 0


def test_demand_that_comes_and_goes(server: RtspServer) -> None:
    with running(server.url("yard")) as camera, frames_of("latest") as other:
        last_ns = 0
        for turn in range(30):
            with frames_of() as frames:
                found = frame(frames)
                assert read_counter(found.gray) is not None
                assert found.pts_ns >= last_ns
                last_ns = found.pts_ns
            if turn == 10:
                other.close()  # until here decoding went on all the time
        assert camera.info["decode_errors"] == 0


def test_a_stream_of_single_pictures_is_copied_for_those_who_want_it_only(films: Films) -> None:
    with (
        RtspServer({"yard": films("jpeg.mkv", codec="mjpeg")}) as server,
        running(server.url("yard")) as camera,
    ):
        camera.wait(lambda report: report.frames > 5)
        with packets_of() as packets:
            joined_ns = time.monotonic_ns()
            found = packet(packets)
            assert found.captured_ns > joined_ns - 2 * STEP_NS
            assert found.seq == 1  # none was published before
        with frames_of() as frames:
            assert follows(numbers(frames, 5))


def test_a_decoder_slower_than_its_camera_leaves_pictures_out_and_loses_no_packet(
    films: Films, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(camera_module, "_LATE_NS", 300_000_000)
    monkeypatch.setattr(camera_module, "_CAUGHT_UP_NS", 100_000_000)
    decode = Decoder.decode

    def slowly(self: Decoder, packet: Packet) -> Any:
        time.sleep(3 * STEP_NS / 1e9)
        return decode(self, packet)

    monkeypatch.setattr(Decoder, "decode", slowly)
    with (
        RtspServer({"yard": films("short.mp4", gop=10)}) as server,
        running(server.url("yard")) as camera,
        packets_of() as packets,
        frames_of() as frames,
    ):
        reader = threading.Thread(target=lambda: [packet(packets) for _ in range(4 * FRAMES)], daemon=True)
        reader.start()
        seen = [frame(frames) for _ in range(FRAMES)]
        reader.join(PATIENCE_S)
        assert packets.stats.received == 4 * FRAMES
        assert packets.stats.dropped == 0
        assert all(read_counter(each.gray) is not None for each in seen)
        passed = (seen[-1].pts_ns - seen[0].pts_ns) // STEP_NS
        assert passed > 2 * FRAMES  # it keeps up with the camera
        assert camera.told.dropped > FRAMES // 2
        assert camera.info["decode_errors"] == camera.info["withheld"] == 0


# --- changes of the stream ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["h264", "hevc", "mjpeg"])
def test_a_size_that_changes_in_the_stream(films: Films, codec: str) -> None:
    small, large = (films(f"{codec}-{w}.mkv", w, h, codec=codec, gop=10) for w, h in ((320, 240), (480, 272)))
    with RtspServer({"yard": small}) as server, running(server.url("yard")) as camera:
        with frames_of() as frames, packets_of() as packets:
            assert (frame(frames).width, packet(packets).format.width) == (320, 320)
            server["yard"].change(large, in_band=True)
            sizes = {320}
            while sizes != {320, 480}:
                shown = frame(frames)
                sizes.add(shown.width)
            assert (shown.width, shown.height) == (480, 272)
            assert follows([number(shown), *numbers(frames, 5)])
            while (found := packet(packets)).format.width == 320:
                pass
            assert (found.format.width, found.format.height, found.is_key) == (480, 272, True)
            assert (camera.info["width"], camera.told.info["losses"]) == (480, 0)
        with packets_of() as packets:  # a newcomer can decode what it gets
            found = packet(packets)
            decoder = Decoder(found.format)
            shapes = [p.format.width for _ in range(5) for p in decoder.decode(packet(packets))]
            assert set(shapes) <= {480}
            decoder.close()
        assert camera.info["decode_errors"] == 0


def test_another_codec_and_size_after_the_camera_came_back(films: Films) -> None:
    other = films("other.mkv", 480, 272, codec="hevc", gop=10)
    with RtspServer({"yard": films("long.mp4")}) as server, running(server.url("yard")) as camera:
        with frames_of() as frames, packets_of() as packets:
            frame(frames)
            packet(packets)
            server["yard"].change(other)
            while (shown := frame(frames)).width == 320:
                pass
            assert follows([number(shown), *numbers(frames, 10)])
            while (found := packet(packets)).format.codec == "h264":
                pass
            assert (found.format.codec, found.format.width) == ("hevc", 480)
        report = camera.wait_state(State.RUNNING)
        assert (report.info["losses"], report.info["codec"]) == (1, "hevc")


def test_the_first_packet_of_a_connection_says_so(server: RtspServer) -> None:
    with running(server.url("yard")), packets_of() as packets:
        before = [packet(packets) for _ in range(20)]
        server["yard"].drop()
        after = next(found for found in iter(lambda: packet(packets), None) if found.metadata.get(BEGINS))
        assert after.is_key and after.pts_ns > before[-1].pts_ns
        assert not any(
            found.metadata.get(BEGINS) for found in [*before[1:], *(packet(packets) for _ in range(20))]
        )


def test_media_time_goes_on_over_a_loss(server: RtspServer) -> None:
    with running(server.url("yard")) as camera, frames_of() as frames, packets_of() as packets:
        before = [frame(frames) for _ in range(3)][-1]
        server["yard"].drop()
        camera.wait(lambda report: report.info["losses"] == 1)
        while (after := frame(frames)).captured_ns - before.captured_ns < 3e8:
            before = after
        passed_ns, told_ns = after.captured_ns - before.captured_ns, after.pts_ns - before.pts_ns
        assert abs(told_ns - passed_ns) < 1e9  # what was missed while it was away is part of media time
        assert told_ns > 0
        found = [packet(packets) for _ in range(20)]
        assert all(a.dts_ns < b.dts_ns for a, b in itertools.pairwise(found))


# --- losses ------------------------------------------------------------------------------------------------------


def test_a_lost_camera_is_told_and_its_last_picture_is_not_shown_as_new(server: RtspServer) -> None:
    with running(server.url("yard"), silence_s=1) as camera:
        with frames_of() as frames, frames_of():
            frame(frames)
            server["yard"].stall()
            told = camera.wait_state(State.DEGRADED, "no picture for 1 s")
            assert "trying again" in told.detail
            assert "rtsp" not in told.detail
        camera.wait(lambda report: report.fps == 0 and not report.info["decoding"])
        with frames_of() as frames, packets_of() as packets:
            resumed_ns = time.monotonic_ns()
            server["yard"].resume()
            assert frame(frames).captured_ns > resumed_ns
            assert packet(packets).captured_ns > resumed_ns
            camera.wait_state(State.RUNNING)


def test_garbage_is_not_taken_for_a_camera_that_works(server: RtspServer) -> None:
    """It answers and sends, but no picture comes: until one does, the state stays what it is."""
    with running(server.url("yard"), silence_s=0.5) as camera, frames_of() as frames:
        frame(frames)
        server["yard"].garbage("payload")
        camera.wait_state(State.DEGRADED)
        states = set()
        losses = camera.info["losses"]
        while camera.info["losses"] < losses + 1:
            states.add(camera.told.state)
            time.sleep(0.005)
        assert states == {State.DEGRADED}
        server["yard"].resume()
        camera.wait_state(State.RUNNING)
        resumed = frame(frames)
        while time.monotonic_ns() - resumed.captured_ns > 1e9:
            resumed = frame(frames)
        assert follows(numbers(frames, 5))


def test_what_a_person_must_fix_is_tried_again_or_ends_the_work(films: Films) -> None:
    with RtspServer({"yard": films("long.mp4")}, users={"ann": "right"}) as server:
        url = server.url("yard", user="ann").replace("right", "wrong-one")
        with running(url) as camera:
            told = camera.wait_state(State.DEGRADED, "user name or password")
            assert "wrong-one" not in told.detail
            assert "trying again in 6" in told.detail  # 60 s and up to a tenth more
        with running(url, give_up=True) as camera, pytest.raises(SourceMisconfigured, match="password"):
            camera.join()


def test_a_lost_camera_that_comes_back_with_another_trouble_is_waited_for_anew(server: RtspServer) -> None:
    with running(server.url("yard")) as camera:
        camera.wait_state(State.RUNNING)
        server.refuse()
        server["yard"].drop()
        camera.wait(lambda report: report.info["losses"] == 2)
        server["yard"].not_found()
        server.accept()
        assert "trying again in 6" in camera.wait_state(State.DEGRADED, "(404)").detail


@contextlib.contextmanager
def deaf_server() -> Iterator[str]:
    """Accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"rtsp://127.0.0.1:{listener.getsockname()[1]}/live"


@pytest.mark.parametrize("situation", ["connecting", "waiting", "stalled", "misconfigured"])
def test_stop_does_not_wait_for_the_camera(films: Films, situation: str) -> None:
    """The patience with the camera is an hour; that the test ends at all shows that nobody waits for it."""
    patience = {"connect_s": 3600, "silence_s": 3600}
    with deaf_server() as deaf, RtspServer({"yard": films("long.mp4")}) as server:
        server.refuse() if situation == "waiting" else None
        server["yard"].not_found() if situation == "misconfigured" else None
        url = deaf if situation == "connecting" else server.url("yard")
        with running(url, **patience) as camera:
            if situation == "stalled":
                camera.wait(lambda report: report.frames > 1)
                server["yard"].stall()
            elif situation == "connecting":
                camera.wait_state(State.STARTING, "connecting")
            else:
                camera.wait_state(State.DEGRADED, "trying again in")


# --- films -------------------------------------------------------------------------------------------------------


class Reader(threading.Thread):
    """Reads a stream to its end."""

    def __init__(self, stream: Subscription) -> None:
        super().__init__(daemon=True)
        self.seen: list[Any] = []
        self.ended = False
        self._stream = stream
        self.start()

    def run(self) -> None:
        try:
            while True:
                found = self._stream.get(PATIENCE_S)
                assert found is not None
                self.seen.append(number(found) if isinstance(found, Frame) else (found.seq, found.is_key))
                del found
        except StreamEnded:
            self.ended = True
        finally:
            self._stream.close()

    def result(self) -> list[Any]:
        self.join(PATIENCE_S)
        assert self.ended
        return self.seen


@pytest.mark.parametrize("name", ["plain.mp4", "b.mp4", "b.ts", "hevc.mkv", "jpeg.avi"])
def test_a_film_loses_nothing_for_frames_and_packets_at_once(
    films: Films, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    codec = {"hevc.mkv": "hevc", "jpeg.avi": "mjpeg"}.get(name, "h264")
    film = films(name, codec=codec, gop=12, bframes=3 if name[0] == "b" else 0, preset="veryfast")
    joined = hold_the_film(monkeypatch, 3)
    with running(film, pace="unpaced") as camera:
        joined(camera)
        readers = [Reader(frames_of(leases=leases)) for leases in (2, 16)]
        packets = Reader(packets_of())
        assert [reader.result() for reader in readers] == [list(range(FRAMES))] * 2
        assert [seq for seq, _ in packets.result()] == list(range(1, FRAMES + 1))
        camera.join()
        assert camera.told.detail == "finished"
        assert camera.told.info["decode_errors"] == camera.told.dropped == 0


def hold_the_film(monkeypatch: pytest.MonkeyPatch, readers: int) -> Callable[[Camera], None]:
    """The next film is opened when it is known whose it is, and so many have joined."""
    known = threading.Event()
    found: list[Camera] = []

    def opened(*arguments: Any) -> Source:
        assert known.wait(PATIENCE_S)
        wait_until(lambda: sum(len(s["readers"]) for s in found[0].told.streams.values()) == readers)
        return open_source(*arguments)

    def joined(camera: Camera) -> None:
        found.append(camera)
        known.set()

    monkeypatch.setattr(sources_module, "open_source", opened)
    return joined


def test_a_film_waits_for_its_first_reader(films: Films) -> None:
    with running(films("plain.mp4", gop=12), pace="unpaced") as camera:
        camera.wait_state(State.RUNNING, "waiting for a reader")
        assert camera.told.frames == 0
        with frames_of() as frames:
            assert numbers(frames, FRAMES) == list(range(FRAMES))
            with pytest.raises(StreamEnded):
                frames.get(PATIENCE_S)
        camera.join()


def test_a_reader_that_leaves_in_the_middle_and_another_that_comes_later(films: Films) -> None:
    with running(films("b.mp4", gop=12, bframes=3, preset="veryfast"), pace="unpaced") as camera:
        with frames_of(leases=2) as frames:
            assert numbers(frames, 20) == list(range(20))
        camera.wait_state(State.RUNNING, "waiting for a reader")
        with frames_of() as frames:
            first = number(frame(frames))
            assert 20 <= first < 30
            rest = list(range(first + 1, FRAMES))
            assert numbers(frames, len(rest)) == rest
            with pytest.raises(StreamEnded):
                frames.get(PATIENCE_S)


def test_a_film_begins_again(films: Films) -> None:
    with running(films("plain.mp4", gop=12), pace="unpaced", loop=True), frames_of() as frames:
        found = [frame(frames) for _ in range(3 * FRAMES)]
        assert follows([number(each) for each in found])
        assert all(0 < b.pts_ns - a.pts_ns < 2 * STEP_NS for a, b in itertools.pairwise(found))


def test_a_film_at_its_own_pace(films: Films) -> None:
    with frames_of() as frames, running(films("plain.mp4", gop=12)) as camera:
        found = to_the_end(frames)
        first, last = found[0], found[-1]
        assert number(last) == FRAMES - 1
        # Never faster than it was taken.
        assert last.captured_ns - first.captured_ns > 0.9 * (last.pts_ns - first.pts_ns)
        camera.join()


def test_the_end_reaches_a_slow_reader_of_the_newest_too(
    films: Films, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who looks rarely hears of the end when it looks again, though the worker may be gone by then."""
    monkeypatch.setattr(camera_module, "_ENDING_S", 0.1)
    with (
        frames_of("latest") as slow,
        frames_of() as frames,
        running(films("plain.mp4", gop=12), pace="unpaced") as camera,
    ):
        frame(slow)
        assert len(to_the_end(frames)) > 0
        camera.join()
        to_the_end(slow)


def test_a_film_of_which_nothing_can_be_made_is_told(films: Films, tmp_path: Path) -> None:
    """Its container is sound, its pictures are not."""
    data = bytearray(films("plain.mp4", gop=12).read_bytes())
    at, size = data.index(b"mdat"), len(data)
    pictures = range(at + 4, at + int.from_bytes(data[at - 4 : at], "big") - 4)
    assert pictures.stop <= size
    data[pictures.start : pictures.stop] = bytes(len(pictures))
    film = tmp_path / "damaged.mp4"
    film.write_bytes(data)
    said = "'yard': no picture could be made of it"
    with running(film, pace="unpaced") as camera, frames_of(), pytest.raises(SourceMisconfigured, match=said):
        camera.join()


# --- what goes wrong in the worker itself ------------------------------------------------------------------------


@contextlib.contextmanager
def no_shared_memory() -> Iterator[None]:
    """No file of this process may grow beyond 64 KB, and so no new memory for frames can be had."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_without_memory_a_camera_says_so_and_goes_on(server: RtspServer) -> None:
    with running(server.url("yard")) as camera:
        camera.wait_state(State.RUNNING)
        with frames_of() as frames:
            with no_shared_memory():
                told = camera.wait_state(State.DEGRADED, "shared memory")
                camera.wait(lambda report: report.dropped > told.dropped)  # frame by frame
            assert follows(numbers(frames, 5))
            told = camera.wait_state(State.RUNNING)
            assert told.dropped > 0


def test_without_memory_a_film_waits(films: Films) -> None:
    with running(films("plain.mp4", gop=12), pace="unpaced") as camera:
        with no_shared_memory():
            frames = frames_of()
            camera.wait_state(State.DEGRADED, "shared memory")
        assert numbers(frames, FRAMES) == list(range(FRAMES))
        frames.close()


def test_a_decoder_that_raises_costs_no_packets(server: RtspServer, monkeypatch: pytest.MonkeyPatch) -> None:
    decode, broken, raised = Decoder.decode, threading.Event(), []

    def breaks(self: Decoder, packet: Packet) -> Any:
        if broken.is_set():
            raised.append(packet.is_key)
            raise MemoryError("on purpose")
        return decode(self, packet)

    monkeypatch.setattr(Decoder, "decode", breaks)
    with running(server.url("yard")) as camera, packets_of() as packets, frames_of() as frames:
        frame(frames)
        broken.set()
        camera.wait_state(State.DEGRADED, "decoding fails: MemoryError")
        seqs = [packet(packets).seq for _ in range(2 * FRAMES)]
        assert seqs == list(range(1, 2 * FRAMES + 1))
        assert all(raised[1:])  # it is tried with key frames only, and not with all since the last one
        broken.clear()
        camera.wait_state(State.RUNNING)
        assert frame(frames).seq < frame(frames).seq  # pictures come again


class Exotic:
    """A source of which no picture can be made."""

    name, live, codec = "yard", True, "no-such-codec"

    def __init__(self, *_: Any) -> None:
        self.format = PacketFormat(self.codec, 320, 240)
        self._closed = threading.Event()

    def open(self) -> PacketFormat:
        return self.format

    def packets(self) -> Iterator[Packet]:
        for n in itertools.count():
            if self._closed.wait(0.01):
                return
            now_ns = time.monotonic_ns()
            yield Packet(b"data", self.format, n * STEP_NS, True, now_ns, time.time_ns(), n * STEP_NS)

    def close(self) -> None:
        self._closed.set()


def test_a_codec_that_cannot_be_decoded_is_passed_on_as_packets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources_module, "open_source", Exotic)
    with running("rtsp://127.0.0.1/x") as camera, packets_of() as packets:
        camera.wait_state(State.RUNNING)
        with frames_of():
            told = camera.wait_state(State.DEGRADED, "no-such-codec")
            assert "'yard': codec" in told.detail
            assert bytes(packet(packets).data) == b"data"
        camera.wait_state(State.RUNNING)
    with (
        running("rtsp://127.0.0.1/x", give_up=True) as camera,
        frames_of(),
        pytest.raises(SourceMisconfigured, match="no-such-codec"),
    ):
        camera.join()


class Nonsense(Exotic):
    codec = "h264"


def test_packets_of_which_no_picture_can_be_made_are_a_lost_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources_module, "open_source", Nonsense)
    with running("rtsp://127.0.0.1/x", silence_s=0.2) as camera, packets_of() as packets:
        camera.wait_state(State.RUNNING)  # nobody wants to know
        with frames_of():
            told = camera.wait_state(State.DEGRADED, "'yard': no picture could be made for 0.2 s")
            assert told.info["decode_errors"] > 0
            camera.wait_state(State.DEGRADED, "connected again, waiting for a picture")
            assert packet(packets).is_key
        camera.wait_state(State.RUNNING)


# --- what is reported --------------------------------------------------------------------------------------------


def reports(camera: Camera) -> Iterator[WorkerReport]:
    """What the supervisor is told."""
    camera.link.serve()
    camera.link.attach(camera.host)
    camera.supervisor.settimeout(PATIENCE_S)
    with camera.supervisor.makefile("rb") as lines:
        while True:
            yield WorkerReport.from_json(json.loads(lines.readline())["report"])


def test_a_hang_in_the_decoder_is_work_and_waiting_is_not(
    films: Films, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode, hangs, go_on = Decoder.decode, threading.Event(), threading.Event()

    def hang(self: Decoder, packet: Packet) -> Any:
        if hangs.is_set():
            go_on.wait(PATIENCE_S)
        return decode(self, packet)

    monkeypatch.setattr(Decoder, "decode", hang)
    with running(films("plain.mp4", gop=12), pace="unpaced") as camera:
        told = reports(camera)
        camera.wait_state(State.RUNNING, "waiting for a reader")
        assert [report.busy_s for report in itertools.islice(told, 3)] == [0, 0, 0]
        frames = frames_of(leases=2)
        assert numbers(frames, 3) == [0, 1, 2]
        waits = next(b for a, b in itertools.pairwise(told) if a.frames == b.frames)  # for its reader
        assert waits.busy_s == 0
        hangs.set()
        reader = Reader(frames)
        hung = next(report for report in told if report.busy_s > 0.7)
        assert hung.state is State.RUNNING
        go_on.set()
        assert reader.result() == list(range(3, FRAMES))


def test_the_report_counts(films: Films) -> None:
    with (
        RtspServer({"yard": films("short.mp4", gop=10)}) as server,
        running(server.url("yard")) as camera,
        frames_of() as frames,
    ):
        told = camera.wait(lambda report: 0.7 * FPS < report.fps < 1.1 * FPS)
        assert told.latency_ms is not None
        assert told.latency_ms > 0
        assert told.frames >= told.info["decoded"] > 0
        assert told.streams["yard"]["kind"] == "frames"
        assert len(told.streams["yard"]["readers"]) == 1
        assert told.streams["yard.packets"] == {"kind": "packets", "readers": [], "dropped": 0}
        frame(frames)
        server["yard"].stall()
        camera.wait(lambda report: 0 < report.fps < 0.3 * FPS)
        camera.wait(lambda report: report.fps == 0)


def test_what_a_slow_worker_loses_is_counted_over_all_connections(
    films: Films, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode, slow, go_on = Decoder.decode, threading.Event(), threading.Event()

    def wait(self: Decoder, packet: Packet) -> Any:
        if slow.is_set():
            go_on.wait(PATIENCE_S)
        return decode(self, packet)

    monkeypatch.setattr(Decoder, "decode", wait)
    with (
        RtspServer({"yard": films("fast.mp4", gop=10, fps=250)}) as server,
        running(server.url("yard")) as camera,
        frames_of() as frames,
        contextlib.ExitStack() as stack,
    ):
        stack.callback(go_on.set)
        frame(frames)
        slow.set()
        lost = camera.wait(lambda report: report.dropped > 0).dropped
        go_on.set()
        server["yard"].drop()
        camera.wait(lambda report: report.info["losses"] == 1 and report.state is State.RUNNING)
        assert camera.told.dropped >= lost
        assert camera.info["decode_errors"] == 0
