"""The processes page: the graph, the same as a table, orders, and a crash that is seen and repaired."""

from __future__ import annotations

import os
import re
import signal

import pytest
from playwright.sync_api import Page, expect

from tests.server.sites import Watched

from .interface import PATIENCE_MS, WatchedPage, button, go, named

pytestmark = pytest.mark.browser
expect.set_options(timeout=PATIENCE_MS)

NOTE_STATES = """() => {
  const node = document.querySelector("[data-name='motion']");
  window.seen = [];
  new MutationObserver(() => seen.push(node.dataset.state)).observe(node, { attributes: true });
}"""


@pytest.fixture
def page(watched: WatchedPage) -> Page:
    go(watched.page, "#/processes")
    expect(watched.page.locator(".node").first).to_be_visible()
    return watched.page


def test_every_process_is_a_node(page: Page, running: Watched) -> None:
    workers = running.site.call("status")["workers"]
    expect(page.locator(".node")).to_have_count(len(workers))
    for name in workers:
        expect(named(page, name)).to_have_attribute("data-state", "running")
    expect(named(page, "motion")).to_contain_text(re.compile(r"\d+ fps.*\d+ %.*\d+ MB", re.DOTALL))
    expect(page.locator("header .quiet")).to_contain_text(f"{len(workers)} processes")


def test_the_graph_runs_from_left_to_right(page: Page) -> None:
    left = [
        (named(page, name).bounding_box() or {"x": 0})["x"]
        for name in ("hall", "motion", "hall.view", "server")
    ]
    assert left == sorted(set(left))
    expect(page.locator("path.flow")).not_to_have_count(0)
    expect(page.locator(".label[title='hall: hall to motion']")).to_have_text(
        re.compile(r"^\s*\d+(\.\d)? fps")
    )


def test_a_crash_is_seen_and_repaired(page: Page, running: Watched) -> None:
    expect(named(page, "motion")).to_have_attribute("data-state", "running")
    page.evaluate(NOTE_STATES)
    os.kill(running.site.pids()["motion"], signal.SIGKILL)
    expect(named(page, "motion")).to_contain_text("1 restart")
    expect(named(page, "motion")).to_have_attribute("data-state", "running")
    assert {"backoff", "starting"} & set(page.evaluate("() => window.seen"))
    button(page, "motion").click()
    details = page.get_by_role("complementary", name="Process motion")
    expect(details).to_contain_text("SIGKILL")
    expect(details.get_by_role("log")).to_contain_text("process ended: SIGKILL")
    button(page, "Dismiss the last error of motion").click()
    expect(details.get_by_role("region", name="Last error of motion")).to_have_count(0)
    page.keyboard.press("Escape")
    expect(details).to_have_count(0)


def test_stop_and_start(page: Page, running: Watched) -> None:
    button(page, "Stop yard").click()
    expect(named(page, "yard")).to_have_attribute("data-state", "idle")
    expect(named(page, "yard").locator(".mark")).to_have_text("stopped")
    assert running.site.worker("yard")["state"] == "idle"
    button(page, "Start yard").click()
    expect(named(page, "yard")).to_have_attribute("data-state", "running")


def test_the_same_as_a_table_at_an_address(page: Page, running: Watched) -> None:
    page.get_by_role("radio", name="Table").check(force=True)
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(len(running.site.call("status")["workers"]))
    expect(rows.filter(has_text="motion")).to_contain_text("processor of hall")
    assert page.url.endswith("#/processes?as=table")
    page.reload()
    expect(rows.first).to_be_visible()


def test_every_control_has_a_name(page: Page) -> None:
    for where in ("#/processes", "#/live", "#/stream/hall"):
        go(page, where)
        page.get_by_role("heading", level=1).wait_for(state="attached")
        assert page.evaluate(NAMELESS) == [], where


NAMELESS = """() => [...document.querySelectorAll('a, button, input, select, textarea, [role=img]')]
  .filter(each => !(each.getAttribute('aria-label') || each.labels?.[0]?.textContent || each.textContent).trim())
  .map(each => each.outerHTML)"""
