"""Chromium for tests, and what a page did in it: console messages, errors, requests."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, sync_playwright

from frameloom.testing.needs import require_program

_ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync "
    "--no-first-run --disable-dev-shm-usage"
).split()
PATIENCE_MS = 60_000


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
def opened(browser: Browser, url: str, **options: Any) -> Iterator[WatchedPage]:
    """A page at `url` in a fresh context, whose `options` are Playwright's."""
    context = browser.new_context(**options)
    try:
        watched = WatchedPage(context.new_page())
        watched.page.goto(url)
        yield watched
    finally:
        context.close()
