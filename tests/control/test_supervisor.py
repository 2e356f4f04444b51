"""The supervisor with real processes: every way of going well and wrong."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from frameloom.control.lifecycle import Limits
from frameloom.control.supervisor import Supervisor
from frameloom.model.errors import CommandError, SiteError
from frameloom.model.worker import WorkerSpec

PATIENCE_S = 60.0


class Store:
    """Keeps what it is given, or fails."""

    def __init__(self, error: Exception | None = None) -> None:
        self.kept: list[tuple[str, Any]] = []
        self.error = error

    def set_params(self, name: str, values: Mapping[str, Any]) -> None:
        self.keep(name, dict(values))

    def set_enabled(self, name: str, enabled: bool) -> None:
        self.keep(name, enabled)

    def keep(self, name: str, what: Any) -> None:
        if self.error:
            raise self.error
        self.kept.append((name, what))


async def end_of(pid: int) -> None:
    """Wait until a process has ended, whosever it is."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        ready, _, _ = await asyncio.to_thread(select.select, [fd], [], [], PATIENCE_S)
        assert ready, f"process {pid} has not ended"
    finally:
        os.close(fd)


# -- the good life --


async def test_enabled_workers_run_and_disabled_ones_do_not(site: Any, spec: Any) -> None:
    off = replace(spec("Plain", "off"), enabled=False)
    async with site(spec("Counting", "on"), off) as s:
        await s.until(lambda: s.state("on") == "running" and s["on"]["report"]["frames"] > 5)
        assert s.state("off") == "idle"
        assert psutil.Process(s.pid("on")).ppid() == os.getpid()


async def test_the_snapshot_is_json_with_everything_but_the_configuration(site: Any, spec: Any) -> None:
    async with site(spec("Counting", url="rtsp://user:pa55word@camera/", password="s3cret")) as s:
        await s.until(lambda: s["w"]["report"] and s["w"]["report"]["frames"])
        snapshot = s.supervisor.snapshot()
        text = json.dumps(snapshot)
        assert snapshot.keys() == {"site", "pid", "version", "started_utc_ns", "workers"}
        assert (snapshot["site"], snapshot["pid"]) == ("test", os.getpid())
        worker = snapshot["workers"]["w"]
        assert worker.keys() == {
            *("kind", "streams", "enabled", "state", "detail", "pid", "restarts", "since_utc_ns", "uptime_s"),
            *("next_start_s", "last_error", "cpu_percent", "memory_bytes", "declared", "values", "report"),
        }
        assert (worker["kind"], worker["streams"], worker["enabled"]) == ("test", ["hall"], True)
        assert worker["values"] == {"step": 1.0, "label": "none"}
        assert "pa55word" not in text
        assert "s3cret" not in text


async def test_two_workers_of_one_name_are_refused(spec: Any) -> None:
    with pytest.raises(SiteError, match="two of that name"):
        Supervisor("test", [spec("Plain", "hall"), spec("Counting", "hall")])


async def test_a_worker_has_a_group_and_a_session_and_no_terminal_and_one_socket(
    site: Any, spec: Any
) -> None:
    async with site(spec("TellsSurroundings", "hall", url="rtsp://u:pass@c/")) as s:
        await s.until(lambda: any(line.startswith("FDS") for line in s.text("hall")))
        told = dict(line.split(" ", 1) for line in s.text("hall"))
        assert told["GROUP"] == "True"
        assert told["FDS"] == "1"
        assert "frameloom.workers" in told["ARGV"]
        assert "--name hall" in told["ARGV"]
        assert "rtsp" not in told["ARGV"]


async def test_cpu_and_memory_are_measured(site: Any, spec: Any) -> None:
    async with site(spec("HangsBusy")) as s:
        await s.until(lambda: s["w"]["cpu_percent"])
        assert s["w"]["memory_bytes"] > 1 << 20
        await s.supervisor.stop_workers(["w"])
        assert (s["w"]["cpu_percent"], s["w"]["memory_bytes"]) == (None, None)


