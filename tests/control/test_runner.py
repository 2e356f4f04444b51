"""Whole sites in processes of their own: signals, kill -9, a second start, two sites."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from frameloom.control.client import SiteNotRunning, call, running_sites, shut_down
from frameloom.control.lock import SiteLock, socket_path
from frameloom.model.errors import CommandError

PATIENCE_S = 60.0
STUBBORN = ["Stubborn", "StopsItself", "HangsHolding", "HangsReleasing", "HangsInInit", "Floods", "Counting"]


@contextlib.contextmanager
def watched(pids: list[int]) -> Iterator[Any]:
    """Waits for the ends of processes, whosever they are, by descriptors that name them for good."""
    fds = [os.pidfd_open(pid) for pid in pids]

    def all_end() -> None:
        for pid, fd in zip(pids, fds, strict=True):
            assert select.select([fd], [], [], PATIENCE_S)[0], f"process {pid} lives on"

    try:
        yield all_end
    finally:
        for fd in fds:
            os.close(fd)


def workers_of(spec: Any, hosts: list[str]) -> list[Any]:
    return [spec(host, host.lower()) for host in hosts]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_site_cleanly(site_process: Any, spec: Any, number: signal.Signals) -> None:
    site = site_process("hall", [spec("Counting", "a"), spec("Plain", "b")]).ready()
    with watched(site.pids("a", "b")) as all_end:
        os.kill(site.pid, number)
        assert [site.line(), site.line(), site.line()] == ["stopping", "stopped", ""]
        all_end()
    assert site.process.wait(PATIENCE_S) == 0
    assert not socket_path("hall").exists()


def test_stubborn_workers_are_gone_when_it_says_stopped(site_process: Any, spec: Any) -> None:
    """With the limits as they are; that they add up to less than 3 s is seen in their definition."""
    specs = workers_of(spec, STUBBORN)
    site = site_process("hall", specs).ready()
    pids = site.pids(*(spec.name for spec in specs))
    os.kill(site.pid, signal.SIGINT)
    assert [site.line(), site.line()] == ["stopping", "stopped"]
    assert [pid for pid in pids if psutil.pid_exists(pid)] == []


def test_the_limits_of_a_stop_are_within_three_seconds() -> None:
    from frameloom.control.lifecycle import Limits

    limits = Limits()
    assert 0 < limits.terminate_s < limits.kill_s < limits.gone_s < 3


def test_a_second_ctrl_c_kills_at_once(site_process: Any, spec: Any) -> None:
    limits = {"terminate_s": 1000, "kill_s": 2000, "gone_s": 3000}
    site = site_process("hall", workers_of(spec, ["Stubborn"]), limits=limits).ready()
    with watched(site.pids("stubborn")) as all_end:
        os.kill(site.pid, signal.SIGINT)
        assert site.line() == "stopping"
        os.kill(site.pid, signal.SIGINT)
        assert site.line() == "stopped"
        all_end()


def test_ctrl_c_in_the_terminal_reaches_only_the_supervisor(site_process: Any, spec: Any) -> None:
    """A terminal signals the whole foreground process group."""
    site = site_process("hall", [spec("Plain", "a")]).ready()
    (pid,) = site.pids("a")
    assert os.getpgid(pid) == os.getsid(pid) == pid
    assert os.getpgid(site.pid) != pid


def test_kill_9_of_the_supervisor_leaves_no_child_and_no_obstacle(site_process: Any, spec: Any) -> None:
    specs = workers_of(spec, STUBBORN)
    for _ in range(3):
        site = site_process("hall", specs).ready()
        with watched(site.pids(*(spec.name for spec in specs))) as all_end:
            os.kill(site.pid, signal.SIGKILL)
            all_end()
        site.process.wait()
        assert socket_path("hall").exists(), "it had no chance to remove it"
        assert running_sites() == []
        with pytest.raises(SiteNotRunning, match="site 'hall' is not running; start it with: frameloom up"):
            call("hall", "ping")


def test_a_second_start_of_a_site_says_who_runs_it_and_changes_nothing(site_process: Any, spec: Any) -> None:
    first = site_process("hall", [spec("Plain", "a")]).ready()
    pids = first.pids("a")
    second = site_process("hall", [spec("Plain", "b")])
    assert second.line() == f"StreamBusy: site 'hall' is already running (process {first.pid})"
    assert second.process.wait(PATIENCE_S) == 3
    assert first.pids("a") == pids


def test_two_sites_never_meet(site_process: Any, spec: Any) -> None:
    hall = site_process("hall", [spec("Counting", "a")]).ready()
    yard = site_process("yard", [spec("Counting", "a")]).ready()
    (hall_pid,), (yard_pid,) = hall.pids("a"), yard.pids("a")
    assert hall_pid != yard_pid
    assert running_sites() == ["hall", "yard"]
    assert call("hall", "set", name="a", values={"step": 7})["values"] == {"step": 7}
    assert call("hall", "stop", names=["a"], timeout_s=PATIENCE_S)["workers"]["a"]["state"] == "idle"
    state = yard.until(lambda state: state["workers"]["a"]["values"])  # it may be loading yet
    assert (state["site"], state["pid"]) == ("yard", yard.pid)
    assert state["workers"]["a"]["pid"] == yard_pid
    assert state["workers"]["a"]["values"]["step"] == 1
    shut_down("hall", PATIENCE_S)
    assert running_sites() == ["yard"]


def test_shut_down_returns_when_the_site_can_be_started_again(site_process: Any, spec: Any) -> None:
    for _ in range(3):
        site = site_process("hall", [spec("Plain", "a")]).ready()
        shut_down("hall", PATIENCE_S)
        with SiteLock("hall"):
            pass
        assert site.process.wait(PATIENCE_S) == 0
    with pytest.raises(SiteNotRunning):
        shut_down("hall")


def test_reload_reads_the_file_again(site_process: Any, spec: Any, tmp_path: Path) -> None:
    file = tmp_path / "site.json"
    site_process("hall", [spec("Plain", "a")], file=str(file)).ready()
    file.write_text(json.dumps([spec("Plain", "b").to_json()]))
    assert call("hall", "reload", timeout_s=PATIENCE_S)["added"] == ["b"]
    file.write_text("not json")
    with pytest.raises(CommandError, match="site file: ") as caught:
        call("hall", "reload")
    assert caught.value.code == "site-error"
    assert list(call("hall", "status")["workers"]) == ["b"]


def test_a_site_that_answers_nothing_is_a_timeout(site_process: Any, spec: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("frameloom.control.client._SPARE_S", 0.1)
    site = site_process("hall", []).ready()
    os.kill(site.pid, signal.SIGSTOP)
    try:
        with pytest.raises(CommandError, match="does not answer") as caught:
            call("hall", "ping", timeout_s=0.1)
        assert caught.value.code == "timeout"
        assert running_sites() == ["hall"]
    finally:
        os.kill(site.pid, signal.SIGCONT)
    assert call("hall", "ping") == {"site": "hall"}


def test_asking_for_sites_that_never_were_creates_nothing(runtime_dir: Path) -> None:
    with pytest.raises(SiteNotRunning):
        call("hall", "ping")
    (runtime_dir / "Not A Name").mkdir()
    assert running_sites() == []
    assert [entry.name for entry in runtime_dir.iterdir()] == ["Not A Name"]


def test_what_steers_loads_no_codec(runtime_dir: Path) -> None:
    code = (
        "import sys, frameloom.control.runner, frameloom.control.client\n"
        "print(sorted({'av', 'cv2', 'numpy', 'fastapi', 'uvicorn'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"
