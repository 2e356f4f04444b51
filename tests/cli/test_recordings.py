"""`frameloom recordings` and `frameloom export`, over a site that records."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from frameloom.testing.films import counter, encode
from tests.cli.test_cli import frameloom
from tests.journey.running import RunningSite, running_site, wait_until
from tests.sinks.parts import played

FRAMES = 100


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("site")


@pytest.fixture(scope="module")
def site(folder: Path, module_runtime_dir: Path) -> Iterator[RunningSite]:
    """A camera that was recorded for some seconds, in two files or more; its recorder is switched off then."""
    encode(counter(fps=25, frames=FRAMES), folder / "film.mp4", gop=10)
    (folder / "site.yaml").write_text(
        "site: tapes\nserver: {port: 0}\n"
        "cameras:\n  hall: {url: film.mp4, loop: true}\n  yard: {url: film.mp4, loop: true}\n"
        "sinks:\n  hall-rec: {kind: record, stream: hall, segment_s: 1, reserve: 0}   # the tape\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FRAMELOOM_RUNTIME_DIR", str(module_runtime_dir))
        with running_site(folder / "site.yaml", "--quiet", name="tapes") as running:
            wait_until(lambda: len(_segments()) >= 3, lambda: str(_segments()))
            running.call("stop", names=["hall-rec"])
            wait_until(
                lambda: all(one["state"] == "complete" for one in _segments()) and len(_segments()) > 1
            )
            yield running


def _segments() -> list[dict[str, object]]:
    told = json.loads(frameloom("recordings", "hall", "--json", "--site", "tapes").stdout or "{}")
    found: list[dict[str, object]] = told.get("segments", [])
    return found


def test_listed(site: RunningSite) -> None:
    found = _segments()
    table = frameloom("recordings", "--site", "tapes").stdout.splitlines()
    assert table[0].split() == ["CAMERA", "RECORDINGS", "LENGTH", "SIZE", "FIRST", "LAST"]
    assert table[1].split()[:2] == ["hall", str(len(found))]
    rows = frameloom("recordings", "hall", "--site", "tapes").stdout.splitlines()
    assert rows[0].split() == ["BEGIN", "LENGTH", "SIZE", "PICTURE", "STATE", "FILE"]
    assert len(rows) == 1 + len(found)
    for row, one in zip(rows[1:], found, strict=True):
        assert row.split()[-1] == one["path"]
        assert "h264 320x240" in row
    assert frameloom("recordings", "nowhere", "--json", "--site", "tapes").stdout.count("id") == 0


def test_made_again(site: RunningSite) -> None:
    """Wholly, and as it was."""
    before = _segments()
    index = Path(os.environ["FRAMELOOM_STATE_DIR"]) / "tapes" / "index.sqlite"
    assert index.exists()
    told = json.loads(frameloom("recordings", "--rebuild", "--json", "--site", "tapes").stdout)
    assert told["cameras"][0]["segments"] == len(before)
    assert _segments() == before


def test_exported(site: RunningSite, tmp_path: Path) -> None:
    """The pictures of a second, from one file to the next."""
    first, second, *_ = _segments()
    begin_ns = int(str(second["begin_utc_ns"])) - 500_000_000
    times = [
        datetime.fromtimestamp(at_ns / 1e9, UTC).isoformat(timespec="milliseconds")
        for at_ns in (begin_ns, begin_ns + 1_000_000_000)
    ]
    done = frameloom(
        "export", "hall", "--from", times[0], "--to", times[1], "-o", "out.mp4", "-S", "tapes", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    film = played(tmp_path / "out.mp4")
    assert len(film.numbers) in (25, 26)
    numbers = [number for number in film.numbers if number is not None]
    assert numbers == [(numbers[0] + n) % FRAMES for n in range(len(film.numbers))]
    assert done.stdout.startswith("out.mp4: 1.0 s from ")
    assert played(Path(str(first["path"]))).numbers[-1] in numbers
    assert os.listdir(tmp_path) == ["out.mp4"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("export", "hall", "--from", "yesterday"),
            "read 'yesterday', allowed: a time such as 2026-11-21T13:30",
        ),
        (
            ("export", "hall", "--from", "2001-01-01", "--to", "2001-01-02"),
            "export: camera 'hall': nothing was recorded in that time",
        ),
        (("export", "hall", "--from", "2001-01-01", "-o", "/no/such/x.mp4"), "/no/such/x.mp4: No such file"),
    ],
)
def test_what_cannot_be_exported(site: RunningSite, arguments: tuple[str, ...], words: str) -> None:
    done = frameloom(*arguments, "--site", "tapes")
    assert done.returncode == 1
    assert words in done.stderr


def test_one_click_adds_a_recorder_to_the_site(site: RunningSite, folder: Path) -> None:
    """Of a camera that had none; twice is once."""
    for on in (True, True, False, True, False):
        order = Request(f"{site.url}/api/streams/yard/record", json.dumps({"on": on}).encode(), method="POST")
        order.add_header("Content-Type", "application/json")
        with urlopen(order) as answer:
            assert json.load(answer) == {"camera": "yard", "recording": on, "recorders": ["yard-rec"]}
        site.wait_worker("yard-rec", lambda worker, on=on: worker["report"]["info"]["recording"] is on)
    text = (folder / "site.yaml").read_text()
    assert text.count("yard-rec:") == 1
    assert "# the tape" in text
    assert "mode: command" in text
