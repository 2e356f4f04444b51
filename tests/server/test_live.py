"""Live pictures: shared by all viewers, with the results of their frame, and let go when nobody looks."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import Any

import pytest

from frameloom.server import results

from .bench import HALL, YARD, Camera, Processor, processor, until

Server = Any
KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def tasks() -> set[asyncio.Task[Any]]:
    return {task for task in asyncio.all_tasks() if not task.done()}


def watch(camera: str = "hall") -> list[str]:
    """The lines that open a WebSocket."""
    upgrade = [
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {KEY}",
    ]
    return [f"GET /streams/{camera}/live.ws HTTP/1.1", "Host: 127.0.0.1", *upgrade]


def stream(camera: str = "hall") -> list[str]:
    return [f"GET /streams/{camera}/live.mjpg HTTP/1.1", "Host: 127.0.0.1"]


def reset(connection: socket.socket) -> None:
    """Go without a word, as a process that is killed."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


async def read_what_is_there(connection: socket.socket) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.1):
            while await asyncio.get_running_loop().sock_recv(connection, 1 << 20):
                pass


async def test_a_viewer_gets_the_picture_as_it_is(server: Server, camera: Camera) -> None:
    async with server() as bench, bench.viewer() as viewer:
        await camera.until_watched()
        jpeg = camera.show()
        head, data = await viewer.picture()
    assert data == jpeg
    assert head["frame_seq"] == 1 and head["captured_ns"] == camera.captured_ns
    assert (head["width"], head["height"], head["pts_ns"]) == (320, 240, 40_000_000)


async def test_many_viewers_are_one_reader(server: Server, camera: Camera) -> None:
    async with server() as bench, contextlib.AsyncExitStack() as viewers:
        watching = [await viewers.enter_async_context(bench.viewer()) for _ in range(10)]
        connections = [await bench.raw(*stream()) for _ in range(10)]
        await until(lambda: bench.app.state.live.viewers == 20)
        camera.show()
        assert {(await viewer.head())["frame_seq"] for viewer in watching} == {1}
        assert camera.readers == 1
        for connection in connections:
            connection.close()
        await until(lambda: bench.app.state.live.viewers == 10)
        assert camera.readers == 1
        await viewers.aclose()
        await camera.until_alone()


async def test_a_slow_viewer_misses_pictures_and_slows_nobody(server: Server, runtime_dir: Any) -> None:
    camera = Camera(nbytes=200_000)
    async with server() as bench, bench.viewer() as fast:
        slow = await bench.raw(*watch(), receive_bytes=4096)
        await until(lambda: bench.app.state.live.viewers == 2)
        numbers = []
        while bench.app.state.live.missed < 5 and len(numbers) < 500:
            camera.show()
            numbers.append((await fast.head())["number"])
            if len(numbers) % 50 == 0:  # it reads a little, and finds itself far behind
                with contextlib.suppress(BlockingIOError):
                    while slow.recv(1 << 20):  # noqa: ASYNC110 - reads what is there, in turns with the others
                        await asyncio.sleep(0.01)
        assert numbers == list(range(1, len(numbers) + 1)), "the fast one gets every picture"
        assert bench.app.state.live.missed >= 5
        slow.close()
    camera.close()


async def test_a_viewer_with_a_window_gets_no_more_than_it_has_shown(server: Server, camera: Camera) -> None:
    async with server() as bench, bench.viewer(query="?window=2") as viewer, bench.viewer() as other:
        await until(lambda: bench.app.state.live.viewers == 2)
        for _ in range(6):
            camera.show()
            await other.head()
        first = [(await viewer.head())["number"] for _ in range(2)]
        assert first == [1, 2]
        await viewer.connection.send("2")
        assert (await viewer.head())["number"] == 6, "the newest, not the next"
        assert bench.app.state.live.missed == 3


@pytest.mark.parametrize("noise", ["", "soon", "9" * 5000, b"\x00\x01"])
async def test_what_a_viewer_says_harms_nobody(server: Server, camera: Camera, noise: Any) -> None:
    async with server() as bench, bench.viewer(query="?window=2") as viewer:
        await camera.until_watched()
        await viewer.connection.send(noise)
        camera.show()
        assert (await viewer.head())["number"] == 1


async def test_a_viewer_that_takes_nothing_is_let_go(server: Server, camera: Camera) -> None:
    """Or a laptop that was closed would keep the camera decoding."""
    async with server(patience_s=0.2) as bench, bench.viewer(query="?window=1") as viewer:
        await camera.until_watched()
        camera.show()
        assert (await viewer.head())["number"] == 1
        code, reason = await viewer.end()
        assert code == 1013 and reason == "no picture was taken for 0.2 s"
        await camera.until_alone()


