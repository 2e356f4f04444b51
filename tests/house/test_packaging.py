"""The wheel is what a user gets: built here without a network, opened, and read."""

import subprocess
import sys
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "frameloom"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    assert path.name == "frameloom-0.1.0-py3-none-any.whl"
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return Parser().parsestr(wheel.read(name).decode())


def packed(wheel: zipfile.ZipFile) -> set[str]:
    return {name for name in wheel.namelist() if name.startswith("frameloom/")}


def test_the_wheel_holds_the_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    files = [path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    sources = {f"frameloom/{path.relative_to(PACKAGE).as_posix()}" for path in files}
    assert packed(wheel) == sources
    roots = {name.split("/")[0] for name in wheel.namelist()}
    assert roots == {"frameloom", "frameloom-0.1.0.dist-info"}


def test_what_users_need_beside_the_code_is_in_it(wheel: zipfile.ZipFile) -> None:
    names = packed(wheel)
    assert {"frameloom/web/built/index.html", "frameloom/web/built/licenses.md"} <= names
    assert any(name.startswith("frameloom/web/built/") and name.endswith(".js") for name in names)
    assert "frameloom/testing/__init__.py" in names
    assert "frameloom/py.typed" in names


def test_licence_and_version_are_said(wheel: zipfile.ZipFile, metadata: Message) -> None:
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata.get_all("License-File") == ["LICENSE"]
    assert metadata["Requires-Python"] == ">=3.11"
    (licence,) = (name for name in wheel.namelist() if name.endswith("licenses/LICENSE"))
    assert b"Apache License" in wheel.read(licence)


def test_the_command_is_installed(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    assert "frameloom = frameloom.cli:main" in wheel.read(name).decode()


def test_tools_for_developers_are_not_asked_of_users(metadata: Message) -> None:
    requirements = " ".join(metadata.get_all("Requires-Dist") or [])
    assert "numpy" in requirements
    assert "pytest" not in requirements
    assert "hatchling" not in requirements
