"""The demo site that code blocks of the documents may use: started once for all of them, as a user starts it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
FRAMELOOM = (sys.executable, "-m", "frameloom")
CAMERA = "walkers"
FIRST_FRAME = "import frameloom; frameloom.attach('walkers').get(timeout_s=60)"
START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class DemoSite:
    """A running demo site: the URL of one of its cameras, one of its films, its runtime folder, its web address."""

    source: str
    film: Path
    runtime_dir: Path
    url: str


@contextmanager
def demo_site(runtime_dir: Path) -> Iterator[DemoSite]:
    """Start the demo site in `runtime_dir` on a free port, wait until a camera gives frames, and end it by SIGINT.

    Its films and its site file are kept in a folder of their own, not in the user's cache.
    """
    with tempfile.TemporaryDirectory(prefix="fl-demo-") as cache, tempfile.TemporaryFile() as log:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]),
            "FRAMELOOM_RUNTIME_DIR": str(runtime_dir),
            "XDG_CACHE_HOME": cache,
        }
        environment.pop("FRAMELOOM_SOURCE", None)
        command = [*FRAMELOOM, "up", "--demo", "--port", "0"]
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True
        ) as site:
            try:
                url = _address(site, log.fileno())
                yield _ready(environment, runtime_dir, Path(cache), url)
            finally:
                _stop(site)


def _stop(site: subprocess.Popen[str]) -> None:
    """End the site as Ctrl-C does; by force where that does not end it, and then it is an error."""
    site.send_signal(signal.SIGINT)
    try:
        site.communicate(timeout=STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        site.kill()
        raise


def _address(site: subprocess.Popen[str], log_fd: int) -> str:
    """The page's address, as the site prints it when it is up."""
    assert site.stdout is not None
    for line in site.stdout:
        if found := re.search(r"http://\S+", line):
            return found[0]
    said = os.pread(log_fd, 100_000, 0).decode(errors="replace")
    raise AssertionError(f"`frameloom up --demo` ended by itself ({site.wait()}):\n{said}")


def _ready(environment: Mapping[str, str], runtime_dir: Path, cache: Path, url: str) -> DemoSite:
    """Wait for the first frame of a camera, and find out where the cameras are."""
    _run(environment, sys.executable, "-c", FIRST_FRAME)
    status = json.loads(_run(environment, *FRAMELOOM, "status", "--json"))
    # Cameras' addresses are told to nobody; the port stands in the environment of the process that serves them.
    port = psutil.Process(status["workers"]["demo-cameras"]["pid"]).environ()["FRAMELOOM_DEMO_PORT"]
    film = next(cache.rglob(f"{CAMERA}-*.mp4"))
    return DemoSite(f"rtsp://127.0.0.1:{port}/{CAMERA}", film, runtime_dir, url)


def _run(environment: Mapping[str, str], *command: str) -> str:
    """What a command prints; it has to end well."""
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=START_TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
