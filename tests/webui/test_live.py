"""The live page: pictures with boxes, in a grid that fills the window, and what it says when they stop."""

from __future__ import annotations

import base64
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from frameloom.testing.films import Box, read_counter
from tests.server.sites import HEIGHT, WIDTH, Watched

from .interface import PATIENCE_MS, WatchedPage, button, go, named, shown, wait_frames

pytestmark = pytest.mark.browser
expect.set_options(timeout=PATIENCE_MS)

FIGURES = 60  # so many that those which meet are the fewer
LAYER_BGR = (0x57, 0xC8, 0xFF)  # of the first processor
WAYS = {"webcodecs": "WebCodecs", "webrtc": "WebRTC", "mse": "MSE", "jpeg": "JPEG"}

# Both canvases in one go, so that no picture comes in between: the plain picture, and both on each other.
LOOK = """article => {
  const [picture, overlay] = article.querySelectorAll('canvas');
  const both = document.createElement('canvas');
  [both.width, both.height] = [overlay.width, overlay.height];
  const context = both.getContext('2d');
  for (const each of [picture, overlay]) context.drawImage(each, 0, 0, both.width, both.height);
  return [picture, both].map(each => each.toDataURL('image/png'));
}"""
HIDE = """hidden => {
  Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });
  document.dispatchEvent(new Event('visibilitychange'));
}"""

NOTE_SHIFTS = """() => {
  window.shifts = [];
  new PerformanceObserver(list => shifts.push(...list.getEntries().map(each => each.value)))
    .observe({ type: 'layout-shift' });
}"""


@pytest.fixture
def page(watched: WatchedPage) -> Page:
    return watched.page


def image(url: str) -> Any:
    """(height, width, 3) BGR."""
    png = np.frombuffer(base64.b64decode(url.partition(",")[2]), np.uint8)
    return cv2.imdecode(png, cv2.IMREAD_COLOR)


def test_all_cameras_are_shown_and_alive(page: Page) -> None:
    expect(page).to_have_title("Live – watched – Frameloom")
    for name in ("hall", "yard"):
        wait_frames(page, name, 20)
        expect(named(page, name).locator(".fps")).to_have_text(re.compile(r"^\d+(\.\d)? fps$"))
        expect(named(page, name).locator(".mark")).to_have_text("running")
        expect(named(page, name).locator(".notice")).to_have_count(0)


@pytest.mark.parametrize("way", WAYS)
def test_boxes_are_on_the_figure_of_the_frame_that_is_shown(
    browser: Browser, running: Watched, built: Path, way: str
) -> None:
    """The stamp says which frame of the film is on the canvas; the film knows where the figure is in it."""
    with shown(browser, f"{running.site.url}?player={way}", built) as watched:
        wait_frames(watched.page, "hall", 20)
        canvas = named(watched.page, "hall").locator("canvas").first
        expect(canvas).to_have_attribute("data-delivery", WAYS[way])
        whole = list(outlined(watched.page, running))
        assert len(whole) >= FIGURES
        assert sum(whole) >= 0.6 * len(whole), whole  # two that meet have one box
        assert watched.complaints == []


def outlined(page: Page, running: Watched) -> Iterator[bool]:
    """For some figures, each of a frame of its own: whether a box is around it."""
    numbers: set[int] = set()
    count = 0
    for _ in range(2000):
        picture, both = map(image, named(page, "hall").evaluate(LOOK))
        number = read_counter(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY))
        if number is None or number in numbers:
            continue
        numbers.add(number)
        for box in running.film.truth(number).boxes:
            if box.x_px > 8 and box.x_px + box.width_px < WIDTH - 8:
                yield is_outlined(both, box)
                count += 1
        if count >= FIGURES:
            return


def is_outlined(both: Any, box: Box) -> bool:
    """Whether lines of the layer's colour run along its left and its right edge."""
    x_scale, y_scale = both.shape[1] / WIDTH, both.shape[0] / HEIGHT
    away = np.abs(both.astype(int) - LAYER_BGR).max(axis=2)
    top, height = box.y_px * y_scale, box.height_px * y_scale
    rows = slice(round(top + height / 10), round(top + height * 9 / 10))
    edges = [round(x * x_scale) for x in (box.x_px, box.x_px + box.width_px)]
    reach = round(5 * x_scale)
    sides = [away[rows, max(0, x - reach) : x + reach + 1] for x in edges]
    return all((side < 60).any(axis=1).mean() > 0.7 for side in sides)


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (820, 1180), (390, 844)])
def test_the_grid_fits_the_window(
    browser: Browser, running: Watched, built: Path, width: int, height: int
) -> None:
    """No tile on another, none cut off at the side, and each has the shape of its picture."""
    with shown(browser, running.site.url, built, viewport={"width": width, "height": height}) as watched:
        wait_frames(watched.page, "yard", 2)
        areas = [named(watched.page, name).bounding_box() for name in ("hall", "yard")]
        hall, yard = areas
        assert hall and yard
        beside, below = hall["x"] + hall["width"] <= yard["x"], hall["y"] + hall["height"] <= yard["y"]
        assert beside or below
        for area in (hall, yard):
            assert area["x"] >= 0
            assert area["x"] + area["width"] <= width
            assert area["width"] / area["height"] == pytest.approx(WIDTH / HEIGHT, rel=0.01)
        assert watched.page.evaluate("() => document.documentElement.scrollWidth") <= width


