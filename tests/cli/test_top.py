"""`frameloom top` on a running site: what it shows, what its keys do, and that the site goes on without it."""

from __future__ import annotations

import asyncio
import os
import pty
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import DataTable, Static

from frameloom.cli.top import orders, rows
from frameloom.cli.top.screen import Question, Top
from frameloom.model.errors import CommandError
from tests.journey.running import PATIENCE_S, RunningSite, running_site

SITE = """\
site: topped
server: {enabled: false}
cameras:
  hall: {url: 'synthetic:counter?width=160&height=120&fps=20', view: false}
  yard: {url: 'synthetic:counter?width=160&height=120&fps=20', view: false}
processors:
  motion: {use: motion, stream: hall}
  broken: {use: 'nowhere:Nothing', stream: hall}
"""


@pytest.fixture
def site(tmp_path: Path, runtime_dir: Path) -> Iterator[RunningSite]:
    file = tmp_path / "site.yaml"
    file.write_text(SITE)
    with running_site(file, name="topped") as running:
        for name, state in (("motion", "running"), ("yard", "running"), ("broken", "failed")):
            running.wait_state(name, state)
        yield running


async def until(pilot: Pilot[str], good: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not good():
            await pilot.pause(0.02)


def shown(app: Top) -> dict[str, dict[str, str]]:
    """The table of workers, cell by cell."""
    table = app.query_one("#workers", DataTable)
    return {
        str(key.value): {column: str(table.get_cell(key, column)) for column in rows.WORKER_COLUMNS}
        for key in table.rows
    }


async def choose(pilot: Pilot[str], name: str) -> None:
    table = pilot.app.query_one("#workers", DataTable)
    await until(pilot, lambda: name in [key.value for key in table.rows])
    table.move_cursor(row=table.get_row_index(name))
    app = pilot.app
    assert isinstance(app, Top)
    await until(pilot, lambda: app.chosen == name)


def said(app: Top) -> str:
    return str(app.query_one("#said", Static).render())


def test_keys_stop_start_and_restart_a_worker(site: RunningSite) -> None:
    async def play() -> None:
        app = Top("topped")
        async with app.run_test(size=(160, 50)) as pilot:
            await choose(pilot, "yard")
            assert shown(app)["yard"]["STATE"] == "running"
            await pilot.press("s")
            await until(pilot, lambda: shown(app)["yard"]["STATE"] == "idle")
            await pilot.press("space")
            await until(pilot, lambda: shown(app)["yard"]["STATE"] == "running")
            pid = site.pids()["yard"]
            await pilot.press("e")
            await until(pilot, lambda: site.pids().get("yard") not in (None, pid))
            assert app.chosen == "yard", "the cursor stays where it is"
            await pilot.press("escape")
        assert site.pids().keys() >= {"hall", "yard", "motion"}

    asyncio.run(play())


def test_what_is_wrong_is_shown_with_its_log(site: RunningSite) -> None:
    async def play() -> None:
        app = Top("topped")
        async with app.run_test(size=(160, 50)) as pilot:
            await choose(pilot, "broken")
            assert shown(app)["broken"]["STATE"] == "failed"
            assert "nowhere" in shown(app)["broken"]["DETAIL"]
            log: Any = app.query_one("#log")
            await until(pilot, lambda: any("nowhere" in line.text for line in log.lines))
            headline = str(app.query_one("#headline", Static).render())
            assert "site topped" in headline and "in trouble: broken" in headline
            streams = app.query_one("#streams", DataTable)
            readers = {str(key.value): str(streams.get_cell(key, "READERS")) for key in streams.rows}
            assert "motion" in readers["hall"] and readers["yard"] == "nobody"

    asyncio.run(play())


def test_a_camera_that_nothing_records_says_so(site: RunningSite) -> None:
    async def play() -> None:
        app = Top("topped")
        async with app.run_test(size=(160, 50)) as pilot:
            await choose(pilot, "hall")
            await pilot.press("r")
            await until(pilot, lambda: "nothing records 'hall'" in said(app))

    asyncio.run(play())


def test_shutting_down_asks_once(site: RunningSite) -> None:
    async def play() -> None:
        app = Top("topped")
        async with app.run_test(size=(160, 50)) as pilot:
            await choose(pilot, "hall")
            await pilot.press("q")
            await until(pilot, lambda: isinstance(app.screen, Question))
            await pilot.press("n")
            await until(pilot, lambda: not isinstance(app.screen, Question))
            assert site.process.poll() is None
            await pilot.press("q")
            await until(pilot, lambda: isinstance(app.screen, Question))
            await pilot.press("y")
            await until(pilot, lambda: not app.is_running)
        assert app.return_value == "site 'topped' has ended"

    asyncio.run(play())
    assert site.process.wait(PATIENCE_S) == 0


def test_in_a_real_terminal(site: RunningSite) -> None:
    """It draws, leaves by Ctrl-C, gives the terminal back, and the site goes on."""
    master, slave = pty.openpty()
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "140", "LINES": "40"}
    process = subprocess.Popen(
        [sys.executable, "-m", "frameloom", "top"], stdin=slave, stdout=slave, stderr=slave, env=env
    )
    os.close(slave)
    try:
        assert "motion" in read_until(master, b"motion")
        os.write(master, b"\x03")
        assert "\x1b[?1049l" in read_until(master, b"\x1b[?1049l"), "the screen that was there before"
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()
        os.close(master)
    assert site.worker("hall")["state"] == "running"


def read_until(fd: int, mark: bytes) -> str:
    found = b""
    while mark not in found:
        assert select.select([fd], [], [], PATIENCE_S)[0], found
        found += os.read(fd, 65536)
    return found.decode(errors="replace")


def test_without_a_terminal_it_says_what_to_use_instead(site: RunningSite) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "frameloom", "top"], stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "frameloom status --json" in done.stderr


def recorder(mode: str, state: str = "running", **info: Any) -> dict[str, Any]:
    workers = {
        "hall": {"kind": "camera", "state": "running", "streams": [], "report": None},
        "rec": {
            "kind": "recorder",
            "state": state,
            "streams": ["hall.packets"],
            "report": {"info": {"mode": mode, **info}} if state != "idle" else None,
        },
    }
    return {"workers": workers}


@pytest.mark.parametrize(
    ("snapshot", "command", "fields"),
    [
        (recorder("command", recording=False), "tell", {"name": "rec", "tell": "start", "args": {}}),
        (recorder("command", recording=True), "tell", {"name": "rec", "tell": "stop", "args": {}}),
        (recorder("continuous", recording=True), "stop", {"names": ["rec"]}),
        (recorder("continuous", "idle"), "start", {"names": ["rec"]}),
        (recorder("event", recording=False), "stop", {"names": ["rec"]}),
    ],
)
def test_record_is_one_key(snapshot: dict[str, Any], command: str, fields: dict[str, Any]) -> None:
    for name in ("hall", "rec"):
        order = orders.record(snapshot, name)
        assert (order.command, order.fields) == (command, fields)


def test_record_of_what_cannot_be_recorded() -> None:
    snapshot = recorder("command", recording=False)
    snapshot["workers"]["yard"] = {"kind": "camera", "state": "running", "streams": [], "report": None}
    with pytest.raises(CommandError, match="nothing records 'yard'"):
        orders.record(snapshot, "yard")
