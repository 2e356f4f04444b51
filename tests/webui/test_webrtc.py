"""WebRTC in a real browser: when it is taken, and what happens when it does not come through.

That boxes are on their frame by it too, and that it goes on after a camera's death, stands with the other ways.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.journey.running import wait_until
from tests.server.sites import Watched

from .interface import PATIENCE_MS, named, shown, wait_frames

pytestmark = pytest.mark.browser
expect.set_options(timeout=PATIENCE_MS)

# As on a page that comes from another machine without TLS.
NO_WEBCODECS = "delete window.VideoDecoder;"
# As where UDP does not come through: the answer leads to a port at which nobody is.
NO_UDP = """
const set = RTCPeerConnection.prototype.setRemoteDescription;
RTCPeerConnection.prototype.setRemoteDescription = function ({ type, sdp }) {
  return set.call(this, { type, sdp: sdp.replace(/ [0-9]+ typ host/g, " 9 typ host") });
};"""


def test_it_is_taken_where_webcodecs_may_not_be_used(browser: Browser, running: Watched, built: Path) -> None:
    """Both cameras by one port, with no decoding; and nothing is read any more when the page goes."""
    with shown(browser, "about:blank", built, "") as watched:
        page = watched.page
        page.add_init_script(NO_WEBCODECS)
        page.goto(f"{running.site.url}#/live")
        for name in ("hall", "yard"):
            wait_frames(page, name, 20)
            expect(named(page, name).locator("canvas").first).to_have_attribute("data-delivery", "WebRTC")
        expect(named(page, "yard").locator(".head dl")).to_contain_text("WebRTC")
        expect(named(page, "yard").locator(".head dl")).to_contain_text("ms")
        running.site.wait_worker("webrtc", lambda worker: worker["report"]["info"]["viewers"] == 2)
        assert not running.site.worker("yard")["report"]["streams"]["yard"]["readers"]
        assert watched.complaints == []
        page.goto("about:blank")
        running.site.wait_worker("webrtc", lambda worker: worker["report"]["info"]["viewers"] == 0)


def test_where_it_does_not_come_through_the_next_way_is_taken(
    browser: Browser, running: Watched, built: Path
) -> None:
    with shown(browser, "about:blank", built, "") as watched:
        page = watched.page
        page.add_init_script(NO_WEBCODECS + NO_UDP)
        page.goto(f"{running.site.url}#/live")
        wait_frames(page, "yard", 10)
        expect(named(page, "yard").locator("canvas").first).to_have_attribute("data-delivery", "MSE")
        assert watched.complaints == []


def test_viewers_come_back_after_its_worker_was_killed(
    browser: Browser, running: Watched, built: Path
) -> None:
    with shown(browser, f"{running.site.url}?player=webrtc", built) as watched:
        wait_frames(watched.page, "yard", 10)
        pid = running.site.worker("webrtc")["pid"]
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: running.site.worker("webrtc")["pid"] not in (None, pid))
        wait_frames(watched.page, "yard", 20)
        expect(named(watched.page, "yard").locator("canvas").first).to_have_attribute(
            "data-delivery", "WebRTC"
        )
