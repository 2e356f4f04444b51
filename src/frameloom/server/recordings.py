"""Recordings as resources: found by camera and time, played, exported, deleted; events; recording by one click.

Files and the index are reached through `films`; what is recorded decides the supervisor, which is told.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import RedirectResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import Receive, Scope, Send

from frameloom.catalog.rows import LATEST_NS
from frameloom.catalog.told import event_json, segment_json, summary_json
from frameloom.model.clock import NS_PER_S
from frameloom.model.errors import CommandError

from .errors import may_fail
from .films import Export, Recordings
from .hub import processors_on
from .site import SiteView

router = APIRouter()

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)
_MOST_TO_EXPORT = 20_000
_START_S = 30.0  # for a recorder to be at work: that long a worker may take to start
_AGAIN_S = 0.1
_COMMAND_S = 15.0  # it is answered when the last file is on the disk
_NOTHING = {"segments": 0, "bytes": 0, "seconds": 0.0, "first_utc_ns": None, "last_utc_ns": None}

Camera = Annotated[str, Path(description="Name of a camera", max_length=48)]
Id = Annotated[str, Path(description="A recording's `id`", max_length=120)]
From = Annotated[int, Query(ge=0, le=LATEST_NS, description="From then on, ns since 1970, UTC")]
To = Annotated[int, Query(ge=0, le=LATEST_NS, description="Up to then, ns since 1970, UTC")]


class CameraRecordings(BaseModel):
    """All recordings of one camera."""

    name: str
    recorders: list[str] = Field(description="The workers that record it")
    recording: bool = Field(description="Whether one of them is to record now")
    segments: int
    bytes: int
    seconds: float
    first_utc_ns: int | None
    last_utc_ns: int | None


class Cameras(BaseModel):
    """The cameras of the site, and others of which there are recordings."""

    cameras: list[CameraRecordings]


class Segment(BaseModel):
    """One recording: a film of its own."""

    id: str
    begin_utc_ns: int = Field(description="UTC of the first picture")
    end_utc_ns: int = Field(description="UTC of the end of the last one")
    bytes: int
    codec: str = Field(description="h264, hevc or mjpeg")
    mime: str = Field(description="For `canPlayType` of a browser")
    width: int
    height: int
    frames: int
    state: Literal["writing", "complete", "cut"] = Field(
        description="cut: its recorder was killed, or its disk full"
    )
    has_results: bool


class Event(BaseModel):
    """Something that a processor saw."""

    id: str
    camera: str
    processor: str
    name: str
    at_utc_ns: int
    end_utc_ns: int | None = Field(description="null while it goes on, and where nobody told its end")
    values: dict[str, Any]


class Found(BaseModel):
    """What was recorded in a time, in order."""

    camera: str
    segments: list[Segment] = Field(description="At most 2000, the newest")
    events: list[Event] = Field(description="At most 2000, the newest")
    truncated: bool = Field(description="Whether there are older ones: ask again with an earlier `to_utc_ns`")


class Events(BaseModel):
    """Events, the newest first."""

    events: list[Event]
    truncated: bool


class Deleted(BaseModel):
    """What was deleted, or would be."""

    segments: int
    bytes: int
    seconds: float
    begin_utc_ns: int | None
    end_utc_ns: int | None
    deleted: bool


class RecordOrder(BaseModel):
    """What is wanted."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"on": True}]})

    on: bool


class Recording(BaseModel):
    """What is so now."""

    camera: str
    recording: bool
    recorders: list[str]


_FILM: dict[int | str, dict[str, Any]] = {
    200: {"content": {"video/mp4": {}}, "description": "The whole film"},
    206: {"content": {"video/mp4": {}}, "description": "The part that `Range` asks for"},
}
_NO_RANGE: dict[int | str, dict[str, Any]] = {416: {"description": "There is no such part"}}


