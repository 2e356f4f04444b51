"""Live pictures in a browser: how old they are when they are shown, and what one more viewer costs the server.

A camera of 1280x720 at 30 pictures a second (H.264, RTSP) in a site of its own, as `frameloom up` runs it. Age: from
the moment at which the camera worker has a picture's last byte to its being drawn by Chromium, by one clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from websockets.asyncio.client import connect

from frameloom.control.client import SiteNotRunning, call
from frameloom.testing.films import encode

from . import report, whep
from .camera import NoisyCamera
from .report import Goal, Part
from .teams import scratch

FPS = 30
SITE = "live-bench"
_AIMS_MS = {"webcodecs": 100.0, "webrtc": 100.0, "mse": 150.0, "jpeg": 120.0}
_NAMES = {"webcodecs": "WebCodecs", "webrtc": "WebRTC", "mse": "Media Source Extensions", "jpeg": "JPEG"}
_WEBRTC = "RTP (WebRTC)"
_FORMS = {
    "access units (WebCodecs)": "video.ws?form=units",
    "fragments (MSE)": "video.ws?form=mse",
    "JPEG": "live.ws",
}
_AIM_PERCENT = 2.0
_PATIENCE_S = 60.0
Look = Callable[[asyncio.Event], Coroutine[Any, Any, None]]
_OBSERVE = """([name, seconds]) => new Promise((done) => {
  const canvas = document.querySelector(`[data-name=${name}] canvas`), found = [];
  const observer = new MutationObserver(() => found.push(Number(canvas.dataset.ageMs)));
  observer.observe(canvas, { attributeFilter: ["data-frames"] });
  setTimeout(() => done([found, canvas.dataset.delivery]), 1000 * seconds);
})"""


@dataclass(frozen=True)
class Plan:
    """What is measured: `rounds` of `watch_s` for each way of playing, and `cost_s` for each number of viewers."""

    width: int
    height: int
    watch_s: float
    cost_s: float
    viewers: tuple[int, ...]
    rounds: int


FULL = Plan(1280, 720, 12.0, 6.0, (1, 5, 9), 2)
QUICK = Plan(320, 240, 1.0, 0.5, (1, 2), 1)


def run(quick: bool) -> Part:
    """Measure, and tell."""
    part = Part("Live pictures in a browser")
    plan = QUICK if quick else FULL
    with scratch() as folder, _site(plan, folder) as url:
        part.say(
            f"{plan.width}x{plan.height}, {FPS} pictures a second, H.264 over RTSP (TCP), no processor. Age: from the "
            "last byte of a picture in the camera worker to its being drawn in Chromium; "
            f"{plan.rounds} rounds of {plan.watch_s:g} s, taking turns. What the camera and FFmpeg's reader need "
            "before that (which gives a picture when the next one begins: 33 ms) is not in it."
        )
        ages = _ages(url, plan, part)
        costs = {form: _costs(url, path, plan) for form, path in _FORMS.items()}
        costs[_WEBRTC] = _costs_by_webrtc(url, plan)
    _tell_costs(part, costs, plan)
    if not quick:
        part.goals = [*_age_goals(ages), *_cost_goals(costs)]
    return part


# --- the site ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _site(plan: Plan, folder: str) -> Iterator[str]:
    """A running site with the camera 'door'; gives the address of its page."""
    print("live: encoding the film", file=sys.stderr, flush=True)
    film = NoisyCamera(width=plan.width, height=plan.height, fps=FPS, frames=4 * FPS)
    path = encode(film, Path(folder, "door.mp4"), gop=2 * FPS, preset="superfast", bit_rate_bps=2_500_000)
    camera = [sys.executable, "-m", "frameloom.testing.rtsp_server", "--port", "0", f"door={path}"]
    with _process(camera) as server:
        assert server.stdout is not None
        _, _, url = server.stdout.readline().strip().partition(" ")
        site = Path(folder, "site.yaml")
        site.write_text(f"site: {SITE}\nserver: {{port: 0}}\ncameras:\n  door: {url}\n")
        os.environ["FRAMELOOM_RUNTIME_DIR"] = f"{folder}/run"
        with _process([sys.executable, "-m", "frameloom", "up", "--quiet", str(site)]) as running:
            assert running.stdout is not None
            line = running.stdout.readline()
            yield next(word for word in line.split() if word.startswith("http"))


@contextlib.contextmanager
def _process(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def _pid_of(worker: str) -> int:
    deadline_s = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline_s:
        with contextlib.suppress(SiteNotRunning):
            pid = call(SITE, "status")["workers"][worker]["pid"]
            if pid:
                return int(pid)
        time.sleep(0.05)
    raise TimeoutError(f"the site has no {worker}")


# --- age -----------------------------------------------------------------------------------------------------------


def _ages(url: str, plan: Plan, part: Part) -> dict[str, list[float]]:
    ages: dict[str, list[float]] = {way: [] for way in _NAMES}
    chromium = shutil.which("chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        chromium = None
    if chromium is None:
        part.say("Not measured: there is no Chromium, or no Playwright.")
        return ages
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for round_ in range(plan.rounds):
            for way, found in ages.items():
                print(f"live: round {round_ + 1}, {way}", file=sys.stderr, flush=True)
                found += _watch(browser, f"{url}?player={way}", plan.watch_s, part, way)
        browser.close()
    rows = [
        (_NAMES[way], *(f"{report.percentile(found, p):,.0f}" for p in (50, 99)), f"{len(found):,}")
        for way, found in ages.items()
        if found
    ]
    part.say(report.table(("way", "p50 ms", "p99 ms", "pictures"), rows))
    return ages


def _watch(browser: Any, url: str, watch_s: float, part: Part, way: str) -> list[float]:
    page = browser.new_page()
    try:
        page.goto(url)
        page.wait_for_function(
            "() => Number(document.querySelector('[data-name=door] canvas')?.dataset.frames) > 20",
            timeout=60_000,
        )
        ages, delivery = page.evaluate(_OBSERVE, ["door", watch_s])
    finally:
        page.close()
    if delivery.lower() != way or not ages:
        part.troubles.append(f"live, {way}: {len(ages)} pictures, by {delivery}")
        return []
    return list(ages)


def _age_goals(ages: dict[str, list[float]]) -> Iterator[Goal]:
    for way, found in ages.items():
        what, aim = f"age of a 720p30 picture in Chromium, {_NAMES[way]}, p50", _AIMS_MS[way]
        if not found:
            yield Goal(what, f"below {aim:.0f} ms", "not measured", False)
            continue
        middle = report.percentile(found, 50)
        yield Goal(what, f"below {aim:.0f} ms", f"{report.at_most(middle, 0)} ms", middle < aim)


# --- cost ----------------------------------------------------------------------------------------------------------


def _costs(url: str, path: str, plan: Plan) -> list[float]:
    """CPU of the server's process in percent of a core, for each number of viewers."""
    print(f"live: viewers of {path}", file=sys.stderr, flush=True)
    address = f"{url.replace('http', 'ws', 1).rstrip('/')}/streams/door/{path}"
    look = partial(_view, address)
    return [asyncio.run(_cost("server", look, number, plan.cost_s)) for number in plan.viewers]


