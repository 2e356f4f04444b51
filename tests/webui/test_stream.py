"""The page of one stream: parameters that take effect while they are dragged, regions drawn on the picture, values."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.server.sites import Watched

from .interface import PATIENCE_MS, WatchedPage, at, button, drag_region, go, named, shown, wait_frames

pytestmark = pytest.mark.browser
expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture
def page(watched: WatchedPage) -> Page:
    go(watched.page, "#/stream/hall")
    wait_frames(watched.page, "hall", 5)
    return watched.page


def wait_region(running: Watched, name: str, want: Any) -> Any:
    """Wait until a parameter of motion is as `want` says."""
    return running.site.wait_worker("motion", lambda worker: want(worker["values"][name]))["values"][name]


def test_a_slider_changes_the_worker_while_it_is_dragged(page: Page, running: Watched) -> None:
    before = running.site.worker("motion")
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.method) if request.method == "PATCH" else None)
    slider = page.get_by_role("slider", name="Threshold")
    slider.scroll_into_view_if_needed()
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
    assert 2 <= len(sent) <= 26, "some on the way, and not one for each pixel"
    assert slider.get_attribute("aria-valuetext") == f"{value:g} levels"
    button(page, "Reset Threshold to 18 levels").click()
    running.site.wait_worker("motion", lambda worker: worker["values"]["threshold"] == 18)
    expect(slider).to_have_value("18")


def test_what_cannot_be_is_refused_in_words(browser: Browser, running: Watched, built: Path) -> None:
    with shown(browser, running.site.url, built, "#/stream/hall") as watched:
        page = watched.page
        exact = page.get_by_role("textbox", name=re.compile("^Min area, exact"))
        problem = page.locator(".row[data-name=min_area] .problem")
        expect(exact).to_have_value("0.2")
        exact.fill("0,35")
        exact.press("Enter")
        running.site.wait_worker("motion", lambda worker: worker["values"]["min_area"] == 0.0035)
        exact.fill("200")
        exact.press("Enter")
        expect(problem).to_contain_text("min_area: read 2")
        exact.fill("much")
        exact.press("Enter")
        expect(problem).to_have_text("Read “much”, want a number from 0 to 100 % of the picture.")
        expect(exact).to_have_value("0.35")
        assert [each for each in watched.complaints if "422" not in each] == []  # the browser's own words


def test_regions_are_drawn_moved_and_taken_back(page: Page, running: Watched) -> None:
    row = page.locator(".row[data-name=look]")
    row.get_by_role("button", name="Draw").click()
    drag_region(page, (0.2, 0.2), (0.6, 0.7))
    [rectangle] = wait_region(running, "look", lambda value: len(value) == 1)
    assert [[pytest.approx(each, abs=0.01) for each in point] for point in rectangle] == [
        [0.2, 0.2],
        [0.6, 0.2],
        [0.6, 0.7],
        [0.2, 0.7],
    ]
    drag_region(page, (0.6, 0.7), (0.9, 0.995))
    [moved] = wait_region(running, "look", lambda value: value[0][2][1] == 1)
    assert moved[2] == [pytest.approx(0.9, abs=0.01), 1], "it snaps to the border"
    drag_region(page, (0.3, 0.4), (0.4, 0.4))
    wait_region(running, "look", lambda value: value[0][0][0] == pytest.approx(0.3, abs=0.01))
    button(page, "Undo").click()
    button(page, "Undo").click()
    wait_region(running, "look", lambda value: value == [rectangle])
    for x, y in ((0.7, 0.1), (0.9, 0.1), (0.9, 0.4), (0.7, 0.1)):
        page.mouse.click(*at(page, x, y))
    wait_region(running, "look", lambda value: [len(each) for each in value] == [4, 3])
    button(page, "Delete region 1 of Look").click()
    wait_region(running, "look", lambda value: [len(each) for each in value] == [3])
    row.get_by_role("button", name="Done").click()
    button(page, "Reset Look to 0 regions").click()
    wait_region(running, "look", lambda value: value == [])


def test_regions_need_no_mouse(page: Page, running: Watched) -> None:
    page.locator(".row[data-name=look]").get_by_role("button", name="Draw").press("Enter")
    button(page, "Rectangle").press("Enter")
    wait_region(running, "look", lambda value: len(value) == 1)
    point = page.get_by_role("button", name=re.compile("^Point 1:"))
    point.press("ArrowLeft")
    wait_region(running, "look", lambda value: value[0][0] == [0.295, 0.3])
    page.get_by_role("textbox", name="Point 2, % from the top").fill("12,5")
    page.keyboard.press("Enter")
    wait_region(running, "look", lambda value: value[0][1] == [0.7, 0.125])
    point.press("Delete")
    wait_region(running, "look", lambda value: len(value[0]) == 3)
    page.keyboard.press("Control+z")
    wait_region(running, "look", lambda value: len(value[0]) == 4)
    button(page, "Delete").press("Enter")
    wait_region(running, "look", lambda value: value == [])
    page.keyboard.press("Escape")
    expect(page.locator(".stage .area")).to_have_count(0)


def test_values_are_plotted(page: Page) -> None:
    section = page.get_by_role("region", name="Processor motion")
    for name in ("score", "moving", "boxes"):
        expect(section.locator("figure").filter(has_text=name).locator("canvas")).to_be_visible()
    expect(section.locator("figure").filter(has_text="score").locator("output")).to_have_text(
        re.compile(r"^[\d.e-]+$")
    )


def test_a_layer_is_hidden_at_an_address(page: Page) -> None:
    layer = page.get_by_role("group", name="Layers").get_by_role("button", name="motion")
    layer.click()
    expect(layer).to_have_attribute("aria-pressed", "false")
    assert page.url.endswith("#/stream/hall?hide=motion")
    page.reload()
    wait_frames(page, "hall", 5)
    expect(layer).to_have_attribute("aria-pressed", "false")
    layer.click()
    assert page.url.endswith("#/stream/hall")


def test_the_log_is_followed(page: Page) -> None:
    section = page.get_by_role("region", name="Camera hall")
    section.get_by_text("Log", exact=True).click()
    expect(section.get_by_role("log")).to_have_attribute("aria-label", "Log of hall")
    expect(section.get_by_role("log")).not_to_contain_text("Asking")


def test_a_stream_that_is_not_there(page: Page) -> None:
    go(page, "#/stream/attic")
    expect(page.get_by_role("heading", level=1)).to_have_text("There is no camera “attic”")
    page.get_by_role("link", name="Back to all cameras").click()
    expect(named(page, "yard")).to_be_visible()


@pytest.mark.parametrize("width", [390, 820, 1440])
def test_it_fits_into_the_window(browser: Browser, running: Watched, built: Path, width: int) -> None:
    size = {"width": width, "height": 844}
    with shown(browser, running.site.url, built, "#/stream/hall", viewport=size) as watched:
        wait_frames(watched.page, "hall", 2)
        watched.page.evaluate(
            "() => document.querySelectorAll('details').forEach(each => { each.open = true; })"
        )
        assert watched.page.evaluate("() => document.documentElement.scrollWidth") <= width
