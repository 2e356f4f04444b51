"""The page as a person uses it: live pictures with boxes, sliders, buttons, and what it says when something fails."""

from __future__ import annotations

import base64
import os
import re
import signal
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from frameloom.testing.films import Box, read_counter
from tests.journey.running import wait_until
from tests.server.sites import Watched

from .browser import PATIENCE_MS, WatchedPage, opened

pytestmark = pytest.mark.browser
expect.set_options(timeout=PATIENCE_MS)

ACCENT_BGR = (0x57, 0xC8, 0xFF)


@pytest.fixture
def watched(browser: Browser, running: Watched) -> Iterator[WatchedPage]:
    """The page, and at the end: nothing complained, and nobody but the server was asked."""
    with opened(browser, running.site.url, viewport={"width": 1440, "height": 900}) as watched:
        yield watched
        assert watched.complaints == []
        assert watched.hosts == {f"127.0.0.1:{running.port}"}


@pytest.fixture
def page(watched: WatchedPage) -> Page:
    return watched.page


def tile(page: Page, name: str) -> Locator:
    return page.locator(f"[data-name={name}]")


def frames(page: Page, name: str) -> int:
    return int(tile(page, name).locator("canvas").get_attribute("data-frames") or 0)


def wait_frames(page: Page, name: str, more: int = 10) -> None:
    """Wait until so many more pictures have been drawn."""
    page.wait_for_function(
        "([name, least]) => Number(document.querySelector(`[data-name=${name}] canvas`).dataset.frames) >= least",
        arg=[name, frames(page, name) + more],
    )


def drawn(page: Page, name: str) -> Any:
    """What stands on the canvas: (height, width, 3) BGR."""
    url = tile(page, name).locator("canvas").evaluate("canvas => canvas.toDataURL('image/png')")
    png = np.frombuffer(base64.b64decode(url.partition(",")[2]), np.uint8)
    return cv2.imdecode(png, cv2.IMREAD_COLOR)


def state(page: Page, name: str) -> Locator:
    return tile(page, name).locator(".state").first


def button(page: Page, name: str) -> Locator:
    return page.get_by_role("button", name=name, exact=True)


def test_all_cameras_are_shown_and_alive(page: Page, running: Watched) -> None:
    expect(page).to_have_title("watched – Frameloom")
    expect(page.locator("#summary")).to_have_text("2 cameras, 1 processor")
    for name in ("hall", "yard"):
        wait_frames(page, name, 30)
        expect(state(page, name)).to_have_text("running")
        expect(tile(page, name).locator(".fps").first).to_have_text(re.compile(r"^\d+\.\d$"))
        expect(tile(page, name).locator(".notice")).to_be_hidden()
    expect(tile(page, "motion").locator(".values")).to_have_text(re.compile(r"score [\d.]+moving (yes|no)"))
    size = tile(page, "hall").locator("canvas").evaluate("canvas => [canvas.width, canvas.height]")
    assert size == [320, 240]


def test_boxes_are_drawn_around_the_figure_of_the_frame_that_is_shown(page: Page, running: Watched) -> None:
    """The stamp says which frame of the film is on the canvas; the film knows where the figure is in it."""
    wait_frames(page, "hall", 5)
    whole: list[bool] = []
    for _ in range(400):
        picture = drawn(page, "hall")
        number = read_counter(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY))
        if number is None:
            continue  # a box reaches into the stamp
        boxes = [
            box for box in running.film.truth(number).boxes if box.x_px > 8 and box.x_px + box.width_px < 312
        ]
        whole += [is_outlined(picture, box) for box in boxes]
        if len(whole) >= 20:
            break
    assert sum(whole) >= 0.6 * len(whole), whole  # two that meet have one box


