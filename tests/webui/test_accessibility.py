"""The interface for everybody: what axe finds in each place, and what a keyboard alone reaches."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.server.sites import Watched

from .axe import findings
from .interface import PATIENCE_MS, WatchedPage, go, shown, wait_frames

pytestmark = pytest.mark.browser
expect.set_options(timeout=PATIENCE_MS)

PLACES = {
    "live": "#/live",
    "stream": "#/stream/hall",
    "graph": "#/processes?as=graph",
    "table": "#/processes?as=table&show=hall",
    "recordings": "#/recordings",
    "cameras": "#/settings/cameras",
    "adding": "#/settings/cameras?add=1",
    "forms": "#/settings/file?at=cameras.hall",
    "text": "#/settings/file?as=text",
    "about": "#/settings/about",
}
LOOKS = [
    ("dark", 1440),
    ("light", 390),
    pytest.param("light", 1440, marks=pytest.mark.long),
    pytest.param("dark", 390, marks=pytest.mark.long),
]

# Where the keyboard is: what has the focus, whether it can be seen there, and whether that is shown.
FOCUS = """() => {
  let at = document.activeElement;
  while (at?.shadowRoot?.activeElement) at = at.shadowRoot.activeElement;
  if (!at || at === document.body) return null;
  const whole = at.matches('label input') ? at.closest('label') : at; // whose control may be drawn by its label
  const area = whole.getBoundingClientRect();
  const style = getComputedStyle(whole);
  const framed = [at, at.parentElement, at.getRootNode().host].filter(Boolean).map(each => getComputedStyle(each));
  return {
    html: at.outerHTML.slice(0, 200),
    seen: area.width > 0 && area.height > 0 && area.right > 0 && area.bottom > 0
      && area.left < innerWidth && area.top < innerHeight && style.visibility === 'visible' && style.opacity !== '0',
    shown: framed.some(({ outlineStyle, outlineWidth }) => outlineStyle !== 'none' && parseFloat(outlineWidth) >= 1),
  };
}"""
REACHABLE = """() => [...document.querySelectorAll('a[href], button, input, select, textarea, summary')]
  .filter(each => !each.disabled && !each.closest('[inert]') && each.checkVisibility({ checkVisibilityCSS: true }))
  .filter(each => each.type !== 'radio' || each.checked)
  .filter(each => each.tabIndex >= 0)
  .length"""


def settled(page: Page, place: str) -> None:
    """The place is there, and what it fades in has come."""
    page.get_by_role("heading", level=1).wait_for(state="attached")
    if place in ("live", "stream"):
        wait_frames(page, "hall", 2)
    if place == "recordings":
        page.get_by_role("heading", name="Nothing is recorded yet").wait_for()
    if place == "text":
        page.get_by_role("textbox", name="site.yaml").wait_for()
    if place == "forms":
        page.locator("details[data-entry='cameras.hall'][open]").wait_for()
    if place == "adding":
        page.get_by_role("button", name="Cancel").wait_for()


@pytest.mark.parametrize(("theme", "width"), LOOKS)
def test_axe_finds_nothing_grave(
    browser: Browser, running: Watched, built: Path, theme: str, width: int
) -> None:
    size = {"width": width, "height": 900 if width == 1440 else 844}
    found = {}
    with shown(
        browser, running.site.url, built, viewport=size, color_scheme=theme, reduced_motion="reduce"
    ) as watched:
        for place, where in PLACES.items():
            go(watched.page, where)
            settled(watched.page, place)
            found[place] = findings(watched.page)
    assert {place: each for place, each in found.items() if each} == {}


@pytest.mark.parametrize("place", ["live", "stream", "table", "graph", "cameras", "adding", "forms"])
def test_the_keyboard_reaches_everything_and_shows_where_it_is(watched: WatchedPage, place: str) -> None:
    page = watched.page
    go(page, PLACES[place])
    settled(page, place)
    page.evaluate("() => { document.activeElement?.blur(); }")
    page.locator("nav[aria-label=Places] button").first.focus()
    wanted, visited = page.evaluate(REACHABLE), []
    for _ in range(wanted + 60):
        at = page.evaluate(FOCUS)
        if at is None or (visited and at["html"] == visited[0]["html"]):
            break
        visited.append(at)
        page.keyboard.press("Tab")
    assert len(visited) >= wanted, f"{len(visited)} of {wanted}"
    assert [at["html"] for at in visited if not at["seen"]] == []
    assert [at["html"] for at in visited if not at["shown"]] == []


def test_the_first_tab_offers_a_way_past_the_rail(watched: WatchedPage) -> None:
    page = watched.page
    wait_frames(page, "hall", 1)
    page.keyboard.press("Tab")
    skip = page.get_by_role("button", name="Skip to the content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    assert page.evaluate("() => document.activeElement.id") == "main"
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.querySelector('main').contains(document.activeElement)")


def test_axe_is_awake(watched: WatchedPage) -> None:
    watched.page.get_by_role("main").wait_for()
    watched.page.evaluate("() => document.querySelector('main').append(document.createElement('img'))")
    assert [each["rule"] for each in findings(watched.page)] == ["image-alt"]


def test_troubles_are_said(watched: WatchedPage, running: Watched) -> None:
    """A process that crashes is told to who does not see colours; so is that it is well again."""
    page = watched.page
    expect(page.locator(SAID)).to_have_text("All is well")
    page.evaluate(NOTE_WHAT_IS_SAID, SAID)
    for _ in range(3):  # the waits grow
        pid = running.site.wait_state("motion", "running")["pid"]
        os.kill(pid, signal.SIGKILL)
        running.site.wait_worker("motion", lambda worker, old=pid: worker["pid"] not in (None, old))
    running.site.wait_state("motion", "running")
    expect(page.locator(SAID)).to_have_text("All is well")
    assert "In trouble: motion" in page.evaluate("() => window.said")


SAID = "nav[aria-label=Places] [role=status]"
NOTE_WHAT_IS_SAID = """place => {
  const status = document.querySelector(place);
  window.said = [];
  new MutationObserver(() => window.said.push(status.textContent))
    .observe(status, { childList: true, characterData: true, subtree: true });
}"""


def test_every_place_has_one_first_heading_and_its_name_in_the_title(
    browser: Browser, running: Watched, built: Path
) -> None:
    with shown(browser, running.site.url, built) as watched:
        page = watched.page
        for place, where in PLACES.items():
            go(page, where)
            settled(page, place)
            expect(page.get_by_role("heading", level=1)).to_have_count(1)
        for where, title in {"settings": "Settings", "processes": "Processes", "stream/hall": "hall"}.items():
            go(page, f"#/{where}")
            expect(page).to_have_title(f"{title} – watched – Frameloom")
