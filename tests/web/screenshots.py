"""Pictures of the page in every situation, both themes, desk and phone: `python -m tests.web.screenshots FOLDER`.

For people who change the page: look at each one. Nothing compares them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from playwright.sync_api import Browser, Page

from frameloom.testing.films import Film, coloured_lights, encode, rotating_tank, walking_figures
from frameloom.testing.rtsp_server import RtspServer
from tests.journey.running import RunningSite, running_site
from tests.web.browser import chromium, opened

SIZES = {"desk": (1440, 900), "phone": (390, 844)}
THEMES = ("dark", "light")

SINGLE = """\
cameras:
  walkers: {walkers}
processors:
  motion: {{use: motion, stream: walkers, params: {{threshold: 25, min_area: 0.01}}}}
"""
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

Act = Callable[[Page, RunningSite], None]


def pictures_come(page: Page, _: RunningSite) -> None:
    """Enough of them that motion is seen."""
    page.wait_for_function(
        "() => [...document.querySelectorAll('canvas')].every(canvas => Number(canvas.dataset.frames) > 60)"
    )


def all_is_open(page: Page, site: RunningSite) -> None:
    """Everything that is folded."""
    pictures_come(page, site)
    page.evaluate("() => document.querySelectorAll('details').forEach(each => { each.open = true; })")


def nothing_is_there(page: Page, _: RunningSite) -> None:
    page.wait_for_selector(".hint")
    page.evaluate("() => { document.querySelector('#workers').open = true; }")


def trouble_is_there(page: Page, _: RunningSite) -> None:
    page.wait_for_selector("[data-name=hopeless] .state[data-state=failed]")
    page.get_by_text("refused user name or password").first.wait_for()
    page.wait_for_selector("[data-name=fragile] .trouble summary")
    page.click("[data-name=hopeless] .trouble summary")


def supervisor_is_gone(page: Page, site: RunningSite) -> None:
    """The site ends while the page is open."""
    pictures_come(page, site)
    site.stop(signal.SIGKILL)
    page.wait_for_selector("#alarm:not([hidden])")


SITUATIONS: Mapping[str, tuple[str, Act]] = {
    "live": (LIVE, pictures_come),
    "open": (LIVE, all_is_open),
    "single": (SINGLE, pictures_come),
    "empty": ("", nothing_is_there),
    "failed": (FAILED, trouble_is_there),
    "gone": (SINGLE, supervisor_is_gone),
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


def take(browser: Browser, folder: Path, name: str, text: str, act: Act) -> Iterator[Path]:
    """Run a site, act, and take a picture in each theme and size."""
    file = folder / "site.yaml"
    file.write_text(f"site: {name}\nserver: {{port: 0}}\n{text}")
    for theme in THEMES:
        for size, (width, height) in SIZES.items():
            options = {"viewport": {"width": width, "height": height}, "color_scheme": theme}
            with running_site(file, name=name) as site, opened(browser, site.url, **options) as watched:
                act(watched.page, site)
                path = folder / f"{name}-{size}-{theme}.png"
                watched.page.screenshot(path=path, full_page=True)
                yield path


def main(arguments: list[str]) -> int:
    """Write all pictures into the folder that is named, or those of the situations that are named after it."""
    if not arguments or set(arguments[1:]) - SITUATIONS.keys():
        print(f"usage: python -m tests.web.screenshots FOLDER [{'|'.join(SITUATIONS)} ...]", file=sys.stderr)
        return 2
    folder = Path(arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fl-") as runtime, cameras(folder) as urls, chromium() as browser:
        os.environ["FRAMELOOM_RUNTIME_DIR"] = runtime
        for name in arguments[1:] or SITUATIONS:
            text, act = SITUATIONS[name]
            for path in take(browser, folder, name, text.format(**urls), act):
                print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
