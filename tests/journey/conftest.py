"""Fixtures of the journeys: rendered films, RTSP cameras that serve them, and sites on top."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from frameloom.testing.films import encode, walking_figures
from frameloom.testing.rtsp_server import RtspServer


@pytest.fixture(scope="session")
def walkers_film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six seconds of walking figures, 320x240 at 25 fps, every frame stamped with its number."""
    path = tmp_path_factory.mktemp("films") / "walkers.mp4"
    encode(walking_figures(width=320, height=240, fps=25, frames=150, stamp=True), path, gop=25)
    return path


@pytest.fixture
def cameras(walkers_film: Path) -> Iterator[RtspServer]:
    """Four RTSP cameras, 'one' to 'four', which fail on command."""
    with RtspServer(dict.fromkeys(("one", "two", "three", "four"), walkers_film)) as server:
        yield server
