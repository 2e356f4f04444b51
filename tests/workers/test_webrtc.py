"""Viewers by WebRTC, with aiortc as the browser: real connections over loopback, pictures that hold their numbers."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import av
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

from frameloom.bus.publisher import PacketPublisher
from frameloom.model.errors import CommandError
from frameloom.model.packet import Packet, PacketFormat
from frameloom.model.worker import State, WorkerSpec
from frameloom.testing.films import counter, encode, read_counter
from frameloom.workers.link import Link
from frameloom.workers.webrtc import service
from frameloom.workers.webrtc import viewer as viewer_module
from frameloom.workers.webrtc.host import WebRtcHost
from frameloom.workers.webrtc.viewer import Viewer

FRAMES, GOP, STEP_NS = 60, 10, 40_000_000
PATIENCE_S = 60.0

pytestmark = pytest.mark.usefixtures("runtime_dir")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> list[Packet]:
    return packets_of(tmp_path_factory.mktemp("films") / "plain.mp4")


def packets_of(path: Path, **options: Any) -> list[Packet]:
    """As a camera worker publishes them."""
    encode(counter(width=320, height=240, frames=FRAMES), path, gop=GOP, **options)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        form = PacketFormat("h264", 320, 240, stream.codec_context.extradata or b"")
        step = stream.time_base * 1_000_000_000
        found = [packet for packet in container.demux(stream) if packet.size]
        first = min(int(packet.dts * step) for packet in found)
        return [
            Packet(
                bytes(each),
                form,
                int(each.pts * step) - first,
                each.is_keyframe,
                0,
                0,
                int(each.dts * step) - first,
            )
            for each in found
        ]


class Camera:
    """Sends the film again and again, a picture every 10 ms, while it is told to."""

    def __init__(self, film: list[Packet], stream: str = "hall.packets") -> None:
        self._packets = PacketPublisher(stream)
        self._film = film
        self.count = 0

    @property
    def wanted(self) -> bool:
        return self._packets.wanted

    def send(self, count: int = 1) -> None:
        for _ in range(count):
            packet, rounds = self._film[self.count % FRAMES], self.count // FRAMES
            shift_ns = rounds * FRAMES * STEP_NS
            times = (packet.pts_ns + shift_ns, packet.is_key, time.monotonic_ns(), time.time_ns())
            self._packets.publish(
                Packet(packet.data, packet.format, *times, packet.dts_ns + shift_ns, STEP_NS)
            )
            self.count += 1

    def begin_anew(self) -> None:
        self.count = 0

    async def go_on(self) -> None:
        while True:
            self.send()
            await asyncio.sleep(0.01)

    def close(self) -> None:
        self._packets.close()


@pytest.fixture
def camera(film: list[Packet], runtime_dir: Path) -> Iterator[Camera]:
    camera = Camera(film)
    yield camera
    camera.close()


class Worker:
    """The host in a thread of its own, as in its process."""

    def __init__(self) -> None:
        self.link, self._theirs = Link.pair()
        spec = WorkerSpec("webrtc", "webrtc", "", {"host": "127.0.0.1", "port": 0})
        self.host = WebRtcHost(spec, self.link)
        self._thread = threading.Thread(target=self.host.run)
        self._thread.start()

    def offer(self, sdp: str, camera: str = "hall") -> dict[str, Any]:
        return self.host.command("offer", {"camera": camera, "sdp": sdp, "called": "127.0.0.1"})

    def leave(self, id: str, camera: str = "hall") -> None:
        self.host.command("leave", {"camera": camera, "id": id})

    @property
    def viewers(self) -> int:
        return int(self.host.report().info["viewers"])

    def close(self) -> None:
        self.link.stop()
        self._thread.join(PATIENCE_S)
        self.link.close()
        self._theirs.close()
        assert not self._thread.is_alive()


@pytest.fixture
def worker(runtime_dir: Path) -> Iterator[Worker]:
    worker = Worker()
    yield worker
    worker.close()


class Client:
    """A viewer: his connection, and the numbers that he reads in the pictures."""

    def __init__(self) -> None:
        self.peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.peer.addTransceiver("video", direction="recvonly")
        self.numbers: list[int] = []
        self.answer: dict[str, Any] = {}
        self._track: Any = None
        self.peer.on("track", self._take)

    def _take(self, track: Any) -> None:
        self._track = track

    async def offer(self) -> str:
        await self.peer.setLocalDescription(await self.peer.createOffer())
        return str(self.peer.localDescription.sdp)

    async def come(self, worker: Worker) -> None:
        """Return once he is connected."""
        self.answer = await asyncio.to_thread(worker.offer, await self.offer())
        await self.peer.setRemoteDescription(RTCSessionDescription(self.answer["sdp"], "answer"))
        await until(lambda: self.peer.connectionState == "connected")

    async def see(self, count: int = 1) -> list[int]:
        """The numbers in the next pictures."""
        async with asyncio.timeout(PATIENCE_S):
            for _ in range(count):
                frame = await self._track.recv()
                number = read_counter(frame.to_ndarray(format="gray"))
                assert number is not None, "the picture is broken"
                self.numbers.append(number)
        return self.numbers[-count:]


@contextlib.asynccontextmanager
async def client() -> AsyncIterator[Client]:
    client = Client()
    try:
        yield client
    finally:
        await client.peer.close()


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - no descriptor tells
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def running(camera: Camera) -> AsyncIterator[None]:
    task = asyncio.create_task(camera.go_on())
    try:
        yield
    finally:
        task.cancel()


def advance(numbers: list[int], most: int = 1) -> bool:
    """Whether each picture is the next one after the last, or left out at most so many."""
    steps = [(b - a) % FRAMES for a, b in itertools.pairwise(numbers)]
    return all(1 <= step <= most for step in steps)


def run(work: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(work())  # type: ignore[arg-type]


def test_a_viewer_sees_every_picture(worker: Worker, camera: Camera) -> None:
    async def work() -> None:
        async with client() as viewer, running(camera):
            await viewer.come(worker)
            assert advance(await viewer.see(100))
            assert worker.viewers == 1
        await until(lambda: worker.viewers == 0 and not camera.wanted)

    run(work)


def test_who_comes_late_has_the_newest_picture_at_once(worker: Worker, camera: Camera) -> None:
    """The camera stands still, in the middle of a group of pictures."""

    async def work() -> None:
        async with client() as early, client() as late:
            await early.come(worker)
            camera.send(GOP + 4)
            await early.see(GOP + 3)
            await late.come(worker)
            assert await late.see(3) == [GOP, GOP + 1, GOP + 2]
            camera.send()
            assert await late.see() == [GOP + 3]

    run(work)


def test_all_viewers_share_one_reading(worker: Worker, camera: Camera) -> None:
    async def work() -> None:
        async with client() as one, client() as other, running(camera):
            await one.come(worker)
            await other.come(worker)
            for viewer in (one, other, one, other):
                assert advance(await viewer.see(20))
            assert [reader.client for reader in camera._packets.readers()] == ["webrtc"]
            await one.peer.close()
            await until(lambda: worker.viewers == 1)
            assert advance(await other.see(20))

    run(work)


def test_rtp_time_is_media_time(worker: Worker, camera: Camera, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer says how they belong together, so that results find their picture."""

    times: list[int] = []

    async def work() -> None:
        async with client() as viewer:
            receiver = viewer.peer.getReceivers()[0]
            handle = receiver._handle_rtp_packet

            async def noted(packet: Any, arrival_time_ms: int) -> None:
                times.append(packet.timestamp)
                await handle(packet, arrival_time_ms)

            monkeypatch.setattr(receiver, "_handle_rtp_packet", noted)
            await viewer.come(worker)
            camera.send(20)
            numbers, origin = await viewer.see(19), viewer.answer["origin"]
            ours = [(origin + number * STEP_NS * 9 // 100_000) & 0xFFFFFFFF for number in numbers]
            assert list(dict.fromkeys(times))[:19] == ours

    run(work)


def test_what_the_network_loses_is_sent_again(worker: Worker, camera: Camera) -> None:
    dropped: set[int] = set()

    async def work() -> None:
        async with client() as viewer, running(camera):
            await viewer.come(worker)
            transport = viewer.peer.getReceivers()[0].transport.transport
            receive = transport._recv

            async def lossy() -> bytes:
                while True:
                    data = await receive()
                    number = int.from_bytes(data[2:4], "big")
                    if not is_rtp(data) or number % 7 or number in dropped:
                        return data
                    dropped.add(number)

            transport._recv = lossy
            assert advance(await viewer.see(60))
            assert len(dropped) >= 8

    run(work)


def is_rtp(data: bytes) -> bool:
    return 128 <= data[0] < 192 and not 192 <= data[1] < 224


def test_who_cannot_go_on_gets_all_since_the_key_frame(worker: Worker, camera: Camera) -> None:
    async def work() -> None:
        async with client() as viewer:
            await viewer.come(worker)
            camera.send(GOP + 4)
            await viewer.see(GOP + 3)
            (server_side,) = viewers_of(worker)
            receiver = viewer.peer.getReceivers()[0]
            await receiver._send_rtcp_pli(server_side.ssrc)
            await until(lambda: server_side._resyncs)
            camera.send(2)
            assert await viewer.see(6) == [GOP + 3, *range(GOP, GOP + 5)]

    run(work)


def viewers_of(worker: Worker) -> list[Viewer]:
    return list(worker.host._running.result()[1]._viewers.values())


def test_a_viewer_for_whom_the_network_is_too_slow_goes_on_at_a_key_frame(
    worker: Worker, camera: Camera, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes nothing for a while: what waits for him is bounded, what he missed is counted, nobody else notices."""
    monkeypatch.setattr(viewer_module, "_MOST_WAITING", 20)

    async def work() -> None:
        async with client() as slow, client() as other, running(camera):
            await slow.come(worker)
            await other.come(worker)
            await slow.see(5)
            his = next(each for each in viewers_of(worker) if each.id == slow.answer["id"])
            monkeypatch.setattr(his.seat, "send", lambda data: False)
            await until(lambda: his.missed > 2 * GOP)
            assert len(his._waiting) <= 20 + 5
            monkeypatch.undo()
            await slow.see(60)
            pairs = itertools.pairwise(slow.numbers)
            resumed = [after for before, after in pairs if (after - before) % FRAMES != 1]
            assert resumed and all(number % GOP == 0 for number in resumed)
            assert advance(await other.see(100))
            assert worker.host.report().dropped == his.missed

    run(work)


def test_one_who_says_that_he_goes_is_let_go(worker: Worker, camera: Camera) -> None:
    async def work() -> None:
        async with client() as viewer, running(camera):
            await viewer.come(worker)
            await viewer.see()
            with pytest.raises(CommandError, match="no such viewer"):
                await asyncio.to_thread(worker.leave, viewer.answer["id"], "yard")
            await asyncio.to_thread(worker.leave, viewer.answer["id"])
            await until(lambda: worker.viewers == 0 and not camera.wanted)
            await until(lambda: viewer.peer.connectionState == "closed")

    run(work)


def test_one_who_vanishes_is_noticed(worker: Worker, camera: Camera, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        async with client() as viewer, running(camera):
            await viewer.come(worker)
            await viewer.see()
            monkeypatch.setattr(viewer_module, "_SILENT_S", 0.2)  # aiortc asks every 5 s
            await until(lambda: worker.viewers == 0 and not camera.wanted)

    run(work)


def test_one_who_never_comes_is_forgotten(
    worker: Worker, camera: Camera, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is no trouble to anybody meanwhile."""

    async def work() -> None:
        async with client() as viewer, client() as other, running(camera):
            await other.come(worker)
            await asyncio.to_thread(worker.offer, await viewer.offer())
            assert advance(await other.see(30))
            assert len(viewers_of(worker)) == 2
            await other.peer.close()
            monkeypatch.setattr(viewer_module, "_JOIN_S", 0.2)
            await until(lambda: not viewers_of(worker) and not camera.wanted)

    run(work)


def test_there_is_an_end_to_their_number(
    worker: Worker, camera: Camera, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MOST_VIEWERS", 1)

    async def work() -> None:
        async with client() as one, client() as other:
            await one.come(worker)
            with pytest.raises(CommandError, match="1 viewers look by WebRTC already") as refused:
                await other.come(worker)
            assert refused.value.code == "busy"

    run(work)


def test_a_camera_whose_time_begins_anew_lets_its_viewers_come_again(worker: Worker, camera: Camera) -> None:
    async def work() -> None:
        async with client() as viewer, client() as again:
            await viewer.come(worker)
            camera.send(GOP)
            await viewer.see(GOP - 1)
            camera.begin_anew()
            camera.send()
            await until(lambda: viewer.peer.connectionState == "closed")
            async with running(camera):
                await again.come(worker)
                assert advance(await again.see(30))

    run(work)


def test_pictures_out_of_order_are_refused_in_words(worker: Worker, tmp_path: Path) -> None:
    camera = Camera(packets_of(tmp_path / "b.mp4", bframes=2, preset="veryfast"))

    async def work() -> None:
        async with client() as viewer, client() as again:
            await asyncio.to_thread(worker.offer, await viewer.offer())
            camera.send(GOP)
            await until(lambda: not viewers_of(worker))
            camera.send(1)
            with pytest.raises(
                CommandError, match=r"'hall' sends its pictures out of order \(B-frames\)"
            ) as refused:
                await again.come(worker)
            assert refused.value.code == "unsupported"
            await until(lambda: not camera.wanted)

    run(work)
    camera.close()


def test_what_no_browser_plays_is_taken_encoded(worker: Worker, film: list[Packet]) -> None:
    """A camera that sends JPEG: its view encodes it for all, while somebody reads."""
    jpeg, live = PacketPublisher("hall.packets"), Camera(film, "hall.live")
    jpeg.publish(
        Packet(b"\xff\xd8\xff\xd9", PacketFormat("mjpeg", 320, 240), 0, True, time.monotonic_ns(), 0)
    )

    async def work() -> None:
        async with client() as viewer, running(live):
            await viewer.come(worker)
            assert advance(await viewer.see(30))

    run(work)
    live.close()
    jpeg.close()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda sdp: "hello", "invalid"),
        (lambda sdp: sdp.replace("H264", "VP9"), "not-acceptable"),
        (lambda sdp: sdp.replace("m=video", "m=audio"), "not-acceptable"),
        (lambda sdp: sdp.replace("a=ice-ufrag", "a=other"), "invalid"),
        (lambda sdp: sdp.replace("a=fingerprint:sha-", "a=fingerprint:md"), "invalid"),
        (lambda sdp: sdp + "a=x\r\n" * 20_000, "too-large"),
    ],
)
def test_offers_that_cannot_be_answered(
    worker: Worker, camera: Camera, change: Callable[[str], str], code: str
) -> None:
    async def work() -> None:
        async with client() as viewer:
            sdp = change(await viewer.offer())
            with pytest.raises(CommandError, match=r"^the offer: ") as refused:
                await asyncio.to_thread(worker.offer, sdp)
            assert refused.value.code == code
        assert not camera.wanted

    run(work)


def test_commands_that_it_does_not_know(worker: Worker) -> None:
    for name, args, code in (("dance", {}, "unknown-command"), ("leave", {"id": "1"}, "invalid")):
        with pytest.raises(CommandError) as refused:
            worker.host.command(name, args)
        assert refused.value.code == code
    report = worker.host.report()
    assert (report.state, report.detail, report.info["viewers"]) == (State.RUNNING, "nobody is watching", 0)


def test_a_worker_that_stops_says_goodbye_and_takes_nobody(worker: Worker, camera: Camera) -> None:
    async def work() -> None:
        async with client() as viewer, client() as late:
            async with running(camera):
                await viewer.come(worker)
                await viewer.see()
                worker.link.stop()
                await until(lambda: viewer.peer.connectionState == "closed")
            await asyncio.to_thread(worker._thread.join)
            with pytest.raises(CommandError, match="is being stopped") as refused:
                await late.come(worker)
            assert refused.value.code == "worker-ended"

    run(work)


def test_it_is_small_until_the_first_viewer_comes() -> None:
    code = "import sys, frameloom.workers.main, frameloom.workers.webrtc.host; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"aiortc", "av", "numpy", "asyncio", "cryptography"} & set(loaded)
