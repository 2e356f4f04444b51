"""Workers as resources: state, start, stop, restart, parameters, logs. Everything here posts a command."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from fastapi import APIRouter, Body, Query, Request, WebSocket, WebSocketDisconnect

from .site import SiteView

router = APIRouter()


@router.get("/api/site", summary="The whole site: every worker with its state")
async def site(request: Request) -> dict[str, Any]:
    view = _site(request)
    view.workers()
    return view.snapshot or {}


@router.post("/api/workers/{name}/{verb}", summary="Start, stop or restart a worker")
async def order(name: str, verb: Literal["start", "stop", "restart"], request: Request) -> dict[str, Any]:
    return await _site(request).command(verb, names=[name])


@router.patch("/api/workers/{name}/parameters", summary="Change parameters between two frames")
async def change(name: str, request: Request, values: dict[str, Any] = Body(...)) -> dict[str, Any]:
    return await _site(request).command("set", name=name, values=values)


@router.get("/api/workers/{name}/logs", summary="The last lines that a worker wrote")
async def logs(name: str, request: Request, lines: int = Query(100, ge=1, le=1000)) -> dict[str, Any]:
    return await _site(request).command("logs", name=name, lines=lines)


@router.websocket("/api/watch")
async def watch(socket: WebSocket) -> None:
    """Text messages: the site's snapshot, at once and after every change, the newest one to a slow reader."""
    await socket.accept()
    view: SiteView = socket.app.state.site
    gone = asyncio.create_task(_until_gone(socket))
    number = 0
    try:
        while not gone.done():
            news = asyncio.create_task(view.next(number))
            await asyncio.wait((news, gone), return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                news.cancel()
                return
            number, snapshot = news.result()
            await socket.send_json(snapshot)
    except (WebSocketDisconnect, RuntimeError):
        return
    finally:
        gone.cancel()


async def _until_gone(socket: WebSocket) -> None:
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass


def _site(request: Request) -> SiteView:
    view: SiteView = request.app.state.site
    return view