async def test_cpu_and_memory_are_sampled_only_while_somebody_listens(site: Any, spec: Any) -> None:
    async with site(spec("Plain")) as s:
        await s.until_state("running")
        sampler = s.supervisor._sampler
        assert sampler is not None
        async with asyncio.timeout(PATIENCE_S):
            await sampler
        subscription = s.supervisor.subscribe()
        assert s.supervisor._sampler is not sampler
        assert not s.supervisor._sampler.done()
        subscription.close()


# -- every way of going wrong --


async def test_a_crash_is_kept_with_its_traceback_and_fails_after_five(site: Any, spec: Any) -> None:
    async with site(spec("Raises", url="rtsp://user:pa55word@camera/")) as s:
        worker = await s.until_state("failed")
        error = worker["last_error"]
        assert worker["restarts"] == 4
        assert error["message"] == "RuntimeError: broken on purpose, reading <secret of w>"
        assert error["exit"] == "exit code 1"
        assert error["traceback"].startswith("Traceback (most recent call last)")
        assert "in run" in error["traceback"]
        assert "pa55word" not in json.dumps(s.supervisor.snapshot()) + "".join(s.text())


async def test_a_crash_after_work_is_started_again_for_ever(site: Any, spec: Any, quick: Limits) -> None:
    limits = replace(quick, early_s=0.01)
    async with site(spec("Raises", after_s=0.3, state="running"), limits=limits) as s:
        await s.until(lambda: s["w"]["restarts"] > 6)
        assert s.state() != "failed"


async def test_a_host_that_breaks_while_loading_is_a_crash(site: Any, spec: Any) -> None:
    async with site(spec("BrokenInInit")) as s:
        worker = await s.until_state("failed")
        assert worker["last_error"]["message"] == "ValueError: broken while loading"


@pytest.mark.parametrize(
    ("host", "says"),
    [
        ("hosts:Missing", "module 'hosts' has no attribute 'Missing'"),
        ("nowhere:Host", "No module named 'nowhere'"),
        ("hosts:NotAHost", "must be a subclass"),
        ("hosts", "'module:Class'"),
    ],
)
async def test_a_host_that_cannot_be_loaded_needs_a_person(site: Any, host: str, says: str) -> None:
    async with site(WorkerSpec("w", "test", host)) as s:
        worker = await s.until_state("failed")
        assert says in worker["last_error"]["message"]
        assert worker["restarts"] == 0


async def test_what_a_person_must_fix_waits_for_that_person(site: Any, spec: Any, tmp_path: Path) -> None:
    there = tmp_path / "there"
    async with site(spec("MisconfiguredOnce", there=str(there))) as s:
        worker = await s.until_state("failed")
        assert worker["last_error"]["message"] == "the file is missing"
        assert worker["last_error"]["exit"] == "exit code 3"
        assert worker["restarts"] == 0
        there.touch()
        await s.supervisor.start_workers(["w"])
        worker = await s.until_state("running")
        assert worker["last_error"]["message"] == "the file is missing", "a good start does not erase it"
        assert s.supervisor.clear_errors(["w"])["workers"]["w"]["did"] == "cleared"
        assert s["w"]["last_error"] is None


async def test_an_exit_of_its_own_is_told_by_its_code(site: Any, spec: Any) -> None:
    async with site(spec("Exits", code=23)) as s:
        worker = await s.until_state("failed")
        assert worker["last_error"] == {**worker["last_error"], "exit": "exit code 23", "traceback": None}


async def test_an_exit_with_code_0_that_nobody_asked_for_is_no_proper_end(site: Any, spec: Any) -> None:
    async with site(spec("Exits", code=0)) as s:
        worker = await s.until_state("failed")
        assert worker["last_error"]["exit"] == "exit code 0"


