"""A hundred viewers of one camera by MJPEG: one encode for all, and the camera loses nothing for them.

The viewers are plain HTTP connections in one other process that count the pictures by their headers. All of it shares
the machine: what the viewers themselves take is measured, and said.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from frameloom.control.client import call

from . import report
from .live import FPS, SITE, _cpu_ns, _site
from .live import Plan as SitePlan
from .report import Goal, Part
from .teams import scratch

_SETTLE_S = 3.0
_MARK = b"X-Frame: "
_PATIENCE_S = 60.0


@dataclass(frozen=True)
class Plan:
    """`viewers` watch for `watch_s` seconds."""

    width: int
    height: int
    viewers: tuple[int, ...]
    watch_s: float


FULL = Plan(1280, 720, (1, 10, 100), 10.0)
QUICK = Plan(320, 240, (1, 3), 1.0)


@dataclass(frozen=True)
class Found:
    """What a number of viewers got, and what it cost, in percent of a core."""

    viewers: int
    fps: tuple[float, ...]
    encoded_fps: float
    camera_dropped: int
    camera_fps: float
    server_percent: float
    view_percent: float
    viewers_percent: float


def run(quick: bool) -> Part:
    """Measure, and tell."""
    part = Part("A hundred viewers by MJPEG")
    plan = QUICK if quick else FULL
    site = SitePlan(plan.width, plan.height, 0, 0, (), 0)
    with scratch() as folder, _site(site, folder) as url:
        found = [_measured(url, viewers, plan.watch_s) for viewers in plan.viewers]
    part.say(
        f"One camera of {plan.width}x{plan.height}, {FPS} pictures a second (H.264, RTSP); `live.mjpg` for "
        f"{plan.watch_s:g} s. The viewers run in one process on the same machine."
    )
    head = ("viewers", "pictures/s each, median", "slowest", "encoded/s", "camera: pictures/s", "dropped")
    head += ("server CPU %", "view CPU %", "viewers' CPU %")
    part.say(report.table(head, [_row(each) for each in found]))
    part.troubles += [
        f"{each.viewers} viewers: the camera dropped pictures" for each in found if each.camera_dropped
    ]
    if not quick:
        part.goals = list(_goals(found[-1]))
    return part


def _row(found: Found) -> tuple[str, ...]:
    return (
        str(found.viewers),
        f"{report.percentile(found.fps, 50):.1f}",
        f"{min(found.fps):.1f}",
        f"{found.encoded_fps:.1f}",
        f"{found.camera_fps:.1f}",
        str(found.camera_dropped),
        f"{found.server_percent:.1f}",
        f"{found.view_percent:.1f}",
        f"{found.viewers_percent:.1f}",
    )


def _goals(found: Found) -> Iterator[Goal]:
    lost = found.camera_dropped
    yield Goal(
        f"{found.viewers} MJPEG viewers, 720p30: pictures lost by the camera", "none", str(lost), lost == 0
    )
    one_encode = found.encoded_fps < 1.1 * FPS
    yield Goal(
        f"{found.viewers} MJPEG viewers, 720p30: encodes a second",
        f"{FPS}, one for all",
        report.at_most(found.encoded_fps, 1),
        one_encode,
    )


def _measured(url: str, viewers: int, watch_s: float) -> Found:
    print(f"audience: {viewers} viewers", file=sys.stderr, flush=True)
    return asyncio.run(_watch(url, viewers, watch_s))


async def _watch(url: str, viewers: int, watch_s: float) -> Found:
    counts = [0] * viewers
    started = [asyncio.Event() for _ in counts]
    tasks = [asyncio.create_task(_view(url, counts, index, event)) for index, event in enumerate(started)]
    for event in started:
        await asyncio.wait_for(event.wait(), _PATIENCE_S)
    await asyncio.sleep(min(_SETTLE_S, watch_s))
    before, status, began_ns = list(counts), _status(), time.monotonic_ns()
    pids = {name: worker["pid"] for name, worker in status.items()}
    cpu_ns = {name: _cpu_ns(pids[name]) for name in ("server", "door.view")}
    own_ns = time.process_time_ns()
    await asyncio.sleep(watch_s)
    took_ns = time.monotonic_ns() - began_ns
    percents = {name: 100 * (_cpu_ns(pids[name]) - cpu_ns[name]) / took_ns for name in cpu_ns}
    own_percent = 100 * (time.process_time_ns() - own_ns) / took_ns
    seconds = took_ns / 1e9
    fps = tuple((after - first) / seconds for after, first in zip(counts, before, strict=True))
    later = _status()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return Found(
        viewers,
        fps,
        later["door.view"]["report"]["streams"]["door.view"]["fps"],
        later["door"]["report"]["dropped"] - status["door"]["report"]["dropped"],
        later["door"]["report"]["fps"],
        percents["server"],
        percents["door.view"],
        own_percent,
    )


def _status() -> dict[str, Any]:
    workers: dict[str, Any] = call(SITE, "status")["workers"]
    return workers


async def _view(url: str, counts: list[int], index: int, started: asyncio.Event) -> None:
    """Counts the pictures' headers; the bytes themselves are thrown away."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=1 << 20)
    writer.write(f"GET /streams/door/live.mjpg HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode())
    rest = b""
    try:
        while data := await reader.read(1 << 18):
            counts[index] += (rest + data).count(_MARK)
            rest = data[-len(_MARK) + 1 :]
            if counts[index]:
                started.set()
    finally:
        writer.close()
