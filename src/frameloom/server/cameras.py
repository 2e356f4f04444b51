"""Cameras to be: found, tried out, added to the site's file, changed and removed. For admins (`frameloom.server.auth`).

A camera that is not part of the site is looked at in a process of its own, see `frameloom.site.probe`. Cameras of the
site, with their pictures, are in `streams.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path as FilePath
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from frameloom.model.errors import CommandError
from frameloom.site import probe
from frameloom.site.problems import MASK
from frameloom.sources.settings import SourceSettings

from .errors import may_fail
from .news import first_of
from .settings import LONGEST_S, WorkerChange, site_of

router = APIRouter()

Name = Annotated[str, Path(description="Name of a camera")]
_AT_ONCE = 2
_SEARCH_S = 3.0
_SPARE_S = 5.0  # for a process to start on a busy machine


class Probes:
    """The places for looking at cameras: so many at once, and no more."""

    def __init__(self, at_once: int = _AT_ONCE) -> None:
        self._at_once = at_once
        self._under_way = 0

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Raises `CommandError` 'busy' where there is none."""
        if self._under_way >= self._at_once:
            raise CommandError(
                "busy", f"{self._at_once} cameras are being looked at already: try again in a moment"
            )
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1


class NewCamera(BaseModel):
    """A camera to add: its name, and what site.yaml may say of it."""

    model_config = ConfigDict(extra="allow")

    name: str = Field(min_length=1, max_length=100, description="A name of its own")
    url: str = Field(min_length=1, max_length=4000, description="Where its pictures come from")


class Trial(BaseModel):
    """A source to try: what site.yaml may say of one."""

    model_config = ConfigDict(extra="allow")

    url: str = Field(min_length=1, max_length=4000, description="Where its pictures come from")
    camera: str | None = Field(None, max_length=100, description="The camera whose secrets `***` stands for")


class Login(BaseModel):
    """An ONVIF camera, and who asks it."""

    model_config = ConfigDict(extra="forbid")

    address: str = Field(
        min_length=1, max_length=500, description="Host, host:port or the URL of its service"
    )
    user: str = Field("", max_length=200)
    password: str = Field("", max_length=200)


class Tried(BaseModel):
    """What came of a trial: a picture, or a message for people."""

    ok: bool
    message: str | None = None
    codec: str | None = None
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    picture: str | None = Field(None, description="A JPEG as data URL, at most 640 pixels wide")


class Size(BaseModel):
    """A size of a webcam's pictures, and its highest rate."""

    width: int
    height: int
    fps: float | None


class Webcam(BaseModel):
    """A camera that is plugged in."""

    url: str
    name: str
    sizes: list[Size]
    problem: str | None


class OnvifCamera(BaseModel):
    """A camera that answered in the network."""

    address: str
    name: str


class Found(BaseModel):
    """What there is."""

    webcams: list[Webcam]
    onvif: list[OnvifCamera]


class OnvifStream(BaseModel):
    """One stream of an ONVIF camera; its URL has no password."""

    name: str
    url: str
    codec: str
    width: int | None
    height: int | None
    fps: float | None


class OnvifStreams(BaseModel):
    """The streams, or why there are none."""

    ok: bool
    message: str | None = None
    streams: list[OnvifStream] = []


class Changed(BaseModel):
    """What a change of the file did."""

    version: str
    changes: list[WorkerChange]
    refused: dict[str, str]


class Removed(BaseModel):
    """What was removed, or would be."""

    removed: list[str] = Field(description="What goes with the camera, because it reads it")
    deleted: bool
    version: str | None = None
    changes: list[WorkerChange] = []


@router.post(
    "/api/cameras/test",
    summary="Take one picture of a camera that may be added",
    response_model=None,
    responses={
        200: {"model": Tried, "description": "A picture, or why there is none"},
        **may_fail(404, 413, 422, 503),
    },
)
async def try_camera(trial: Trial, request: Request) -> dict[str, Any]:
    """Takes 15 s at most, and ends when nobody waits for it any more. Adds nothing."""
    values = await _source(trial, request)
    try:
        SourceSettings.model_validate(values)
    except ValidationError as error:
        raise CommandError("invalid", _in_words(error)) from None
    question = {"ask": "picture", "settings": values, "base_dir": await _base_dir(request)}
    try:
        return await _asked(request, question, probe.LONGEST_S)
    except probe.NoAnswer as error:
        return {"ok": False, "message": str(error)}


