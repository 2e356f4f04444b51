"""Every test of the bus has a runtime folder of its own, and leaves no descriptor and no thread behind."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bus.parts import open_descriptors, readable, until

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def own_runtime_dir(runtime_dir: Path) -> Path:
    """The folder of the sites, for this test alone."""
    return runtime_dir


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Descriptors and threads are as many after a test as before it."""
    descriptors, threads = open_descriptors(), set(threading.enumerate())

    def left() -> dict[int, str]:
        return {fd: what for fd, what in open_descriptors().items() if descriptors.get(fd) != what}

    yield
    until(lambda: set(threading.enumerate()) <= threads, f"threads that ended: {threading.enumerate()}")
    if left():
        gc.collect()  # something that was dropped may be part of a cycle
    assert not left()


class Child:
    """A process of `tests.bus.children`; `facts` are the lines that it says."""

    def __init__(self, what: str) -> None:
        folders = f"{REPOSITORY / 'src'}{os.pathsep}{REPOSITORY}"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.bus.children", what],
            env={**os.environ, "PYTHONPATH": folders},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._said = b""

    @property
    def pid(self) -> int:
        return self.process.pid

    def facts(self) -> dict[str, Any]:
        """The next line that it says."""
        assert self.process.stdout
        fd = self.process.stdout.fileno()
        while b"\n" not in self._said:
            assert readable(fd)
            said = os.read(fd, 65536)
            assert said, f"the child has ended with {self.process.wait()}"
            self._said += said
        line, _, self._said = self._said.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found

    def go_on(self) -> None:
        assert self.process.stdin
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def start() -> Iterator[Callable[[str], Child]]:
    """Starts processes of `tests.bus.children` by name, and kills what is left of them."""
    children: list[Child] = []

    def start(what: str) -> Child:
        children.append(Child(what))
        return children[-1]

    yield start
    for child in children:
        child.kill()
