"""What recording costs, and how many cameras can be recorded on two cores.

Cameras of 1920x1080 at 30 pictures a second (H.264, RTSP over TCP, served by a process of its own that does not count)
in a site of its own, as `frameloom up` runs it; nobody watches them. What is counted is the CPU time (user and system)
of whole processes in the steady state. Then every file is read again: a packet that is missing in it was lost.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av

from frameloom.control.client import SiteNotRunning, call
from frameloom.sinks.names import found_in
from frameloom.testing.films import encode

from . import report
from .camera import NoisyCamera
from .report import Goal, Part
from .teams import scratch

FPS = 30
SITE = "recording-bench"
_AIM_PERCENT, _AIM_CAMERAS, _CORES = 2.0, 20, 2
_PATIENCE_S = 180.0
_MOST_HOLE = 1.5  # times the usual distance of two pictures


@dataclass(frozen=True)
class Plan:
    """What is measured: for each number of cameras, `turn_s` of recording after `settle_s`."""

    width: int
    height: int
    film_s: int
    cameras: tuple[int, ...]
    settle_s: float
    turn_s: float
    segment_s: int


FULL = Plan(1920, 1080, 4, (1, 5, _AIM_CAMERAS), 12.0, 20.0, 10)
QUICK = Plan(320, 240, 2, (1, 2), 0.5, 1.5, 1)


@dataclass
class Turn:
    """Percent of a core that each process took, by what it is; packets in files, and what is missing of them.

    lost, early  while it was measured, and before, while all processes began at once
    """

    cameras: int
    recorders: list[float] = field(default_factory=list)
    camera_workers: list[float] = field(default_factory=list)
    packets: int = 0
    lost: int = 0
    early: int = 0

    @property
    def all_percent(self) -> float:
        return sum(self.recorders) + sum(self.camera_workers)


def run(quick: bool) -> Part:
    """Measure, and tell."""
    part = Part("Recording")
    plan = QUICK if quick else FULL
    with scratch() as folder, _two_cores():
        film = _film(plan, folder)
        turns = [_turn(plan, number, film, Path(folder, str(number)), part) for number in plan.cameras]
    _tell(part, plan, turns)
    if not quick:
        part.goals = _goals(turns)
    return part


def _film(plan: Plan, folder: str) -> Path:
    print("recording: encoding the film", file=sys.stderr, flush=True)
    film = NoisyCamera(width=plan.width, height=plan.height, fps=FPS, frames=plan.film_s * FPS)
    bits = 4_000_000 * plan.width * plan.height // (1920 * 1080)
    return encode(film, Path(folder, "film.mp4"), gop=2 * FPS, preset="superfast", bit_rate_bps=bits)


@contextlib.contextmanager
def _two_cores() -> Iterator[None]:
    """What is started meanwhile has two cores, on a machine that has more."""
    all_cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(all_cores)[:_CORES])
    try:
        yield
    finally:
        os.sched_setaffinity(0, all_cores)


def _turn(plan: Plan, number: int, film: Path, folder: Path, part: Part) -> Turn:
    print(f"recording: {number} cameras", file=sys.stderr, flush=True)
    folder.mkdir()
    names = [f"cam{each}" for each in range(number)]
    os.environ["FRAMELOOM_RUNTIME_DIR"] = f"{folder}/run"
    turn = Turn(number)
    with _cameras(names, film) as urls, _site(plan, folder, dict(zip(names, urls, strict=True))):
        _until(lambda: all(_packets(f"{name}-rec") > 0 for name in names), "recorders that record")
        time.sleep(plan.settle_s)
        pids = {name: worker["pid"] for name, worker in _workers().items()}
        turn.early, began_utc_ns = sum(map(_lost, names)), time.time_ns()
        before, began_ns = {name: _cpu_ns(pid) for name, pid in pids.items()}, time.monotonic_ns()
        time.sleep(plan.turn_s)
        took = {name: _percent(pids[name], before[name], began_ns) for name in pids}
        turn.recorders = [took[f"{name}-rec"] for name in names]
        turn.camera_workers = [took[name] for name in names]
        turn.lost = sum(map(_lost, names)) - turn.early
    for name in names:
        packets, missing = _in_files(folder / "recordings", name, began_utc_ns // 1_000_000)
        turn.packets += packets
        turn.lost += missing
    least = number * FPS * plan.turn_s
    if turn.lost or turn.packets < least:
        part.troubles.append(
            f"recording, {number} cameras: {turn.lost} lost, {turn.packets} of {least:.0f} in files"
        )
    return turn


# --- the site ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _cameras(names: list[str], film: Path) -> Iterator[list[str]]:
    """Serve the film under each name; gives the addresses."""
    films = [f"{name}={film}" for name in names]
    with _process("frameloom.testing.rtsp_server", "--port", "0", *films) as server:
        assert server.stdout is not None
        yield [server.stdout.readline().split(" ", 1)[1].strip() for _ in names]


@contextlib.contextmanager
def _site(plan: Plan, folder: Path, urls: dict[str, str]) -> Iterator[None]:
    lines = [f"site: {SITE}", "server: {enabled: false}", "limits: {start_s: 120, silent_s: 60}", "cameras:"]
    lines += [f"  {name}: {{url: '{url}', view: false}}" for name, url in urls.items()]
    lines += ["sinks:"]
    record = f"kind: record, reserve: 0, segment_s: {plan.segment_s}"
    lines += [f"  {name}-rec: {{{record}, stream: {name}}}" for name in urls]
    (folder / "site.yaml").write_text("\n".join([*lines, ""]))
    with _process("frameloom", "up", "--quiet", str(folder / "site.yaml")):
        yield


@contextlib.contextmanager
def _process(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def _workers() -> dict[str, Any]:
    with contextlib.suppress(SiteNotRunning):
        found: dict[str, Any] = call(SITE, "status")["workers"]
        return {name: worker for name, worker in found.items() if worker["kind"] in ("camera", "recorder")}
    return {}


def _report(name: str) -> dict[str, Any]:
    found: dict[str, Any] = _workers().get(name, {}).get("report") or {}
    return found


def _packets(name: str) -> int:
    return int(_report(name).get("info", {}).get("packets", 0))


def _lost(name: str) -> int:
    """What the camera's worker and its recorder say themselves."""
    info = _report(f"{name}-rec").get("info", {})
    return int(_report(name).get("dropped", 1)) + int(info.get("lost", 1)) + int(info.get("gaps", 1))