def test_a_camera_that_is_stopped_says_so_and_can_be_started(page: Page, running: Watched) -> None:
    wait_frames(page, "yard")
    running.site.call("stop", names=["yard"])
    expect(named(page, "yard").locator(".notice .title")).to_have_text(re.compile(r"^Stopped since \d\d:"))
    opacity = (
        named(page, "yard").get_by_role("img").evaluate("each => Number(getComputedStyle(each).opacity)")
    )
    assert opacity < 0.5, "the last picture stays, dimmed"
    button(page, "Start: yard").click()
    wait_frames(page, "yard")
    expect(named(page, "yard").locator(".notice")).to_have_count(0)


def test_the_keyboard_opens_a_stream(page: Page) -> None:
    wait_frames(page, "hall", 2)
    link = page.get_by_role("link", name="Open hall", exact=True)
    link.focus()
    head = named(page, "hall").locator(".head")
    page.wait_for_function("each => getComputedStyle(each).opacity === '1'", arg=head.element_handle())
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1, name="hall")).to_be_visible()
    assert page.url.endswith("#/stream/hall")
    page.go_back()
    wait_frames(page, "yard", 2)


def test_a_hidden_page_asks_for_no_pictures(page: Page, running: Watched) -> None:
    wait_frames(page, "yard")
    page.evaluate(HIDE, True)
    running.site.wait_worker("yard", lambda worker: not is_served(worker))
    page.evaluate(HIDE, False)
    wait_frames(page, "yard")
    running.site.wait_worker("yard", is_served)


def is_served(camera: dict[str, Any]) -> bool:
    """Whether the server reads its video."""
    return any("server" in stream["readers"] for stream in camera["report"]["streams"].values())


def test_a_server_that_was_killed_is_found_again(browser: Browser, running: Watched, built: Path) -> None:
    """The page says that it is gone, and shows pictures again without anybody doing anything."""
    with shown(browser, running.site.url, built) as watched:
        page = watched.page
        wait_frames(page, "hall")
        os.kill(running.site.pids()["server"], signal.SIGSTOP)
        os.kill(running.site.pids()["server"], signal.SIGKILL)
        alarm = page.get_by_text("No connection to the server")
        expect(alarm).to_be_visible()
        expect(alarm).to_have_count(0)
        wait_frames(page, "hall", 20)


def test_a_camera_that_is_killed_is_seen_to_return(page: Page, running: Watched) -> None:
    wait_frames(page, "yard")
    pid = running.site.pids()["yard"]
    os.kill(pid, signal.SIGKILL)
    running.site.wait_worker("yard", lambda worker: worker["pid"] not in (None, pid))
    wait_frames(page, "yard", 20)
    expect(named(page, "yard")).to_have_attribute("data-state", "running")
    go(page, "#/stream/yard")
    error = page.get_by_role("region", name="Last error of yard")
    expect(error).to_contain_text("SIGKILL")
    button(page, "Dismiss the last error of yard").click()
    expect(error).to_have_count(0)


def test_a_camera_that_is_added_and_removed(page: Page, running: Watched) -> None:
    text = running.file.read_text()
    camera = f"  attic: {running.cameras.url('yard')}\n"
    running.file.write_text(text.replace("processors:", f"{camera}processors:"))
    wait_frames(page, "attic")
    running.file.write_text(text)
    expect(named(page, "attic")).to_have_count(0)
    wait_frames(page, "yard", 5)


def test_nothing_moves_when_figures_change(page: Page) -> None:
    wait_frames(page, "hall", 10)
    page.evaluate(NOTE_SHIFTS)
    wait_frames(page, "hall", 50)
    assert sum(page.evaluate("() => window.shifts")) < 0.01


def test_the_theme_is_remembered(page: Page) -> None:
    button(page, "Colours: as the system").click()
    expect(button(page, "Colours: dark")).to_be_visible()
    button(page, "Colours: dark").click()
    page.reload()
    expect(button(page, "Colours: light")).to_be_visible()
    assert page.evaluate("() => getComputedStyle(document.documentElement).colorScheme") == "light"
