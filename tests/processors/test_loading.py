"""From the words of site.yaml to a class, and every way in which that can fail."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from frameloom.model.errors import NeedsPerson
from frameloom.model.stages import Processor
from frameloom.processors import BUILT_IN, resolve
from frameloom.testing.processors import CountFrames, frame_from
from tests.processors.scenes import gray

GOOD = '''
from dataclasses import dataclass

from frameloom import Number, Processor

@dataclass
class Helper:
    value: int = 7

class Blobs(Processor):
    """Finds blobs."""
    size = Number(3, minimum=1, maximum=9)
    def process(self, frame):
        return {"value": Helper().value, "seq": frame.seq}

class Other(Blobs):
    pass

class NotOne:
    pass

class Unfinished(Processor):
    pass

number = 5
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "blobs.py").write_text(GOOD)
    return tmp_path


def refusal(use: str, base_dir: Path = Path()) -> str:
    with pytest.raises(NeedsPerson) as caught:
        resolve(use, base_dir)
    return str(caught.value)


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_every_built_in_name_is_a_processor_with_defaults(name):
    cls = resolve(name)
    assert issubclass(cls, Processor)
    assert cls().values == {key: parameter.default for key, parameter in cls.parameters.items()}
    assert cls.__doc__


def test_a_module_that_can_be_imported():
    assert resolve("frameloom.testing.processors:CountFrames") is CountFrames


def test_a_file_relative_to_the_base_folder_and_an_absolute_one(folder):
    for use, base_dir in (("blobs.py:Blobs", folder), (f"{folder}/blobs.py:Blobs", Path("/nowhere"))):
        processor = resolve(use, base_dir)(size=4)
        assert processor.process(frame_from(gray(4, 4), seq=9)) == {"value": 7, "seq": 9}
        assert processor.values == {"size": 4.0}


def test_the_base_folder_may_be_text(folder):
    assert resolve("blobs.py:Blobs", str(folder)).__name__ == "Blobs"


def test_a_files_class_knows_its_module(folder):
    cls = resolve("blobs.py:Blobs", folder)
    assert sys.modules[cls.__module__].__dict__["Blobs"] is cls


def test_files_of_one_name_in_two_folders_do_not_meet(folder):
    for name in ("a", "b"):
        (folder / name).mkdir()
        (folder / name / "blobs.py").write_text(GOOD.replace("= 7", f"= {ord(name)}"))
    first, second = resolve("a/blobs.py:Blobs", folder)(), resolve("b/blobs.py:Blobs", folder)()
    assert type(first).__module__ != type(second).__module__
    values = [processor.process(frame_from(gray(2, 2)))["value"] for processor in (first, second)]
    assert values == [ord("a"), ord("b")]


def test_a_file_is_read_anew_each_time(folder):
    before = resolve("blobs.py:Blobs", folder)()
    (folder / "blobs.py").write_text(GOOD.replace("= 7", "= 8888"))
    after = resolve("blobs.py:Blobs", folder)()
    assert [each.process(frame_from(gray(2, 2)))["value"] for each in (before, after)] == [7, 8888]


def test_modules_beside_a_file_can_be_imported(folder):
    (folder / "a_neighbour_of_blobs.py").write_text("VALUE = 3\n")
    (folder / "blobs.py").write_text("from a_neighbour_of_blobs import VALUE\n" + GOOD)
    assert resolve("blobs.py:Blobs", folder).__name__ == "Blobs"
    del sys.modules["a_neighbour_of_blobs"]


def test_an_unknown_name_is_answered_with_the_known_ones():
    assert refusal("motoin") == (
        "processor 'motoin': no such processor, allowed: motion, or your own as "
        "'package.module:Class' or 'path/to/file.py:Class'"
    )


@pytest.mark.parametrize("use", [":Blobs", "blobs.py:", "blobs.py:not a name", ":", "a:b:c d"])
def test_what_has_not_the_form_is_refused_with_the_form(use):
    assert refusal(use).startswith(
        f"processor {use!r}: read {use!r}, allowed: motion, 'package.module:Class' or"
    )


def test_a_name_that_no_module_can_have():
    assert "'my-package.x' is no module's name, allowed: 'package.module:Class'" in refusal("my-package.x:Y")


def test_a_file_that_is_not_there(folder):
    assert refusal("nothing.py:X", folder) == f"processor 'nothing.py:X': no such file: {folder}/nothing.py"
    assert "no such file" in refusal(f"{folder}/sub/nothing.py:X")


@pytest.mark.parametrize(
    "module", ["no_such_package_at_all", "no_such_package_at_all.deep.module", "json.nothing"]
)
def test_a_module_that_is_not_there(module):
    missing = module if module == "json.nothing" else "no_such_package_at_all"
    assert refusal(f"{module}:X") == f"processor '{module}:X': no such module: {missing}"


def test_a_class_that_is_not_there_is_answered_with_those_that_are(folder):
    message = refusal("blobs.py:Blops", folder)
    assert (
        message == "processor 'blobs.py:Blops': no class Blops in blobs.py, allowed: Blobs, Other, Unfinished"
    )
    (folder / "empty.py").write_text("from frameloom import Processor\n")
    assert refusal("empty.py:X", folder).endswith("allowed: none, it defines no processor")


@pytest.mark.parametrize("name", ["NotOne", "number"])
def test_what_is_no_processor(folder, name):
    message = refusal(f"blobs.py:{name}", folder)
    assert message.endswith(f"{name} is no processor: it must be a subclass of frameloom.Processor")


def test_a_processor_without_process(folder):
    assert refusal("blobs.py:Unfinished", folder).endswith("Unfinished has no method process(self, frame)")


def test_an_error_in_a_file_comes_with_the_users_part_of_the_traceback(folder):
    (folder / "bad.py").write_text("def f():\n    return 1 / 0\nf()\n")
    message = refusal("bad.py:X", folder)
    assert message.startswith(
        "processor 'bad.py:X': bad.py cannot be imported:\nTraceback (most recent call last):\n"
    )
    assert f'File "{folder}/bad.py", line 3, in <module>' in message
    assert message.endswith("ZeroDivisionError: division by zero")
    assert "loading.py" not in message
    assert "importlib" not in message


def test_a_syntax_error_says_where(folder):
    (folder / "bad.py").write_text("class X(\n")
    message = refusal("bad.py:X", folder)
    assert f'File "{folder}/bad.py", line 1' in message
    assert "SyntaxError" in message


def test_a_module_that_a_file_wants_and_that_is_missing(folder):
    (folder / "bad.py").write_text("import no_such_package_at_all\n")
    message = refusal("bad.py:X", folder)
    assert "bad.py cannot be imported" in message
    assert message.endswith("ModuleNotFoundError: No module named 'no_such_package_at_all'")


def test_a_file_that_ends_the_program_does_not(folder):
    (folder / "bad.py").write_text("import sys\nsys.exit(3)\n")
    assert refusal("bad.py:X", folder).endswith("SystemExit: 3")


def test_a_wrong_default_is_said_by_the_class_that_has_it(folder):
    (folder / "bad.py").write_text(GOOD.replace("Number(3,", "Number(33,"))
    assert "size: read 33, allowed: a number from 1 to 9" in refusal("bad.py:Blobs", folder)


def test_a_file_that_failed_leaves_no_module_behind(folder):
    (folder / "bad.py").write_text("raise ValueError('no')\n")
    before = set(sys.modules)
    refusal("bad.py:X", folder)
    assert set(sys.modules) == before


def test_finding_processors_loads_none():
    code = "import sys, frameloom.processors; print([m for m in ('cv2', 'av', 'numpy.linalg') if m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "cv2" not in loaded
    assert "av" not in loaded
