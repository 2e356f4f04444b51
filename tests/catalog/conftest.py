"""Recordings with known truth: counters, recorded by a real recorder, once for all modules."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from frameloom.testing.films import counter, encode
from tests.sinks.parts import FPS, FRAMES, GOP, VFR_S

from .parts import Recorded, close_databases, record
from .postgres import Postgres, running_postgres


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Recorded]:
    """Three laps of a counter of FRAMES frames, in two or more segments of a camera 'hall', by kind."""
    folder = tmp_path_factory.mktemp("recorded")
    film = counter(fps=FPS, frames=FRAMES)
    films = {
        "h264": encode(film, folder / "h264.mp4", gop=GOP),
        "bframes": encode(film, folder / "bframes.mp4", gop=GOP, bframes=2),
        "vfr": encode(film, folder / "vfr.mp4", gop=GOP, bframes=2, vfr_pts_s=VFR_S),
        "hevc": encode(film, folder / "hevc.mp4", gop=GOP, codec="hevc"),
        "mjpeg": encode(film, folder / "mjpeg.mkv", codec="mjpeg"),
        "small": encode(
            counter(width=192, height=144, fps=FPS, frames=FRAMES), folder / "small.mp4", gop=GOP
        ),
    }
    return {kind: record(path, folder / f"{kind}-recordings") for kind, path in films.items()}


@pytest.fixture(autouse=True)
def databases_closed() -> Iterator[None]:
    yield
    close_databases()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A server of PostgreSQL of this run alone; without one the test is skipped, or fails where none may be."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def server_or_file(request: pytest.FixtureRequest) -> Postgres | None:
    """Both kinds of database. Of the session, so that the server is there before what one test starts is counted."""
    if request.param == "sqlite":
        return None
    server: Postgres = request.getfixturevalue("postgres")
    return server


@pytest.fixture
def url(server_or_file: Postgres | None, tmp_path: Path) -> str:
    """The URL of an empty database."""
    return server_or_file.new_database() if server_or_file else f"sqlite:///{tmp_path / 'index.sqlite'}"
