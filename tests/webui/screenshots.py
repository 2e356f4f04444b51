"""Pictures of every place in every situation, both themes, desk and phone: `python -m tests.webui.screenshots FOLDER`.

For people who change the interface: look at each one. Nothing compares them. One site runs for each situation.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from playwright.sync_api import Browser, Page
from tools import web_build

from frameloom.accounts.secrets import hash_password
from frameloom.accounts.store import Accounts
from frameloom.testing.films import Film, coloured_lights, encode, rotating_tank, walking_figures
from frameloom.testing.rtsp_server import RtspServer
from tests.journey.running import RunningSite, running_site

from .interface import chromium, drag_region, elsewhere, shown

SIZES = {"desk": (1440, 900), "phone": (390, 844)}
THEMES = ("dark", "light")
PASSWORD = "a long good word"

LIVE = """\
cameras:
  walkers: {walkers}
  tank: {tank}
  lights: {lights}
processors:
  walkers-motion: {{use: motion, stream: walkers}}
  tank-motion: {{use: motion, stream: tank, params: {{threshold: 30}}}}
"""
FAILED = """\
cameras:
  walkers: {walkers}
  garden: {locked}
processors:
  fragile: {{use: 'frameloom.testing.processors:Crash', stream: walkers, params: {{after: 40}}}}
  hopeless: {{use: 'frameloom.testing.processors:Crash', stream: walkers, params: {{after: 0}}}}
  garden-motion: {{use: motion, stream: garden}}
"""

LOCKED = """\
server: {{port: 0, login: true}}
cameras:
  walkers: {walkers}
"""

RECORDED = """\
cameras:
  walkers: {walkers}
  tank: {tank}
processors:
  motion: {{use: motion, stream: walkers}}
sinks:
  walkers-rec: {{kind: record, stream: walkers, segment_s: 4, reserve: 1MB}}
"""
FULL = RECORDED.replace("1MB", "99%")

Ready = Callable[[RunningSite], None]
Act = Callable[[Page], None]

REGIONS = """\
cameras:
  walkers: {walkers}
processors:
  motion: {{use: motion, stream: walkers, params: {{look: [[[0.1, 0.2], [0.9, 0.25], [0.8, 0.95], [0.15, 0.9]]]}}}}
