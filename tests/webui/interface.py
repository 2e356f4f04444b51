"""The built interface in a browser, over a real site: its own files come from the build, all else from the server."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Locator, Page, Route, sync_playwright

from frameloom.testing.needs import require_program
from tests.web.browser import WatchedPage

# A page that does not come over the network, as here, may else not speak to this machine.
_ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync "
    "--no-first-run --disable-dev-shm-usage --disable-features=LocalNetworkAccessChecks"
).split()

_OWN = re.compile(r"^http://[^/]+/(static/[^/]+)?([?#].*)?$")


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """The browser of the machine; without one, the running test is skipped, or fails where none may be."""
    program = require_program("chromium", "chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def shown(
    browser: Browser, url: str, built: Path, where: str = "#/live", **options: Any
) -> Iterator[WatchedPage]:
    """The interface at `url` and `where`, in a fresh context whose `options` are Playwright's."""
    context = browser.new_context(**options)
    try:
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
