"""The site and its workers as resources: state, start, stop, restart, parameters, logs.

What changes something posts a command to the supervisor, as the command line does.
"""

from __future__ import annotations

import contextlib
from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Query, Request, WebSocket, WebSocketDisconnect

from .errors import may_fail
from .news import first_of
from .schema import Changed, Done, Ending, Logs, Site, Verb
from .site import SiteView

router = APIRouter()

Name = Annotated[str, Path(description="Name of a worker")]
Order = Annotated[Verb, Path(description="What is to be done")]


@router.get(
    "/api/site",
    summary="The whole site: every worker with its state",
    response_model=None,
    responses={200: {"model": Site, "description": "As the supervisor said it last"}, **may_fail(503)},
)
async def site(request: Request) -> dict[str, Any]:
    """Follow it by the WebSocket `/api/watch`, instead of asking again and again."""
    view = _site(request)
    await view.known()
    return view.snapshot or {}


@router.post(
    "/api/workers/{name}/{verb}",
    summary="Start, stop or restart a worker, or clear its last error",
    response_model=None,
    responses={
        200: {"model": Done, "description": "It is done; a start is under way"},
        **may_fail(404, 422, 503, 504),
    },
)
async def order(name: Name, verb: Order, request: Request) -> dict[str, Any]:
    """A stop is answered when the process has ended. What is started or stopped stays so: site.yaml says it."""
    return await _site(request).command(verb, names=[name])


@router.patch(
    "/api/workers/{name}/parameters",
    summary="Change parameters",
    response_model=None,
    responses={
        200: {
            "model": Changed,
            "description": "In effect from the next picture on, and written to site.yaml",
        },
        **may_fail(404, 409, 413, 422, 503, 504),
    },
)
async def change(
    name: Name,
    request: Request,
    values: Annotated[dict[str, Any], Body(description="New values by name", examples=[{"threshold": 30}])],
) -> dict[str, Any]:
    """All values or none; between two pictures, with none lost. What may be set, the worker's report declares."""
    return await _site(request).command("set", name=name, values=values)


@router.get(
    "/api/workers/{name}/logs",
    summary="The last lines that a worker wrote",
    response_model=None,
    responses={200: {"model": Logs, "description": "Oldest first"}, **may_fail(404, 422, 503, 504)},
)
async def logs(
    name: Name,
    request: Request,
    lines: Annotated[int, Query(ge=1, le=1000, description="How many at most")] = 100,
    after: Annotated[int, Query(ge=0, description="Only lines with a greater `seq`")] = 0,
) -> dict[str, Any]:
    """Also those of a process that has ended."""
    return await _site(request).command("logs", name=name, lines=lines, after=after)


@router.post(
    "/api/shutdown",
    summary="End the whole site, this server included",
    response_model=None,
    responses={200: {"model": Ending, "description": "It is ending"}, **may_fail(409, 503, 504)},
)
async def shut_down(request: Request) -> dict[str, Any]:
    """Answered before it ends. Nothing of it starts the site again: that is done on its machine."""
    view = _site(request)
    await view.command("shutdown")
    return {"site": view.site}


@router.websocket("/api/watch")
async def watch(socket: WebSocket) -> None:
    """Text messages: the site's snapshot, at once and after every change, the newest one to a slow reader."""
    await socket.accept()
    with contextlib.suppress(WebSocketDisconnect, OSError):
        await first_of(_tell(socket, socket.app.state.site), _until_gone(socket))


async def _tell(socket: WebSocket, view: SiteView) -> None:
    number = 0
    while True:
        number, snapshot = await view.next(number)
        await socket.send_json(snapshot)


async def _until_gone(socket: WebSocket) -> None:
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass


def _site(request: Request) -> SiteView:
    view: SiteView = request.app.state.site
    return view