@router.get(
    "/api/cameras/found",
    summary="Cameras that are plugged in or answer in the network",
    response_model=None,
    responses={200: {"model": Found, "description": "After 3 seconds"}, **may_fail(503)},
)
async def find_cameras(request: Request) -> dict[str, Any]:
    """Webcams by V4L2, network cameras by ONVIF's WS-Discovery."""
    return await _asked(request, {"ask": "found", "wait_s": _SEARCH_S}, _SEARCH_S + _SPARE_S)


@router.post(
    "/api/cameras/onvif",
    summary="The streams of an ONVIF camera",
    response_model=None,
    responses={
        200: {"model": OnvifStreams, "description": "They, or why there are none"},
        **may_fail(413, 422, 503),
    },
)
async def ask_onvif_camera(login: Login, request: Request) -> dict[str, Any]:
    """The URLs are without user and password: send both with them when the camera is added."""
    try:
        return await _asked(request, {"ask": "onvif", **login.model_dump()}, probe.LONGEST_S)
    except probe.NoAnswer as error:
        return {"ok": False, "message": str(error)}


@router.post(
    "/api/cameras",
    status_code=201,
    summary="Add a camera",
    response_model=None,
    responses={
        201: {"model": Changed, "description": "It is in site.yaml, and started"},
        **may_fail(409, 413, 422, 503, 504),
    },
)
async def add_camera(camera: NewCamera, request: Request) -> dict[str, Any]:
    """409 `name-taken` where the name is one already. A dollar sign means itself: the environment is not read."""
    values = camera.model_dump()
    name = values.pop("name")
    return await site_of(request).command("add-camera", timeout_s=LONGEST_S, name=name, settings=values)


@router.patch(
    "/api/cameras/{name}",
    summary="Change a camera",
    response_model=None,
    responses={
        200: {"model": Changed, "description": "site.yaml says so, and it is applied"},
        **may_fail(404, 409, 413, 422, 503, 504),
    },
)
async def change_camera(name: Name, values: dict[str, Any], request: Request) -> dict[str, Any]:
    """Keys as in site.yaml; null removes one. `***` in the URL or as password means what stands there."""
    return await site_of(request).command("change-camera", timeout_s=LONGEST_S, name=name, settings=values)


@router.delete(
    "/api/cameras/{name}",
    summary="Remove a camera, and all that reads it",
    response_model=None,
    responses={
        200: {"model": Removed, "description": "It is gone from site.yaml; recordings stay"},
        **may_fail(404, 409, 422, 503, 504),
    },
)
async def remove_camera(
    name: Name,
    request: Request,
    dry_run: Annotated[bool, Query(description="Only say what would go with it")] = False,
) -> dict[str, Any]:
    """Processors that look at it, processors that read these, and its recorders and views go with it."""
    return await site_of(request).command("remove-camera", timeout_s=LONGEST_S, name=name, dry_run=dry_run)


async def _source(trial: Trial, request: Request) -> dict[str, Any]:
    values = trial.model_dump(exclude={"camera"})
    if trial.camera is None:
        if any(MASK in str(values.get(key)) for key in ("url", "password")):
            raise CommandError("invalid", f"{MASK} stands for a secret: say in `camera` whose it is")
        return values
    return await site_of(request).command("source", name=trial.camera, settings=values)


async def _base_dir(request: Request) -> str:
    """Where relative paths begin: beside the site's file."""
    try:
        file = (await site_of(request).command("settings"))["file"]
    except CommandError as error:
        if error.code not in ("unsupported", "site-error"):
            raise
        return "."
    return str(FilePath(file).parent)


async def _asked(request: Request, question: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
    """The answer; the process ends when the client goes."""
    answers: list[dict[str, Any]] = []

    async def ask() -> None:
        answers.append(await probe.ask(question, timeout_s))

    async with request.app.state.probes.place():
        await first_of(ask(), _until_gone(request))
    if not answers:
        raise CommandError("stopping", "nobody waits for the answer any more")
    return answers[0]


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _in_words(error: ValidationError) -> str:
    """What is wrong, without what was read: it may be a password."""
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(map(str, first["loc"]))
    message = first["msg"].removeprefix("Value error, ")
    return message if not place or message.startswith(f"{place}:") else f"{place}: {message}"
