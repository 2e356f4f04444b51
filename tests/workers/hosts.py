"""Hosts for tests: one that works, and one for each way of going wrong."""

from __future__ import annotations

import ctypes
import os
import queue
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from frameloom.model.errors import CommandError, NeedsPerson
from frameloom.model.parameters import Number, Text, declared, validate_all
from frameloom.model.worker import State, WorkerReport, WorkerSpec
from frameloom.workers.host import Host
from frameloom.workers.link import Link


class Counting(Host):
    """Counts up by `step`, one item every few milliseconds, and takes new parameters between two items.

    config: `items` to finish after; `state` to report; `log`, a file that gets a line per item and per change
    """

    step = Number(1, minimum=1, maximum=100)
    label = Text("none")

    def __init__(self, spec: WorkerSpec, link: Link) -> None:
        super().__init__(spec, link)
        self.parameters = declared(type(self))
        self._values = {name: p.default for name, p in self.parameters.items()}
        self._values |= validate_all(self.parameters, spec.params)
        self.changes: queue.SimpleQueue[tuple[dict[str, Any], queue.SimpleQueue[None]]] = queue.SimpleQueue()
        self.items = 0
        link.work = "counting"

    def run(self) -> None:
        while not self.link.stopping.is_set() and self.items < self.spec.config.get("items", 1 << 60):
            self.apply_changes()
            with self.link.busy():
                self.item()
            select.select([self.link.stop_fd], [], [], 0.005)

    def item(self) -> None:
        self.items += 1
        self.note(f"item {self.items} step {self._values['step']:g}")

    def apply_changes(self) -> None:
        while not self.changes.empty():
            values, done = self.changes.get()
            self._values |= values
            self.note(f"change step {self._values['step']:g}")
            done.put(None)

    def note(self, line: str) -> None:
        if log := self.spec.config.get("log"):
            with Path(log).open("a") as file:
                print(line, file=file)

    def change(self, values: Mapping[str, Any]) -> dict[str, Any]:
        taken = validate_all(self.parameters, values)
        done: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.changes.put((taken, done))
        done.get()
        return taken

    def command(self, name: str, args: Mapping[str, Any]) -> dict[str, Any]:
        if name == "echo":
            return dict(args)
        if name == "unsayable":
            return {"not": float("nan")}
        if name == "bug":
            raise RuntimeError("a bug in command()")
        raise CommandError("unknown-command", f"no command {name!r}")

    def report(self) -> WorkerReport:
        return WorkerReport(
            State(self.spec.config.get("state", "running")),
            detail=f"at {self.items}",
            frames=self.items,
            values=dict(self._values),
            declared=[p.declaration() for p in self.parameters.values()],
        )


class Plain(Host):
    """Waits for the end; reports that it runs. Without parameters."""

    def run(self) -> None:
        self.link.stopping.wait()

    def report(self) -> WorkerReport:
        return WorkerReport(State.RUNNING, detail=str(self.spec.config.get("detail", "")))


class Raises(Plain):
    """Crashes with a traceback; `after_report`: when it has been seen running."""

    def run(self) -> None:
        if self.spec.config.get("after_s"):
            time.sleep(self.spec.config["after_s"])
        raise RuntimeError(f"broken on purpose, reading {self.spec.config.get('url', 'nothing')}")

    def report(self) -> WorkerReport:
        return WorkerReport(State(self.spec.config.get("state", "starting")))


class Misconfigured(Plain):
    def run(self) -> None:
        raise NeedsPerson("camera 'hall': wrong password")


class MisconfiguredOnce(Plain):
    """Needs a person until the file `there` exists."""

    def run(self) -> None:
        if not Path(self.spec.config["there"]).exists():
            raise NeedsPerson("the file is missing")
        super().run()


class BrokenInInit(Plain):
    def __init__(self, spec: WorkerSpec, link: Link) -> None:
        super().__init__(spec, link)
        raise ValueError("broken while loading")


class HangsReleasing(Plain):
    """Hangs in a call that lets other threads run: reports go on, and say how long."""

    def run(self) -> None:
        self.link.work = "process()"
        with self.link.busy():
            time.sleep(1000)


class HangsBusy(Plain):
    """Hangs in a loop of Python code."""

    def run(self) -> None:
        self.link.work = "process()"
        with self.link.busy():
            while True:
                time.sleep(0)


class HangsHolding(Plain):
    """Hangs in C code that keeps all other threads from running: no more reports."""

    def run(self) -> None:
        self.link.wake()
        time.sleep(0.3)
        while True:
            ctypes.PyDLL(None).sleep(1000)


class HangsInInit(Plain):
    def __init__(self, spec: WorkerSpec, link: Link) -> None:
        super().__init__(spec, link)
        time.sleep(1000)


class StopsItself(Plain):
    """Is stopped like by Ctrl-Z, so that it hears nothing."""

    def run(self) -> None:
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGSTOP)
        super().run()


class Stubborn(Plain):
    """Does not stop, neither by message nor by SIGTERM; writes what it hears to its output."""

    def run(self) -> None:
        signal.signal(signal.SIGTERM, lambda number, frame: print("heard SIGTERM"))
        self.link.stopping.wait()
        print("heard stop")
        while True:
            time.sleep(1000)


class Exits(Plain):
    def run(self) -> None:
        os._exit(self.spec.config["code"])


class Segfaults(Plain):
    def run(self) -> None:
        ctypes.string_at(8)


class KillsItself(Plain):
    def run(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class Floods(Plain):
    """Writes as fast as it can."""

    def run(self) -> None:
        line = b"flood " * 20 + b"\n"
        while not self.link.stopping.is_set():
            os.write(2, line * 500)


class Writes(Plain):
    """Writes a few lines of all sorts."""

    def run(self) -> None:
        print("plain line")
        os.write(1, b"x" * 10_000 + b"\n")
        os.write(2, b"colour \x1b[31m and \xff bytes\n")
        print(f"opening {self.spec.config.get('url')}")
        os.write(1, b"no line feed")
        super().run()


class SendsGarbage(Plain):
    def run(self) -> None:
        connection = self.link._connection
        connection.sendall(b"this is no message\n[1, 2]\n{}\n")
        connection.sendall(
            b'{"report": 5}\n{"report": {"state": "failed"}}\n{"report": {"state": "running", "fps": "x"}}\n'
        )
        connection.sendall(b'{"reply": 77, "ok": true}\n{"ended": {}}\n')
        with self.link._sending:  # else a report would end the line
            connection.sendall(b"y" * (1200 << 10) + b"\n")
        super().run()


class ClosesLink(Plain):
    def run(self) -> None:
        self.link._connection.shutdown(2)
        time.sleep(1000)


class HasChildren(Plain):
    """Starts a process of its own and tells its number."""

    def run(self) -> None:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
        self.spec.config["detail"] = str(child.pid)
        self.link.wake()
        super().run()


class LeavesThreads(Plain):
    """Returns while a thread that is no daemon goes on."""

    def run(self) -> None:
        import threading

        threading.Thread(target=lambda: time.sleep(1000)).start()


class TellsSurroundings(Plain):
    """Writes what it was given by its parent."""

    def run(self) -> None:
        fds = sorted(os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _is_open(fd))
        print("ARGV", Path("/proc/self/cmdline").read_bytes().replace(b"\0", b" ").decode())
        print("GROUP", os.getpgid(0) == os.getsid(0) == os.getpid())
        print("FDS", len([fd for fd in fds if fd.startswith("socket:")]), file=sys.stderr)
        super().run()


def _is_open(fd: str) -> bool:
    return os.path.lexists(f"/proc/self/fd/{fd}")


NotAHost = 5
