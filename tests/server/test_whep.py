"""Viewers by WebRTC through the server: the whole chain with a real worker, and what it refuses without one."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from websockets.asyncio.client import connect

from frameloom.model.worker import WorkerSpec
from frameloom.testing.films import read_counter
from tests.journey.running import wait_until

from .bench import HALL, PATIENCE_S
from .sites import FRAMES, Watched, watched_site
from .test_http import problem

Server = Any
SDP = {"Content-Type": "application/sdp"}
OFF = WorkerSpec("webrtc", "webrtc", "nowhere:Nothing", enabled=False)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, module_runtime_dir: Path) -> Iterator[Watched]:
    with watched_site(tmp_path_factory.mktemp("watched"), module_runtime_dir) as watched:
        yield watched


class Viewer:
    """Posts its offer as a browser does; `answer` is the server's."""

    def __init__(self, http: httpx.AsyncClient, camera: str) -> None:
        self.peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.peer.addTransceiver("video", direction="recvonly")
        self._http = http
        self._camera = camera
        self._tracks: list[Any] = []
        self.peer.on("track", self._tracks.append)
        self.answer: httpx.Response

    async def come(self) -> None:
        await self.peer.setLocalDescription(await self.peer.createOffer())
        path = f"/streams/{self._camera}/whep"
        self.answer = await self._http.post(path, content=self.peer.localDescription.sdp, headers=SDP)
        assert self.answer.status_code == 201, self.answer.text
        await self.peer.setRemoteDescription(RTCSessionDescription(self.answer.text, "answer"))

    async def see(self, count: int) -> list[int]:
        """The numbers in the next pictures."""
        numbers = []
        async with asyncio.timeout(PATIENCE_S):
            for _ in range(count):
                frame = await self._tracks[0].recv()
                numbers.append(read_counter(frame.to_ndarray(format="gray")))
        return numbers


@contextlib.asynccontextmanager
async def viewer(running: Watched, camera: str = "hall") -> AsyncIterator[Viewer]:
    async with httpx.AsyncClient(base_url=running.site.url.rstrip("/"), timeout=PATIENCE_S) as http:
        viewer = Viewer(http, camera)
        try:
            await viewer.come()
            yield viewer
        finally:
            await viewer.peer.close()


def viewers(running: Watched) -> int:
    return int(running.site.worker("webrtc")["report"]["info"]["viewers"])


async def test_from_a_camera_to_viewers(running: Watched) -> None:
    """Two of them, from one reading of the camera, which decodes nothing for them; then they go."""
    async with viewer(running, "yard") as one, viewer(running, "yard") as other:
        for each in (one, other):
            numbers = await each.see(50)
            steps = [(b - a) % FRAMES for a, b in itertools.pairwise(numbers)]
            assert steps.count(1) >= 0.9 * len(steps), numbers
        running.site.wait_worker("webrtc", lambda worker: worker["report"]["info"]["viewers"] == 2)
        streams = running.site.worker("yard")["report"]["streams"]
        assert streams["yard.packets"]["readers"] == ["webrtc"] and not streams["yard"]["readers"]
    wait_until(lambda: viewers(running) == 0)


async def test_a_viewer_goes_by_http(running: Watched) -> None:
    async with viewer(running) as one:
        await one.see(2)
        location = one.answer.headers["location"]
        assert location.startswith("/streams/hall/whep/")
        assert int(one.answer.headers["x-rtp-origin"]) < 1 << 32
        http = one._http
        assert (await problem(await http.delete(location.replace("hall", "yard"))))[:2] == (
            404,
            "unknown-name",
        )
        assert (await http.delete(location)).status_code == 204
        wait_until(lambda: viewers(running) == 0)
        assert (await problem(await http.delete(location)))[:2] == (404, "unknown-name")


async def test_what_cannot_be_answered(running: Watched) -> None:
    async with httpx.AsyncClient(base_url=running.site.url.rstrip("/"), timeout=PATIENCE_S) as http:
        path = "/streams/hall/whep"
        audio = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\n"
        for content, code in (
            (b"hello", (422, "invalid")),
            (b"\xff", (422, "invalid")),
            (b"", (422, "invalid")),
            (audio, (406, "not-acceptable")),
            (b"v=0" + b"\n" * 50_000, (413, "too-large")),
            (b"v=0" + b"\n" * 70_000, (413, "too-large")),
        ):
            answer = await http.post(path, content=content, headers=SDP)
            assert (await problem(answer))[:2] == code
        other = {**SDP, "Origin": "http://elsewhere.example"}
        assert (await problem(await http.post(path, content=audio, headers=other)))[:2] == (403, "forbidden")


async def test_refused_without_the_worker(server: Server) -> None:
    async with server(HALL, OFF) as bench:
        http, path = bench.http, "/streams/hall/whep"
        assert (await problem(await http.post("/streams/cellar/whep", headers=SDP)))[:2] == (
            404,
            "unknown-name",
        )
        assert (await problem(await http.post(path, json={})))[:2] == (415, "unsupported-media")
        assert (await problem(await http.post(path, content="v=0", headers=SDP)))[:2] == (409, "not-running")
        assert (await problem(await http.get(path)))[:2] == (405, "not-allowed")
        answer = await http.options(path)
        assert (answer.status_code, answer.headers["accept-post"]) == (204, "application/sdp")


async def test_only_the_times_of_pictures(running: Watched) -> None:
    """What a player needs beside WebRTC, in the form of `video.ws`."""
    url = running.site.url.replace("http", "ws", 1)
    async with (
        connect(f"{url.rstrip('/')}/streams/hall/video.ws?form=times") as socket,
        asyncio.timeout(PATIENCE_S),
    ):
        assert "codec" in str(await socket.recv())
        for _ in range(5):
            message = await socket.recv()
            assert isinstance(message, bytes)
            assert len(message) == 4 + int.from_bytes(message[:4], "little")
