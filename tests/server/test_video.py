"""Live video: what the camera sent, fit for browsers, shared by all viewers, and let go when nobody looks."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import struct
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import av
import pytest
from websockets.asyncio.client import ClientConnection, connect

from frameloom.bus.publisher import PacketPublisher
from frameloom.model.packet import Packet, PacketFormat
from frameloom.server import video
from frameloom.testing.films import counter, encode, read_counter
from frameloom.workers.avc import AvcStream, NotPlayable

from .bench import HALL, PATIENCE_S, SITE, Bench, Processor, processor, until

Server = Any
FRAMES, GOP, STEP_NS = 20, 5, 40_000_000


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder, made = tmp_path_factory.mktemp("films"), {}

    def film(name: str, **options: Any) -> Path:
        if name not in made:
            made[name] = encode(
                counter(width=320, height=240, frames=FRAMES), folder / name, gop=GOP, **options
            )
        return made[name]

    return film


def packets_of_film(path: Path) -> list[Packet]:
    """As the camera worker publishes them."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        found = PacketFormat(context.name, 320, 240, context.extradata or b"")
        packets = [packet for packet in container.demux(stream) if packet.size]
        step = stream.time_base * 1_000_000_000
        first = min(int((p.dts or 0) * step) for p in packets)
        found_packets = []
        for packet in packets:
            pts_ns, dts_ns = (int((time or 0) * step) - first for time in (packet.pts, packet.dts))
            key = bool(packet.is_keyframe)
            found_packets.append(Packet(bytes(packet), found, pts_ns, key, 0, 0, dts_ns, STEP_NS))
        return found_packets


class VideoCamera:
    """Publishes what a camera worker, or a view worker (`live`), would publish."""

    def __init__(self, stream: str) -> None:
        self._packets = PacketPublisher(stream, site=SITE)

    @property
    def wanted(self) -> bool:
        return self._packets.wanted

    def send(self, *packets: Packet, shift_ns: int = 0) -> None:
        for packet in packets:
            now = {"captured_ns": time.monotonic_ns(), "captured_at_ns": time.time_ns()}
            fields = {name: getattr(packet, name) for name in ("data", "format", "is_key", "duration_ns")}
            times = {"pts_ns": packet.pts_ns + shift_ns, "dts_ns": packet.dts_ns + shift_ns}
            self._packets.publish(Packet(**fields, **times, **now))

    def lose(self) -> None:
        """A number without an item, as readers see a lost packet."""
        self._packets._seq += 1

    def close(self) -> None:
        self._packets.close()


@pytest.fixture
def camera(runtime_dir: Path) -> Iterator[VideoCamera]:
    camera = VideoCamera("hall.packets")
    yield camera
    camera.close()


