"""The login: who may come in, what each role may, and what happens to what is open when the login ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from frameloom.accounts.roles import Role
from frameloom.accounts.secrets import hash_password
from frameloom.accounts.store import Accounts
from tests.journey.running import RunningSite, running_site

from .axe import findings
from .interface import PATIENCE_MS, WatchedPage, button, go, named, shown

pytestmark = pytest.mark.browser
expect.set_options(timeout=PATIENCE_MS)

SITE = "guarded"
PASSWORD = "a long good word"
FILE = f"""\
site: {SITE}
server: {{port: 0, login: true}}
cameras:
  count: synthetic:counter?width=320&height=240&fps=10
"""


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, module_runtime_dir: Path) -> Iterator[RunningSite]:
    """A site that wants a login, with one user of each role."""
    folder = tmp_path_factory.mktemp("guarded")
    file = folder / "site.yaml"
    file.write_text(FILE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FRAMELOOM_RUNTIME_DIR", str(module_runtime_dir))
        patch.setenv("FRAMELOOM_STATE_DIR", str(folder / "state"))
        hashed = hash_password(PASSWORD)
        for name, role in {"ann": "admin", "otto": "operator", "vera": "viewer"}.items():
            add(name, role, hashed)  # type: ignore[arg-type]
        with running_site(file, name=SITE) as site:
            site.wait_state("count", "running")
            yield site


def add(name: str, role: Role, hashed: str, *, must_change: bool = False) -> None:
    """A user, as the command line adds one."""
    accounts = Accounts(SITE)
    now_ns = accounts.clock.utc_ns()
    accounts.change(lambda book: book.add_user(name, role, hashed, now_ns, must_change=must_change))


@pytest.fixture
def watched(browser: Browser, guarded: RunningSite, built: Path) -> Iterator[WatchedPage]:
    with shown(browser, guarded.url, built, viewport={"width": 1440, "height": 900}) as watched:
        yield watched
        # The browser's own words about what was refused.
        refused = ("401", "403", "429")
        assert [each for each in watched.complaints if not any(status in each for status in refused)] == []


@pytest.fixture
def page(watched: WatchedPage) -> Page:
    return watched.page


def sign_in(page: Page, name: str, password: str = PASSWORD) -> None:
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    button(page, "Sign in").click()


@contextmanager
def signed_in(browser: Browser, site: RunningSite, built: Path, name: str) -> Iterator[Page]:
    """The page of somebody who has logged in."""
    with shown(browser, site.url, built) as watched:
        sign_in(watched.page, name)
        named(watched.page, "count").wait_for()
        yield watched.page


def end_sessions_of(name: str) -> None:
    """As the login's end does after a month."""
    hashed = hash_password(PASSWORD)
    Accounts(SITE).change(lambda book: book.set_password(name, hashed, must_change=False))


def test_nothing_is_shown_before_the_login(page: Page, guarded: RunningSite) -> None:
    expect(page).to_have_title("Sign in – Frameloom")
    expect(page.get_by_label("Name")).to_be_focused()
    assert page.get_by_label("Name").get_attribute("autocomplete") == "username"
    assert page.get_by_label("Password").get_attribute("autocomplete") == "current-password"
    expect(page.get_by_role("navigation")).to_have_count(0)
    assert "count" not in page.content()
    sign_in(page, "vera", "not that one")
    expect(page.get_by_role("alert")).to_have_text("This name and this password do not belong together.")
    sign_in(page, "vera")
    expect(named(page, "count")).to_have_attribute("data-state", "running")
    expect(page).to_have_title(f"Live – {SITE} – Frameloom")
    page.reload()
    expect(named(page, "count")).to_be_visible()


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_it_is_there_for_everybody(browser: Browser, guarded: RunningSite, built: Path, theme: str) -> None:
    size = {"width": 390, "height": 844}
    with shown(browser, guarded.url, built, viewport=size, color_scheme=theme) as watched:
        button(watched.page, "Sign in").wait_for()
        assert findings(watched.page) == []
        sign_in(watched.page, "ann")
        go(watched.page, "#/settings/people")
        watched.page.locator("[data-user=vera]").wait_for()
        assert findings(watched.page) == []
        button(watched.page, "Remove vera").click()
        assert findings(watched.page) == []


def test_a_shared_address_opens_after_the_login(browser: Browser, guarded: RunningSite, built: Path) -> None:
    with shown(browser, guarded.url, built, "#/stream/count") as watched:
        sign_in(watched.page, "vera")
        expect(watched.page.get_by_role("heading", level=1)).to_have_text("count")


def test_whoever_tries_too_often_waits(browser: Browser, guarded: RunningSite, built: Path) -> None:
    """By name: nobody else is kept out by it."""
    with shown(browser, guarded.url, built) as watched:
        page = watched.page
        page.get_by_label("Name").wait_for()
        page.evaluate(TRY_OFTEN)
        sign_in(page, "nobody", "wrong")
        expect(page.get_by_role("alert")).to_have_text("That was tried too often.")
        expect(page.get_by_text("You can try again in")).to_be_visible()
        expect(button(page, "Sign in")).to_be_disabled()
        expect(button(page, "Sign in")).to_be_enabled()
        sign_in(page, "ann")
        expect(named(page, "count")).to_be_visible()


ASK_SITE = """async key => {
  const headers = { Authorization: `Bearer ${key}` };
  return (await fetch('/api/site', { credentials: 'omit', headers })).status;
}"""
TRY_OFTEN = """async () => {
  const body = JSON.stringify({ user: 'nobody', password: 'wrong' });
  const headers = { 'Content-Type': 'application/json' };
  for (let number = 0; number < 40; number++)
    if ((await fetch('/api/login', { method: 'POST', headers, body })).status === 429) return;
}"""