@pytest.mark.parametrize("lines", [watch(), stream()], ids=["ws", "mjpg"])
async def test_a_viewer_whose_network_stands_still_is_let_go(
    server: Server, runtime_dir: Any, lines: list[str]
) -> None:
    camera = Camera(nbytes=400_000)
    async with server(patience_s=0.3) as bench, bench.viewer() as other:
        stuck = await bench.raw(*lines, receive_bytes=4096)
        await until(lambda: bench.app.state.live.viewers == 2)
        while bench.app.state.live.viewers == 2:
            camera.show()
            await other.head()
        stuck.close()
    camera.close()


@pytest.mark.parametrize("lines", [watch(), stream()], ids=["ws", "mjpg"])
@pytest.mark.parametrize("phase", ["asking", "asked", "waiting", "reading", "blocked"])
@pytest.mark.parametrize("leave", [reset, socket.socket.close], ids=["reset", "close"])
async def test_a_viewer_leaves_nothing_behind(
    server: Server, runtime_dir: Any, lines: list[str], phase: str, leave: Any
) -> None:
    camera = Camera(nbytes=400_000)
    async with server() as bench:
        await bench.http.get("/api/site")
        before = tasks()
        if phase == "asking":
            connection = await bench.raw()  # an empty line, and no request
        else:
            connection = await bench.raw(*lines, receive_bytes=4096)
        if phase not in ("asking", "asked"):
            await camera.until_watched()
        if phase in ("reading", "blocked"):
            camera.show()
            await asyncio.get_running_loop().sock_recv(connection, 100)
        if phase == "blocked":
            for _ in range(20):
                camera.show()
                await asyncio.sleep(0.005)
        leave(connection)
        await until(lambda: bench.app.state.live.viewers == 0 and not tasks() - before)
        await camera.until_alone()
    camera.close()


async def test_a_viewer_may_come_before_the_camera(server: Server, runtime_dir: Any) -> None:
    """The site has it, but no picture is there yet."""
    async with server() as bench, bench.viewer() as viewer:
        await until(lambda: bench.app.state.live.viewers == 1)
        camera = Camera()
        await camera.until_watched()
        camera.show()
        assert (await viewer.head())["frame_seq"] == 1
        camera.close()


async def test_a_camera_that_the_site_does_not_have(server: Server) -> None:
    async with server() as bench:
        async with bench.viewer("attic") as viewer:
            assert await viewer.end() == (4404, "no camera 'attic'; there are: hall")
        async with bench.viewer("x" * 300) as viewer:
            code, reason = await viewer.end()
            assert code == 4404 and reason.startswith("no camera 'xxx") and len(reason.encode()) <= 123
        answer = await bench.http.get("/streams/attic/live.mjpg")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown-name")


async def test_a_camera_that_is_removed_while_it_is_watched(server: Server, camera: Camera) -> None:
    async with server(HALL, YARD) as bench, bench.viewer() as viewer:
        async with bench.http.stream("GET", "/streams/hall/live.mjpg") as answer:
            await until(lambda: bench.app.state.live.viewers == 2)
            camera.show()
            await viewer.head()
            await bench.want(YARD)
            assert await viewer.end() == (4404, "no camera 'hall'; there are: yard")
            assert (await answer.aread()).endswith(b"\r\n--frame\r\n"), (
                "the answer has come to its proper end"
            )
        await camera.until_alone()


async def test_a_camera_that_comes_back_from_the_dead(server: Server, runtime_dir: Any) -> None:
    """Its frames count from 1 again; results of its former life are not drawn on them."""
    async with server(HALL, processor("motion")) as bench, bench.viewer() as viewer:
        first = Camera()
        motion = Processor("motion", first)
        await first.until_watched()
        await motion.until_watched()
        for _ in range(3):
            motion.say(first.seq + 1, captured_ns=1, life="first")  # too early to belong to the picture
            first.show()
            motion.say(life="first")
            await viewer.head()
        first.close()
        second = Camera()
        motion._camera = second
        await second.until_watched()
        second.show()
        motion.say(life="second")
        head = await viewer.head()
        assert head["frame_seq"] == 1
        assert [each["values"] for each in head["results"]] in ([{"life": "second"}], [])
        second.show()
        motion.say(life="second")
        assert [each["values"] for each in (await viewer.head())["results"]] == [{"life": "second"}]
        second.close()
        motion.close()


async def show_and_say(camera: Camera, motion: Processor, viewer: Any) -> dict[str, Any]:
    """A picture whose result comes after it."""
    camera.show()
    getting = asyncio.create_task(viewer.head())
    await asyncio.sleep(0.02)
    assert not getting.done(), "the picture was sent without waiting for its result"
    motion.say(boxes=[camera.seq])
    head: dict[str, Any] = await getting
    return head


