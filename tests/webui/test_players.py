"""The ways of playing live video in a real browser: which one is taken, and that each goes on after a death.

That boxes are on their frame, in each way, is looked at in `test_live.py`.
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
from .test_live import WAYS

pytestmark = pytest.mark.browser
expect.set_options(timeout=PATIENCE_MS)


def test_the_best_way_is_taken(browser: Browser, running: Watched, built: Path) -> None:
    with shown(browser, running.site.url, built) as watched:
        wait_frames(watched.page, "yard", 5)
        yard = named(watched.page, "yard")
        expect(yard.locator("canvas").first).to_have_attribute("data-delivery", "WebCodecs")
        running.site.wait_worker(
            "yard", lambda worker: "server" in worker["report"]["streams"]["yard.packets"]["readers"]
        )
        streams = running.site.worker("yard")["report"]["streams"]
        assert not streams["yard"]["readers"], "nothing is decoded for somebody who only looks"
        expect(yard.locator(".head dl")).to_contain_text("WebCodecs")
        expect(yard.locator(".head dl")).to_contain_text("ms")


def test_where_a_way_does_not_work_the_next_is_taken(browser: Browser, running: Watched, built: Path) -> None:
    with shown(browser, running.site.url, built) as watched:
        page = watched.page
        canvas = named(page, "hall").locator("canvas").first
        page.add_init_script("VideoDecoder.isConfigSupported = async () => ({ supported: false });")
        page.reload()
        wait_frames(page, "hall", 5)
        expect(canvas).not_to_have_attribute("data-delivery", "WebCodecs")
        page.add_init_script("delete window.RTCPeerConnection; MediaSource.isTypeSupported = () => false;")
        page.reload()
        wait_frames(page, "hall", 5)
        expect(canvas).to_have_attribute("data-delivery", "JPEG")


@pytest.mark.parametrize("way", ["webcodecs", "webrtc", "mse"])
def test_pictures_come_back_after_the_camera_worker_was_killed(
    browser: Browser, running: Watched, built: Path, way: str
) -> None:
    with shown(browser, f"{running.site.url}?player={way}", built) as watched:
        wait_frames(watched.page, "yard", 10)
        pid = running.site.worker("yard")["pid"]
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: running.site.worker("yard")["pid"] not in (None, pid))
        wait_frames(watched.page, "yard", 20)
        expect(named(watched.page, "yard").locator("canvas").first).to_have_attribute(
            "data-delivery", WAYS[way]
        )