async def test_a_segmentation_fault_is_told_with_the_place(site: Any, spec: Any) -> None:
    async with site(spec("Segfaults")) as s:
        worker = await s.until_state("failed")
        assert worker["last_error"]["exit"] == "SIGSEGV"
        assert worker["last_error"]["traceback"].startswith("Fatal Python error: Segmentation fault")
        assert "hosts.py" in worker["last_error"]["traceback"]


async def test_work_that_is_done_is_not_started_again_but_can_be(site: Any, spec: Any) -> None:
    async with site(spec("Counting", items=5)) as s:
        worker = await s.until_state("idle")
        assert (worker["detail"], worker["last_error"]) == ("finished: at 5", None)
        await s.supervisor.start_workers(["w"])
        assert s.state() == "starting"
        await s.until_state("idle")


async def test_a_thread_left_behind_does_not_keep_a_worker_that_is_done(site: Any, spec: Any) -> None:
    async with site(spec("LeavesThreads")) as s:
        worker = await s.until_state("idle")
        assert worker["detail"] == "finished"
        assert "exit code 0" in s.text()[-1]


async def test_degraded_is_what_the_worker_says(site: Any, spec: Any) -> None:
    async with site(spec("Counting", state="degraded")) as s:
        worker = await s.until_state("degraded")
        assert worker["detail"].startswith("at ")


@pytest.mark.parametrize("host", ["HangsHolding", "StopsItself"])
async def test_a_silent_worker_is_killed_and_started_again(
    site: Any, spec: Any, quick: Limits, host: str
) -> None:
    async with site(spec(host), limits=replace(quick, silent_s=1.2)) as s:
        await s.until(lambda: s["w"]["restarts"] >= 1)
        error = s["w"]["last_error"]
        assert error["exit"] == "killed: silent for 1.2 s"
        if host == "HangsHolding":
            assert "hosts.py" in error["traceback"], "the user sees where it hung"


@pytest.mark.parametrize("host", ["HangsReleasing", "HangsBusy"])
async def test_a_hanging_worker_is_killed_and_started_again(site: Any, spec: Any, host: str) -> None:
    async with site(spec(host, hang_s=1)) as s:
        await s.until(lambda: s["w"]["restarts"] >= 1)
        error = s["w"]["last_error"]
        assert error["exit"].startswith("killed: process() hung for ")
        assert "hosts.py" in error["traceback"]


async def test_a_worker_that_hangs_while_loading_is_killed(site: Any, spec: Any) -> None:
    async with site(spec("HangsInInit", hang_s=0.5)) as s:
        await s.until(lambda: s["w"]["restarts"] >= 1)
        assert s["w"]["last_error"]["exit"].startswith("killed: loading hung for ")


async def test_a_worker_that_gives_no_sign_of_life_is_killed(site: Any, spec: Any, quick: Limits) -> None:
    """Stopped before it has said a word."""
    async with site(spec("Plain"), limits=replace(quick, start_s=0.5)) as s:
        os.kill(s.pid(), signal.SIGSTOP)
        await s.until(lambda: s["w"]["restarts"] >= 1)
        assert s["w"]["last_error"]["exit"] == "killed: no sign of life 0.5 s after its start"


async def test_sigkill_twenty_times_in_a_row_harms_nobody_else(site: Any, spec: Any) -> None:
    async with site(spec("Plain", "victim"), spec("Counting", "other")) as s:
        await s.until_state("running", "other")
        other = s.pid("other")
        for times in range(20):
            await s.until_state("running", "victim")
            os.kill(s.pid("victim"), signal.SIGKILL)
            await s.until(lambda times=times: s["victim"]["restarts"] > times)
        worker = await s.until_state("running", "victim")
        assert worker["last_error"]["exit"] == "SIGKILL"
        assert (s.pid("other"), s["other"]["restarts"]) == (other, 0)


async def test_sigkill_by_itself_at_every_start_never_fails_it(site: Any, spec: Any) -> None:
    async with site(spec("KillsItself")) as s:
        await s.until(lambda: s["w"]["restarts"] >= 8)
        assert s.state() != "failed"


