"""Each way of playing live video in a real browser: pictures go on, and boxes are on the frame they belong to."""

from __future__ import annotations

import base64
import os
import re
import signal
from typing import Any

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from frameloom.testing.films import read_counter
from tests.journey.running import wait_until
from tests.server.sites import Watched

from .browser import opened
from .test_page import frames, is_outlined, tile, wait_frames

pytestmark = pytest.mark.browser

WAYS = {"webcodecs": "WebCodecs", "mse": "MSE", "jpeg": "JPEG"}


def drawn_in_time(page: Page, name: str) -> tuple[Any, bool]:
    """What stands on the canvas, (height, width, 3) BGR, and whether its boxes are of an earlier frame."""
    script = "canvas => [canvas.toDataURL('image/png'), canvas.dataset.late]"
    url, late = tile(page, name).locator("canvas").evaluate(script)
    png = np.frombuffer(base64.b64decode(url.partition(",")[2]), np.uint8)
    return cv2.imdecode(png, cv2.IMREAD_COLOR), late == "true"


@pytest.mark.parametrize("way", WAYS)
def test_pictures_go_on_with_boxes_on_their_frame(browser: Browser, running: Watched, way: str) -> None:
    """The stamp says which frame of the film is on the canvas; the film knows where the figure is in it."""
    with opened(
        browser, f"{running.site.url}?player={way}", viewport={"width": 1440, "height": 900}
    ) as watched:
        page = watched.page
        expect(tile(page, "hall").locator("canvas")).to_have_attribute("data-delivery", WAYS[way])
        wait_frames(page, "hall", 30)
        shown, whole = set(), []
        for _ in range(2000):
            picture, late = drawn_in_time(page, "hall")
            number = read_counter(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY))
            if number is None or number in shown or late:  # on a busy machine what was seen may come too late
                continue
            shown.add(number)
            truth = running.film.truth(number).boxes
            boxes = [box for box in truth if box.x_px > 8 and box.x_px + box.width_px < 312]
            whole += [is_outlined(picture, box) for box in boxes]
            if len(whole) >= 60:
                break
        assert len(whole) >= 60
        assert sum(whole) >= 0.6 * len(whole), whole  # two that meet have one box
        assert watched.complaints == []


def test_the_best_way_is_taken(browser: Browser, running: Watched) -> None:
    with opened(browser, running.site.url) as watched:
        wait_frames(watched.page, "yard", 5)
        expect(tile(watched.page, "yard").locator("canvas")).to_have_attribute("data-delivery", "WebCodecs")
        running.site.wait_worker(
            "yard", lambda worker: "server" in worker["report"]["streams"]["yard.packets"]["readers"]
        )
        streams = running.site.worker("yard")["report"]["streams"]
        assert not streams["yard"]["readers"], "nothing is decoded for somebody who only looks"
        delivery = tile(watched.page, "yard").locator(".delivery")
        expect(delivery).to_have_text(re.compile(r"^WebCodecs, \d+ ms$"))


def test_where_a_way_does_not_work_the_next_is_taken(browser: Browser, running: Watched) -> None:
    context = browser.new_context()
    try:
        page = context.new_page()
        page.add_init_script("VideoDecoder.isConfigSupported = async () => ({ supported: false });")
        page.goto(running.site.url)
        wait_frames(page, "hall", 5)
        expect(tile(page, "hall").locator("canvas")).to_have_attribute("data-delivery", "MSE")
        page.add_init_script("MediaSource.isTypeSupported = () => false;")
        page.reload()
        wait_frames(page, "hall", 5)
        expect(tile(page, "hall").locator("canvas")).to_have_attribute("data-delivery", "JPEG")
    finally:
        context.close()


@pytest.mark.parametrize("way", ["webcodecs", "mse"])
def test_pictures_come_back_after_the_camera_worker_was_killed(
    browser: Browser, running: Watched, way: str
) -> None:
    with opened(browser, f"{running.site.url}?player={way}") as watched:
        wait_frames(watched.page, "yard", 10)
        pid = running.site.worker("yard")["pid"]
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: running.site.worker("yard")["pid"] not in (None, pid))
        before = frames(watched.page, "yard")
        wait_frames(watched.page, "yard", 20)
        assert frames(watched.page, "yard") > before
        delivery = watched.page.locator("[data-name=yard] canvas").get_attribute("data-delivery")
        assert re.match(WAYS[way], delivery or "")
