"""A worker process without a supervisor class: this test holds the other end of its link."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from frameloom.model.errors import NeedsPerson
from frameloom.model.worker import WorkerSpec
from frameloom.workers.main import load, run

PATIENCE_S = 60.0
FOLDER = str(Path(__file__).parent)


class Process:
    """A worker process and the supervisor's end of its link."""

    def __init__(self) -> None:
        self.link, theirs = socket.socketpair()
        self.link.settimeout(PATIENCE_S)
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "frameloom.workers", "--fd", str(theirs.fileno()), "--name", "hall"],
                pass_fds=(theirs.fileno(),),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.lines = self.link.makefile("rb")

    def order(self, host: str, **config: Any) -> Process:
        spec = WorkerSpec("hall", "test", f"hosts:{host}", config)
        self.send({"spec": spec.to_json(), "path": [FOLDER]})
        return self

    def send(self, message: Any) -> None:
        self.link.sendall(json.dumps(message).encode() + b"\n")

    def until(self, kind: str, condition: Callable[[dict[str, Any]], Any] = bool) -> dict[str, Any]:
        while True:
            line = self.lines.readline()
            assert line, f"the worker ended: {self.output()}"
            message = json.loads(line)
            if kind in message and condition(message[kind]):
                found: dict[str, Any] = message[kind]
                return found

    def until_running(self) -> Process:
        self.until("report", lambda report: report["state"] == "running")
        return self

    def code(self) -> int:
        return self.process.wait(PATIENCE_S)

    def output(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.read().decode()

    def close_link(self) -> None:
        self.lines.close()
        self.link.close()

    def close(self) -> None:
        self.close_link()
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def process() -> Iterator[Process]:
    process = Process()
    yield process
    process.close()


def test_a_message_ends_it_with_code_0(process: Process) -> None:
    process.order("Counting").until_running()
    process.send({"stop": True})
    assert process.code() == 0


def test_sigterm_ends_it_with_code_0(process: Process) -> None:
    process.order("Counting").until_running()
    process.process.send_signal(signal.SIGTERM)
    assert process.code() == 0


def test_sigterm_is_heard_while_the_main_thread_waits_on_the_event(process: Process) -> None:
    """Event.set() in a signal handler may find the lock of the event taken by the thread that it interrupts."""
    process.order("Plain").until_running()
    for _ in range(20):
        process.process.send_signal(signal.SIGTERM)
    assert process.code() == 0


def test_sigint_is_none_of_its_business(process: Process) -> None:
    process.order("Counting").until_running()
    process.process.send_signal(signal.SIGINT)
    process.send({"command": "echo", "args": {"still": "here"}, "id": 1})
    process.until("reply")
    process.send({"stop": True})
    assert process.code() == 0


@pytest.mark.parametrize("host", ["Plain", "Stubborn", "HangsReleasing", "HangsInInit"])
def test_the_end_of_the_link_is_its_end_whatever_it_does(process: Process, host: str) -> None:
    process.order(host).until("report", lambda report: True)
    process.close_link()
    assert process.code() == 70


def test_the_end_of_the_link_before_the_order_is_its_end(process: Process) -> None:
    process.close_link()
    assert process.code() == 70


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_it_dies_with_its_parent_even_if_the_link_stays_open(tmp_path: Path) -> None:
    """The host holds the interpreter, so that no thread of the worker can notice anything."""
    ours, theirs = socket.socketpair()
    code = (
        "import subprocess, sys, time\n"
        "command = [sys.executable, '-m', 'frameloom.workers', '--fd', sys.argv[1], '--name', 'hall']\n"
        "print(subprocess.Popen(command, pass_fds=[int(sys.argv[1])]).pid, flush=True)\n"
        "time.sleep(1000)\n"
    )
    with ours, theirs:
        command = [sys.executable, "-c", code, str(theirs.fileno())]
        with subprocess.Popen(command, pass_fds=[theirs.fileno()], stdout=subprocess.PIPE) as parent:
            assert parent.stdout is not None
            pidfd = os.pidfd_open(int(parent.stdout.readline()))
            try:
                spec = WorkerSpec("hall", "test", "hosts:HangsHolding").to_json()
                ours.sendall(json.dumps({"spec": spec, "path": [FOLDER]}).encode() + b"\n")
                with ours.makefile("rb") as lines:
                    while json.loads(lines.readline())["report"]["state"] != "running":
                        pass
                parent.kill()
                assert os.waitid(os.P_PID, parent.pid, os.WEXITED | os.WNOWAIT) is not None
                assert is_over(pidfd)
            finally:
                os.close(pidfd)


def is_over(pidfd: int) -> bool:
    import select

    return bool(select.select([pidfd], [], [], PATIENCE_S)[0])


@pytest.mark.parametrize("order", [{"spec": {}}, {"nonsense": 1}, "text"])
def test_an_order_that_is_none_is_told_and_ends_it(process: Process, order: Any) -> None:
    process.send(order)
    assert process.code() == 4
    assert "want " in process.output()


def test_work_that_is_done_says_so(process: Process) -> None:
    process.order("Counting", items=3)
    assert process.until("ended") == {"kind": "done", "message": "at 3", "traceback": None}
    assert process.code() == 0


def test_a_crash_says_so_on_the_link_and_on_its_output(process: Process) -> None:
    process.order("Raises")
    ended = process.until("ended")
    assert ended["kind"] == "crash"
    assert ended["message"].startswith("RuntimeError: broken on purpose")
    assert process.code() == 1
    assert "RuntimeError: broken on purpose" in process.output()


def test_what_a_person_must_fix_says_so(process: Process) -> None:
    process.order("Misconfigured")
    ended = process.until("ended")
    assert (ended["kind"], ended["message"]) == ("needs-person", "camera 'hall': wrong password")
    assert process.code() == 3


def test_sigusr1_shows_what_every_thread_does_and_harms_nothing(process: Process) -> None:
    process.order("HangsReleasing").until_running()
    process.process.send_signal(signal.SIGUSR1)
    process.until("report")
    process.close_link()
    assert process.code() == 70
    output = process.output()
    assert "most recent call first" in output
    assert "hosts.py" in output
    assert "link.py" in output


def test_its_name_can_be_seen(process: Process) -> None:
    process.order("Plain").until_running()
    assert "--name\0hall" in Path(f"/proc/{process.process.pid}/cmdline").read_text()
    assert Path(f"/proc/{process.process.pid}/comm").read_text() == "fl:hall\n"


def test_load_says_what_is_wrong() -> None:
    for path, says in [
        ("", "allowed: 'module:Class'"),
        ("a:", "allowed: 'module:Class'"),
        ("no.such.module:A", "No module named"),
        ("json:Missing", "no attribute 'Missing'"),
        ("json:JSONDecoder", "must be a subclass"),
    ]:
        with pytest.raises(NeedsPerson, match=says):
            load(path)


def test_run_in_this_process_returns_the_exit_code() -> None:
    from frameloom.workers.link import Link

    link, supervisor = Link.pair(on_lost=lambda: None)
    try:
        assert run(WorkerSpec("hall", "test", "json:JSONDecoder"), link) == 3
        with supervisor.makefile("rb") as lines:
            assert "report" in json.loads(lines.readline())
            assert json.loads(lines.readline())["ended"]["kind"] == "needs-person"
    finally:
        link.close()
        supervisor.close()
