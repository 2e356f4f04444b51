"""Applying a changed site: the smallest change, seen by which processes stay the same."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from frameloom.control.supervisor import Difference
from frameloom.model.errors import CommandError, SiteError
from frameloom.model.worker import WorkerSpec


def did(difference: Difference) -> dict[str, Any]:
    """Only what was done."""
    return {what: names for what, names in asdict(difference).items() if names}


async def test_the_same_again_touches_nothing(site: Any, spec: Any) -> None:
    specs = [spec("Counting", "a", regions=[(0.0, 1.0)]), replace(spec("Plain", "b"), enabled=False)]
    async with site(*specs) as s:
        await s.until_state("running", "a")
        pid = s.pid("a")
        again = [replace(specs[0], config={"regions": [[0.0, 1.0]]}, streams=("hall",)), specs[1]]
        assert did(await s.supervisor.apply(again)) == {}
        assert s.pid("a") == pid


async def test_added_workers_start_and_removed_ones_stop(site: Any, spec: Any) -> None:
    kept, gone = spec("Plain", "kept"), spec("Plain", "gone")
    async with site(kept, gone) as s:
        await s.until(lambda: s.state("kept") == s.state("gone") == "running")
        pid = s.pid("kept")
        off = replace(spec("Plain", "off"), enabled=False)
        assert did(await s.supervisor.apply([off, kept, spec("Plain", "new")])) == {
            "added": ["off", "new"],
            "removed": ["gone"],
        }
        await s.until_state("running", "new")
        assert s.supervisor.worker_snapshot("gone") is None
        assert (s.state("off"), s.pid("kept")) == ("idle", pid)


async def test_only_parameters_are_changed_live(site: Any, spec: Any, tmp_path: Path) -> None:
    log = str(tmp_path / "log")
    before = spec("Counting", log=log, params={"step": 2, "label": "a"})
    async with site(before) as s:
        await s.until_state("running")
        pid = s.pid()
        assert did(await s.supervisor.apply([replace(before, params={"step": 9})])) == {"changed": ["w"]}
        assert "change step 9" in (tmp_path / "log").read_text()
        await s.until(lambda: s["w"]["values"] == {"step": 9, "label": "none"})
        assert s.pid() == pid, "what is named no more has its default again"


async def test_parameters_that_the_worker_refuses_are_told_and_change_nothing(site: Any, spec: Any) -> None:
    before = spec("Counting", params={"step": 2})
    async with site(before) as s:
        await s.until_state("running")
        difference = await s.supervisor.apply([replace(before, params={"step": 1000})])
        assert "from 1 to 100" in difference.refused["w"]
        assert s.state() == "running"
        assert did(await s.supervisor.apply([before])) == {}


async def test_what_was_set_by_command_is_no_difference_when_the_file_says_the_same(
    site: Any, spec: Any
) -> None:
    async with site(spec("Counting")) as s:
        await s.until_state("running")
        await s.supervisor.set_params("w", {"step": "5"})
        assert did(await s.supervisor.apply([spec("Counting", params={"step": 5.0})])) == {}


async def test_anything_else_restarts_that_worker_only(site: Any, spec: Any) -> None:
    async with site(spec("Plain", "a", width=640), spec("Plain", "b")) as s:
        await s.until(lambda: s.state("a") == s.state("b") == "running")
        pids = s.pid("a"), s.pid("b")
        changed = [spec("Plain", "a", width=1280), spec("Plain", "b")]
        assert did(await s.supervisor.apply(changed)) == {"restarted": ["a"]}
        await s.until_state("running", "a")
        assert s.pid("a") != pids[0]
        assert s.pid("b") == pids[1]
        assert s["a"]["restarts"] == 0


@pytest.mark.parametrize("config", [{}, {"width": 640}])
async def test_enabled_is_followed(site: Any, spec: Any, config: dict[str, Any]) -> None:
    on = spec("Plain")
    off = replace(spec("Plain", **config), enabled=False)
    async with site(on) as s:
        await s.until_state("running")
        assert did(await s.supervisor.apply([off])) == {"stopped": ["w"]}
        await s.until_state("idle")
        assert s["w"]["enabled"] is False
        assert did(await s.supervisor.apply([on])) == {"started": ["w"]}
        await s.until_state("running")


async def test_a_failed_worker_is_tried_again_when_it_was_changed(site: Any, spec: Any) -> None:
    async with site(spec("Misconfigured")) as s:
        await s.until_state("failed")
        assert did(await s.supervisor.apply([spec("Misconfigured")])) == {}
        assert s.state() == "failed"
        assert did(await s.supervisor.apply([spec("Plain")])) == {"started": ["w"]}
        await s.until_state("running")


async def test_a_finished_worker_starts_again_only_when_its_work_was_changed(site: Any, spec: Any) -> None:
    before = spec("Counting", items=1)
    async with site(before) as s:
        await s.until_state("idle")
        assert did(await s.supervisor.apply([replace(before, params={"step": 3})])) == {"changed": ["w"]}
        assert s.state() == "idle"
        assert did(await s.supervisor.apply([spec("Counting", items=2)])) == {"started": ["w"]}
        await s.until(lambda: s["w"]["detail"] == "finished: at 2")


async def test_two_of_one_name_change_nothing(site: Any, spec: Any) -> None:
    async with site(spec("Plain")) as s:
        await s.until_state("running")
        with pytest.raises(SiteError, match="two of that name"):
            await s.supervisor.apply([spec("Plain", "a"), spec("Plain", "a")])
        assert s.state() == "running"


async def test_the_order_of_the_file_is_that_of_the_snapshot(site: Any, spec: Any) -> None:
    a, b, c = (replace(spec("Plain", name), enabled=False) for name in "abc")
    async with site(a, b) as s:
        await s.supervisor.apply([c, b, a])
        assert list(s.supervisor.snapshot()["workers"]) == ["c", "b", "a"]


async def test_a_command_is_not_undone_by_a_file_that_was_read_before_it_was_stored(
    site: Any, spec: Any, tmp_path: Path
) -> None:
    """The race of a person who drags a slider: file read, command, stored, old file applied."""
    log = tmp_path / "log"
    before = spec("Counting", log=str(log), params={"step": 2})
    file = {"step": 2.0, "enabled": True}
    reading, go_on = threading.Event(), threading.Event()
    reads = []

    class Store:
        def set_params(self, name: str, values: Mapping[str, Any]) -> None:
            file.update(values)

        def set_enabled(self, name: str, enabled: bool) -> None:
            file["enabled"] = enabled

    def read() -> list[WorkerSpec]:
        found = replace(before, params={"step": file["step"]})
        reads.append(file["step"])
        reading.set()
        go_on.wait()
        return [found]

    async with site(before, store=Store()) as s:
        await s.until_state("running")
        applying = asyncio.create_task(s.supervisor.apply_read(read))
        await asyncio.to_thread(reading.wait)
        await s.supervisor.set_params("w", {"step": 50})
        go_on.set()
        assert did(await applying) == {}
        assert reads == [2.0, 50.0]
        changes = [line for line in log.read_text().splitlines() if line.startswith("change")]
        assert changes == ["change step 50"], "never back to 2"


async def test_a_command_that_is_refused_does_not_keep_a_file_from_being_applied(
    site: Any, spec: Any
) -> None:
    before = spec("Counting", params={"step": 2})
    async with site(before) as s:
        await s.until_state("running")
        refused = asyncio.create_task(s.supervisor.set_params("w", {"step": 1000}))
        await asyncio.sleep(0)
        assert did(await s.supervisor.apply_read(lambda: [replace(before, params={"step": 9})])) == {
            "changed": ["w"]
        }
        with pytest.raises(CommandError, match="from 1 to 100"):
            await refused
        await s.until(lambda: s["w"]["values"]["step"] == 9)
