"""CPU of a camera worker beside that of `ffmpeg -f null` on the same RTSP stream.

A film that looks like a camera's (a still scene with people and the noise of a sensor) is served as a live camera by
an RTSP server in another process. Then, in turns: ffmpeg, the camera worker with one reader of frames, the worker with
one reader of packets, and ffmpeg that only reads. What is counted is the CPU time (user and system) of the whole
process, in the steady state.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from frameloom.bus.subscriber import Subscription
from frameloom.model.names import packets_of
from frameloom.model.worker import WorkerSpec
from frameloom.testing.films import WalkingFigures, encode

from . import report
from .report import Goal, Part
from .teams import scratch

FPS = 25
AIM_FRAMES, AIM_PACKETS = 1.15, 0.05
_FFMPEG = "ffmpeg -hide_banner -loglevel error -rtsp_transport tcp -i {url} -f null -"
_FFMPEG_COPY = "ffmpeg -hide_banner -loglevel error -rtsp_transport tcp -i {url} -c copy -f null -"
_HOST = "frameloom.workers.camera:CameraHost"


@dataclass(frozen=True)
class Plan:
    """What is measured: `rounds` of one turn for each, `turn_s` long after `settle_s` in which it gets going.

    A worker gets `ring_s` to get going: so long it takes to fill its memory for packets once, and memory that is used
    for the first time costs more than later, which is no steady state.
    """

    width: int
    height: int
    film_s: int
    turn_s: float
    settle_s: float
    ring_s: float
    rounds: int


FULL = Plan(1920, 1080, 10, 16.0, 2.5, 20.0, 2)
QUICK = Plan(320, 240, 2, 1.0, 0.5, 0.5, 1)


@dataclass(frozen=True)
class Turn:
    """CPU milliseconds per second of film, and items that a reader got per second (0: nobody counts them)."""

    cpu_ms: float
    rate: float


class NoisyCamera(WalkingFigures):
    """A scene through a sensor: every pixel of every picture is a little different."""

    _FIELDS = 8

    @cached_property
    def _noise(self) -> list[Any]:
        rng = np.random.default_rng([self.seed, 11])
        shape = (self.height + self._FIELDS, self.width, 3)
        return [rng.normal(0, 2.5, shape).round().astype(np.int8) for _ in range(2)]

    def _paint(self, n: int, out: Any) -> None:
        super()._paint(n, out)
        field, shift = self._noise[n % 2], n * 5 % self._FIELDS
        cv2.add(out, field[shift : shift + self.height], dst=out, dtype=cv2.CV_8U)


def run(quick: bool) -> Part:
    """Measure, and tell."""
    part = Part("Camera worker beside ffmpeg")
    plan = QUICK if quick else FULL
    turns: dict[str, list[Turn]] = {name: [] for name in _MEASURES}
    with scratch() as folder, _camera(_film(plan, folder)) as url:
        os.environ["FRAMELOOM_RUNTIME_DIR"] = f"{folder}/frameloom"
        for round_ in range(plan.rounds):
            for name, measure in _MEASURES.items():
                print(f"camera: round {round_ + 1} of {plan.rounds}, {name}", file=sys.stderr, flush=True)
                turns[name].append(measure(url, plan))
    _check(part, turns)
    _tell(part, turns, plan)
    if not quick:
        part.goals = _goals(turns)
    return part


def _film(plan: Plan, folder: str) -> Path:
    print("camera: encoding the film", file=sys.stderr, flush=True)
    film = NoisyCamera(width=plan.width, height=plan.height, fps=FPS, frames=plan.film_s * FPS)
    bits = 4_000_000 * plan.width * plan.height // (1920 * 1080)
    return encode(film, Path(folder, "camera.mp4"), gop=2 * FPS, preset="superfast", bit_rate_bps=bits)


@contextlib.contextmanager
def _camera(film: Path) -> Iterator[str]:
    """Serve the film until the end of the block; gives its URL."""
    command = [sys.executable, "-m", "frameloom.testing.rtsp_server", "--port", "0", f"camera={film}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            name, _, url = server.stdout.readline().strip().partition(" ")
            if name != "camera":
                raise RuntimeError("the RTSP server did not start")
            yield url
        finally:
            server.terminate()


def _measure_ffmpeg(command: str, plan: Plan) -> Turn:
    with _ended(subprocess.Popen(command.split(), stdin=subprocess.DEVNULL)) as process:
        time.sleep(plan.settle_s)
        before_ms = _cpu_ms(process.pid)
        began_s = time.monotonic()
        time.sleep(plan.turn_s)
        after_ms, took_s = _cpu_ms(process.pid), time.monotonic() - began_s
        if process.poll() is not None:
            raise RuntimeError(f"ffmpeg ended with {process.returncode}")
    return Turn((after_ms - before_ms) / took_s, 0.0)


def _measure_worker(url: str, plan: Plan, stream: str, policy: str) -> Turn:
    return _measure_publisher(_worker(url), plan, stream, policy)


def _measure_bare(url: str, plan: Plan) -> Turn:
    command = [sys.executable, "-m", "benchmarks.bare_reader", url]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    return _measure_publisher(_ended(process), plan, packets_of("bare"), "every")


def _measure_publisher(
    publisher: contextlib.AbstractContextManager[subprocess.Popen[bytes]],
    plan: Plan,
    stream: str,
    policy: str,
) -> Turn:
    with publisher as process, Subscription(stream, policy=policy) as items:
        if items.get(30) is None:
            raise RuntimeError(f"{stream}: nothing came within 30 s")
        _count(items, plan.ring_s)
        before_ms = _cpu_ms(process.pid)
        began_s = time.monotonic()
        count = _count(items, plan.turn_s)
        after_ms, took_s = _cpu_ms(process.pid), time.monotonic() - began_s
    return Turn((after_ms - before_ms) / took_s, count / took_s)


_MEASURES: dict[str, Callable[[str, Plan], Turn]] = {
    "ffmpeg": lambda url, plan: _measure_ffmpeg(_FFMPEG.format(url=url), plan),
    "frames": lambda url, plan: _measure_worker(url, plan, "camera", "latest"),
    "packets": lambda url, plan: _measure_worker(url, plan, packets_of("camera"), "every"),
    "bare": _measure_bare,
    "reading": lambda url, plan: _measure_ffmpeg(_FFMPEG_COPY.format(url=url), plan),
}


def _count(items: Subscription, duration_s: float) -> int:
    """Items that come within `duration_s`."""
    count, end_s = 0, time.monotonic() + duration_s
    while (left_s := end_s - time.monotonic()) > 0:
        count += items.get(left_s) is not None
    return count


@contextlib.contextmanager
def _worker(url: str) -> Iterator[subprocess.Popen[bytes]]:
    """A camera worker as the supervisor starts it; what it reports is not read, for it is little."""
    spec = WorkerSpec("camera", "camera", _HOST, {"source": {"url": url}})
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-m", "frameloom.workers", "--fd", str(theirs.fileno()), "--name", "camera"]
    with ours, theirs, _ended(subprocess.Popen(command, pass_fds=[theirs.fileno()])) as process:
        theirs.close()
        ours.sendall(json.dumps({"spec": spec.to_json(), "path": []}).encode() + b"\n")
        yield process


@contextlib.contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _cpu_ms(pid: int) -> float:
    """CPU time of a living process, of all its threads, user and system, by the scheduler's own clock (ns)."""
    return time.clock_gettime_ns(~pid << 3 | 2) / 1e6  # as clock_getcpuclockid(3) makes it


