"""The checks of tests/conftest.py find what they are for: each case runs pytest on a small file."""

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
LEAVE_A_CHILD = """
    import subprocess, sys
    COMMAND = [sys.executable, "-c", "import time; time.sleep(600)"]
    def test_leaves_a_child():
        global child
        child = subprocess.Popen(COMMAND)
        print("left", child.pid)
"""
LEAVE_AN_ORPHAN = """
    import subprocess, sys
    PARENT = "import subprocess as s, sys; " \\
        "child = s.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], stdout=s.DEVNULL); " \\
        "print('left', child.pid)"
    def test_leaves_an_orphan():
        print(subprocess.run([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True).stdout)
"""
ENDS_ITS_CHILD = """
    import subprocess, sys, pytest
    GRANDCHILD = [sys.executable, "-c", "input(); input()"]
    SHARED = f"import subprocess; input(); child = subprocess.Popen({GRANDCHILD}); print(child.pid); child.wait()"
    @pytest.fixture(scope="module")
    def shared():
        command = [sys.executable, "-uc", SHARED]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
            yield child
            child.communicate("\\n\\n\\n")
    def test_makes_a_shared_child_start_one(shared):
        shared.stdin.write("\\n")
        shared.stdin.flush()
        assert int(shared.stdout.readline())
    def test_ends_its_child():
        assert subprocess.run([sys.executable, "-c", ""]).returncode == 0
    def test_uses_a_shared_child(shared):
        assert shared.poll() is None
"""
SKIPS = """
    import pytest
    @pytest.mark.skip(reason="no guest kernel here")
    def test_that_is_skipped():
        pass
    @pytest.mark.xfail(reason="known")
    def test_that_is_expected_to_fail():
        assert False
    def test_that_passes():
        pass
"""
RUNTIME_DIR = """
    import os, stat, pathlib
    def test_runtime_dir(runtime_dir):
        assert os.environ["FRAMELOOM_RUNTIME_DIR"] == str(runtime_dir)
        assert len(os.fsencode(runtime_dir)) < 30
        assert stat.S_IMODE(runtime_dir.stat().st_mode) == 0o700
        pathlib.Path(__file__).with_name("where").write_text(str(runtime_dir))
"""


@pytest.fixture
def run_pytest(tmp_path: Path):
    """Run pytest with our conftest on one file, and return what it said."""
    conftest = (ROOT / "tests/conftest.py").read_text()
    (tmp_path / "conftest.py").write_text(conftest.replace("CHILD_GRACE_S = 5.0", "CHILD_GRACE_S = 0.2"))

    def run(source: str, **environment: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "test_it.py").write_text(textwrap.dedent(source))
        command = [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", "--rootdir", "."]
        ours = ("PYTEST", "FRAMELOOM", "HYPOTHESIS")
        plain = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        return subprocess.run(
            command, cwd=tmp_path, env={**plain, **environment}, capture_output=True, text=True, check=False
        )

    return run


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("source", [LEAVE_A_CHILD, LEAVE_AN_ORPHAN], ids=["child", "orphan"])
def test_a_process_that_outlives_its_test_fails_it_and_is_ended(run_pytest, source) -> None:
    result = run_pytest(source)
    left = re.search(r"left (\d+)", result.stdout)
    assert left, result.stdout
    assert "processes outlived the test" in result.stdout
    assert result.returncode == 1
    assert not is_running(int(left[1]))


def test_processes_that_are_ended_or_shared_are_no_finding(run_pytest) -> None:
    result = run_pytest(ENDS_ITS_CHILD)
    assert result.returncode == 0, result.stdout


def test_a_skip_is_allowed_by_default(run_pytest) -> None:
    result = run_pytest(SKIPS)
    assert result.returncode == 0, result.stdout
    assert "FRAMELOOM_REQUIRE_ALL" not in result.stdout


def test_a_skip_fails_the_run_where_all_is_required_and_is_named(run_pytest) -> None:
    result = run_pytest(SKIPS, FRAMELOOM_REQUIRE_ALL="1")
    assert result.returncode == 1, result.stdout
    assert "test_it.py::test_that_is_skipped: no guest kernel here" in result.stdout
    assert "test_that_is_expected_to_fail:" not in result.stdout


def test_a_skipped_module_fails_the_run_where_all_is_required(run_pytest) -> None:
    result = run_pytest("import pytest; pytest.importorskip('no_such_module')", FRAMELOOM_REQUIRE_ALL="1")
    assert result.returncode == 1, result.stdout
    assert "could not import 'no_such_module'" in result.stdout


def test_runtime_dir_is_short_private_and_removed(run_pytest, tmp_path: Path) -> None:
    result = run_pytest(RUNTIME_DIR)
    assert result.returncode == 0, result.stdout
    assert not Path((tmp_path / "where").read_text()).exists()


def test_hypothesis_is_the_same_in_every_run_of_ci(run_pytest) -> None:
    source = """
        import hypothesis
        def test_profile():
            assert hypothesis.settings().derandomize and hypothesis.settings().max_examples == 200
    """
    assert run_pytest(source, HYPOTHESIS_PROFILE="ci").returncode == 0
    assert run_pytest(source).returncode == 1
