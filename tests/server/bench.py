"""A server in the test's own event loop, with a real control socket and real streams whose items the test publishes.

No worker runs: the supervisor only says which there are. What viewers get is up to the test, to the millisecond.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect

from frameloom.bus.publisher import PacketPublisher, ResultPublisher
from frameloom.control.dispatch import Dispatcher
from frameloom.control.listener import Listener
from frameloom.control.supervisor import Supervisor
from frameloom.model.packet import Packet, PacketFormat
from frameloom.model.worker import WorkerSpec
from frameloom.server.app import close_viewers, create_app
from frameloom.server.host import WebServer, listen

PATIENCE_S = 60.0
SITE = "test"
HALL = WorkerSpec("hall", "camera", "nowhere:Nothing", enabled=False)
YARD = WorkerSpec("yard", "camera", "nowhere:Nothing", enabled=False)


def processor(name: str, stream: str = "hall") -> WorkerSpec:
    return WorkerSpec(name, "processor", "nowhere:Nothing", streams=(stream,), enabled=False)


class Bench:
    """A server that listens on `port`, and the supervisor that it follows."""

    def __init__(self, supervisor: Supervisor, app: Any, port: int) -> None:
        self.supervisor = supervisor
        self.app = app
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.http = httpx.AsyncClient(base_url=self.url, timeout=PATIENCE_S)

    async def want(self, *specs: WorkerSpec) -> None:
        """Let these be the workers of the site, as an edit of site.yaml does."""
        await self.supervisor.apply(specs)

    @contextlib.asynccontextmanager
    async def viewer(self, camera: str = "hall", query: str = "", **options: Any) -> AsyncIterator[Viewer]:
        """A WebSocket that shows a camera."""
        url = f"ws://127.0.0.1:{self.port}/streams/{camera}/live.ws{query}"
        async with connect(url, max_queue=None, compression=None, **options) as connection:
            yield Viewer(connection)

    async def raw(self, *lines: str, receive_bytes: int | None = None) -> socket.socket:
        """A request on a socket of its own, that nobody reads; the caller closes it."""
        connection = socket.socket()
        if receive_bytes is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(connection, ("127.0.0.1", self.port))
        await loop.sock_sendall(connection, "\r\n".join([*lines, "", ""]).encode())
        return connection


class Viewer:
    """The other end of `live.ws`."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def picture(self) -> tuple[dict[str, Any], bytes]:
        """The next picture: what is said of it, and its bytes."""
        async with asyncio.timeout(PATIENCE_S):
            message = await self.connection.recv()
        assert isinstance(message, bytes)
        (length,) = struct.unpack_from("<I", message)
        return json.loads(message[4 : 4 + length]), message[4 + length :]

    async def head(self) -> dict[str, Any]:
        return (await self.picture())[0]

    async def end(self) -> tuple[int | None, str | None]:
        """Read to the end; the code and the reason of it."""
        async with asyncio.timeout(PATIENCE_S):
            await self.connection.wait_closed()
        return self.connection.close_code, self.connection.close_reason


class Camera:
    """Publishes what a view worker would publish: pictures of frames 1, 2, 3, ..."""

    def __init__(self, name: str = "hall", nbytes: int = 2000, part: str = "view") -> None:
        self.name = name
        self._view = PacketPublisher(f"{name}.{part}", site=SITE)
        self._changed = threading.Condition()
        self._view.on_wanted = self._tell
        self._nbytes = nbytes
        self.seq = 0
        self.captured_ns = 0

    def _tell(self, _: bool) -> None:
        with self._changed:
            self._changed.notify_all()

    @property
    def readers(self) -> int:
        return len(self._view.readers())

    async def until(self, condition: Callable[[Camera], bool]) -> None:
        await until(lambda: condition(self))

    async def until_watched(self) -> None:
        await self.until(lambda camera: camera.readers > 0)

    async def until_alone(self) -> None:
        await self.until(lambda camera: not camera._view.wanted)

    def show(self, seq: int | None = None, jpeg: bytes = b"") -> bytes:
        """Publish the picture of the next frame, or of frame `seq`, which nobody can decode; returns its bytes."""
        self.seq = self.seq + 1 if seq is None else seq
        self.captured_ns = time.monotonic_ns()
        jpeg = jpeg or b"\xff\xd8" + self.seq.to_bytes(8, "big") * (self._nbytes // 8) + b"\xff\xd9"
        format = PacketFormat("mjpeg", 320, 240)
        times = (self.captured_ns, time.time_ns())
        self._view.publish(
            Packet(jpeg, format, self.seq * 40_000_000, True, *times, metadata={"frame_seq": self.seq})
        )
        return jpeg

    def close(self) -> None:
        self._view.close()


class Processor:
    """Publishes results of frames of a camera."""

    def __init__(self, name: str, camera: Camera) -> None:
        self._results = ResultPublisher(name, site=SITE)
        self._camera = camera

    async def until_watched(self) -> None:
        await until(lambda: bool(self._results.readers()))

    async def until_alone(self) -> None:
        await until(lambda: not self._results.wanted)

    def say(
        self, seq: int | None = None, captured_ns: int | None = None, source: str = "", **values: Any
    ) -> None:
        """What was seen on a frame, by default on the one that was shown last."""
        self._results.publish(
            values,
            source=source or self._camera.name,
            frame_seq=self._camera.seq if seq is None else seq,
            pts_ns=0,
            captured_ns=self._camera.captured_ns if captured_ns is None else captured_ns,
            captured_at_ns=0,
        )

    def close(self) -> None:
        self._results.close()


async def until(condition: Callable[[], Any]) -> None:
    """Wait for what no descriptor of this process tells."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - see its name
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def serving(*specs: WorkerSpec, **options: Any) -> AsyncIterator[Bench]:
    """A server for a site of these workers; `options` are those of `create_app`."""
    supervisor = Supervisor(SITE, specs or (HALL,))
    listener = Listener(Dispatcher(supervisor))
    await listener.start()
    app = create_app(SITE, **options)
    sock = listen("127.0.0.1", 0)
    server = WebServer(app)
    running = asyncio.create_task(server.serve(sockets=[sock]))
    bench = Bench(supervisor, app, sock.getsockname()[1])
    try:
        await until(lambda: server.started)
        yield bench
    finally:
        await bench.http.aclose()
        close_viewers(app)
        server.should_exit = True
        await running
        listener.shut()
        await listener.close()
        await supervisor.stop()
