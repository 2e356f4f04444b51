"""The verbs that look at cameras without a site."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from frameloom.testing.films import encode, walking_figures
from frameloom.testing.onvif import OnvifCamera

Done = subprocess.CompletedProcess[str]


def frameloom(*arguments: str, cwd: Path, **environment: str) -> Done:
    command = [sys.executable, "-m", "frameloom", *arguments]
    env = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=env, timeout=60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("films")
    encode(walking_figures(width=320, height=240, fps=25, frames=30), path / "walk.mp4", gop=10)
    return path


def test_try_says_what_a_film_is_and_keeps_its_picture(folder: Path) -> None:
    done = frameloom("try", "walk.mp4", "-o", "walk.jpg", cwd=folder)
    assert (done.returncode, done.stdout) == (0, "h264, 320x240, 25 pictures a second\n")
    assert (folder / "walk.jpg").read_bytes().startswith(b"\xff\xd8\xff")


def test_try_says_what_is_wrong_and_never_where(folder: Path) -> None:
    done = frameloom("try", "--json", cwd=folder, FRAMELOOM_SOURCE="rtsp://u:secret@127.0.0.1:1/x")
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    assert answer == {"ok": False, "message": "the connection was refused: is it on, and is the port right?"}
    wrong = frameloom("try", "ftp://u:secret@h/x", cwd=folder)
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("frameloom: url: read a scheme that is not known")
    assert "secret" not in wrong.stderr


def test_find_lists_what_answers(folder: Path) -> None:
    with OnvifCamera(multicast=True, name="Front door") as camera:
        done = frameloom("find", cwd=folder)
    assert done.returncode == 0
    assert f"http://{camera.address}/onvif/device_service  Front door\n" in done.stdout
