"""`tools/environment.py` in a small project with a real virtual environment and an empty lock: no network."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UNKNOWN = f"frameloom-has-no-such-package==1.0 --hash=sha256:{'0' * 64}\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose environment is up to date."""
    project = tmp_path_factory.mktemp("made") / "project"
    (project / "tools").mkdir(parents=True)
    (project / "requirements").mkdir()
    shutil.copy(ROOT / "tools/environment.py", project / "tools")
    (project / "requirements/lock.txt").write_text("# nothing\n")
    done = bring(project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Creating the virtual environment" in done.stdout
    return project


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Path:
    """The same for one test, at the place where it was made (a moved environment is made anew)."""
    shutil.rmtree(tmp_path)
    shutil.copytree(made, tmp_path, symlinks=True)
    stamps = tmp_path / ".venv/frameloom-stamps.json"
    stamps.write_text(json.dumps({**json.loads(stamps.read_text()), "root": str(tmp_path)}))
    return tmp_path


def bring(project: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": ""}
    command = [sys.executable, str(project / "tools/environment.py"), "lock"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_nothing_is_done_twice(project: Path) -> None:
    done = bring(project)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_changed_lock_is_installed_into_the_same_environment(project: Path) -> None:
    (project / ".venv/mine").touch()
    (project / "requirements/lock.txt").write_text("# still nothing\n")
    assert "Installing 0 locked packages" in bring(project).stdout
    assert bring(project).stdout == ""
    assert (project / ".venv/mine").exists()


def test_an_environment_without_a_stamp_is_adopted(project: Path) -> None:
    (project / ".venv/mine").touch()
    (project / ".venv/frameloom-stamps.json").unlink()
    assert "Creating" not in bring(project).stdout
    assert (project / ".venv/mine").exists()


def test_a_failed_install_says_what_to_do_and_is_tried_again(project: Path) -> None:
    (project / "requirements/lock.txt").write_text(UNKNOWN)
    for _ in range(2):
        done = bring(project)
        assert done.returncode == 1
        assert "No matching distribution found for frameloom-has-no-such-package" in done.stderr
        assert "cannot be reached" in done.stderr
        assert "Traceback" not in done.stderr


def test_an_environment_of_another_folder_is_made_anew(project: Path) -> None:
    moved = project.with_name("moved")
    project.rename(moved)
    (moved / ".venv/mine").touch()
    assert "is made anew" in bring(moved).stdout
    assert not (moved / ".venv/mine").exists()


def test_an_environment_whose_python_is_gone_is_made_anew(project: Path) -> None:
    python = project / ".venv/bin/python"
    python.unlink()
    python.symlink_to(project / "gone")
    assert "is made anew" in bring(project).stdout
    assert bring(project).stdout == ""
