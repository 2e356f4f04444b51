"""Cameras as resources: their state as JSON, their pictures as JPEG, multipart JPEG and WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response, WebSocket

from frameloom.model.clock import NS_PER_S
from frameloom.model.errors import CommandError
from frameloom.model.names import view_of

from .errors import may_fail
from .hub import Hub, processors_on
from .live import Feed, Picture
from .news import first_of
from .said import SaidFeed
from .schema import Camera
from .site import SiteView
from .video import VideoFeed
from .viewers import (
    MOST_UNDER_WAY,
    Form,
    MotionJpeg,
    SocketViewer,
    VideoViewer,
    picture_headers,
    say_goodbye,
    tell_all,
)

router = APIRouter()

_SNAPSHOT_S = 10.0
_NEW_NS = 2 * NS_PER_S  # what is older is not shown as the present picture
_NO_STORE = {"Cache-Control": "no-store"}
_HEADERS = {
    name: {"description": text, "schema": {"type": "integer"}}
    for name, text in {
        "X-Frame": "Number of the frame",
        "X-Pts-Ns": "Its media time, ns from the start of the stream",
        "X-Captured-At-Ns": "When it was captured, ns since 1970, UTC",
    }.items()
}

Name = Annotated[str, Path(description="Name of a camera")]
Drawn = Annotated[
    Literal["0", "1", "false", "true"],
    Query(alias="annotated", description="`1`: with what processors saw drawn on it"),
]


@router.get(
    "/api/streams",
    summary="All cameras with their state and the processors on them",
    response_model=None,
    responses={200: {"model": list[Camera], "description": "In the order of site.yaml"}, **may_fail(503)},
)
async def streams(request: Request) -> list[dict[str, Any]]:
    """Each camera as a worker, with the worker that makes its pictures for people, and its processors."""
    workers = await _site(request).known()
    return [describe(name, workers) for name, worker in workers.items() if worker["kind"] == "camera"]


@router.get(
    "/api/streams/{name}",
    summary="One camera",
    response_model=None,
    responses={200: {"model": Camera, "description": "Its state"}, **may_fail(404, 422, 503)},
)
async def stream(name: Name, request: Request) -> dict[str, Any]:
    """The camera as a worker, with the worker that makes its pictures for people, and its processors."""
    return describe(name, await _site(request).known())


@router.get(
    "/streams/{name}/snapshot.jpg",
    summary="The newest picture",
    response_class=Response,
    responses={
        200: {
            "content": {"image/jpeg": {}},
            "description": "A JPEG, not older than 2 s",
            "headers": _HEADERS,
        },
        **may_fail(404, 409, 422, 503, 504),
    },
)
async def snapshot(name: Name, request: Request, annotated: Drawn = "0") -> Response:
    """Waits up to 10 s for a picture. A camera that is lost or stopped is said at once."""
    view = _site(request)
    refuse_without_picture(name, await view.known())
    async with _live(request, annotated).watching(name) as feed:
        picture = await _new_picture(feed, view)
    return Response(picture.jpeg, media_type="image/jpeg", headers=_NO_STORE | picture_headers(picture))


@router.get(
    "/streams/{name}/live.mjpg",
    summary="Pictures as they come, as multipart JPEG",
    response_class=Response,
    responses={
        200: {
            "content": {"multipart/x-mixed-replace": {}},
            "description": "Pictures without an end, for <img>, VLC, ffmpeg, OpenCV; while the camera is lost, none",
        },
        **may_fail(404, 422, 503),
    },
)
async def mjpeg(name: Name, request: Request, annotated: Drawn = "0") -> Response:
    """Each part says which frame it shows (`X-Frame`, `X-Pts-Ns`, `X-Captured-At-Ns`). A slow viewer misses some."""
    processors_on(name, await _site(request).known())
    return MotionJpeg(_live(request, annotated), name, _NO_STORE)


@router.websocket("/streams/{name}/live.ws")
async def live(
    name: str, socket: WebSocket, window: Annotated[int, Query(ge=0, le=MOST_UNDER_WAY)] = 0
) -> None:
    """Pictures and results: see the description of the API in `frameloom.server.app`."""
    await socket.accept()
    hub: Hub[Feed] = socket.app.state.live
    try:
        async with hub.watching(name) as feed:
            await SocketViewer(socket, feed, window, hub.patience_s).serve()
    except CommandError as error:
        await say_goodbye(socket, error)


@router.websocket("/streams/{name}/video.ws")
async def video(
    name: str,
    socket: WebSocket,
    form: Form = "units",
    window: Annotated[int, Query(ge=0, le=MOST_UNDER_WAY)] = 0,
) -> None:
    """H.264 as the camera sent it, for WebCodecs or Media Source Extensions: see docs/http.md."""
    await socket.accept()
    hub: Hub[VideoFeed] = socket.app.state.video
    try:
        async with hub.watching(name) as feed:
            await VideoViewer(socket, feed, window, hub.patience_s, form).serve()
    except CommandError as error:
        await say_goodbye(socket, error)


@router.websocket("/streams/{name}/results.ws")
async def results(name: str, socket: WebSocket) -> None:
    """What processors say of the camera's frames, one text message each."""
    await socket.accept()
    hub: Hub[SaidFeed] = socket.app.state.said
    try:
        async with hub.watching(name) as feed:
            await tell_all(socket, feed, hub.patience_s)
    except CommandError as error:
        await say_goodbye(socket, error)


