"""Coroutine tests, a server of their own, and a running site for each module that asks for one."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .bench import Camera, Processor, serving


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is a coroutine in an event loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


@pytest.fixture
def server(runtime_dir: Path) -> Callable[..., Any]:
    """Runs a server: `async with server(spec, ..., **options) as bench:`."""
    return serving


@pytest.fixture
def camera(runtime_dir: Path) -> Iterator[Camera]:
    """The camera 'hall'."""
    camera = Camera()
    yield camera
    camera.close()


@pytest.fixture
def motion(camera: Camera) -> Iterator[Processor]:
    """A processor on the camera 'hall'."""
    processor = Processor("motion", camera)
    yield processor
    processor.close()