@router.get(
    "/api/recordings",
    summary="All cameras with what is recorded of them",
    response_model=None,
    responses={200: {"model": Cameras, "description": "In the order of site.yaml"}, **may_fail(503)},
)
async def recordings(request: Request) -> dict[str, Any]:
    """Cameras that are no longer in the site come last."""
    workers = await _site(request).known()
    known = {row.camera: summary_json(row) for row in await _films(request).summaries()}
    names = [name for name, worker in workers.items() if worker["kind"] == "camera"]
    names += [name for name in known if name not in names]
    return {"cameras": [_camera(name, workers, known.get(name, _NOTHING)) for name in names]}


@router.get(
    "/api/recordings/{camera}",
    summary="Recordings and events of a camera",
    response_model=None,
    responses={200: {"model": Found, "description": "In order of time"}, **may_fail(404, 422, 503)},
)
async def found(
    camera: Camera, request: Request, from_utc_ns: From = 0, to_utc_ns: To = LATEST_NS
) -> dict[str, Any]:
    """Recordings that reach into that time, events that began in it."""
    await _refuse_unknown(camera, request)
    films, times = _films(request), (from_utc_ns, to_utc_ns)
    segments, more = await films.segments(camera, *times)
    events, more_events = await films.events(camera, *times)
    return {
        "camera": camera,
        "segments": [segment_json(row) for row in segments],
        "events": [event_json(row) for row in reversed(events)],
        "truncated": more or more_events,
    }


@router.delete(
    "/api/recordings/{camera}",
    summary="Delete recordings of a camera",
    response_model=None,
    responses={
        200: {"model": Deleted, "description": "What is gone, or would be"},
        **may_fail(404, 422, 503),
    },
)
async def delete(
    camera: Camera,
    request: Request,
    from_utc_ns: From,
    to_utc_ns: To,
    dry_run: Annotated[bool, Query(description="Only say what would be deleted")] = False,
) -> dict[str, Any]:
    """Those that lie wholly in that time. What is being written stays. With `dry_run` nothing is deleted."""
    await _refuse_unknown(camera, request)
    gone = await _films(request).delete(camera, from_utc_ns, to_utc_ns, dry_run=dry_run)
    return {
        "segments": gone.segments,
        "bytes": gone.bytes,
        "seconds": gone.length_ns / NS_PER_S,
        "begin_utc_ns": gone.begin_ns,
        "end_utc_ns": gone.end_ns,
        "deleted": bool(gone.segments) and not dry_run,
    }


@router.get(
    "/api/recordings/{camera}/export.mp4",
    summary="A time range as one film",
    response_class=Response,
    responses={
        200: {"content": {"video/mp4": {}}, "description": "The film, not encoded again"},
        **may_fail(404, 422, 503),
    },
)
async def export(camera: Camera, request: Request, from_utc_ns: From, to_utc_ns: To) -> Response:
    """Shown from the picture at `from_utc_ns` on. Gaps are closed: where nothing was recorded it goes on at once."""
    await _refuse_unknown(camera, request)
    films = _films(request)
    rows, more = await films.segments(camera, from_utc_ns, to_utc_ns, _MOST_TO_EXPORT)
    if more or not rows:
        message = (
            "too many recordings for one film: export less" if more else "nothing was recorded in that time"
        )
        raise CommandError("refused" if more else "unknown-name", f"camera {camera!r}: {message}")
    making = films.export(rows, from_utc_ns, to_utc_ns)
    try:
        told = await making.begin()
    except BaseException:
        await making.close()
        raise
    name = f"{camera}-{_moment(told['begin_utc_ns'])}-{_moment(told['end_utc_ns'])}.mp4"
    headers = {"Content-Length": str(told["nbytes"]), "Content-Disposition": f'attachment; filename="{name}"'}
    if request.scope.get("frameloom.head"):
        await making.close()
        return Response(media_type="video/mp4", headers=headers)
    return _Exported(making, headers)