async def test_a_worker_without_its_link_leaves(site: Any, spec: Any) -> None:
    async with site(spec("ClosesLink")) as s:
        await s.until(lambda: s["w"]["restarts"])
        assert s["w"]["last_error"]["exit"] == "exit code 70"


async def test_garbage_on_the_link_is_told_and_harms_nothing(site: Any, spec: Any) -> None:
    async with site(spec("SendsGarbage"), spec("Counting", "other")) as s:
        await s.until(lambda: any("more than 1048576 bytes" in line for line in s.text()))
        told = "\n".join(s.text())
        assert "garbage on the link: want a line with a JSON object, read b'this is no message'" in told
        assert "state: read failed, allowed: starting, running, degraded" in told
        assert "fps: Input should be a valid number" in told
        await s.until(lambda: s["other"]["state"] == "running" and s["w"]["state"] == "running")


async def test_output_is_kept_by_lines_with_their_times(site: Any, spec: Any) -> None:
    heard: list[tuple[str, str]] = []
    url = "rtsp://u:passw@camera/"
    on_log = lambda name, line: heard.append((name, line.text))  # noqa: E731
    async with site(spec("Writes", url=url), on_log=on_log) as s:
        await s.until(lambda: "opening <secret of w>" in s.text())
        await s.supervisor.stop_workers(["w"])
        text = s.text()
        assert text[0] == "plain line"
        assert text[1] == "x" * 2000 + " [...]"
        assert text[2] == "colour [31m and \N{REPLACEMENT CHARACTER} bytes"
        assert text[4] == "no line feed", "what was written last is not lost"
        assert heard == [("w", line) for line in text]
        lines = s.supervisor.logs("w", 3, after=2)
        assert [line.seq for line in lines] == [len(text) - 2, len(text) - 1, len(text)]
        assert all(line.at_utc_ns > 1_700_000_000 * 10**9 for line in lines)


async def test_a_listener_to_logs_that_raises_harms_nothing(site: Any, spec: Any) -> None:
    def on_log(name: str, line: Any) -> None:
        raise RuntimeError("a bug of the embedding program")

    async with site(spec("Writes"), on_log=on_log) as s:
        await s.until(lambda: "plain line" in s.text())
        await s.until_state("running")


async def test_a_worker_that_floods_its_output_is_slowed_and_others_are_not(site: Any, spec: Any) -> None:
    async with site(spec("Floods"), spec("Counting", "other")) as s:
        await s.until(lambda: len(s.text()) == 500 and s["other"]["report"])
        frames = s["other"]["report"]["frames"]
        await s.until(lambda: s["other"]["report"]["frames"] > frames)
        assert s["other"]["restarts"] == 0
        await s.supervisor.stop_workers(["w"])
        assert s.state() == "idle"


async def test_a_start_that_the_system_refuses_is_tried_again(site: Any, spec: Any, quick: Limits) -> None:
    class Full:
        def __init__(self, real: Any) -> None:
            self.real, self.refusals = real, 7

        def spawn(self, spec: WorkerSpec, events: Any) -> Any:
            self.refusals -= 1
            if self.refusals >= 0:
                raise BlockingIOError(11, "Resource temporarily unavailable")
            return self.real.spawn(spec, events)

    async with site(spec("Plain")) as s:
        placement = Full(s.placement)
        async with site(spec("Plain"), placement=placement) as full:
            worker = await full.until_state("running")
            assert worker["restarts"] == 7
            assert worker["last_error"]["exit"] == "could not be started: Resource temporarily unavailable"


# -- stopping --


async def test_stop_ends_a_good_worker_by_message(site: Any, spec: Any) -> None:
    async with site(spec("Counting")) as s:
        await s.until_state("running")
        pid = s.pid()
        result = await s.supervisor.stop_workers(["w"])
        assert result["workers"]["w"] == {"did": "stopped", "state": "idle", "detail": "stopped"}
        assert not psutil.pid_exists(pid)
        assert "exit code 0" in s.text()[-1]


