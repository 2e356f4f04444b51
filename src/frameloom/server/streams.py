"""Streams as resources: their state as JSON, their pictures as MJPEG, JPEG and WebSocket."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request, Response, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse

from frameloom.model.errors import CommandError

from .live import Feed, Live, Picture
from .site import SiteView

router = APIRouter()

_SNAPSHOT_S = 10.0
_HEAD = struct.Struct("<I")
_NO_STORE = {"Cache-Control": "no-store"}


@router.get("/api/streams", summary="All cameras with their state and the processors on them")
async def streams(request: Request) -> list[dict[str, Any]]:
    workers = _site(request).workers()
    return [describe(name, workers) for name, worker in workers.items() if worker["kind"] == "camera"]


@router.get("/api/streams/{name}", summary="One camera")
async def stream(name: str, request: Request) -> dict[str, Any]:
    workers = _site(request).workers()
    _check_camera(name, workers)
    return describe(name, workers)


@router.get("/streams/{name}/snapshot.jpg", response_class=Response, summary="The newest picture")
async def snapshot(name: str, request: Request) -> Response:
    _check_camera(name, _site(request).workers())
    async with _live(request).watching(name) as feed:
        try:
            picture = await asyncio.wait_for(feed.next(0), _SNAPSHOT_S)
        except TimeoutError:
            raise CommandError("timeout", f"camera {name!r}: no picture within {_SNAPSHOT_S:g} s") from None
    if picture is None:
        raise CommandError("unreachable", "the server is stopping")
    return Response(picture.packet.data, media_type="image/jpeg", headers=_picture_headers(picture))


@router.get("/streams/{name}/live.mjpg", response_class=Response, summary="Pictures as they come (multipart JPEG)")
async def mjpeg(name: str, request: Request) -> StreamingResponse:
    _check_camera(name, _site(request).workers())
    body = _parts(_live(request), name)
    return StreamingResponse(body, media_type="multipart/x-mixed-replace; boundary=frame", headers=_NO_STORE)


@router.websocket("/streams/{name}/live.ws")
async def live(name: str, socket: WebSocket) -> None:
    """Binary messages: uint32 length of a JSON text, the text (picture and results), the JPEG."""
    site: SiteView = socket.app.state.site
    try:
        workers = site.workers()
        _check_camera(name, workers)
    except CommandError as error:
        await socket.close(1008, str(error)[:120])
        return
    await socket.accept()
    hub: Live = socket.app.state.live
    async with hub.watching(name, processors_on(name, workers)) as feed:
        await _until_closed(socket, _send_pictures(socket, feed))


def describe(name: str, workers: dict[str, Any]) -> dict[str, Any]:
    """What the page shows of a camera."""
    worker = workers[name]
    on_it = processors_on(name, workers)
    return {"name": name, **worker, "processors": {each: workers[each] for each in on_it}}


def processors_on(name: str, workers: dict[str, Any]) -> list[str]:
    """The processors that read this stream."""
    return [each for each, w in workers.items() if w["kind"] == "processor" and name in w["streams"]]


async def _parts(hub: Live, name: str) -> AsyncIterator[bytes]:
    async with hub.watching(name) as feed:
        number = 0
        while (picture := await feed.next(number)) is not None:
            number = picture.number
            data = picture.packet.data
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
            yield b"".join((head.encode(), data, b"\r\n"))


async def _send_pictures(socket: WebSocket, feed: Feed) -> None:
    number = 0
    while (picture := await feed.next(number)) is not None:
        missed = max(0, picture.number - number - 1) if number else 0
        number = picture.number
        head = json.dumps({**_picture_head(picture), "missed": missed, "results": _results(feed, picture)}).encode()
        await socket.send_bytes(b"".join((_HEAD.pack(len(head)), head, picture.packet.data)))


async def _until_closed(socket: WebSocket, sending: Any) -> None:
    """Run `sending` until it is done or the other side has gone."""
    task = asyncio.create_task(sending)
    try:
        while not task.done():
            hearing = asyncio.create_task(socket.receive())
            await asyncio.wait((task, hearing), return_when=asyncio.FIRST_COMPLETED)
            if hearing.done() and hearing.result()["type"] == "websocket.disconnect":
                return
            hearing.cancel()
        task.result()
    except (WebSocketDisconnect, RuntimeError):
        return  # the viewer went while we were sending
    finally:
        task.cancel()


def _results(feed: Feed, picture: Picture) -> list[dict[str, Any]]:
    return [
        {"processor": r.stream, "frame_seq": r.frame_seq, "values": r.values}
        for r in feed.results_of(picture.frame_seq)
    ]


def _picture_head(picture: Picture) -> dict[str, Any]:
    packet = picture.packet
    size = {"width": packet.format.width, "height": packet.format.height}
    times = {"pts_ns": packet.pts_ns, "captured_ns": packet.captured_ns, "captured_at_ns": packet.captured_at_ns}
    return {"frame_seq": picture.frame_seq, **size, **times}


def _picture_headers(picture: Picture) -> dict[str, str]:
    packet = picture.packet
    return {
        "Cache-Control": "no-store",
        "X-Frame": str(picture.frame_seq),
        "X-Pts-Ns": str(packet.pts_ns),
        "X-Captured-At-Ns": str(packet.captured_at_ns),
    }


def _check_camera(name: str, workers: dict[str, Any]) -> None:
    cameras = [each for each, worker in workers.items() if worker["kind"] == "camera"]
    if name not in cameras:
        raise CommandError("unknown-name", f"no camera {name[:50]!r}; there are: {', '.join(cameras) or 'none'}")


def _site(request: Request) -> SiteView:
    site: SiteView = request.app.state.site
    return site


def _live(request: Request) -> Live:
    live: Live = request.app.state.live
    return live
