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

from .interface import PATIENCE_MS, WatchedPage, button, go, named, shown

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
def page(browser: Browser, built: Path, site: RunningSite, request: pytest.FixtureRequest) -> Iterator[Page]:
    with shown(browser, site.url, built, viewport={"width": request.param, "height": 900}) as watched:
        yield watched.page
        assert watched.complaints == []
        assert fits(watched)


def fits(watched: WatchedPage) -> bool:
    width = watched.page.evaluate("() => document.documentElement.scrollWidth")
    return bool(width <= (watched.page.viewport_size or {"width": 0})["width"])


def test_a_wrong_password_is_said_and_not_shown(page: Page) -> None:
    notice = named(page, "garden").locator(".notice")
    expect(notice).to_contain_text("refused user name or password")
    expect(notice).to_contain_text(re.compile(r"\d+ s"))
    assert "wrong" not in page.content() and "rtsp://" not in page.content()
    go(page, "#/stream/garden")
    expect(named(page, "waiting").locator(".words")).to_contain_text("aiting for frames of 'garden'")


def test_a_crash_is_said_in_short_and_in_full(page: Page) -> None:
    go(page, "#/stream/door")
    error = page.get_by_role("region", name="Last error of wordy")
    expect(error).to_contain_text("RuntimeError: <b>much</b> is to be said")
    area = error.locator(".text").bounding_box()
    assert area is not None and area["height"] < 250, "the rest can be scrolled to"
    traceback = error.locator("pre")
    expect(traceback).to_be_hidden()
    error.locator("summary").click()
    expect(traceback).to_be_visible()
    expect(traceback).to_contain_text("Traceback (most recent call last)")
    expect(traceback).to_contain_text("wordy.py")


def test_a_start_that_fails_again_is_said_again(browser: Browser, built: Path, site: RunningSite) -> None:
    with shown(browser, site.url, built, "#/stream/door") as watched:
        wordy = named(watched.page, "wordy")
        expect(wordy).to_have_attribute("data-state", "failed")
        button(watched.page, "Start wordy").click()
        expect(wordy).not_to_have_attribute("data-state", "failed")
        expect(wordy).to_have_attribute("data-state", "failed")


def test_nothing_configured(browser: Browser, built: Path, tmp_path: Path, runtime_dir: Path) -> None:
    file = tmp_path / "site.yaml"
    file.write_text("site: empty\nserver: {port: 0}\n")
    with running_site(file, name="empty") as site, shown(browser, site.url, built) as watched:
        expect(watched.page.get_by_role("heading", name="No cameras yet")).to_be_visible()
        expect(watched.page.get_by_role("alert")).to_be_empty()
        assert watched.complaints == []
