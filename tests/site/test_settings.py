"""A site's file, edited by command: whatever the edits, what was said of them is what they do."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from frameloom.control import commands
from frameloom.control.editing import Editor
from frameloom.control.plan import Change, Does
from frameloom.control.supervisor import Supervisor
from frameloom.model.errors import CommandError
from frameloom.model.worker import WorkerSpec
from frameloom.site.model import Site
from frameloom.site.save import SiteFile
from frameloom.site.settings import Settings
from frameloom.site.specs import specs
from tests.control.test_plan import LIMITS, Place, look, settled

SITE = """\
# a site
site: many
server: {port: 0}
cameras:
  hall: rtsp://guard:first@127.0.0.1:1/hall   # by the door
  yard:
    url: rtsp://127.0.0.1:1/yard
    password: 'second'
    username: guard
    view: {quality: 60}
  #  old: {password: third}
processors:
  motion: {use: motion, stream: hall, params: {threshold: 20}}
  more: {use: motion, stream: hall, enabled: false}
sinks:
  small: {kind: view, stream: yard, max_width: 320}
"""
EDITS = [
    ("rtsp://guard:***@127.0.0.1:1/hall", "rtsp://guard:***@127.0.0.1:1/elsewhere"),
    ("quality: 60", "quality: 61"),
    ("threshold: 20", "threshold: 21"),
    ("{threshold: 20}", "{}"),
    ("enabled: false", "enabled: true"),
    ("use: motion, stream: hall, p", "use: motion, stream: yard, p"),
    ("use: motion, stream: hall, p", "use: motion, enabled: false, stream: hall, p"),
    ("  more: {use: motion, stream: hall, enabled: false}\n", ""),
    ("max_width: 320", "max_width: 640, enabled: false"),
    ("  small:", "  smaller:"),
    ("view: {quality: 60}", "view: false"),
    ("view: {quality: 60}", "silence_s: 3"),
    ("  yard:\n    url:", "  yard:\n    enabled: false\n    url:"),
    ("cameras:\n", "cameras:\n  new: rtsp://127.0.0.1:1/new\n"),
    ("# a site", "# another word"),
]


class Bench:
    """An editor of a file, on a supervisor whose processes are none."""

    def __init__(self, folder: Path, how: dict[str, str]) -> None:
        self.path = folder / "site.yaml"
        self.path.write_text(SITE)
        self.file = SiteFile(self.path, {})
        self.settings = SETTINGS.setdefault(folder, Settings(self.file, every_spec))
        self.place = Place(how)
        self.supervisor = Supervisor("many", self.specs(), placement=self.place, limits=LIMITS, store=None)
        self.editor = Editor(self.supervisor, self.settings, self.specs)

    def specs(self) -> list[WorkerSpec]:
        return every_spec(self.file.load())

    async def ask(self, command: str, **fields: Any) -> Any:
        message = commands.parse({"command": command, **fields})
        assert isinstance(message, commands.OfFile)
        return await self.editor.carry_out(message)


SETTINGS: dict[Path, Settings] = {}  # what is built in is looked at once


def every_spec(site: Site) -> list[WorkerSpec]:
    """Without the server: a change of it is answered before it is made."""
    return [spec for spec in specs(site) if spec.kind != "server"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("settings")
    yield path
    SETTINGS.pop(path, None)


HOW = st.dictionaries(
    st.sampled_from(["hall", "yard", "motion", "more", "small", "yard.view"]),
    st.sampled_from(["running", "starting", "failed", "backoff", "finished", "unknown"]),
)
CHOICES = st.lists(st.integers(0, len(EDITS) - 1), min_size=1, max_size=5, unique=True)


@settings(
    max_examples=12,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(how=HOW, rounds=st.lists(CHOICES, min_size=1, max_size=3))
def test_an_edit_does_what_its_preview_says(
    folder: Path, how: dict[str, str], rounds: list[list[int]]
) -> None:
    async def edited() -> None:
        bench = Bench(folder, how)
        await bench.supervisor.start()
        await settled()
        bench.place.how.clear()
        try:
            for choice in rounds:
                await one_round(bench, choice)
        finally:
            await bench.supervisor.stop()

    asyncio.run(edited())


async def one_round(bench: Bench, choice: list[int]) -> None:
    shown = await bench.ask("settings")
    before = plain = bench.path.read_text()
    assert [word for word in ("first", "second", "third") if word in shown["text"]] == []
    text = shown["text"]
    for number in choice:
        old, new = EDITS[number]
        text, plain = text.replace(old, new, 1), plain.replace(with_secrets(old), with_secrets(new), 1)
    preview = await bench.ask("preview", text=text)
    children = {name: list(all_of) for name, all_of in bench.place.children.items()}
    states = {name: one["state"] for name, one in bench.supervisor.snapshot()["workers"].items()}
    for child in (one for all_of in bench.place.children.values() for one in all_of):
        child.sets.clear()
    saved = await bench.ask("save", text=text, version=shown["version"])
    await settled()
    assert preview["problems"] == saved["problems"]
    if preview["problems"]:  # an edit that was made already
        assert (saved["saved"], preview["changes"]) == (False, [])
        assert bench.path.read_text() == before
        return
    assert saved["changes"] == preview["changes"]
    assert bench.path.read_text() == plain
    for change in (Change(**{**one, "does": Does(one["does"])}) for one in saved["changes"]):
        now = bench.place.children.get(change.worker, [])
        look(change, children.get(change.worker, []), now, states, bench.supervisor)
    again = await bench.ask("preview", text=(await bench.ask("settings"))["text"])
    assert {one["does"] for one in again["changes"]} == {"stays"}


def with_secrets(text: str) -> str:
    return text.replace("guard:***@", "guard:first@")


def test_changing_a_file_at_the_same_time_loses_nothing(folder: Path) -> None:
    """Whoever comes second is told, or comes after."""

    async def raced() -> None:
        bench = Bench(folder, {})
        shown = await bench.ask("settings")
        texts = [shown["text"].replace("# a site", f"# text {number}") for number in range(3)]
        answers = await asyncio.gather(
            *(bench.ask("save", text=text, version=shown["version"]) for text in texts),
            bench.ask(
                "add-camera", name="fourth", settings={"url": "rtsp://127.0.0.1:1/x", "enabled": False}
            ),
            return_exceptions=True,
        )
        saved = [one for one in answers[:3] if isinstance(one, dict)]
        refused = [one for one in answers[:3] if isinstance(one, CommandError)]
        assert len(saved) <= 1 and {one.code for one in refused} == {"changed-meanwhile"}
        assert not isinstance(answers[3], BaseException)
        assert "  fourth:\n" in bench.path.read_text()
        await bench.supervisor.stop()

    asyncio.run(raced())


def test_what_a_site_had_already_is_not_held_against_a_change(folder: Path, tmp_path: Path) -> None:
    """A processor whose file is missing does not keep others from being changed."""
    path = tmp_path / "site.yaml"
    path.write_text("site: x\nprocessors:\n  p: {use: 'gone.py:Gone', stream: c}\ncameras: {c: rtsp://h/x}\n")
    one = Settings(SiteFile(path, {}), every_spec)
    text = path.read_text()
    assert one.checked(text.replace("rtsp://h/x", "rtsp://h/y")).problems == []
    (problem,) = one.checked(text.replace("Gone", "Other")).problems
    assert (problem["line"], problem["path"]) == (3, "processors.p.use")


def test_names_and_limits_take_effect_later(folder: Path) -> None:
    bench = Bench(folder, {})
    text = bench.path.read_text()
    notes = bench.settings.checked(text.replace("site: many", "site: other\nlimits: {failures: 3}")).notes
    assert notes == [
        "site: takes effect at the next start of the site",
        "limits: takes effect at the next start of the site",
    ]


@pytest.mark.parametrize(
    ("mode", "folder_mode", "writable"), [(0o444, 0o777, False), (0o666, 0o555, False), (0o666, 0o777, True)]
)
def test_a_file_that_may_not_be_written_says_so(mode: int, folder_mode: int, writable: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "site.yaml"
        path.write_text("site: x\n")
        path.chmod(mode)
        path.parent.chmod(folder_mode)
        assert (
            as_somebody_else(lambda: Settings(SiteFile(path, {}), every_spec).settings()["writable"])
            is writable
        )


def as_somebody_else(look: Callable[[], bool]) -> bool:
    """What `look` gives in a process that is not root: to root, everything is allowed."""
    child = os.fork()
    if child == 0:
        code = 2
        try:
            if os.getuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            code = int(look())
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, 1)
    return bool(code)


def test_line_ends_and_a_mark_at_the_beginning_stay(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_bytes("\ufeffsite: x   # one\r\ncameras:\r\n  c: rtsp://u:pw@h/x\r\n".encode())
    one = Settings(SiteFile(path, {}), every_spec)
    shown = one.settings()
    assert shown["text"] == "site: x   # one\r\ncameras:\r\n  c: rtsp://u:***@h/x\r\n"
    edited = shown["text"].replace("\r\n", "\n").replace("# one", "# two")  # as a browser's field gives it
    one.save(edited, shown["version"])
    assert path.read_bytes() == "\ufeffsite: x   # two\r\ncameras:\r\n  c: rtsp://u:pw@h/x\r\n".encode()


def test_a_version_is_of_the_file_and_tells_nothing_of_its_secrets(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    one = Settings(SiteFile(path, {}), every_spec)

    def version(password: str, at_ns: int) -> str:
        path.write_text(f"cameras:\n  c: rtsp://u:{password}@h/x\n")
        os.utime(path, ns=(at_ns, at_ns))
        return one.version()

    assert version("a", 1) == version("b", 1) != version("b", 2)
