"""What the page says of a site in trouble, and of one with nothing in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from frameloom.testing.films import counter, encode
from frameloom.testing.rtsp_server import RtspServer
from tests.journey.running import RunningSite, running_site

from .browser import PATIENCE_MS, opened

pytestmark = pytest.mark.browser
expect.set_options(timeout=PATIENCE_MS)

SITE = """\
site: troubled
server: {{port: 0}}
limits: {{failures: 2}}
cameras:
  door: {door}
  garden: {garden}
processors:
  wordy: {{use: 'wordy.py:Wordy', stream: door}}
  waiting: {{use: motion, stream: garden}}
"""
WORDY = """\
from frameloom import Processor

class Wordy(Processor):
    def process(self, frame):
        raise RuntimeError("<b>much</b> " + "is to be said of this " * 200)
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, module_runtime_dir: Path) -> Iterator[RunningSite]:
    """A camera with a wrong password, and a processor that crashes with a very long message."""
    folder = tmp_path_factory.mktemp("troubled")
    film = folder / "counter.mp4"
    encode(counter(width=320, height=240, frames=50), film, gop=25)
    (folder / "wordy.py").write_text(WORDY)
    with (
        pytest.MonkeyPatch.context() as patch,
        RtspServer({"door": film}) as open_one,
        RtspServer({"garden": film}, users={"ann": "right"}) as locked,
    ):
        patch.setenv("FRAMELOOM_RUNTIME_DIR", str(module_runtime_dir))
        garden = locked.url("garden", "ann").replace("right", "wrong")
        file = folder / "site.yaml"
        file.write_text(SITE.format(door=open_one.url("door"), garden=garden))
        with running_site(file, name="troubled") as site:
            site.wait_state("wordy", "failed")
            yield site


@pytest.fixture(params=[390, 1440])
def page(browser: Browser, site: RunningSite, request: pytest.FixtureRequest) -> Iterator[Page]:
    with opened(browser, site.url, viewport={"width": request.param, "height": 900}) as watched:
        yield watched.page
        assert watched.complaints == []


def test_a_wrong_password_is_said_and_not_shown(page: Page) -> None:
    notice = page.locator("[data-name=garden] .notice")
    expect(notice).to_contain_text("refused user name or password")
    expect(notice).to_contain_text(re.compile(r"trying again in \d+ s"))
    assert "wrong" not in page.content() and "rtsp://" not in page.content()
    expect(page.locator("[data-name=waiting] .detail")).to_have_text("waiting for frames of 'garden'")
    expect(page.locator("#summary")).to_contain_text("in trouble: garden, wordy, waiting")


def test_a_crash_is_said_in_short_and_in_full(page: Page) -> None:
    error = page.locator("[data-name=wordy] .error")
    expect(error).to_contain_text("failed 2 times in a row: RuntimeError: <b>much</b> is to be said")
    area = error.bounding_box()
    assert area is not None and area["height"] < 100, "the rest is folded"
    traceback = page.locator("[data-name=wordy] .trouble pre")
    expect(traceback).to_be_hidden()
    page.locator("[data-name=wordy] .trouble summary").click()
    expect(traceback).to_be_visible()
    expect(traceback).to_contain_text("Traceback (most recent call last)")
    expect(traceback).to_contain_text("wordy.py")
    assert (
        page.evaluate("() => document.documentElement.scrollWidth")
        <= (page.viewport_size or {"width": 0})["width"]
    )


def test_a_start_that_fails_again_is_said_again(browser: Browser, site: RunningSite) -> None:
    with opened(browser, site.url) as watched:
        start_again(watched.page)


def start_again(page: Page) -> None:
    page.get_by_role("button", name="Start wordy", exact=True).click()
    expect(page.locator("[data-name=wordy] .state")).not_to_have_text(re.compile("^failed"))
    expect(page.locator("[data-name=wordy] .state")).to_have_text(re.compile("^failed"))


def test_nothing_configured(browser: Browser, tmp_path: Path, runtime_dir: Path) -> None:
    file = tmp_path / "site.yaml"
    file.write_text("site: empty\nserver: {port: 0}\n")
    with running_site(file, name="empty") as site, opened(browser, site.url) as watched:
        page = watched.page
        expect(page.locator("#summary")).to_have_text("no cameras")
        expect(page.locator(".hint")).to_contain_text("No cameras yet. Add one to site.yaml")
        expect(page.locator("#alarm")).to_be_hidden()
        assert watched.complaints == []
