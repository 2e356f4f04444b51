"""The ASGI application, put together. One file per resource stands beside it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from . import errors, streams, workers
from .guard import Guard
from .live import Live
from .site import SiteView

_STATIC = Path(__file__).parent.parent / "web" / "static"


def create_app(site: str, *, loopback_only: bool = True) -> FastAPI:
    """The application for one site; `loopback_only` makes it refuse requests that name another host."""
    app = FastAPI(title="Frameloom", version=_version(), lifespan=_lifespan, docs_url=None, redoc_url=None)
    app.state.site = SiteView(site)
    app.state.live = Live(site)
    errors.install(app)
    app.include_router(streams.router, tags=["streams"])
    app.include_router(workers.router, tags=["workers"])
    app.mount("/", StaticFiles(directory=_STATIC, html=True), name="web")
    app.add_middleware(Guard, loopback_only=loopback_only)
    return app


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    following = asyncio.create_task(app.state.site.follow())
    try:
        yield
    finally:
        following.cancel()
        app.state.live.close()


def _version() -> str:
    try:
        return version("frameloom")
    except PackageNotFoundError:
        return "0"
