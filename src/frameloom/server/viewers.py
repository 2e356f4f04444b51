"""The ways to a viewer: a WebSocket with pictures and results, and a multipart answer with pictures alone.

A viewer is left when it goes, when its feed ends, or when it takes nothing for a long time: pictures that nobody takes
must not keep a camera decoding.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Mapping
from typing import Literal

from fastapi import Response, WebSocket, WebSocketDisconnect
from starlette.types import Receive, Scope, Send

from frameloom.model.errors import CommandError
from frameloom.workers.avc import AvcConfig

from .hub import Hub
from .live import Feed, Picture
from .news import News, first_of
from .said import SaidFeed
from .video import Unit, VideoFeed, describe, init_message

log = logging.getLogger(__name__)

NO_CAMERA = 4404
"""WebSocket close code: there is no such camera, or no more. Coming back is of no use."""

TRY_AGAIN = 1013
RESTARTING = 1012
MOST_UNDER_WAY = 64
_LAST_WORD_S = 0.2
_LONGEST_REASON_BYTES = 123

Form = Literal["units", "mse", "times"]
_MESSAGES: dict[Form, Callable[[Unit], bytes]] = {
    "units": lambda unit: unit.message,
    "mse": lambda unit: unit.fragment,
    "times": lambda unit: unit.times,
}


class SocketViewer:
    """Sends pictures to a WebSocket.

    window  at most so many pictures are under way: the viewer says the number of each one that it has shown, as a
            text message. 0: it need not say anything, and the network alone tells that it is slow
    """

    def __init__(self, socket: WebSocket, feed: Feed | VideoFeed, window: int, patience_s: float) -> None:
        self._socket = socket
        self._feed = feed
        self._window = window
        self._patience_s = patience_s
        self._under_way: deque[int] = deque()
        self._shown = News()

    async def serve(self) -> None:
        """Until the viewer has gone, or is told why it is let go."""
        try:
            await first_of(self._send(), self._hear(), self._feed.end_of_feed())
        except TimeoutError:
            why = f"no picture was taken for {self._patience_s:g} s"
            log.info("a viewer of %s is let go: %s", self._feed.stream, why)
            await say_goodbye(self._socket, CommandError("timeout", why))
        except (WebSocketDisconnect, OSError):
            return
        if self._feed.ended is not None:
            await say_goodbye(self._socket, self._feed.ended)

    async def _send(self) -> None:
        number = 0
        while (item := await self._feed.next(number)) is not None:
            number = item.number
            async with asyncio.timeout(self._patience_s):
                await self._say(item)
                await self._until_shown(number)

    async def _say(self, item: Picture | Unit) -> None:
        await self._socket.send_bytes(item.message)

    async def _until_shown(self, number: int) -> None:
        if self._window:
            self._under_way.append(number)
            while len(self._under_way) >= self._window:
                await self._shown.wait()

    async def _hear(self) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            with contextlib.suppress(ValueError):
                self._take(int(message.get("text") or ""))

    def _take(self, shown: int) -> None:
        while self._under_way and self._under_way[0] <= shown:
            self._under_way.popleft()
        self._shown.tell()


async def tell_all(socket: WebSocket, feed: SaidFeed, patience_s: float) -> None:
    """Send what processors say from now on, each result as a text message, until the listener has gone."""

    async def send() -> None:
        number = feed.number
        while feed.ended is None:
            number, texts = await feed.after(number)
            async with asyncio.timeout(patience_s):
                for text in texts:
                    await socket.send_text(text)

    async def until_gone() -> None:
        while (await socket.receive())["type"] != "websocket.disconnect":
            pass

    with contextlib.suppress(WebSocketDisconnect, OSError, TimeoutError):
        await first_of(send(), until_gone())
    if feed.ended is not None:
        await say_goodbye(socket, feed.ended)


async def say_goodbye(socket: WebSocket, why: CommandError) -> None:
    """Close with a code and a reason, if the viewer still hears it."""
    code = {"unknown-name": NO_CAMERA, "stopping": RESTARTING}.get(why.code, TRY_AGAIN)
    reason = str(why).encode()[:_LONGEST_REASON_BYTES].decode(errors="ignore")
    with contextlib.suppress(TimeoutError, RuntimeError, WebSocketDisconnect, OSError):
        async with asyncio.timeout(_LAST_WORD_S):
            await socket.close(code, reason)


class VideoViewer(SocketViewer):
    """Sends a camera's video to a WebSocket: what a decoder must know as text, then units, or fragments for MSE,
    or only their times.
    """

    def __init__(
        self, socket: WebSocket, feed: VideoFeed, window: int, patience_s: float, form: Form
    ) -> None:
        super().__init__(socket, feed, window, patience_s)
        self._form = form
        self._config: AvcConfig | None = None

    async def _say(self, item: Picture | Unit) -> None:
        assert isinstance(item, Unit)
        await self._tell(item.config)
        await self._socket.send_bytes(_MESSAGES[self._form](item))

    async def _tell(self, config: AvcConfig) -> None:
        if config is not self._config:
            self._config = config
            await self._socket.send_text(describe(config))
            if self._form == "mse":
                await self._socket.send_bytes(init_message(config))


class MotionJpeg(Response):
    """An answer without an end: pictures as they come, for <img>, VLC, ffmpeg, OpenCV."""

    media_type = "multipart/x-mixed-replace; boundary=frame"

    def __init__(self, live: Hub[Feed], camera: str, headers: Mapping[str, str]) -> None:
        super().__init__(headers=headers)
        del self.headers["content-length"]
        self._live = live
        self._camera = camera

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._live.watching(self._camera) as feed:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            if not scope.get("frameloom.head"):
                await self._serve(feed, receive, send)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _serve(self, feed: Feed, receive: Receive, send: Send) -> None:
        try:
            await first_of(self._send_parts(feed, send), _until_gone(receive), feed.end_of_feed())
        except TimeoutError:
            log.info(
                "a viewer of %s is let go: no picture was taken for %g s", feed.stream, self._live.patience_s
            )

    async def _send_parts(self, feed: Feed, send: Send) -> None:
        """Each part ends with the next one's boundary: browsers show it when they have read that."""
        await send({"type": "http.response.body", "body": b"--frame\r\n", "more_body": True})
        number = 0
        while (picture := await feed.next(number)) is not None:
            number = picture.number
            async with asyncio.timeout(self._live.patience_s):
                await send({"type": "http.response.body", "body": _part(picture), "more_body": True})


def _part(picture: Picture) -> bytes:
    lines = {
        "Content-Type": "image/jpeg",
        "Content-Length": str(len(picture.jpeg)),
        **picture_headers(picture),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return b"".join((head.encode(), b"\r\n", picture.jpeg, b"\r\n--frame\r\n"))


def picture_headers(picture: Picture) -> dict[str, str]:
    """Which frame a JPEG shows, and when it was captured."""
    return {
        "X-Frame": str(picture.frame.seq),
        "X-Pts-Ns": str(picture.packet.pts_ns),
        "X-Captured-At-Ns": str(picture.packet.captured_at_ns),
    }


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
