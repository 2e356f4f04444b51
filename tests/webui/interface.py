"""The built interface in a browser, over a real site: its own files come from the build, all else from the server."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Locator, Page, Route, sync_playwright
from tools import web_build

from frameloom.testing.needs import require_program

_ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync "
    "--no-first-run --disable-dev-shm-usage"
).split()
# The server's own page is public to Chromium's eyes where its files come from elsewhere.
_ELSEWHERE = "--disable-features=LocalNetworkAccessChecks"
_OWN = re.compile(r"^http://[^/]+/(static/[^/]+)?([?#].*)?$")
PATIENCE_MS = 60_000


def elsewhere() -> Path | None:
    """The folder of another build than the served one, where several people work on the interface at once."""
    folder = os.environ.get("FRAMELOOM_TEST_WEB")
    return Path(folder) if folder else None


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """The browser of the machine; without one, the running test is skipped, or fails where none may be."""
    program = require_program("chromium", "chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=[*_ARGUMENTS, _ELSEWHERE] if elsewhere() else _ARGUMENTS
        )
        try:
            yield browser
        finally:
            browser.close()


class WatchedPage:
    """A page whose trouble is noted: what it wrote to the console, what it raised, whom it asked."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.hosts: set[str] = set()
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self._asked(request.url))
        page.on("websocket", lambda websocket: self._asked(websocket.url))

    def _heard(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")

    def _asked(self, url: str) -> None:
        if urlsplit(url).scheme not in ("blob", "data"):
            self.hosts.add(urlsplit(url).netloc)


@contextlib.contextmanager
def shown(
    browser: Browser, url: str, built: Path = web_build.BUILT, where: str = "#/live", **options: Any
) -> Iterator[WatchedPage]:
    """The interface at `url` and `where`, in a fresh context whose `options` are Playwright's.

    Its files are the server's, or those of `built` where that is another folder.
    """
    context = browser.new_context(**options)
    try:
        if built != web_build.BUILT:
            # A pattern, not a function: requests that are not the interface's own must not wait for this thread.
            context.route(_OWN, lambda route: answer(route, built))
        watched = WatchedPage(context.new_page())
        watched.page.goto(f"{url}{where}")
        yield watched
    finally:
        context.close()


def answer(route: Route, built: Path) -> None:
    """With the file of the build that stands for an address of the server."""
    path = built / (urlsplit(route.request.url).path.removeprefix("/static/").lstrip("/") or "index.html")
    if path.is_file():
        route.fulfill(path=path)
    else:
        route.fulfill(status=404)


def go(page: Page, where: str) -> None:
    """Follow an address within the interface."""
    page.evaluate("where => { location.hash = where; }", where)


def named(page: Page, name: str) -> Locator:
    """The tile, node, row or section of a worker."""
    return page.locator(f"[data-name='{name}']")


def button(page: Page, name: str) -> Locator:
    return page.get_by_role("button", name=name, exact=True)


def frames(page: Page, name: str) -> int:
    return int(named(page, name).locator("canvas").first.get_attribute("data-frames") or 0)


def wait_frames(page: Page, name: str, more: int = 10) -> None:
    """Wait until so many more pictures have been drawn."""
    named(page, name).locator("canvas").first.wait_for()
    page.wait_for_function(
        "([name, least]) => Number(document.querySelector(`[data-name='${name}'] canvas`).dataset.frames) >= least",
        arg=[name, frames(page, name) + more],
    )


def at(page: Page, x: float, y: float) -> tuple[float, float]:
    """Where a place of the large picture, 0 to 1, stands in the window."""
    area = page.locator(".stage .frame").bounding_box()
    assert area is not None
    return area["x"] + x * area["width"], area["y"] + y * area["height"]


def drag_region(page: Page, from_xy: tuple[float, float], to_xy: tuple[float, float]) -> None:
    """A drag over the large picture, in several steps."""
    page.mouse.move(*at(page, *from_xy))
    page.mouse.down()
    page.mouse.move(*at(page, *to_xy), steps=10)
    page.mouse.up()