def is_outlined(picture: Any, box: Box) -> bool:
    """Whether lines of the accent's colour run along its left and its right edge."""
    away = np.abs(picture.astype(int) - ACCENT_BGR).max(axis=2)
    rows = slice(box.y_px + box.height_px // 10, box.y_px + box.height_px * 9 // 10)
    sides = [away[rows, max(0, x - 5) : x + 6] for x in (box.x_px, box.x_px + box.width_px)]
    return all((side < 60).any(axis=1).mean() > 0.7 for side in sides)


def test_a_slider_changes_the_worker_while_pictures_go_on(page: Page, running: Watched) -> None:
    wait_frames(page, "hall")
    before = running.site.worker("motion")
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.method) if request.method == "PATCH" else None)
    slider = page.get_by_role("slider", name="threshold")
    area = slider.bounding_box()
    assert area is not None
    y = area["y"] + area["height"] / 2
    page.mouse.move(area["x"] + area["width"] * 0.1, y)
    page.mouse.down()
    for step in range(10, 60, 2):
        page.mouse.move(area["x"] + area["width"] * step / 100, y)
        wait_frames(page, "hall", 1)
    page.mouse.up()
    value = float(slider.input_value())
    assert value > 50
    after = running.site.wait_worker("motion", lambda worker: worker["values"]["threshold"] == value)
    assert (after["pid"], after["restarts"]) == (before["pid"], before["restarts"])
    assert 2 <= len(sent) <= 25, "some on the way, and not one for each pixel"
    wait_until(lambda: re.search(rf"threshold: {value:g}(\.0)?\b", running.file.read_text()))
    exact = tile(page, "motion").get_by_role("textbox", name="threshold, exact")
    expect(exact).to_have_value(f"{value:g}")
    assert slider.get_attribute("aria-valuetext") == f"{value:g} levels"
    button(page, "Reset threshold to 18 levels").click()
    running.site.wait_worker("motion", lambda worker: worker["values"]["threshold"] == 18)
    expect(slider).to_have_value("18")


def test_an_exact_value_is_typed(browser: Browser, running: Watched) -> None:
    """A share of the picture is written as a percentage; what cannot be is refused in words."""
    with opened(browser, running.site.url) as watched:
        page = watched.page
        exact = tile(page, "motion").get_by_role("textbox", name="min area, exact")
        problem = tile(page, "motion").locator("form .problem")
        expect(exact).to_have_value("0.2")
        exact.fill("0,35")
        exact.press("Enter")
        running.site.wait_worker("motion", lambda worker: worker["values"]["min_area"] == 0.0035)
        exact.fill("200")
        exact.press("Enter")
        expect(problem).to_contain_text("min_area: read 2")
        exact.fill("much")
        exact.press("Enter")
        expect(problem).to_have_text("min area: read “much”, want a number")
        exact.blur()
        expect(exact).to_have_value("0.35")
        assert [each for each in watched.complaints if "422" not in each] == []  # the browser's own words


def test_the_keyboard_is_enough(page: Page, running: Watched) -> None:
    slider = page.get_by_role("slider", name="threshold")
    expect(slider).to_have_value(re.compile(r"\d"))
    before = float(slider.input_value())
    slider.focus()
    slider.press("ArrowRight")
    running.site.wait_worker("motion", lambda worker: worker["values"]["threshold"] > before)
    button(page, "Reset threshold to 18 levels").focus()
    page.keyboard.press("Enter")
    running.site.wait_worker("motion", lambda worker: worker["values"]["threshold"] == 18)
    summary = tile(page, "motion").locator("form summary")
    summary.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("slider", name="working width")).to_be_visible()
    outline = summary.evaluate("each => getComputedStyle(each).outlineStyle")
    assert outline == "solid", "focus is seen"


def test_regions_are_written_as_a_list(page: Page, running: Watched) -> None:
    tile(page, "motion").locator("form summary").click()
    look = tile(page, "motion").get_by_role("textbox", name="look")
    look.fill("[[[0, 0], [1, 0], [1, 1], [0, 1]]]")
    look.blur()
    whole = [[[0, 0], [1, 0], [1, 1], [0, 1]]]
    running.site.wait_worker("motion", lambda worker: worker["values"]["look"] == whole)
    expect(tile(page, "motion").locator(".row[data-name=look] .unit")).to_have_text("1 drawn")
    look.fill("nonsense")
    look.blur()
    expect(tile(page, "motion").locator("form .problem")).to_contain_text("look: want a list of polygons")
    button(page, "Reset look to none").click()
    running.site.wait_worker("motion", lambda worker: worker["values"]["look"] == [])
    expect(look).to_have_value("")


def test_every_control_has_a_name(page: Page) -> None:
    tile(page, "motion").locator("form summary").click()
    controls = page.locator("button, input, select, textarea, canvas")
    assert controls.count() > 25
    for index in range(controls.count()):
        control = controls.nth(index)
        name = control.evaluate(
            "each => each.getAttribute('aria-label') || each.labels?.[0]?.textContent || ''"
        )
        assert name.strip(), control.evaluate("each => each.outerHTML")
    for slider in page.locator("input[type=range]").all():
        assert re.match(r"[\d.]+ ?\D*", slider.get_attribute("aria-valuetext") or "")
    inline = page.locator("[style]:not(canvas)")
    assert inline.count() == 0