async def test_a_stubborn_worker_hears_stop_then_sigterm_then_dies(site: Any, spec: Any) -> None:
    async with site(spec("Stubborn")) as s:
        await s.until_state("running")
        await s.supervisor.stop_workers(["w"])
        assert s.text()[:2] == ["heard stop", "heard SIGTERM"]
        assert "SIGKILL" in s.text()[-1]


async def test_all_sorts_of_stubborn_workers_are_gone_after_stop(site: Any, spec: Any, quick: Limits) -> None:
    hosts = ["Stubborn", "StopsItself", "HangsHolding", "HangsBusy", "HangsInInit", "Floods", "HasChildren"]
    specs = [spec(host, host.lower()) for host in hosts] + [spec("Plain", "frozen")]
    async with site(*specs) as s:
        await s.until(lambda: all(s[name.name]["report"] for name in specs))
        os.kill(s.pid("frozen"), signal.SIGSTOP)
        pids = [s.pid(name.name) for name in specs]
        await s.supervisor.stop()
        assert [pid for pid in pids if psutil.pid_exists(pid)] == []
        assert {s.state(name.name) for name in specs} == {"idle"}


async def test_kill_ends_everything_without_asking(site: Any, spec: Any) -> None:
    limits = Limits(terminate_s=1000, kill_s=2000, gone_s=PATIENCE_S)
    async with site(spec("Stubborn"), spec("Plain", "frozen"), limits=limits) as s:
        await s.until(lambda: s.state() == s.state("frozen") == "running")
        os.kill(s.pid("frozen"), signal.SIGSTOP)
        stop = asyncio.create_task(s.supervisor.stop())
        await s.until(lambda: "heard stop" in s.text())
        s.supervisor.kill()
        await stop
        assert s.state() == s.state("frozen") == "idle"


async def test_what_a_worker_started_goes_with_it(site: Any, spec: Any) -> None:
    async with site(spec("HasChildren")) as s:
        for end in (lambda: os.kill(s.pid(), signal.SIGKILL), lambda: s.supervisor._worker("w").stop()):
            await s.until(lambda: s["w"]["detail"].isdigit())
            grandchild = int(s["w"]["detail"])
            assert psutil.pid_exists(grandchild)
            end()
            await end_of(grandchild)


async def test_no_descriptor_is_left_after_many_lives(site: Any, spec: Any) -> None:
    async with site(spec("KillsItself")) as s:
        await s.until(lambda: s["w"]["restarts"] >= 2)
        await s.supervisor.stop_workers(["w"])
        before = len(os.listdir("/proc/self/fd"))
        await s.supervisor.start_workers(["w"])
        await s.until(lambda: s["w"]["restarts"] >= 8)
        await s.supervisor.stop_workers(["w"])
        assert len(os.listdir("/proc/self/fd")) <= before


# -- commands --


async def test_commands_are_idempotent_and_say_so(site: Any, spec: Any) -> None:
    store = Store()
    async with site(spec("Plain"), store=store) as s:
        await s.until_state("running")
        pid = s.pid()

        async def did(command: Any) -> tuple[str, bool]:
            result = await command(["w", "w"])
            return result["workers"]["w"]["did"], result["stored"]

        assert await did(s.supervisor.start_workers) == ("already running", True)
        assert s.pid() == pid
        assert await did(s.supervisor.stop_workers) == ("stopped", True)
        assert await did(s.supervisor.stop_workers) == ("already stopped", True)
        assert await did(s.supervisor.start_workers) == ("started", True)
        assert store.kept == [("w", False), ("w", True)]
        assert s["w"]["enabled"] is True


async def test_restart_gives_a_new_process(site: Any, spec: Any) -> None:
    async with site(spec("Plain"), replace(spec("Plain", "off"), enabled=False)) as s:
        await s.until_state("running")
        pid = s.pid()
        result = await s.supervisor.restart_workers(["w", "off"])
        assert not psutil.pid_exists(pid)
        assert {worker["state"] for worker in result["workers"].values()} == {"starting"}
        await s.until(lambda: s.state() == s.state("off") == "running")
        assert s["w"]["restarts"] == 0


