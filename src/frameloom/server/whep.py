"""Viewers by WebRTC come and go by HTTP, as WHEP describes it: an offer is posted, an answer comes back.

The connection itself is the business of the worker `webrtc`, which is told by command; nothing of it is loaded here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Path, Request, Response

from frameloom.model.errors import CommandError

from .auth.access import caller_of
from .errors import may_fail
from .hub import processors_on
from .site import SiteView

router = APIRouter()

SDP = "application/sdp"
WORKER = "webrtc"

Name = Annotated[str, Path(description="Name of a camera")]
Id = Annotated[str, Path(description="Of the viewer, as in `Location`", max_length=64)]

_TEXT = {"schema": {"type": "string"}, "example": "v=0\r\n..."}
_BODY = {"required": True, "content": {SDP: _TEXT}}
_ORIGIN = "X-Rtp-Origin"


@router.post(
    "/streams/{name}/whep",
    summary="Look at a camera by WebRTC",
    status_code=201,
    response_class=Response,
    openapi_extra={"requestBody": _BODY},
    responses={
        201: {
            "content": {SDP: _TEXT},
            "description": "The answer to the offer",
            "headers": {
                "Location": {"description": "Of this viewer, for DELETE", "schema": {"type": "string"}},
                _ORIGIN: {"description": "RTP time of media time 0", "schema": {"type": "integer"}},
            },
        },
        **may_fail(404, 406, 409, 413, 415, 422, 503, 504),
    },
)
async def come(name: Name, request: Request) -> Response:
    """The offer asks for one video in H.264 (packetization-mode 1); all candidates stand in the answer."""
    offer = await _offer(request)
    await _refuse_unknown(name, request)
    fields = {"camera": name, "sdp": offer, "called": _called(request)}
    answer = await _tell(request, "offer", fields)
    leave = partial(_send_away, request, {"camera": name, "id": answer["id"]})
    request.app.state.access.hold(caller_of(request), leave)
    headers = {"Location": f"/streams/{name}/whep/{answer['id']}", _ORIGIN: str(answer["origin"])}
    return Response(answer["sdp"], 201, headers, SDP)


@router.delete(
    "/streams/{name}/whep/{id}",
    summary="Look no more",
    status_code=204,
    response_class=Response,
    responses={204: {"description": "The connection is closed"}, **may_fail(404, 409, 422, 503, 504)},
)
async def go(name: Name, id: Id, request: Request) -> Response:
    """A viewer who just goes is noticed within 15 s."""
    await _tell(request, "leave", {"camera": name, "id": id})
    return Response(status_code=204)


@router.options(
    "/streams/{name}/whep",
    summary="What may be posted here",
    status_code=204,
    response_class=Response,
    responses={204: {"description": "`Accept-Post` says it"}, **may_fail(422)},
)
async def ask(name: Name) -> Response:
    """For players that ask first."""
    return Response(status_code=204, headers={"Accept-Post": SDP, "Allow": "OPTIONS, POST"})


async def _offer(request: Request) -> str:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != SDP:
        raise CommandError("unsupported-media", f"Content-Type: read {kind[:50]!r}, allowed: {SDP}")
    try:
        return (await request.body()).decode()
    except UnicodeDecodeError:
        raise CommandError("invalid", "the offer: it is not UTF-8") from None


async def _refuse_unknown(camera: str, request: Request) -> None:
    processors_on(camera, await _site(request).known())


async def _tell(request: Request, what: str, args: Mapping[str, Any]) -> dict[str, Any]:
    worker = (await _site(request).known()).get(WORKER)
    if worker is None or worker["state"] == "idle":
        raise CommandError("not-running", "WebRTC is switched off (server.webrtc)")
    return await _site(request).command("tell", name=WORKER, tell=what, args=dict(args))


async def _send_away(request: Request, viewer: Mapping[str, Any]) -> None:
    """The right to look has ended."""
    with contextlib.suppress(CommandError):  # he has gone by himself
        await _tell(request, "leave", viewer)


def _called(request: Request) -> str:
    """The name by which the viewer reached us: where it is an address, WebRTC may reach us there, too."""
    return urlsplit(f"//{request.headers.get('host', '')}").hostname or ""


def _site(request: Request) -> SiteView:
    site: SiteView = request.app.state.site
    return site