def test_stop_and_start(page: Page, running: Watched) -> None:
    wait_frames(page, "yard")
    button(page, "Stop yard").click()
    expect(state(page, "yard")).to_have_text("idle")
    expect(tile(page, "yard").locator(".notice")).to_have_text("stopped")
    assert running.site.worker("yard")["state"] == "idle"
    button(page, "Start yard").click()
    expect(state(page, "yard")).to_have_text("running")
    wait_frames(page, "yard")
    expect(tile(page, "yard").locator(".notice")).to_be_hidden()
    button(page, "Restart yard").click()
    wait_frames(page, "yard", 30)


NOTE_STATES = """() => {
  const state = document.querySelector('[data-name=yard] .state');
  window.seen = [];
  new MutationObserver(() => seen.push(state.dataset.state)).observe(state, { attributes: true });
}"""
NOTE_SHIFTS = """() => {
  window.shifts = [];
  new PerformanceObserver(list => shifts.push(...list.getEntries().map(each => each.value)))
    .observe({ type: 'layout-shift' });
}"""
HIDE = """hidden => {
  Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });
  document.dispatchEvent(new Event('visibilitychange'));
}"""


def test_a_camera_that_is_killed_is_seen_to_return(page: Page, running: Watched) -> None:
    wait_frames(page, "yard")
    page.evaluate(NOTE_STATES)
    os.kill(running.site.pids()["yard"], signal.SIGKILL)
    expect(state(page, "yard")).to_have_text("running, 1 restart")
    assert {"backoff", "starting"} & set(page.evaluate("() => window.seen"))
    expect(tile(page, "yard").locator(".error")).to_have_text(re.compile(r"^Last error, .*SIGKILL"))
    wait_frames(page, "yard", 20)
    button(page, "Dismiss the last error of yard").click()
    expect(tile(page, "yard").locator(".trouble")).to_be_hidden()


def test_nothing_moves_when_figures_change(page: Page) -> None:
    wait_frames(page, "hall", 10)
    page.evaluate(NOTE_SHIFTS)
    wait_frames(page, "hall", 50)
    assert sum(page.evaluate("() => window.shifts")) < 0.01


def test_all_workers_in_a_table(page: Page, running: Watched) -> None:
    page.locator("#workers summary").click()
    rows = page.locator("#workers tbody tr")
    expect(rows).to_have_count(len(running.site.call("status")["workers"]))
    expect(rows.filter(has_text="hall.view")).to_contain_text("view")
    expect(page.locator("#total")).to_have_text(re.compile(r"6 of 6 running, CPU \d+ % of a core, \d+ MiB"))


@pytest.mark.parametrize("width", [390, 820, 1440])
def test_it_fits_into_the_window(browser: Browser, running: Watched, width: int) -> None:
    with opened(browser, running.site.url, viewport={"width": width, "height": 844}) as watched:
        wait_frames(watched.page, "hall", 2)
        watched.page.evaluate(
            "() => document.querySelectorAll('details').forEach(each => { each.open = true; })"
        )
        assert watched.page.evaluate("() => document.documentElement.scrollWidth") <= width


def test_a_hidden_page_asks_for_no_pictures(page: Page, running: Watched) -> None:
    """So that a tab that nobody sees keeps no camera decoding."""
    wait_frames(page, "yard")
    page.evaluate(HIDE, True)
    running.site.wait_worker("yard", lambda worker: not worker["report"]["info"]["decoding"])
    page.evaluate(HIDE, False)
    wait_frames(page, "yard")


def test_a_camera_that_is_added_and_removed(page: Page, running: Watched) -> None:
    text = running.file.read_text()
    camera = f"  attic: {running.cameras.url('yard')}\n"
    running.file.write_text(text.replace("processors:", f"{camera}processors:"))
    wait_frames(page, "attic")
    running.file.write_text(text)
    expect(tile(page, "attic")).to_have_count(0)
    expect(page.locator("#summary")).to_have_text("2 cameras, 1 processor")


def test_a_server_that_was_killed_is_found_again(browser: Browser, running: Watched) -> None:
    """The page says that it is gone, and shows pictures again without anybody doing anything."""
    with opened(browser, running.site.url) as watched:
        page = watched.page
        wait_frames(page, "hall")
        page.evaluate("() => { window.mine = 'not loaded again'; }")
        os.kill(running.site.pids()["server"], signal.SIGSTOP)
        os.kill(running.site.pids()["server"], signal.SIGKILL)
        expect(page.locator("#alarm")).to_contain_text("The server has not answered since")
        expect(page.locator("#alarm")).to_be_hidden()
        wait_frames(page, "hall", 20)
        wait_frames(page, "yard", 20)
        assert page.evaluate("() => window.mine") == "not loaded again"
