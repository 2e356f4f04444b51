"""A site that runs as a user starts it: `frameloom up` in a process of its own, watched through its control socket."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from frameloom.control.client import SiteNotRunning, call

PATIENCE_S = 60.0


class RunningSite:
    """One `frameloom up`. Its output is collected; everything it started is gone when the block ends."""

    def __init__(self, name: str, process: subprocess.Popen[str]) -> None:
        self.name = name
        self.process = process
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line.rstrip())
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def wait_line(self, pattern: str) -> re.Match[str]:
        """Wait until the site has printed a line that matches."""

        def found() -> re.Match[str] | None:
            return next((m for line in self.lines if (m := re.search(pattern, line))), None)

        with self._changed:
            self._changed.wait_for(lambda: found() or self.process.poll() is not None, PATIENCE_S)
            match = found()
        assert match, f"no line like {pattern!r} in:\n{self.output}"
        return match

    @property
    def url(self) -> str:
        """Address of the page, once it answers."""
        return self.wait_line(r"is at (http://\S+?)/?\s")[1]

    def call(self, command: str, **fields: Any) -> Any:
        return call(self.name, command, **fields)

    def worker(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.call("status")["workers"][name]
        return found

    def wait_worker(self, name: str, good: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until the state of a worker is as `good` says."""

        def look() -> dict[str, Any] | None:
            worker = self.worker(name)
            return worker if good(worker) else None

        found: dict[str, Any] = wait_until(look, lambda: f"{name}: {self.worker(name)}")
        return found

    def wait_state(self, name: str, *states: str) -> dict[str, Any]:
        return self.wait_worker(name, lambda worker: worker["state"] in states)

    def pids(self) -> dict[str, int]:
        """Process ids of the workers that run, by name."""
        workers = self.call("status")["workers"]
        return {name: worker["pid"] for name, worker in workers.items() if worker["pid"]}

    def close(self) -> None:
        """Read the rest of the output, once the process has ended."""
        self._reader.join(10)
        assert self.process.stdout
        self.process.stdout.close()

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)


def wait_until(look: Callable[[], Any], what: Callable[[], str] = lambda: "it did not come") -> Any:
    """Look again and again until something is there; for what no descriptor tells. Fails after a generous time."""
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        with contextlib.suppress(SiteNotRunning, KeyError):  # not there yet
            if found := look():
                return found
        time.sleep(0.02)
    raise AssertionError(what())


@contextlib.contextmanager
def running_site(
    *arguments: str | Path, name: str, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Iterator[RunningSite]:
    """Run `frameloom up ARGUMENTS` until the end of the block. FRAMELOOM_RUNTIME_DIR must be set."""
    command = [sys.executable, "-m", "frameloom", "up", *map(str, arguments)]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
        cwd=cwd,
    )
    site = RunningSite(name, process)
    try:
        yield site
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        finally:
            site.close()