def _check(part: Part, turns: dict[str, list[Turn]]) -> None:
    for name in ("frames", "packets", "bare"):
        for turn in turns[name]:
            if not 0.9 * FPS <= turn.rate <= 1.1 * FPS:
                part.troubles.append(f"camera, {name}: {turn.rate:.1f} a second, want {FPS}")


def _ratios(turns: dict[str, list[Turn]], name: str) -> list[float]:
    """Beside ffmpeg's turn of the same round."""
    return [ours.cpu_ms / theirs.cpu_ms for ours, theirs in zip(turns[name], turns["ffmpeg"], strict=True)]


def _tell(part: Part, turns: dict[str, list[Turn]], plan: Plan) -> None:
    part.say(
        f"{plan.width}x{plan.height}, {FPS} pictures a second, H.264 with the noise of a sensor, over RTSP (TCP); "
        f"{plan.rounds} rounds of {plan.turn_s:g} s a turn, after {plan.settle_s:g} s to settle; a worker gets "
        f"{plan.ring_s:g} s, until its memory for packets has been used once. The worker is the one of a site, "
        f"`{_HOST}`. ffmpeg: `{_FFMPEG.format(url='URL')}`."
    )
    rows = []
    for name, what in _NAMES.items():
        cpu = report.median_and_range([turn.cpu_ms for turn in turns[name]], 1)
        ratio = "1" if name == "ffmpeg" else report.median_and_range(_ratios(turns, name), 3)
        rates = [turn.rate for turn in turns[name] if turn.rate]
        rate = report.median_and_range(rates, 1) if rates else ""
        rows.append((what, cpu, ratio, rate))
    head = ("process", "CPU, ms per second of film", "beside ffmpeg", "items/s at the reader")
    part.say(report.table(head, rows))
    part.text += [f"- {trouble}" for trouble in part.troubles]


_NAMES = {
    "ffmpeg": "ffmpeg -f null",
    "frames": "camera worker, one reader of frames",
    "packets": "camera worker, one reader of packets",
    "bare": "bare PyAV loop that publishes packets, one reader",
    "reading": "ffmpeg -c copy -f null: reading alone",
}


def _goals(turns: dict[str, list[Turn]]) -> list[Goal]:
    frames, packets, bare, reading = (
        statistics.median(_ratios(turns, name)) for name in ("frames", "packets", "bare", "reading")
    )
    floor = (
        f"reading the stream alone, without Python, takes {report.at_least(reading * 100, 1)} %, and the least Python "
        f"program that hands packets to one reader {report.at_least(bare * 100, 1)} % (`benchmarks/bare_reader.py`)"
    )
    return [
        Goal(
            "camera worker with one reader of frames, CPU beside ffmpeg -f null",
            f"at most {AIM_FRAMES} times",
            f"{report.at_most(frames, 2)} times",
            frames <= AIM_FRAMES,
        ),
        Goal(
            "camera worker when only packets are wanted, CPU beside ffmpeg -f null",
            f"below {AIM_PACKETS:.0%}",
            f"{report.at_most(packets * 100, 1)} %",
            packets < AIM_PACKETS,
            floor,
        ),
    ]
