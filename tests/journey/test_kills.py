"""Fifty workers killed at random, one after the other: the others do not notice, and everything comes back."""

from __future__ import annotations

import os
import random
import signal
import threading
from pathlib import Path

import psutil

from frameloom.bus.subscriber import Subscription
from frameloom.testing.films import read_counter
from frameloom.testing.rtsp_server import RtspServer

from .running import RunningSite, running_site, wait_until

CAMERAS = ("one", "two", "three", "four")
KILLS = 50
FILM_FRAMES = 150
CATCHING_UP = (
    30  # frames: a camera that is joined sends from its newest key frame on, faster than they were taken
)


class Watcher(threading.Thread):
    """Reads every frame of a camera and notes where the numbers in the pictures did not follow each other.

    Where the camera's own worker has just been joined anew that is no wonder, and not noted.
    """

    def __init__(self, camera: str) -> None:
        super().__init__(daemon=True)
        self.camera = camera
        self.frames = 0
        self.unreadable = 0
        self.breaks: list[tuple[int, int]] = []
        self.over = False
        self._frames = Subscription(camera, site="kills", policy="every", leases=16)

    @property
    def joins(self) -> int:
        """How often the camera's worker was joined."""
        return self._frames.stats.joins

    def run(self) -> None:
        last, joins, since_join = None, 0, 0
        while not self.over:
            frame = self._frames.get(0.2)
            if frame is None:
                continue
            since_join = since_join + 1 if self._frames.stats.joins == joins else 0
            joins = self._frames.stats.joins
            number = read_counter(frame.gray)
            self.frames += 1
            if number is None:
                self.unreadable += 1
            elif last is not None and since_join > CATCHING_UP and number != (last + 1) % FILM_FRAMES:
                self.breaks.append((last, number))
            last = number
        self._frames.close()


def test_fifty_random_kills(tmp_path: Path, runtime_dir: Path, cameras: RtspServer) -> None:
    """A camera's pictures break off only where that camera's own worker was killed; nothing is torn, nothing stays."""
    file = tmp_path / "site.yaml"
    file.write_text(_site(cameras))
    dice = random.Random(7)
    with running_site(file, "--quiet", name="kills") as site:
        _wait_all_running(site)
        watchers = {name: Watcher(name) for name in CAMERAS}
        for watcher in watchers.values():
            watcher.start()
        wait_until(lambda: all(watcher.frames > 5 for watcher in watchers.values()))
        killed = [_kill_one(site, dice) for _ in range(KILLS)]
        _wait_all_running(site)
        seen = {name: watcher.frames for name, watcher in watchers.items()}
        wait_until(lambda: all(watcher.frames > seen[name] for name, watcher in watchers.items()))
        for watcher in watchers.values():
            watcher.over = True
            watcher.join(30)
        for name, watcher in watchers.items():
            assert watcher.breaks == [], f"{name} broke off though its worker was well; killed: {killed}"
            assert watcher.joins <= 1 + killed.count(
                name
            )  # fewer where it was killed again before it was at work
            assert watcher.unreadable == 0, f"{name}: {watcher.unreadable} pictures were torn"
        children = psutil.Process(site.process.pid).children(recursive=True)
        assert len(children) == len(site.pids())
        assert site.stop(signal.SIGTERM) == 0
        assert psutil.wait_procs(children, timeout=10)[1] == []
    assert not list((runtime_dir / "kills").glob("*.sock"))


def _kill_one(site: RunningSite, dice: random.Random) -> str:
    """Kill a worker that runs, and wait until it has been started again."""
    name, pid = dice.choice(sorted(site.pids().items()))
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return ""
    site.wait_worker(name, lambda worker: bool(worker["pid"]) and worker["pid"] != pid)
    return name


def _wait_all_running(site: RunningSite) -> None:
    def all_running() -> bool:
        workers = site.call("status")["workers"].values()
        return all(worker["state"] == "running" for worker in workers)

    wait_until(all_running, lambda: str({n: w["state"] for n, w in site.call("status")["workers"].items()}))


def _site(cameras: RtspServer) -> str:
    lines = ["site: kills", "server: {port: 0}", "limits: {backoff_s: [0.1, 0.2]}", "cameras:"]
    lines += [f"  {name}: {cameras.url(name)}" for name in CAMERAS]
    lines += ["processors:"]
    lines += [f"  {name}-motion: {{use: motion, stream: {name}}}" for name in CAMERAS[:2]]
    return "\n".join(lines) + "\n"
