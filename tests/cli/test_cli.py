"""The command line as a user types it: words, JSON, exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from frameloom.testing.films import encode, walking_figures
from tests.journey.running import RunningSite, running_site


def frameloom(*arguments: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "frameloom", *arguments]
    environment = {**os.environ, **env}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, cwd=cwd, env=environment, check=False
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, module_runtime_dir: Path) -> Iterator[RunningSite]:
    folder = tmp_path_factory.mktemp("site")
    encode(walking_figures(width=320, height=240, fps=25, frames=50), folder / "film.mp4")
    (folder / "site.yaml").write_text(
        "site: words\nserver: {port: 0}\n"
        "cameras:\n  hall: {url: film.mp4, loop: true}\n"
        "processors:\n  motion: {use: motion, stream: hall}\n"
        "  broken: {use: broken.py:Broken, stream: hall}\n"
    )
    (folder / "broken.py").write_text(
        "import frameloom\nclass Broken(frameloom.Processor):\n"
        "    def process(self, frame):\n        raise ValueError('this one is broken')\n"
    )
    env = {"FRAMELOOM_RUNTIME_DIR": str(module_runtime_dir)}
    os.environ.update(env)
    with running_site(folder / "site.yaml", name="words", env=env) as running:
        running.wait_state("motion", "running")
        running.wait_worker("broken", lambda worker: bool(worker["last_error"]))
        yield running
    del os.environ["FRAMELOOM_RUNTIME_DIR"]


def test_status_in_words_and_json(site: RunningSite) -> None:
    words = frameloom("status")
    assert words.returncode == 0
    for name in ("hall", "hall.view", "motion", "broken", "server"):
        assert f"\n{name} " in words.stdout
    told = json.loads(frameloom("status", "--json").stdout)
    assert told["site"] == "words"
    assert told["workers"]["hall"]["kind"] == "camera"


def test_last_error_with_traceback_is_kept(site: RunningSite) -> None:
    told = json.loads(frameloom("status", "--json").stdout)["workers"]["broken"]["last_error"]
    assert "this one is broken" in told["message"]
    assert "broken.py" in told["traceback"]
    assert "this one is broken" in frameloom("logs", "broken").stdout


def test_set_start_stop_restart(site: RunningSite) -> None:
    assert "threshold = 31" in frameloom("set", "motion", "threshold=31").stdout
    assert frameloom("stop", "motion").stdout == "motion: stopped\n"
    assert frameloom("stop", "motion").stdout == "motion: already stopped\n"
    assert frameloom("start", "motion").stdout == "motion: started\n"
    assert frameloom("restart", "motion").stdout == "motion: restarted\n"
    told = json.loads(frameloom("set", "motion", "threshold=30", "--json").stdout)
    assert told["values"] == {"threshold": 30}
    site.wait_state("motion", "running")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("set", "motion", "threshold=loud"), 1, "threshold: read 'loud', allowed: a number from"),
        (("set", "motion", "volume=3"), 1, "volume: no such parameter, allowed:"),
        (("set", "motion", "threshold"), 1, "read 'threshold', allowed: PARAM=VALUE"),
        (("set", "nobody", "a=1"), 1, "no worker 'nobody' in site 'words'; there are: hall"),
        (("stop", "nobody"), 1, "no worker 'nobody'"),
        (("status", "--site", "other"), 3, "site 'other' is not running"),
        (("fly",), 2, "No such command 'fly'"),
        (("up", "nowhere.yaml"), 1, "nowhere.yaml"),
        (("logs", "motion", "--lines", "0"), 2, "greater than or equal to 1"),
    ],
)
def test_wrong_words_are_answered(
    site: RunningSite, arguments: tuple[str, ...], code: int, words: str
) -> None:
    done = frameloom(*arguments)
    assert words in " ".join(done.stderr.split())
    assert done.returncode == code
    assert "Traceback" not in done.stderr


def test_no_site_at_all(runtime_dir: Path, tmp_path: Path) -> None:
    done = frameloom("status", cwd=tmp_path)
    assert done.returncode == 3
    assert "no site is running; start one with: frameloom up" in done.stderr
    done = frameloom("up", cwd=tmp_path)
    assert done.returncode == 1
    assert "frameloom init" in done.stderr
    assert "--demo" in done.stderr


def test_init_then_check(runtime_dir: Path, tmp_path: Path) -> None:
    assert frameloom("init", cwd=tmp_path).returncode == 0
    assert "site.yaml" in frameloom("init", cwd=tmp_path).stderr  # an existing one is not touched
    done = frameloom("check", cwd=tmp_path)
    assert done.returncode == 0
    assert "good" in done.stdout


def test_check_says_line_read_and_allowed(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text(
        "cameras:\n  hall: {url: film.mp4, trasport: udp}\n"
        "processors:\n  motion:\n    use: motion\n    stream: hall\n    params: {threshold: 999}\n"
    )
    done = frameloom("check", cwd=tmp_path)
    assert done.returncode == 1
    assert "site.yaml:2" in done.stderr
    assert "trasport" in done.stderr
    assert "transport" in done.stderr
    (tmp_path / "site.yaml").write_text((tmp_path / "site.yaml").read_text().replace(", trasport: udp", ""))
    done = frameloom("check", cwd=tmp_path)
    assert done.returncode == 1
    assert "site.yaml:7" in done.stderr
    assert "read 999" in done.stderr


def test_devices_and_doctor(runtime_dir: Path) -> None:
    assert frameloom("devices").returncode == 0
    assert isinstance(json.loads(frameloom("devices", "--json").stdout), list)
    findings = json.loads(frameloom("doctor", "--json").stdout)
    assert {"Python", "packages", "shared memory", "runtime folder"} <= {
        finding["what"] for finding in findings
    }
    assert all(finding["advice"] for finding in findings if finding["verdict"] == "bad")


def test_doctor_sees_a_folder_that_others_may_enter(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    done = frameloom("doctor", FRAMELOOM_RUNTIME_DIR=str(tmp_path))
    assert done.returncode == 1
    assert "BAD   runtime folder" in done.stdout
    assert "0700" in done.stdout


def test_helps_without_loading_a_codec() -> None:
    code = (
        "import sys\nfrom frameloom.cli.app import app\n"
        "try: app(['--help'])\nexcept SystemExit: pass\n"
        "loaded = {'av', 'cv2', 'numpy.random'} & set(sys.modules)\nassert not loaded & {'av', 'cv2'}, loaded"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)
