"""What processors declare, asked as a process that must not load their code asks: by `python -m`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from frameloom.model.errors import NeedsPerson
from frameloom.model.parameters import declared, from_declaration
from frameloom.processors.describe import describe, describe_all, main
from frameloom.processors.motion import Motion

LOUD = """
import os
from frameloom import Integer, Processor
from words import WORD
print("printed while imported", flush=True)
os.write(1, b"written by C code")

class Loud(Processor):
    count = Integer(2, minimum=0, maximum=5, description=WORD)
    def process(self, frame):
        return None
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "loud.py").write_text(LOUD)
        (tmp_path / name / "words.py").write_text(f"WORD = 'word of {name}'\n")
    (tmp_path / "bad.py").write_text("1 / 0\n")
    return tmp_path


def ask(*arguments: str) -> tuple[int, dict[str, Any], str]:
    command = [sys.executable, "-m", "frameloom.processors.describe", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, json.loads(done.stdout), done.stderr


def test_motion_is_described_with_all_its_parameters():
    described = describe("motion")
    assert described["name"] == "Motion"
    assert described["doc"].startswith("Says where something moves")
    assert [each["name"] for each in described["parameters"]] == list(declared(Motion))
    for each in described["parameters"]:
        assert from_declaration(each).declaration() == each


def test_a_class_without_a_docstring_does_not_get_its_bases(folder):
    assert describe_all(["a/loud.py:Loud"], folder)["a/loud.py:Loud"]["doc"] == ""


def test_several_at_once_in_a_process_of_their_own(folder):
    code, described, _ = ask("--base-dir", str(folder), "motion", "a/loud.py:Loud")
    assert code == 0
    assert list(described) == ["motion", "a/loud.py:Loud"]
    assert described["motion"] == describe("motion")
    assert described["a/loud.py:Loud"]["parameters"][0]["maximum"] == 5


def test_what_modules_print_goes_elsewhere(folder):
    _, described, errors = ask("--base-dir", str(folder), "a/loud.py:Loud")
    assert described["a/loud.py:Loud"]["name"] == "Loud"
    assert "printed while imported" in errors
    assert "written by C code" in errors


def test_files_with_neighbours_of_one_name_each_see_their_own(folder):
    _, described, _ = ask("--base-dir", str(folder), "a/loud.py:Loud", "b/loud.py:Loud")
    words = [each["parameters"][0]["description"] for each in described.values()]
    assert words == ["word of a", "word of b"]


def test_one_that_cannot_be_loaded_does_not_hide_the_others(folder):
    code, described, _ = ask("--base-dir", str(folder), "bad.py:X", "motion", "motoin")
    assert code == 1
    assert "ZeroDivisionError" in described["bad.py:X"]["error"]
    assert described["motoin"]["error"].startswith("processor 'motoin': no such processor")
    assert described["motion"]["name"] == "Motion"


def test_nothing_to_describe_is_a_wrong_command_line():
    done = subprocess.run(
        [sys.executable, "-m", "frameloom.processors.describe"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "USE" in done.stderr


def test_within_a_process_errors_are_raised_and_output_is_given_back(capfd):
    with pytest.raises(NeedsPerson, match="no such processor"):
        describe("motoin")
    assert main(["motion"]) == 0
    os.write(1, b"\nstill here")
    described, line = capfd.readouterr().out.rsplit("\n", 1)
    assert list(json.loads(described)) == ["motion"]
    assert line == "still here"


def test_describing_leaves_the_import_path_as_it_was(folder):
    before = list(sys.path), set(sys.modules)
    describe_all(["a/loud.py:Loud"], folder)
    assert sys.path == before[0]
    assert not {name for name in set(sys.modules) - before[1] if "words" in name or "loud" in name}