async def test_unknown_workers_are_named_with_the_known_ones(site: Any, spec: Any) -> None:
    async with site(spec("Plain", "hall"), spec("Plain", "yard")) as s:
        for command in (s.supervisor.start_workers, s.supervisor.stop_workers, s.supervisor.restart_workers):
            with pytest.raises(CommandError, match=r"no worker 'hell'.*there are: hall, yard") as caught:
                await command(["hall", "hell"])
            assert caught.value.code == "unknown-worker"
        assert s.state("hall") != "idle", "all or nothing"


async def test_set_takes_effect_between_two_items_before_it_is_acknowledged(
    site: Any, spec: Any, tmp_path: Path
) -> None:
    store, log = Store(), tmp_path / "log"
    async with site(spec("Counting", log=str(log), params={"label": "a"}), store=store) as s:
        await s.until_state("running")
        pid = s.pid()
        for step in range(2, 12):
            result = await s.supervisor.set_params("w", {"step": str(step)})
            assert f"change step {step}" in log.read_text(), "acknowledged before it took effect"
            assert result == {"name": "w", "values": {"step": float(step)}, "live": True, "stored": True}
        assert store.kept == [("w", {"step": float(step)}) for step in range(2, 12)]
        await s.until(lambda: s["w"]["values"]["step"] == 11)
        assert s.pid() == pid
        items = [int(line.split()[1]) for line in log.read_text().splitlines() if line.startswith("item")]
        assert items == list(range(1, len(items) + 1)), "no item is lost by a change"
        os.kill(pid, signal.SIGKILL)
        await s.until(lambda: s["w"]["restarts"] and s.state() == "running")
        await s.until(lambda: s["w"]["values"] == {"step": 11, "label": "a"})


async def test_set_refuses_unfit_values_and_stores_nothing(site: Any, spec: Any) -> None:
    store = Store()
    async with site(spec("Counting"), store=store) as s:
        await s.until_state("running")
        for running in (True, False):
            for values, says in [
                ({"step": 101}, "from 1 to 100"),
                ({"stop": 1}, "no such parameter, allowed: label, step"),
            ]:
                with pytest.raises(CommandError, match=says) as caught:
                    await s.supervisor.set_params("w", values)
                assert caught.value.code == "refused"
            if running:
                await s.supervisor.stop_workers(["w"])
        assert store.kept == [("w", False)]


async def test_set_on_a_stopped_worker_is_checked_and_kept_for_its_start(site: Any, spec: Any) -> None:
    store = Store()
    async with site(spec("Counting"), replace(spec("Counting", "new"), enabled=False), store=store) as s:
        await s.until_state("running")
        await s.supervisor.stop_workers(["w"])
        result = await s.supervisor.set_params("w", {"step": "7"})
        assert result == {"name": "w", "values": {"step": 7.0}, "live": False, "stored": True}
        await s.supervisor.start_workers(["w"])
        await s.until(lambda: s.state() == "running" and s["w"]["values"]["step"] == 7)
        with pytest.raises(CommandError, match="has not run yet") as caught:
            await s.supervisor.set_params("new", {"step": 7})
        assert caught.value.code == "unknown-parameters"


async def test_set_on_a_worker_without_parameters_says_so(site: Any, spec: Any) -> None:
    async with site(spec("Plain")) as s:
        await s.until_state("running")
        with pytest.raises(CommandError, match="'w' has no parameters"):
            await s.supervisor.set_params("w", {"step": 1})
        await s.supervisor.stop_workers(["w"])
        with pytest.raises(CommandError, match="no such parameter, allowed: no parameters"):
            await s.supervisor.set_params("w", {"step": 1})


