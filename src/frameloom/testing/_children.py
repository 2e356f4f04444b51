"""Child processes that say when they are ready, die with their parent, and are ended by their own id.

A child calls `die_with_parent` itself: doing that between fork and exec, from a parent with threads, is not safe.
Standard library only, so that scripts of other interpreters can load this file too.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any, NoReturn

_PR_SET_PDEATHSIG = 1
_END_S = 5.0


class ChildFailed(RuntimeError):
    """A child process ended, or said nothing, instead of becoming ready; the message holds what it wrote."""


class Child:
    """A child process whose first line of output is a JSON object: `answer`.

    `given` is written to its standard input, which stays open until `close`. Raises ChildFailed where there is no
    such line within `timeout_s`. The thread that starts a child must outlive it: the kernel counts its end as the
    parent's.
    """

    def __init__(self, command: Sequence[str], given: bytes = b"", timeout_s: float = 60.0) -> None:
        self._program = " ".join(command[:3])
        # A pipe that nobody reads would stop a child that says much.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed by `close`)
        self._process = subprocess.Popen(
            [*command, f"--parent={os.getpid()}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        try:
            self._give(given)
            self.answer = self._first_line(timeout_s)
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def close(self) -> None:
        """End the process (SIGTERM, after five seconds SIGKILL) and wait for it. Twice is fine."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_END_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for file in (self._process.stdin, self._process.stdout, self._errors):
            if file is not None:
                with contextlib.suppress(BrokenPipeError):
                    file.close()

    def _give(self, given: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(given)
            self._process.stdin.flush()
        except BrokenPipeError:
            self._fail("closed its input")

    def _first_line(self, timeout_s: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        end_s = time.monotonic() + timeout_s
        line = b""
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, end_s - time.monotonic()))
            if not ready:
                self._fail(f"said nothing for {timeout_s} s")
            chunk = os.read(self._process.stdout.fileno(), 4096)
            if not chunk:
                self._fail("ended")
            line += chunk
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _fail(self, what: str) -> NoReturn:
        self._process.kill()
        self._process.wait()
        self._errors.seek(0)
        errors = self._errors.read().decode("utf-8", "replace")[-2000:]
        raise ChildFailed(f"child process {self._program} {what} before it was ready: {errors}")


def die_with_parent(arguments: list[str]) -> list[str]:
    """Called by the child first: SIGTERM when the parent ends, even by SIGKILL. Returns its own arguments.

    Linux only; elsewhere the child must be ended by `close`.
    """
    own = [argument for argument in arguments if not argument.startswith("--parent=")]
    parent = next(int(argument[9:]) for argument in arguments if argument.startswith("--parent="))
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the parent is gone")
    return own


def ready(**answer: object) -> None:
    """Called by the child when it serves."""
    print(json.dumps(answer), flush=True)