@router.get(
    "/api/recordings/{camera}/{id}/film.mp4",
    summary="One recording as a film",
    response_class=Response,
    responses={
        **_FILM,
        307: {
            "description": "Of a file that is being written: what is in it now, under an address of its own"
        },
        **_NO_RANGE,
        **may_fail(404, 422, 503),
    },
)
async def film(
    camera: Camera,
    id: Id,
    request: Request,
    bytes: Annotated[
        int | None, Query(ge=1, le=LATEST_NS, description="Only so much of the beginning of the file")
    ] = None,
) -> Response:
    """Whole, growing or cut: one can seek in it, and it can be had in parts. Times are those of the file."""
    films = _films(request)
    row = await films.segment(camera, id)
    if bytes is None and (grown := await films.grown(row)) is not None:
        return RedirectResponse(f"film.mp4?bytes={grown}", 307)
    made = await films.film(row, bytes)
    tag = f'"{made.nbytes:x}-{len(made.head):x}"'
    headers = {
        "Accept-Ranges": "bytes",
        "ETag": tag,
        "Content-Disposition": f'inline; filename="{row.id}.mp4"',
    }
    start, end, status = _asked(request, made.nbytes, tag)
    if status == 416:
        return Response(status_code=416, headers={"Content-Range": f"bytes */{made.nbytes}"})
    if status == 206:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{made.nbytes}"
    headers["Content-Length"] = str(end - start)
    if request.scope.get("frameloom.head"):
        return Response(status_code=status, media_type="video/mp4", headers=headers)
    return StreamingResponse(films.bites(made, start, end), status, headers, "video/mp4")


@router.get(
    "/api/recordings/{camera}/{id}/results.jsonl",
    summary="What processors said during a recording",
    response_class=Response,
    responses={
        200: {"content": {"application/jsonl": {}}, "description": "A JSON object in each line"},
        **may_fail(404, 422, 503),
    },
)
async def results(camera: Camera, id: Id, request: Request) -> Response:
    """Each line: `processor`, `frame_seq`, `pts_ns`, `captured_at_ns`, `film_s` (seconds in the film), `values`."""
    films = _films(request)
    lines = await films.results(await films.segment(camera, id))
    headers = {"Content-Length": str(lines.nbytes)}
    if request.scope.get("frameloom.head"):
        lines.close()
        return Response(media_type="application/jsonl", headers=headers)
    return StreamingResponse(films.read(iter(lines)), headers=headers, media_type="application/jsonl")


@router.get(
    "/api/events",
    summary="What processors saw, the newest first",
    response_model=None,
    responses={200: {"model": Events, "description": "The newest first"}, **may_fail(422, 503)},
)
async def events(
    request: Request,
    camera: Annotated[str | None, Query(description="Only of this camera", max_length=48)] = None,
    from_utc_ns: From = 0,
    to_utc_ns: To = LATEST_NS,
    limit: Annotated[int, Query(ge=1, le=2000, description="How many at most")] = 100,
) -> dict[str, Any]:
    """Those that began in that time."""
    rows, more = await _films(request).events(camera, from_utc_ns, to_utc_ns, limit)
    return {"events": [event_json(row) for row in rows], "truncated": more}


@router.post(
    "/api/streams/{name}/record",
    summary="Begin or end recording a camera",
    response_model=None,
    responses={
        200: {"model": Recording, "description": "What is so now"},
        **may_fail(404, 409, 422, 503, 504),
    },
)
async def record(
    name: Annotated[str, Path(description="Name of a camera")], order: RecordOrder, request: Request
) -> dict[str, Any]:
    """All its recorders. Where it has none, one is added to the site, and to site.yaml, as NAME-rec."""
    site = _site(request)
    workers = await _present(site)
    processors_on(name, workers)  # raises where there is no such camera
    recorders = list(_recorders(name, workers))
    if not recorders and order.on:
        done = await site.command("add-recorder", timeout_s=_COMMAND_S, name=name)
        recorders = [done["added"]]
    for recorder in recorders:
        await (_begin if order.on else _end)(site, recorder)
    return {"camera": name, "recording": order.on and bool(recorders), "recorders": recorders}


class _Exported(StreamingResponse):
    """Ends the export with the answer, also if nobody waited for its first byte."""

    def __init__(self, making: Export, headers: Mapping[str, str]) -> None:
        super().__init__(making.bites(), headers=headers, media_type="video/mp4")
        self._making = making

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._making.close()