def _until(condition: Any, what: str) -> None:
    deadline_s = time.monotonic() + _PATIENCE_S
    while not condition():
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"there are no {what}")
        time.sleep(0.2)


def _cpu_ns(pid: int) -> int:
    return time.clock_gettime_ns(~pid << 3 | 2)  # as clock_getcpuclockid(3) makes it


def _percent(pid: int, before_ns: int, began_ns: int) -> float:
    return 100 * (_cpu_ns(pid) - before_ns) / (time.monotonic_ns() - began_ns)


# --- the files -----------------------------------------------------------------------------------------------------


def _in_files(folder: Path, camera: str, from_utc_ms: int) -> tuple[int, int]:
    """Packets in all files of a camera, and how many are missing within those that began later than that.

    What is missing between files the recorder tells: a gap ends a file.
    """
    packets = missing = 0
    for segment in found_in(folder, camera):
        with av.open(str(segment.path)) as film:
            found = [(one.pts, one.time_base) for one in film.demux(video=0)]
        times_s = sorted(float(pts * base) for pts, base in found if pts is not None)
        packets += len(times_s)
        if segment.utc_ms >= from_utc_ms:
            steps = [(after - before) * FPS for before, after in itertools.pairwise(times_s)]
            missing += sum(round(step) - 1 for step in steps if step > _MOST_HOLE)
    return packets, missing


# --- the figures ---------------------------------------------------------------------------------------------------


def _tell(part: Part, plan: Plan, turns: list[Turn]) -> None:
    part.say(
        f"{plan.width}x{plan.height}, {FPS} pictures a second, H.264 over RTSP (TCP), recorded all the time in "
        f"segments of {plan.segment_s} s; no view, no processor. CPU in percent of one core over {plan.turn_s:g} s, "
        f"on {_CORES} cores that the cameras' server shares. Lost: what a worker counts as dropped or as a gap, and "
        f"what is missing in files; at first: in the {plan.settle_s:g} s before, while all processes begin at once."
    )
    rows = [
        (
            str(turn.cameras),
            report.median_and_range(turn.recorders, 2),
            report.median_and_range(turn.camera_workers, 2),
            f"{turn.all_percent:.1f}",
            f"{turn.packets:,}",
            str(turn.early),
            str(turn.lost),
        )
        for turn in turns
    ]
    head = (
        "cameras",
        "a recorder, %",
        "a camera worker, %",
        "all of them, %",
        "packets in files",
        "lost at first",
        "lost",
    )
    part.say(report.table(head, rows))


def _goals(turns: list[Turn]) -> list[Goal]:
    one, many = turns[0], turns[-1]
    cost = max(one.recorders)
    return [
        Goal(
            "recording a 1080p30 H.264 camera, CPU of the recorder",
            f"below {_AIM_PERCENT:.0f} % of a core",
            f"{report.at_most(cost, 2)} %",
            cost < _AIM_PERCENT,
        ),
        Goal(
            f"{_AIM_CAMERAS} cameras of 1080p30 recorded on two cores",
            "nothing lost",
            f"{many.lost} of {many.packets:,} packets lost, {report.at_most(many.all_percent, 0)} % of a core in all",
            many.lost == 0,
        ),
    ]