def _costs_by_webrtc(url: str, plan: Plan) -> list[float]:
    """The same of the worker that sends them."""
    print("live: viewers by WebRTC", file=sys.stderr, flush=True)
    look = partial(_view_by_webrtc, f"{url.rstrip('/')}/streams/door/whep")
    return [asyncio.run(_cost("webrtc", look, number, plan.cost_s)) for number in plan.viewers]


async def _cost(worker: str, look: Look, viewers: int, duration_s: float) -> float:
    started = [asyncio.Event() for _ in range(viewers)]
    tasks = [asyncio.create_task(look(event)) for event in started]
    for event in started:
        await asyncio.wait_for(event.wait(), _PATIENCE_S)
    pid = _pid_of(worker)
    before_ns, began_ns = _cpu_ns(pid), time.monotonic_ns()
    await asyncio.sleep(duration_s)
    percent = 100 * (_cpu_ns(pid) - before_ns) / (time.monotonic_ns() - began_ns)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return percent


async def _view_by_webrtc(url: str, started: asyncio.Event) -> None:
    """Takes every packet of a picture, and decodes none."""
    await whep.look(url, pictures=FPS // 2, started=started)


async def _view(address: str, started: asyncio.Event) -> None:
    """Takes everything, and says nothing."""
    async with connect(address, max_size=None, compression=None) as connection:
        count = 0
        async for message in connection:
            count += isinstance(message, bytes)
            if count == FPS // 2:
                started.set()


def _cpu_ns(pid: int) -> int:
    return time.clock_gettime_ns(~pid << 3 | 2)  # as clock_getcpuclockid(3) makes it


def _slope(costs: list[float], viewers: tuple[int, ...]) -> float:
    return statistics.linear_regression(viewers, costs).slope


def _tell_costs(part: Part, costs: dict[str, list[float]], plan: Plan) -> None:
    part.say(
        "CPU in percent of a core, by number of viewers, and for one more (least squares): of the server, for "
        "WebRTC of its worker."
    )
    rows = [
        (form, *(f"{each:.1f}" for each in found), f"{_slope(found, plan.viewers):.2f}")
        for form, found in costs.items()
    ]
    part.say(report.table(("what they take", *(str(n) for n in plan.viewers), "one more"), rows))


def _cost_goals(costs: dict[str, list[float]]) -> Iterator[Goal]:
    for form, found in costs.items():
        one_more = _slope(found, FULL.viewers)
        reached = f"{report.at_most(one_more, 2)} %"
        yield Goal(
            f"one more viewer of {form}, 720p30, CPU",
            f"below {_AIM_PERCENT:.0f} % of a core",
            reached,
            one_more < _AIM_PERCENT,
        )
