"""The ASGI application, put together. One file per resource stands beside it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastapi import FastAPI

from frameloom.site.exposure import needs_login

from . import cameras, errors, page, recordings, settings, streams, whep, workers
from .auth import routes as auth_routes
from .auth.access import Access
from .auth.gate import Gate
from .auth.logins import Logins
from .envelope import Envelope
from .films import Recordings
from .guard import Guard, Hosts
from .hub import Hub
from .live import AnnotatedFeed, Feed
from .said import SaidFeed
from .site import SiteView
from .video import VideoFeed

_DESCRIPTION = """\
The state of a site and its live pictures. Every error is `{"error": {"code", "message"}}`: the code is for programs,
the message for people. Requests that change something are refused when they come from another web page.
Where one has to log in, everything but `/api/me`, `/api/login` and `/api/logout` may answer 401 (`login-needed`) or 403
(`not-allowed-role`); programs send a token: `Authorization: Bearer flt_...`.

Two WebSockets belong to it:

- `/api/watch` sends the answer of `/api/site` as text, at once and after every change.
- `/streams/{name}/live.ws` sends binary messages: a uint32 (little-endian), the length of a JSON text; the text; a
  JPEG. The text holds `number` (counts pictures; a gap is what you missed), `frame_seq`, `width`, `height`, `pts_ns`,
  `captured_ns`, `captured_at_ns`, and `results`: for each processor its `frame_seq` and `values`. They are of the frame
  that is shown wherever the processor keeps up, else of the last one before it. With `?window=3` at most three pictures
  are under way: say the `number` of each one that you have shown, as a text message. Close code 4404 says that there is
  no such camera.
"""


def create_app(
    site: str,
    *,
    address: str = "127.0.0.1",
    login: bool | str = "auto",
    names: Iterable[str] = (),
    database: str | None = None,
    patience_s: float = 30.0,
) -> FastAPI:
    """The application for one site.

    address     where it listens, which decides how it may be called (see `frameloom.server.guard`)
    login       as in site.yaml: whether one has to log in (see `frameloom.server.auth`)
    names       by which it may be called, too: those of its certificate
    database    URL of the index of recordings, as in site.yaml
    patience_s  a viewer that takes no picture for so long is let go
    """
    app = FastAPI(
        title="Frameloom",
        version=_version(),
        description=_DESCRIPTION,
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.site = SiteView(site)
    app.state.recordings = Recordings(site, database)
    app.state.probes = cameras.Probes()
    app.state.live = Hub(app.state.site, Feed, patience_s=patience_s)
    app.state.annotated = Hub[Feed](app.state.site, AnnotatedFeed, patience_s=patience_s)
    app.state.video = Hub(app.state.site, VideoFeed, patience_s=patience_s)
    app.state.said = Hub(app.state.site, SaidFeed, patience_s=patience_s)
    app.state.access = Access(site, login=needs_login(address, login))
    app.state.logins = Logins(app.state.access)
    errors.install(app)
    app.include_router(streams.router, tags=["cameras"])
    app.include_router(whep.router, tags=["cameras"])
    app.include_router(workers.router, tags=["site"])
    app.include_router(recordings.router, tags=["recordings"])
    auth_routes.install(app)
    app.include_router(settings.router, tags=["settings"])
    app.include_router(cameras.router, tags=["settings"])
    app.include_router(page.router)
    app.add_middleware(Gate, access=app.state.access)
    trusting = login == "auto" and not app.state.access.login
    app.add_middleware(Guard, hosts=Hosts(address, names), trusting=trusting)
    app.add_middleware(Envelope)
    return app


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    state = app.state
    hubs = (state.live, state.annotated, state.video, state.said)
    works = (state.site.follow(), state.access.follow(), *(hub.follow() for hub in hubs))
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield
    finally:
        close_viewers(app)
        await _end(tasks)
        state.logins.close()
        state.recordings.close()


def close_viewers(app: FastAPI) -> None:
    """The server stops: let everybody go who looks or listens."""
    for hub in (app.state.live, app.state.annotated, app.state.video, app.state.said):
        hub.close()


async def _end(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _version() -> str:
    try:
        return version("frameloom")
    except PackageNotFoundError:
        return "0"