async def test_a_picture_waits_for_the_result_of_its_frame(
    server: Server, camera: Camera, motion: Processor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frameloom.server.live.WAIT_S", 30)
    async with server(HALL, processor("motion")) as bench, bench.viewer() as viewer:
        await camera.until_watched()
        await motion.until_watched()
        for _ in range(3):
            head = await show_and_say(camera, motion, viewer)
            assert [each["frame_seq"] for each in head["results"]] == [head["frame_seq"]]
            assert head["results"][0] == {
                "processor": "motion",
                "frame_seq": camera.seq,
                "values": {"boxes": [camera.seq]},
            }


async def test_a_result_that_came_first_is_kept_for_its_picture(
    server: Server, camera: Camera, motion: Processor
) -> None:
    async with server(HALL, processor("motion")) as bench, bench.viewer():
        await camera.until_watched()
        await motion.until_watched()
        captured_ns = 10**15
        for seq in (7, 8, 9):
            motion.say(seq, captured_ns + seq, n=seq)
        motion.say(10, captured_ns + 10, source="another", n=-1)
        feed = bench.app.state.live._feeds["hall"]
        await until(lambda: len(feed._results["motion"]._kept) == 3)
        assert feed._results["motion"].of(results.FrameId(8, captured_ns + 8)).values == {"n": 8}


async def test_nobody_waits_for_a_processor_that_is_too_slow(
    server: Server, camera: Camera, motion: Processor
) -> None:
    async with server(HALL, processor("motion")) as bench, bench.viewer() as viewer:
        await camera.until_watched()
        await motion.until_watched()
        for _ in range(5):
            camera.show()
            assert (await viewer.head())["results"] == []
        assert not bench.app.state.live._feeds["hall"]._results["motion"].keeps_up


async def test_processors_come_and_go_while_one_watches(
    server: Server, camera: Camera, motion: Processor
) -> None:
    async with server(HALL) as bench, bench.viewer() as viewer:
        await camera.until_watched()
        camera.show()
        assert (await viewer.head())["results"] == []
        await bench.want(HALL, processor("motion"))
        await motion.until_watched()
        camera.show()
        motion.say(n=1)
        assert [each["processor"] for each in (await viewer.head())["results"]] == ["motion"]
        await bench.want(HALL)
        await motion.until_alone()
        camera.show()
        assert (await viewer.head())["results"] == []


async def test_a_new_viewer_sees_the_last_picture_at_once(server: Server, camera: Camera) -> None:
    """Of a camera that is lost, too: the page says that it is old."""
    async with server() as bench, bench.viewer() as first:
        await camera.until_watched()
        camera.show()
        await first.head()
        async with bench.viewer() as second:
            assert (await second.head())["frame_seq"] == 1


async def test_multipart_pictures(server: Server, camera: Camera) -> None:
    async with server() as bench, bench.http.stream("GET", "/streams/hall/live.mjpg") as answer:
        await camera.until_watched()
        assert answer.headers["content-type"] == "multipart/x-mixed-replace; boundary=frame"
        parts = Parts(answer)
        for _ in range(3):
            jpeg = camera.show()
            headers, body = await parts.next()
            assert body == jpeg
            assert headers["x-frame"] == str(camera.seq) and headers["content-type"] == "image/jpeg"
        await bench.want(YARD)
        assert await parts.rest() == b""


class Parts:
    """Reads a multipart answer as a browser does: a part has come when the boundary behind it has."""

    def __init__(self, answer: Any) -> None:
        self._chunks = answer.aiter_raw()
        self._data = b""

    async def next(self) -> tuple[dict[str, str], bytes]:
        head = await self._until(b"\r\n\r\n")
        lines = [line for line in head.decode().split("\r\n") if line not in ("", "--frame")]
        headers = {name.lower(): value for name, value in (line.split(": ") for line in lines)}
        body = await self._until(b"\r\n--frame\r\n")
        assert len(body) == int(headers["content-length"])
        return headers, body

    async def rest(self) -> bytes:
        return self._data + b"".join([chunk async for chunk in self._chunks])

    async def _until(self, end: bytes) -> bytes:
        while end not in self._data:
            self._data += await anext(self._chunks)
        found, _, self._data = self._data.partition(end)
        return found


async def test_a_window_out_of_range_is_refused(server: Server) -> None:
    async with server() as bench:
        connection = await bench.raw(*[line.replace("live.ws", "live.ws?window=99") for line in watch()])
        answer = await asyncio.get_running_loop().sock_recv(connection, 1000)
        assert answer.startswith(b"HTTP/1.1 403")
        connection.close()


async def test_the_end_of_the_server_is_said(server: Server, camera: Camera) -> None:
    async with server() as bench, bench.viewer() as viewer:
        await camera.until_watched()
        bench.app.state.live.close()
        assert await viewer.end() == (1012, "the server is stopping")
        await camera.until_alone()
        answer = await bench.http.get("/streams/hall/live.mjpg")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "stopping")