def describe(name: str, workers: Mapping[str, Any]) -> dict[str, Any]:
    """A camera with its view and its processors; raises `CommandError` if there is none of that name."""
    processors = {each: workers[each] for each in processors_on(name, workers)}
    return {"name": name, **workers[name], "view": workers.get(view_of(name)), "processors": processors}


def refuse_without_picture(name: str, workers: Mapping[str, Any]) -> None:
    """Raises `CommandError` that says why there can be no picture of a camera now."""
    camera, view = describe(name, workers), workers.get(view_of(name))
    if camera["state"] == "idle":
        raise CommandError("not-running", f"camera {name!r} is stopped")
    if view is None or view["state"] == "idle":
        raise CommandError("not-running", f"camera {name!r}: its picture for people is switched off (view)")
    for what, worker in ((f"camera {name!r}", camera), (f"the view of camera {name!r}", view)):
        if worker["state"] in ("degraded", "backoff", "failed"):
            raise CommandError("no-picture", f"{what}: {worker['detail'] or worker['state']}")


async def _new_picture(feed: Feed, view: SiteView) -> Picture:
    """Waits as long as one may come; raises `CommandError`."""
    found: list[Picture] = []
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_SNAPSHOT_S):
            await first_of(_take_new(feed, found), _until_hopeless(feed.stream, view))
    if not found:
        message = f"camera {feed.stream!r}: no picture within {_SNAPSHOT_S:g} s"
        raise feed.ended or CommandError("timeout", message)
    return found[0]


async def _take_new(feed: Feed, found: list[Picture]) -> None:
    number = 0
    while (picture := await feed.next(number)) is not None:
        if time.monotonic_ns() - picture.packet.captured_ns < _NEW_NS:
            found.append(picture)
            return
        number = picture.number


async def _until_hopeless(camera: str, view: SiteView) -> None:
    """Raises `CommandError` as soon as the site says that no picture will come."""
    number = -1
    while True:
        number, snapshot = await view.next(number)
        refuse_without_picture(camera, snapshot["workers"])


def _site(request: Request) -> SiteView:
    site: SiteView = request.app.state.site
    return site


def _live(request: Request, annotated: str) -> Hub[Feed]:
    state = request.app.state
    found: Hub[Feed] = state.annotated if annotated in ("1", "true") else state.live
    return found