class VideoViewer:
    """The other end of `video.ws`: `configs` are the texts that came, `heads` and `data` the units or fragments."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.configs: list[dict[str, Any]] = []
        self.heads: list[dict[str, Any]] = []
        self.data: list[bytes] = []
        self.inits: list[bytes] = []

    async def take(self, count: int) -> list[dict[str, Any]]:
        """The heads of the next `count` units."""
        async with asyncio.timeout(PATIENCE_S):
            while count:
                count -= self._understand(await self.connection.recv())
        return self.heads

    def _understand(self, message: str | bytes) -> bool:
        if isinstance(message, str):
            self.configs.append(json.loads(message))
            return False
        (length,) = struct.unpack_from("<I", message)
        head, data = json.loads(message[4 : 4 + length]), message[4 + length :]
        if head.get("init"):
            self.inits.append(data)
            return False
        self.heads.append(head)
        self.data.append(data)
        return True


async def relay(camera: VideoCamera, packets: list[Packet], *viewers: VideoViewer, shift_ns: int = 0) -> None:
    """One after the other, as fast as they are taken: who is too slow for a camera would miss some."""
    for packet in packets:
        camera.send(packet, shift_ns=shift_ns)
        await asyncio.gather(*(viewer.take(1) for viewer in viewers))


@contextlib.asynccontextmanager
async def watching(bench: Bench, query: str = "", camera: str = "hall") -> AsyncIterator[VideoViewer]:
    url = f"ws://127.0.0.1:{bench.port}/streams/{camera}/video.ws{query}"
    async with connect(url, max_queue=None, compression=None, max_size=None) as connection:
        yield VideoViewer(connection)


def numbers_in_mp4(data: bytes) -> list[tuple[int | None, int]]:
    """(stamp, media time in ns) of each picture of an MP4, in the order in which they are shown."""
    with av.open(io.BytesIO(data)) as container:
        return [
            (read_counter(frame.to_ndarray(format="gray")), round((frame.time or 0) * 1e9))
            for frame in container.decode(video=0)
        ]


def numbers_in_units(viewer: VideoViewer) -> list[int | None]:
    context = av.CodecContext.create("h264", "r")
    context.extradata = bytes.fromhex(viewer.configs[0]["description"])
    frames = [frame for data in viewer.data for frame in context.decode(av.Packet(data))]
    return [read_counter(frame.to_ndarray(format="gray")) for frame in [*frames, *context.decode(None)]]


FILMS = {
    "plain.ts": {},
    "lengths.mp4": {},
    "b.ts": {"bframes": 2},
    "b.mp4": {"bframes": 2},
    "slices.ts": {"slices": 4},
}


@pytest.mark.parametrize("name", FILMS)
async def test_fragments_are_the_cameras_pictures_at_their_times(
    server: Server, camera: VideoCamera, films: Any, name: str
) -> None:
    packets = packets_of_film(films(name, **FILMS[name]))
    async with server() as bench, watching(bench, "?form=mse") as viewer:
        await until(lambda: camera.wanted)
        await relay(camera, packets, viewer)
    (config,), (init,) = viewer.configs, viewer.inits
    assert config["codec"].startswith("avc1.") and (config["width"], config["height"]) == (320, 240)
    shown = numbers_in_mp4(init + b"".join(viewer.data))
    assert [number for number, _ in shown] == list(range(FRAMES))
    assert [at_ns // 1000 for _, at_ns in shown] == sorted(packet.pts_ns // 1000 for packet in packets)
    assert [head["pts_ns"] for head in viewer.heads] == [packet.pts_ns for packet in packets]
    assert [head["number"] for head in viewer.heads] == list(range(1, FRAMES + 1))


@pytest.mark.parametrize("name", FILMS)
async def test_units_are_for_a_decoder(server: Server, camera: VideoCamera, films: Any, name: str) -> None:
    packets = packets_of_film(films(name, **FILMS[name]))
    async with server() as bench, watching(bench) as viewer:
        await until(lambda: camera.wanted)
        await relay(camera, packets, viewer)
    assert numbers_in_units(viewer) == list(range(FRAMES))
    assert [head["key"] for head in viewer.heads] == [packet.is_key for packet in packets]


async def test_a_newcomer_begins_at_the_newest_key_frame_at_once(
    server: Server, camera: VideoCamera, films: Any
) -> None:
    packets = packets_of_film(films("plain.ts"))
    async with server() as bench, watching(bench) as first:
        await until(lambda: camera.wanted)
        await relay(camera, packets[: 2 * GOP + 3], first)
        async with watching(bench) as second:
            await second.take(3)
        assert numbers_in_units(second) == [10, 11, 12]
        assert [head["number"] for head in second.heads] == [11, 12, 13]


async def test_all_viewers_share_one_subscription_and_it_ends_with_the_last(
    server: Server, camera: VideoCamera, films: Any
) -> None:
    packets = packets_of_film(films("plain.ts"))
    async with server() as bench:
        async with watching(bench) as one, watching(bench, "?form=mse") as other:
            await until(lambda: camera.wanted and bench.app.state.video.viewers == 2)
            await relay(camera, packets, one, other)
            assert len(camera._packets.readers()) == 1
        await until(lambda: not camera.wanted)


async def test_after_a_lost_packet_pictures_go_on_at_a_key_frame(
    server: Server, camera: VideoCamera, films: Any
) -> None:
    packets = packets_of_film(films("plain.ts"))
    async with server() as bench, watching(bench) as viewer:
        await until(lambda: camera.wanted)
        await relay(camera, packets[:7], viewer)
        camera.lose()
        camera.send(*packets[8:10])
        await relay(camera, packets[10:], viewer)
    assert numbers_in_units(viewer) == [*range(7), *range(10, 20)]


async def test_a_slow_viewer_goes_on_at_a_key_frame_and_slows_nobody(
    server: Server, camera: VideoCamera, films: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video, "_LATE_NS", 0)
    packets = packets_of_film(films("plain.ts"))
    async with server() as bench, watching(bench, "?window=1") as slow, watching(bench) as other:
        await until(lambda: camera.wanted and bench.app.state.video._feeds["hall"].viewers == 2)
        await relay(camera, packets[:1], slow, other)  # and the slow one does not say that it has shown it
        await relay(camera, packets[1:17], other)
        await slow.connection.send("1")
        await slow.take(1)
        assert [head["number"] for head in slow.heads] == [1, 16]
        assert slow.heads[-1]["key"]
        assert bench.app.state.video._feeds["hall"].missed == 14


async def test_time_that_begins_anew_is_a_new_beginning_for_players(
    server: Server, camera: VideoCamera, films: Any
) -> None:
    packets = packets_of_film(films("plain.ts"))
    async with server() as bench, watching(bench, "?form=mse") as viewer:
        await until(lambda: camera.wanted)
        await relay(camera, packets, viewer, shift_ns=60_000_000_000)
        await relay(camera, packets, viewer)
    assert len(viewer.inits) == len(viewer.configs) == 2
    shown = numbers_in_mp4(viewer.inits[1] + b"".join(viewer.data[FRAMES:]))
    assert [number for number, _ in shown] == list(range(FRAMES))


async def test_another_format_is_told(
    server: Server, camera: VideoCamera, films: Any, tmp_path: Path
) -> None:
    small = packets_of_film(films("plain.ts"))
    large = encode(counter(width=640, height=480, frames=GOP), tmp_path / "large.ts", gop=GOP)
    format = PacketFormat("h264", 640, 480)
    async with server() as bench, watching(bench) as viewer:
        await until(lambda: camera.wanted)
        await relay(camera, small[:3], viewer)
        for packet in packets_of_film(large):
            packet.format = format  # parameter sets come in band alone
            await relay(camera, [packet], viewer, shift_ns=200_000_000)
    assert [(each["width"], each["height"]) for each in viewer.configs] == [(320, 240), (640, 480)]


async def test_what_browsers_cannot_play_is_taken_from_the_stream_that_is_encoded_for_them(
    server: Server, camera: VideoCamera, films: Any
) -> None:
    live = VideoCamera("hall.live")
    try:
        async with server() as bench, watching(bench) as viewer:
            await until(lambda: camera.wanted)
            camera.send(Packet(b"\0\0\1\x40", PacketFormat("hevc", 320, 240), 0, True, 1, 1))
            await until(lambda: live.wanted)
            await until(lambda: not camera.wanted)
            packets = packets_of_film(films("plain.ts"))
            await relay(live, packets, viewer)
        assert numbers_in_units(viewer) == list(range(FRAMES))
    finally:
        live.close()


def test_what_browsers_cannot_play_is_said(films: Any) -> None:
    with pytest.raises(NotPlayable, match="this is mjpeg"):
        AvcStream(PacketFormat("mjpeg", 320, 240))
    deep = packets_of_film(films("deep.ts", pix_fmt="yuv422p10le"))
    with pytest.raises(NotPlayable, match=r"profile 122 of H\.264"):
        AvcStream(deep[0].format).unit(deep[0].data)


async def test_no_such_camera(server: Server) -> None:
    async with server() as bench, watching(bench, camera="nowhere") as viewer:
        async with asyncio.timeout(PATIENCE_S):
            await viewer.connection.wait_closed()
        assert viewer.connection.close_code == 4404


async def test_results_come_as_they_are_said(server: Server, camera: VideoCamera, runtime_dir: Path) -> None:
    from .bench import Camera

    hall = Camera()
    motion, other = Processor("motion", hall), Processor("other", hall)
    try:
        async with server(HALL, processor("motion"), processor("other")) as bench:
            url = f"ws://127.0.0.1:{bench.port}/streams/hall/results.ws"
            async with connect(url) as listener:
                await motion.until_watched()
                await other.until_watched()
                motion.say(seq=7, captured_ns=123, score=0.5)
                other.say(seq=7, captured_ns=123, source="yard", score=1.0)
                motion.say(seq=8, captured_ns=124, score=0.25)
                async with asyncio.timeout(PATIENCE_S):
                    said = [json.loads(await listener.recv()) for _ in range(2)]
            await motion.until_alone()
        assert [(each["processor"], each["frame_seq"], each["values"]) for each in said] == [
            ("motion", 7, {"score": 0.5}),
            ("motion", 8, {"score": 0.25}),
        ]
    finally:
        for each in (motion, other, hall):
            each.close()
