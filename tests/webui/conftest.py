"""The built interface, a browser, and a running site for each module of tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser
from tools import web_build

from tests.server.sites import Watched, watched_site

from .interface import WatchedPage, chromium, elsewhere, shown


@pytest.fixture(scope="session")
def built() -> Path:
    """The folder with the built interface."""
    folder = elsewhere() or web_build.BUILT
    web_build.build(folder)
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, module_runtime_dir: Path) -> Iterator[Watched]:
    """Cameras 'hall', with motion, and 'yard'."""
    with watched_site(tmp_path_factory.mktemp("watched"), module_runtime_dir) as watched:
        yield watched


@pytest.fixture
def watched(browser: Browser, running: Watched, built: Path) -> Iterator[WatchedPage]:
    """The page, and at the end: nothing complained, and nobody but the server was asked."""
    with shown(browser, running.site.url, built, viewport={"width": 1440, "height": 900}) as watched:
        yield watched
        assert watched.complaints == []
        assert watched.hosts == {f"127.0.0.1:{running.port}"}
