"""The settings: cameras are added and removed by who knows nothing of them, the file is edited as text and as forms."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.journey.running import running_site
from tests.server.sites import Watched

from .interface import PATIENCE_MS, WatchedPage, button, go, named, shown

pytestmark = pytest.mark.browser
expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture
def page(watched: WatchedPage) -> Page:
    go(watched.page, "#/settings")
    return watched.page


@pytest.fixture
def text(running: Watched) -> Iterator[str]:
    """What the file says; it says so again after the test."""
    before = running.file.read_text()
    yield before
    if running.file.read_text() != before:
        running.file.write_text(before)
        running.site.call("reload")


def open_file(page: Page, entry: str) -> Locator:
    """The form of one entry of the file."""
    go(page, f"#/settings/file?at={entry}")
    form = page.locator(f"details[data-entry='{entry}']")
    expect(form).to_have_attribute("open", "")
    return form


def editor(page: Page) -> Locator:
    return page.get_by_role("textbox", name="site.yaml")


def effects(page: Page) -> Locator:
    return page.get_by_role("region", name="What applying it does")


def write(locator: Locator, text: str) -> None:
    """Type as a person does, and leave the field."""
    locator.fill(text)
    locator.blur()


def test_a_camera_is_tried_added_and_removed(page: Page, running: Watched, text: str) -> None:
    button(page, "Add a camera").click()
    button(page, "Test picture").click()
    form = page.get_by_role("form", name="Add a camera")
    url = form.get_by_label("Where are its pictures?")
    expect(url).to_have_value("synthetic:counter")
    url.fill("synthetic:counter?width=320&height=240&fps=10")
    button(page, "Test").click()
    expect(form.get_by_text(re.compile("^It works:.* 320 × 240"))).to_be_visible()
    picture = form.get_by_role("img", name="What the camera shows")
    assert picture.evaluate("each => [each.naturalWidth, each.naturalHeight]") == [320, 240]
    form.get_by_label("What do you call it?").fill("porch")
    button(page, "Add porch").click()
    expect(page.get_by_text("porch has been added.")).to_be_visible()
    expect(named(page, "porch")).to_have_attribute("data-state", "running")
    expect(named(page, "porch").get_by_role("img", name="Picture of porch")).to_be_visible()
    assert "porch:" in running.file.read_text() and "# the name of the site" in running.file.read_text()
    button(page, "Remove porch").click()
    dialog = page.get_by_role("dialog", name="Remove porch?")
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).to_have_count(0)
    button(page, "Remove porch").click()
    dialog.get_by_role("button", name="Remove porch").click()
    expect(page.get_by_text("porch has been removed.")).to_be_visible()
    expect(named(page, "porch")).to_have_count(0)
    assert "porch" not in running.file.read_text()


def test_what_goes_with_a_camera_is_said_before(page: Page, running: Watched) -> None:
    button(page, "Remove hall").click()
    dialog = page.get_by_role("dialog", name="Remove hall?")
    expect(dialog.locator("code").filter(has_text=re.compile("^motion$"))).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    assert running.site.worker("hall")["state"] == "running"


def test_a_camera_that_gives_nothing_says_why(page: Page, running: Watched) -> None:
    button(page, "Add a camera").click()
    form = page.get_by_role("form", name="Add a camera")
    form.get_by_label("Where are its pictures?").fill("films/nothing.mp4")
    button(page, "Test").click()
    expect(form.locator(".answer .problem")).to_have_text(re.compile(r"\w+ .*\w+"))
    name = form.get_by_label("What do you call it?")
    expect(name).to_have_value("nothing")
    name.fill("hall")
    expect(form.get_by_text("There is a “hall” already.")).to_be_visible()
    expect(button(page, "Add it")).to_be_disabled()
    button(page, "Cancel").click()
    expect(form).to_have_count(0)
    expect(button(page, "Add a camera")).to_be_focused()


def test_only_what_fits_an_address_is_asked(page: Page) -> None:
    button(page, "Add a camera").click()
    form = page.get_by_role("form", name="Add a camera")
    form.get_by_text("More settings").click()
    for kind, asked, unasked in (
        ("Network camera (RTSP)", ["transport", "view.quality"], ["loop", "width"]),
        ("Webcam on this machine", ["width", "fps"], ["transport", "loop"]),
        ("Film in a file", ["loop"], ["transport", "width"]),
    ):
        form.get_by_role("button", name=kind).click()
        for each in asked:
            expect(form.locator(f"[data-setting='{each}']")).to_be_visible()
        for each in unasked:
            expect(form.locator(f"[data-setting='{each}']")).to_have_count(0)
        has_login = kind.startswith("Network")
        expect(form.get_by_label("Password of the camera")).to_have_count(int(has_login))


def test_a_form_changes_its_place_in_the_text_alone(page: Page, running: Watched, text: str) -> None:
    pids = running.site.pids()
    form = open_file(page, "processors.motion")
    form.get_by_role("textbox", name="Hang").fill("12")
    form.get_by_role("textbox", name="Hang").blur()
    expect(editor(page)).to_contain_text("hang_s: 12")
    expect(effects(page).locator("[data-does=restarts]")).to_contain_text("motion")
    expect(effects(page)).to_contain_text("1 process misses what happens")
    button(page, "Apply").click()
    expect(page.get_by_role("status").filter(has_text="Applied.")).to_be_visible()
    assert running.file.read_text().replace("    hang_s: 12\n", "") == text
    running.site.wait_state("motion", "running")
    after = running.site.pids()
    assert {name for name in pids if pids[name] != after[name]} == {"motion"}


def test_a_value_of_a_view_changes_while_it_runs(page: Page, running: Watched, text: str) -> None:
    before = running.site.pids()
    form = open_file(page, "cameras.yard")
    write(form.get_by_role("textbox", name="Picture for people: quality"), "55")
    expect(effects(page).locator("[data-does=changes]")).to_contain_text("yard.view")
    expect(effects(page)).to_contain_text("Nothing is lost.")
    button(page, "Apply").click()
    running.site.wait_worker("yard.view", lambda worker: worker["values"]["quality"] == 55)
    assert running.site.pids() == before


def test_what_is_wrong_is_said_at_line_and_column(page: Page, running: Watched, text: str) -> None:
    open_file(page, "cameras.hall")
    editor(page).click()
    page.keyboard.press("Control+End")
    page.keyboard.type("sinks: {rec: {kind: record, stream: hall, segment_s: soon}}")
    line = len(text.splitlines()) + 1
    place = effects(page).get_by_role("button", name=re.compile(f"^Line {line}, column \\d+$"))
    expect(place).to_be_visible()
    expect(effects(page)).to_contain_text("sinks.rec.segment_s")
    expect(page.locator(".editor .cm-lintRange-error")).to_have_count(1)
    expect(button(page, "Apply")).to_be_disabled()
    page.keyboard.press("Control+Home")
    place.click()
    expect(page.locator(".editor .cm-activeLine")).to_contain_text("segment_s: soon")
    button(page, "Discard").click()
    expect(editor(page)).not_to_contain_text("soon")
    expect(button(page, "Apply")).to_be_disabled()
    assert running.file.read_text() == text


def test_two_who_change_the_file_at_once(watched: WatchedPage, running: Watched, text: str) -> None:
    """What both changed at different places goes together; at the same place, one gives way, and is asked."""
    page = watched.page
    form = open_file(page, "cameras.yard")
    write(form.get_by_role("textbox", name="Silence"), "8")
    running.file.write_text(text.replace("silent_s: 600", "silent_s: 600, stable_s: 20"))
    expect(button(page, "Apply")).to_be_enabled()
    button(page, "Apply").click()
    button(page, "Put both together").click()
    expect(editor(page)).to_contain_text("stable_s: 20")
    expect(button(page, "Apply")).to_be_enabled()
    button(page, "Apply").click()
    expect(page.get_by_role("status").filter(has_text="Applied.")).to_be_visible()
    both = running.file.read_text()
    assert "silence_s: 8" in both and "stable_s: 20" in both
    write(form.get_by_role("textbox", name="Silence"), "7")
    running.file.write_text(both.replace("silence_s: 8", "silence_s: 9"))
    expect(button(page, "Apply")).to_be_enabled()
    button(page, "Apply").click()
    expect(effects(page)).to_contain_text("one of you must give way")
    button(page, "Take theirs, drop mine").click()
    expect(form.get_by_role("textbox", name="Silence")).to_have_value("9")
    assert [each for each in watched.complaints if "409" not in each] == []  # the browser's own words
    watched.complaints.clear()


def test_passwords_are_not_shown(page: Page, running: Watched, text: str) -> None:
    camera = {"url": "rtsp://127.0.0.1:9/none", "username": "ann", "password": "tulip-7", "enabled": False}
    running.site.call("add-camera", name="locked", settings=camera)
    form = open_file(page, "cameras.locked")
    expect(form.get_by_role("textbox", name="Password")).to_have_value("***")
    expect(editor(page)).to_contain_text("***")
    assert "tulip" not in page.content()
    write(form.get_by_role("textbox", name="Silence"), "9")
    expect(button(page, "Apply")).to_be_enabled()
    button(page, "Apply").click()
    expect(page.get_by_role("status").filter(has_text="Applied.")).to_be_visible()
    assert "tulip-7" in running.file.read_text() and "silence_s: 9" in running.file.read_text()


def test_the_colours_are_chosen_and_kept(page: Page) -> None:
    go(page, "#/settings/about")
    page.get_by_role("radio", name="Light").check()
    expect(page.locator("html")).to_have_attribute("data-theme", "light")
    page.reload()
    expect(page.get_by_role("radio", name="Light")).to_be_checked()
    expect(page.locator("html")).to_have_attribute("data-theme", "light")
    page.get_by_text("What this page is built of").click()
    expect(page.locator("pre")).to_contain_text("codemirror")


@pytest.mark.parametrize("width", [390, 820])
def test_it_fits_into_the_window(browser: Browser, running: Watched, built: Path, width: int) -> None:
    size = {"width": width, "height": 844}
    with shown(browser, running.site.url, built, "#/settings/cameras?add=1", viewport=size) as watched:
        page = watched.page
        button(page, "Cancel").wait_for()
        for where in ("cameras?add=1", "file?at=cameras.hall", "about"):
            go(page, f"#/settings/{where}")
            page.get_by_role("heading", level=1).wait_for()
            assert page.evaluate("() => document.documentElement.scrollWidth") <= width, where
            part = page.locator(".part")
            assert part.evaluate("each => each.scrollWidth <= each.clientWidth"), where
        go(page, "#/settings/file?at=cameras.hall")
        button(page, "Text").click()
        expect(editor(page)).to_be_visible()


def test_the_site_is_shut_down_and_it_is_said_how_to_start_it(
    browser: Browser, built: Path, tmp_path: Path, runtime_dir: Path
) -> None:
    file = tmp_path / "site.yaml"
    file.write_text(
        "site: ending\nserver: {port: 0}\ncameras: {count: 'synthetic:counter?width=320&height=240'}\n"
    )
    with running_site(file, name="ending") as site, shown(browser, site.url, built, "#/processes") as watched:
        page = watched.page
        expect(named(page, "count")).to_have_attribute("data-state", "running")
        button(page, "Stop all cameras").click()
        expect(named(page, "count")).to_have_attribute("data-state", "idle")
        button(page, "Start all cameras").click()
        expect(named(page, "count")).to_have_attribute("data-state", "running")
        button(page, "Shut down").click()
        dialog = page.get_by_role("dialog", name="Shut the site down?")
        expect(dialog).to_contain_text("not from this page")
        dialog.get_by_role("button", name="Shut down").click()
        expect(page.get_by_role("heading", name="The site has been shut down")).to_be_visible()
        expect(page.locator("pre")).to_have_text(f"frameloom up {file}")
        assert site.process.wait(PATIENCE_MS / 1000) == 0
        expect(page.get_by_text("It ended at")).to_be_visible()