"""


def pictures_come(page: Page) -> None:
    """On every canvas that is to show some."""
    page.wait_for_function(
        "() => [...document.querySelectorAll('canvas[data-frames]')].some(each => Number(each.dataset.frames) > 60)"
    )


def hover(page: Page) -> None:
    pictures_come(page)
    page.locator("article").last.hover()


def plots_come(page: Page) -> None:
    pictures_come(page)
    page.wait_for_timeout(8000)  # of the minute that a plot shows


def draw(page: Page) -> None:
    pictures_come(page)
    page.locator(".row[data-name=look]").get_by_role("button", name="Change").click()
    drag_region(page, (0.2, 0.3), (0.5, 0.7))


def nodes_come(page: Page) -> None:
    page.locator("[data-state=running]:visible, tbody tr").first.wait_for()
    page.wait_for_timeout(3000)  # until the figures are of some seconds


def stills_come(page: Page) -> None:
    page.get_by_role("img", name="Picture of").first.wait_for()
    page.wait_for_timeout(2000)  # until the others have come, too


def try_out(page: Page) -> None:
    """Up to the picture of a camera that is to be added."""
    page.get_by_role("button", name="Test picture").click()
    page.get_by_role("button", name="Test", exact=True).click()
    page.get_by_role("img", name="What the camera shows").wait_for()


def change(page: Page) -> None:
    """A value in a form, up to what applying it does."""
    page.locator("details[open] [data-setting='view.quality'] input").fill("60")
    page.keyboard.press("Enter")
    page.locator("[data-does=changes]").wait_for()


def mistype(page: Page) -> None:
    page.get_by_role("textbox", name="site.yaml").click()
    page.keyboard.press("Control+End")
    page.keyboard.type("sinks: {rec: {kind: record, stream: attic}}")
    page.get_by_role("button", name="Line").first.wait_for()


def ask_to_end(page: Page) -> None:
    nodes_come(page)
    page.get_by_role("button", name="Shut down").click()


def sign_in(page: Page) -> None:
    page.get_by_label("Name").fill("ann")
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.locator("[data-user=ann]").wait_for()


def let_in(site: str) -> None:
    """Ann, an admin."""
    accounts, hashed = Accounts(site), hash_password(PASSWORD)
    now_ns = accounts.clock.utc_ns()
    accounts.change(lambda book: book.add_user("ann", "admin", hashed, now_ns, must_change=False))


def films_come(site: RunningSite) -> None:
    site.wait_worker("walkers-rec", lambda worker: worker["report"]["info"]["segments"] >= 3)


def disk_is_full(site: RunningSite) -> None:
    site.wait_state("walkers-rec", "degraded")


def film_comes(page: Page) -> None:
    page.wait_for_selector(".frame canvas[data-film]")
    page.get_by_role("group", name="Layers").wait_for()


def choose(page: Page) -> None:
    """Some seconds, and what is under the pointer."""
    film_comes(page)
    for _ in range(6):
        page.keyboard.press("+")
    area = page.locator(".lanes").bounding_box()
    assert area is not None
    page.keyboard.down("Shift")
    page.mouse.move(area["x"] + area["width"] * 0.55, area["y"] + 16)
    page.mouse.down()
    page.mouse.move(area["x"] + area["width"] * 0.8, area["y"] + 16, steps=3)
    page.mouse.up()
    page.keyboard.up("Shift")
    page.mouse.move(area["x"] + area["width"] * 0.7, area["y"] + 16)
    page.wait_for_timeout(2000)


def ask_to_delete(page: Page) -> None:
    choose(page)
    page.get_by_role("button", name="Delete what is chosen").click()
    page.get_by_role("dialog").get_by_text("file", exact=False).first.wait_for()


def nothing_is_recorded(page: Page) -> None:
    page.get_by_role("heading", name="Nothing is recorded yet").wait_for()


def disk_is_told(page: Page) -> None:
    page.get_by_text("is not recorded since").wait_for()
    film_comes(page)


def recorded_comes(page: Page) -> None:
    pictures_come(page)
    page.locator("section .recorded").first.wait_for()


def troubles_come(site: RunningSite) -> None:
    site.wait_state("hopeless", "failed")


def nothing(_: object) -> None:
    pass


PLACES: Mapping[str, tuple[str, Act]] = {
    "live": ("#/live", hover),
    "stream": ("#/stream/walkers", plots_come),
    "graph": ("#/processes?as=graph", nodes_come),
    "table": ("#/processes?as=table", nodes_come),
    "cameras": ("#/settings/cameras", stills_come),
}
SETTINGS: Mapping[str, tuple[str, Act]] = {
    "adding": ("#/settings/cameras?add=1", try_out),
    "forms": ("#/settings/file?at=cameras.walkers", change),
    "text": ("#/settings/file?as=text", mistype),
    "about": ("#/settings/about", nothing),
    "ending": ("#/processes", ask_to_end),
}
SITUATIONS: Mapping[str, tuple[str, Ready, Mapping[str, tuple[str, Act]]]] = {
    "fine": (LIVE, nothing, {**PLACES, **SETTINGS}),
    "regions": (REGIONS, nothing, {"stream": ("#/stream/walkers", draw)}),
    "failed": (
        FAILED,
        troubles_come,
        {**PLACES, "details": ("#/processes?show=fragile", nodes_come)},
    ),
    "empty": (
        "",
        nothing,
        {
            "live": ("#/live", nothing),
            "graph": ("#/processes", nodes_come),
            "cameras": ("#/settings/cameras", nothing),
            "adding": ("#/settings/cameras?add=1", nothing),
        },
    ),
    # Recordings stay in the folder: what has none comes first.
    "unrecorded": (LIVE, nothing, {"recordings": ("#/recordings", nothing_is_recorded)}),
    "recorded": (
        RECORDED,
        films_come,
        {
            "recordings": ("#/recordings", film_comes),
            "choosing": ("#/recordings", choose),
            "deleting": ("#/recordings", ask_to_delete),
            "stream": ("#/stream/walkers", recorded_comes),
        },
    ),
    "full": (FULL, disk_is_full, {"recordings": ("#/recordings", disk_is_told)}),
    "locked": (LOCKED, nothing, {"login": ("#/live", nothing), "people": ("#/settings/people", sign_in)}),
}


@contextlib.contextmanager
def cameras(folder: Path) -> Iterator[dict[str, str]]:
    """Addresses of three cameras, and of one for which they hold the wrong password."""
    size = {"width": 640, "height": 360, "frames": 150}
    films: dict[str, Film] = {
        "walkers": walking_figures(**size),
        "tank": rotating_tank(**size, rpm=10),
        "lights": coloured_lights(**size),
    }
    paths = {name: folder / f"{name}.mp4" for name in films}
    for name, film in films.items():
        encode(film, paths[name], gop=25)
    with (
        RtspServer(paths) as open_ones,
        RtspServer({"garden": paths["tank"]}, users={"ann": "right"}) as locked,
    ):
        garden = locked.url("garden", "ann").replace("right", "wrong")
        yield {**{name: open_ones.url(name) for name in paths}, "locked": garden}


def take(browser: Browser, built: Path, folder: Path, name: str, urls: Mapping[str, str]) -> Iterator[Path]:
    """Run the site of a situation, and take a picture of each place in each theme and size."""
    text, ready, places = SITUATIONS[name]
    file = folder / "site.yaml"
    server = "" if text.startswith("server:") else "server: {port: 0}\n"
    file.write_text(f"site: {name}\n{server}{text.format(**urls)}")
    with running_site(file, name=name) as site:
        site.wait_state("server", "running")
        ready(site)
        for place, (where, act) in places.items():
            for theme in THEMES:
                for size, (width, height) in SIZES.items():
                    options = {"viewport": {"width": width, "height": height}, "color_scheme": theme}
                    with shown(browser, site.url, built, where, **options) as watched:
                        watched.page.get_by_role("heading", level=1).first.wait_for(state="attached")
                        act(watched.page)
                        path = folder / f"{place}-{name}-{size}-{theme}.png"
                        watched.page.screenshot(path=path)
                        yield path


def main(arguments: list[str]) -> int:
    """Write all pictures into the folder that is named, or those of the situations that are named after it."""
    if not arguments or set(arguments[1:]) - SITUATIONS.keys():
        print(
            f"usage: python -m tests.webui.screenshots FOLDER [{'|'.join(SITUATIONS)} ...]", file=sys.stderr
        )
        return 2
    folder = Path(arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    built = elsewhere() or web_build.BUILT
    web_build.build(built)
    with tempfile.TemporaryDirectory(prefix="fl-") as runtime, cameras(folder) as urls, chromium() as browser:
        os.environ["FRAMELOOM_RUNTIME_DIR"] = runtime
        os.environ["FRAMELOOM_STATE_DIR"] = f"{runtime}/state"
        let_in("locked")
        for name in arguments[1:] or SITUATIONS:
            for path in take(browser, built, folder, name, urls):
                print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
