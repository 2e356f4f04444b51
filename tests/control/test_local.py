"""The placement on this machine: what a child is, and what is left of it."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

import frameloom
from frameloom.control.lifecycle import Exit
from frameloom.control.local import LocalPlacement
from frameloom.control.placement import Child
from frameloom.model.worker import WorkerSpec

PATIENCE_S = 60.0


class Events:
    """What is told of a child, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []
        self.ended = asyncio.Event()
        self.replied = asyncio.Event()

    def message(self, message: dict[str, Any]) -> None:
        if not self.replied.is_set():
            self.told.append(("message", message))
        if "reply" in message:
            self.replied.set()

    def output(self, data: bytes, cut: bool) -> None:
        self.told.append(("output", data))

    def garbage(self, what: str) -> None:
        self.told.append(("garbage", what))

    def exited(self, how: Exit) -> None:
        self.told.append(("exited", how))
        self.ended.set()

    async def end(self) -> Exit:
        async with asyncio.timeout(PATIENCE_S):
            await self.ended.wait()
        assert [what for what, _ in self.told].index("exited") == len(self.told) - 1, "nothing comes after it"
        how = self.told[-1][1]
        assert isinstance(how, Exit)
        return how


async def spawn(spec: Any, site: Any) -> tuple[Child, Events]:
    events = Events()
    async with site() as s:
        return s.placement.spawn(spec, events), events


async def test_a_child_tells_its_last_words_before_its_end(site: Any, spec: Any) -> None:
    _, events = await spawn(spec("Raises"), site)
    assert await events.end() == Exit(code=1)
    messages = [message for what, message in events.told if what == "message"]
    assert list(messages[-1]) == ["ended"]
    assert messages[-1]["ended"]["kind"] == "crash"


@pytest.mark.parametrize("by_thread", [False, True])
async def test_the_end_is_told_with_and_without_pidfd(
    site: Any, spec: Any, by_thread: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if by_thread:
        monkeypatch.delattr(os, "pidfd_open")
    child, events = await spawn(spec("Plain"), site)
    os.kill(child.pid, signal.SIGKILL)
    assert await events.end() == Exit(signal=signal.SIGKILL)
    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, 0)


async def test_an_ended_child_takes_everything_and_does_nothing(site: Any, spec: Any) -> None:
    child, events = await spawn(spec("Exits", code=4), site)
    assert await events.end() == Exit(code=4)
    child.send({"stop": True})
    child.dump()
    child.terminate()
    child.kill()
    assert child.usage() is None


async def test_a_message_longer_than_the_sockets_buffer_arrives_whole(site: Any, spec: Any) -> None:
    child, events = await spawn(spec("Counting"), site)
    args = {"text": "x" * 900_000}
    child.send({"command": "echo", "args": args, "id": 5})
    async with asyncio.timeout(PATIENCE_S):
        await events.replied.wait()
    assert events.told[-1] == ("message", {"reply": 5, "ok": True, "result": args})
    child.kill()
    await events.end()


def seen_by_others(pid: int) -> bytes:
    return b"".join(Path(f"/proc/{pid}/{part}").read_bytes() for part in ("cmdline", "environ"))


async def test_a_specification_is_not_in_the_arguments_or_the_environment(site: Any, spec: Any) -> None:
    child, events = await spawn(spec("Plain", "hall", url="rtsp://u:pa55@c/"), site)
    assert b"pa55" not in seen_by_others(child.pid)
    child.kill()
    await events.end()


async def test_a_module_of_the_users_folder_does_not_replace_one_of_python(
    site: Any, spec: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "logging.py").write_text("raise SystemExit('the wrong logging')")
    monkeypatch.setenv("PYTHONPATH", str(Path(frameloom.__path__[0]).parent))
    monkeypatch.chdir(tmp_path)
    child, events = await spawn(spec("Counting", items=3), site)
    assert await events.end() == Exit(code=0)
    assert child.usage() is None


async def test_folders_of_the_placement_come_after_pythons_own(tmp_path: Any) -> None:
    (tmp_path / "logging.py").write_text("raise SystemExit('the wrong logging')")
    (tmp_path / "mine.py").write_text(
        "from frameloom.workers.host import Host\n"
        "from frameloom.model.worker import *\n"
        "class Mine(Host):\n"
        "    def run(self): print('mine runs', flush=True)\n"
        "    def report(self): return WorkerReport(State.RUNNING)\n"
    )
    events = Events()
    LocalPlacement(python_path=[str(tmp_path)]).spawn(WorkerSpec("w", "test", "mine:Mine"), events)
    assert await events.end() == Exit(code=0)
    assert ("output", b"mine runs") in events.told