async def _present(site: SiteView) -> dict[str, Any]:
    """The workers as the supervisor knows them now: what is followed may be of before the last order."""
    workers: dict[str, Any] = (await site.command("status"))["workers"]
    return workers


async def _begin(site: SiteView, recorder: str) -> None:
    await site.command("start", names=[recorder])
    try:
        async with asyncio.timeout(_START_S):
            while True:
                if await _mode(site, recorder) != "command" or await _told_to_start(site, recorder):
                    return
                await asyncio.sleep(_AGAIN_S)
    except TimeoutError:
        raise CommandError("timeout", f"{recorder!r} was not at work within {_START_S:g} s") from None


async def _told_to_start(site: SiteView, recorder: str) -> bool:
    """False where its process, which was there a moment ago, is not there any more."""
    try:
        await site.command("tell", timeout_s=_COMMAND_S, name=recorder, tell="start")
    except CommandError as error:
        if error.code not in ("not-running", "worker-ended"):
            raise
        return False
    return True


async def _end(site: SiteView, recorder: str) -> None:
    worker = (await _present(site))[recorder]
    if _info(worker).get("mode") == "command" and worker["state"] in ("running", "degraded"):
        await site.command("tell", timeout_s=_COMMAND_S, name=recorder, tell="stop")
    elif worker["state"] != "idle":
        await site.command("stop", timeout_s=_COMMAND_S, names=[recorder])


async def _mode(site: SiteView, recorder: str) -> str:
    """As soon as the recorder is at work; raises `CommandError` if it will not be."""
    number = -1
    while True:
        number, snapshot = await site.next(number)
        worker = snapshot["workers"].get(recorder) or {"state": "idle"}
        if worker["state"] == "failed":
            raise CommandError("refused", f"{recorder!r} cannot run: {worker['detail']}")
        if worker["state"] in ("running", "degraded") and (mode := _info(worker).get("mode")):
            return str(mode)


def _recorders(camera: str, workers: Mapping[str, Any]) -> Iterable[str]:
    """The workers that record a camera: what they read is a part of it."""
    for name, worker in workers.items():
        if (
            worker["kind"] == "recorder"
            and worker["streams"][:1]
            and worker["streams"][0].split(".")[0] == camera
        ):
            yield name


def _camera(name: str, workers: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    recorders = list(_recorders(name, workers))
    recording = any(_info(workers[one]).get("recording") for one in recorders)
    return {**known, "name": name, "recorders": recorders, "recording": recording}


def _info(worker: Mapping[str, Any]) -> Mapping[str, Any]:
    info: Mapping[str, Any] = (worker["report"] or {}).get("info") or {}
    return info


def _asked(request: Request, nbytes: int, tag: str) -> tuple[int, int, int]:
    """From which byte up to which, and the status: 206 for one range, 416 for one that is not there, else 200."""
    asked = _RANGE.fullmatch(request.headers.get("range", "").strip())
    if asked is None or (not asked[1] and not asked[2]) or request.headers.get("if-range", tag) != tag:
        return 0, nbytes, 200
    if asked[1]:
        start, end = int(asked[1]), min(int(asked[2]) + 1 if asked[2] else nbytes, nbytes)
    else:
        start, end = max(0, nbytes - int(asked[2])), nbytes
    return (start, end, 206) if start < end else (0, 0, 416)


async def _refuse_unknown(camera: str, request: Request) -> None:
    """Raises `CommandError` for a camera that is neither in the site nor in the index."""
    workers = await _site(request).known()
    if workers.get(camera, {}).get("kind") == "camera":
        return
    if not any(row.camera == camera for row in await _films(request).summaries()):
        raise CommandError("unknown-name", f"there is no camera {camera!r}, and no recording of one")


def _moment(utc_ns: int) -> str:
    return datetime.fromtimestamp(utc_ns // NS_PER_S, UTC).strftime("%Y%m%dT%H%M%SZ")


def _site(request: Request) -> SiteView:
    site: SiteView = request.app.state.site
    return site


def _films(request: Request) -> Recordings:
    films: Recordings = request.app.state.recordings
    return films
