"""What processors declare, asked of a real child process, and children that do not answer as they should."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from frameloom.model.errors import SiteError
from frameloom.model.parameters import from_declaration
from frameloom.site.describe import Description, check_processors, declarations, describe_site, describe_uses
from frameloom.site.load import load
from frameloom.site.model import Site

MINE = '''
from frameloom import Number, Processor
from neighbour import LIMIT

print("words that are no JSON")

class Mine(Processor):
    """Sees things."""

    level = Number(1, minimum=0, maximum=LIMIT, description="How much")

    def process(self, frame):
        return None
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "mine.py").write_text(MINE)
    (tmp_path / "parts" / "neighbour.py").write_text("LIMIT = 2\n")
    (tmp_path / "bad.py").write_text("import nothing_such\n")
    (tmp_path / "crash.py").write_text("import os\nos.abort()\n")
    (tmp_path / "hang.py").write_text("import subprocess\nsubprocess.run(['sleep', '600'])\n")
    return tmp_path


def site_of(folder: Path, *uses: str, params: str = "{}") -> Site:
    entries = [
        f"  p{n}:\n    use: {use}\n    stream: a\n    params: {params}\n" for n, use in enumerate(uses)
    ]
    (folder / "site.yaml").write_text("cameras: {a: x.mp4}\nprocessors:\n" + "".join(entries))
    return load(folder / "site.yaml")


def test_what_a_built_in_and_a_file_declare(folder: Path) -> None:
    found = describe_uses(["parts/mine.py:Mine", "motion"], folder)
    assert list(found) == ["parts/mine.py:Mine", "motion"]
    mine = found["parts/mine.py:Mine"]
    assert (mine.name, mine.doc, mine.error) == ("Mine", "Sees things.", "")
    assert from_declaration(mine.parameters[0]).allowed() == "a number from 0 to 2"
    assert "threshold" in [one["name"] for one in found["motion"].parameters]


def test_nothing_is_asked_where_nothing_is_used(folder: Path) -> None:
    assert describe_uses([], folder, command=["/there/is/no/such/program"]) == {}


def test_what_cannot_be_imported_does_not_hide_the_others(folder: Path) -> None:
    found = describe_uses(["bad.py:X", "none.py:X", "parts/mine.py:Mine"], folder)
    assert "No module named 'nothing_such'" in found["bad.py:X"].error
    assert "no such file" in found["none.py:X"].error
    assert found["parts/mine.py:Mine"].name == "Mine"
    assert list(declarations(found)) == ["parts/mine.py:Mine"]


def test_a_crash_is_told_of_the_one_that_crashes(folder: Path) -> None:
    found = describe_uses(["parts/mine.py:Mine", "crash.py:X"], folder)
    assert found["crash.py:X"].error == "the process that looked at it ended with SIGABRT"
    assert found["parts/mine.py:Mine"].name == "Mine"


def test_what_never_ends_is_ended_with_all_that_it_started(folder: Path) -> None:
    found = describe_uses(["hang.py:X"], folder, timeout_s=1)
    assert found["hang.py:X"].error == "loading it took longer than 1 s"


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("print('[1]')", "the process that looked at it ended with exit code 0"),
        ("print('{')", "the process that looked at it ended with exit code 0"),
        ("print('{}')", "the process that looked at it said nothing of it"),
        (
            "import sys; sys.exit('gone wrong')",
            "the process that looked at it ended with exit code 1: gone wrong",
        ),
    ],
)
def test_a_child_that_makes_no_sense(folder: Path, code: str, error: str) -> None:
    found = describe_uses(["motion"], folder, command=[sys.executable, "-c", code])
    assert found == {"motion": Description("motion", error=error)}


def test_a_child_that_cannot_be_started(folder: Path) -> None:
    found = describe_uses(["motion"], folder, command=["/there/is/no/such/program"])
    assert "No such file" in found["motion"].error


def test_a_good_site_passes(folder: Path) -> None:
    site = site_of(folder, "parts/mine.py:Mine", "parts/mine.py:Mine", params="{level: 2}")
    check_processors(site, describe_site(site))


def test_what_does_not_fit_is_told_with_its_line(folder: Path) -> None:
    site = site_of(folder, "bad.py:X", "parts/mine.py:Mine", params="{level: 3}")
    with pytest.raises(SiteError) as caught:
        check_processors(site, describe_site(site))
    file = folder / "site.yaml"
    assert str(caught.value).splitlines() == [
        f"{file}:4: processors.p0.use: bad.py cannot be imported: ModuleNotFoundError: No module named 'nothing_such'",
        f"{file}:10: processors.p1.params.level: read 3, allowed: a number from 0 to 2",
    ]