def test_a_viewer_looks_and_is_told_why_no_more(browser: Browser, guarded: RunningSite, built: Path) -> None:
    with signed_in(browser, guarded, built, "vera") as page:
        go(page, "#/processes")
        expect(button(page, "Stop count")).to_be_disabled()
        expect(page.get_by_text("Only an operator may start and stop; you are a viewer.")).to_be_visible()
        expect(button(page, "Shut down")).to_be_disabled()
        go(page, "#/stream/count")
        expect(
            page.get_by_text("Only an operator may change these; you are a viewer.").first
        ).to_be_attached()
        go(page, "#/settings/cameras")
        expect(
            page.get_by_text("Only an admin may add, change and remove cameras; you are a viewer.")
        ).to_be_visible()
        expect(button(page, "Add a camera")).to_have_count(0)
        go(page, "#/settings/file")
        expect(page.get_by_text("Only an admin may see and change the site's file")).to_be_visible()
        go(page, "#/settings/people")
        expect(page.get_by_text("vera, viewer: looks")).to_be_visible()
        expect(page.get_by_role("heading", name="Everybody who may come in")).to_have_count(0)


def test_an_operator_orders(browser: Browser, guarded: RunningSite, built: Path) -> None:
    with signed_in(browser, guarded, built, "otto") as page:
        go(page, "#/processes")
        button(page, "Stop count").click()
        guarded.wait_state("count", "idle")
        button(page, "Start count").click()
        guarded.wait_state("count", "running")
        expect(button(page, "Shut down")).to_be_disabled()


def test_what_is_open_stays_when_the_login_ends(browser: Browser, guarded: RunningSite, built: Path) -> None:
    with signed_in(browser, guarded, built, "ann") as page:
        go(page, "#/settings/cameras?add=1")
        page.get_by_label("Where are its pictures?").fill("rtsp://10.0.0.9/half-typ")
        end_sessions_of("ann")
        expect(page.get_by_role("heading", name="Sign in again")).to_be_visible()
        expect(page.get_by_label("Name", exact=True)).to_have_value("ann")
        password = page.get_by_role("main").get_by_label("Password", exact=True)
        password.fill(PASSWORD)
        password.press("Enter")
        expect(page.get_by_role("heading", name="Sign in again")).to_have_count(0)
        expect(page.get_by_label("Where are its pictures?")).to_have_value("rtsp://10.0.0.9/half-typ")
        assert page.url.endswith("#/settings/cameras?add=1")
        go(page, "#/live")
        expect(named(page, "count")).to_have_attribute("data-state", "running")


def test_an_admin_lets_people_in(browser: Browser, guarded: RunningSite, built: Path) -> None:
    """A new one gets a password for once, chooses one, and is gone again; a key for a program comes and goes."""
    with ExitStack() as stack:
        page = stack.enter_context(signed_in(browser, guarded, built, "ann"))
        go(page, "#/settings/people")
        form = page.get_by_role("form", name="Add a person")
        form.get_by_label("Name").fill("nils")
        form.get_by_label("Role").select_option("operator")
        form.get_by_role("button", name="Add").click()
        said = page.get_by_role("status").filter(has_text="nils may come in")
        once = said.locator("code").inner_text()
        expect(page.get_by_label("Role of nils")).to_have_value("operator")
        page.get_by_label("Role of nils").select_option("viewer")
        expect(page.get_by_text("nils is a viewer now.")).to_be_visible()
        expect(page.get_by_label("Role of ann")).to_be_disabled()

        other = stack.enter_context(shown(browser, guarded.url, built)).page
        sign_in(other, "nils", once)
        expect(other.get_by_role("heading", name="Choose a password of your own")).to_be_visible()
        other.get_by_label("New password", exact=True).fill("my own good word")
        other.get_by_label("New password, once more").fill("my own god word")
        button(other, "Change it and go on").click()
        expect(other.get_by_role("alert")).to_have_text("The two new passwords are not the same.")
        other.get_by_label("New password, once more").fill("my own good word")
        button(other, "Change it and go on").click()
        expect(named(other, "count")).to_be_visible()

        button(page, "Remove nils").click()
        page.get_by_role("dialog").get_by_role("button", name="Remove nils").click()
        expect(page.get_by_text("nils has been removed.")).to_be_visible()
        expect(other.get_by_role("heading", name="Sign in again")).to_be_visible()
        expect(page.get_by_role("dialog")).to_have_count(0)

        page.get_by_label("What is it for?").fill("wall display")
        button(page, "Make a key").click()
        key = page.get_by_role("status").filter(has_text="This is the new key").locator("code").inner_text()
        assert page.evaluate(ASK_SITE, key) == 200
        button(page, "Remove the key wall display").click()
        page.get_by_role("dialog").get_by_role("button", name="Remove the key").click()
        expect(page.locator("[data-token]")).to_have_count(0)
        assert page.evaluate(ASK_SITE, key) == 401

        button(page, "Sign out").click()
        expect(page.get_by_role("heading", name="Sign in to Frameloom")).to_be_visible()
        expect(page.get_by_role("navigation")).to_have_count(0)


def test_on_this_machine_alone_nothing_of_it_is_seen(
    browser: Browser, built: Path, tmp_path: Path, runtime_dir: Path
) -> None:
    file = tmp_path / "site.yaml"
    file.write_text("site: open\nserver: {port: 0}\n")
    with running_site(file, name="open") as site, shown(browser, site.url, built, "#/settings") as watched:
        watched.page.get_by_role("heading", name="No cameras yet").wait_for()
        links = watched.page.get_by_role("navigation", name="Settings").get_by_role("link")
        assert links.all_inner_texts() == ["Cameras", "site.yaml", "About"]
        assert watched.complaints == []
