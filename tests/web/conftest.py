"""A browser and a running site for each module of tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.server.sites import Watched, watched_site

from .browser import chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, module_runtime_dir: Path) -> Iterator[Watched]:
    """Cameras 'hall', with motion, and 'yard'."""
    with watched_site(tmp_path_factory.mktemp("watched"), module_runtime_dir) as watched:
        yield watched