async def test_set_while_the_worker_is_loading_waits_for_it(site: Any, spec: Any) -> None:
    async with site(spec("Counting")) as s:
        assert s.state() == "starting"
        result = await s.supervisor.set_params("w", {"step": 3})
        assert result["live"] is True
        await s.until(lambda: s["w"]["values"].get("step") == 3)


async def test_a_set_whose_worker_dies_is_answered_and_not_stored(site: Any, spec: Any) -> None:
    store = Store()
    async with site(spec("HangsInInit"), store=store) as s:
        await s.until(lambda: s["w"]["report"])
        answer = asyncio.create_task(s.supervisor.set_params("w", {"step": 3}))
        await asyncio.sleep(0)
        os.kill(s.pid(), signal.SIGKILL)
        with pytest.raises(CommandError, match="ended before it answered") as caught:
            await answer
        assert caught.value.code == "worker-ended"
        assert store.kept == []


async def test_a_change_that_cannot_be_stored_is_made_and_told(site: Any, spec: Any) -> None:
    async with site(spec("Counting"), store=Store(OSError(28, "No space left on device"))) as s:
        await s.until_state("running")
        result = await s.supervisor.set_params("w", {"step": 3})
        assert (result["live"], result["stored"]) == (True, False)
        assert "No space left" in result["store_error"]
        await s.until(lambda: s["w"]["values"]["step"] == 3)
        assert "No space left" in (await s.supervisor.stop_workers(["w"]))["store_error"]
        assert s.state() == "idle"


async def test_a_worker_that_reads_nothing_is_not_asked_without_end(site: Any, spec: Any) -> None:
    async with site(spec("Plain")) as s:
        await s.until_state("running")
        os.kill(s.pid(), signal.SIGSTOP)
        worker = s.supervisor._worker("w")
        answers = [asyncio.create_task(worker.ask({"set": {"step": "x" * 100_000}})) for _ in range(100)]
        async with asyncio.timeout(PATIENCE_S):
            done, _ = await asyncio.wait(answers, return_when=asyncio.FIRST_EXCEPTION)
        errors = {task.exception().code for task in done}  # type: ignore[union-attr]
        assert errors == {"busy"}
        os.kill(s.pid(), signal.SIGKILL)
        results = await asyncio.gather(*answers, return_exceptions=True)
        assert {error.code for error in results} == {"busy", "worker-ended"}  # type: ignore[union-attr]


async def test_tell_reaches_the_host(site: Any, spec: Any) -> None:
    async with site(spec("Counting")) as s:
        assert await s.supervisor.tell("w", "echo", {"a": [1, None]}) == {"a": [1, None]}
        for command, code in [("other", "unknown-command"), ("bug", "internal"), ("unsayable", "internal")]:
            with pytest.raises(CommandError) as caught:
                await s.supervisor.tell("w", command, {})
            assert caught.value.code == code
        await s.supervisor.stop_workers(["w"])
        with pytest.raises(CommandError, match="not running"):
            await s.supervisor.tell("w", "echo", {})


async def test_nothing_is_started_on_the_way_down(site: Any, spec: Any) -> None:
    async with site(spec("Plain")) as s:
        await s.until_state("running")
        await s.supervisor.stop()
        for command in (s.supervisor.start_workers, s.supervisor.restart_workers):
            with pytest.raises(CommandError, match="being stopped"):
                await command(["w"])
        with pytest.raises(CommandError, match="being stopped"):
            await s.supervisor.apply([spec("Plain")])
        assert s.state() == "idle"


async def test_nothing_is_started_by_a_change_that_was_under_way_on_the_way_down(
    site: Any, spec: Any
) -> None:
    async with site(spec("Stubborn", "slow"), spec("Plain", "again")) as s:
        await s.until(lambda: s.state("slow") == s.state("again") == "running")
        applying = asyncio.create_task(s.supervisor.apply([spec("Plain", "new"), spec("Counting", "again")]))
        await s.until_state("stopping", "slow")
        await s.supervisor.stop()
        await applying
        assert (s.state("new"), s.state("again")) == ("idle", "idle")
