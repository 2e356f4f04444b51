"""What every test has: a runtime folder of its own, no child that outlives its test, and the rule of CI.

Fixtures that only one folder needs belong into that folder's own conftest.py.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import psutil
import pytest

# Every process that a test starts inherits this mark, so that one whose parent was killed is found too.
RUN_MARK = f"FRAMELOOM_TEST_RUN={os.getpid()}-{uuid.uuid4().hex}"
CHILD_GRACE_S = 5.0

# Started by the interpreter for the whole of its life, not by a test.
INTERPRETERS_OWN = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")

hypothesis.settings.register_profile("dev", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, max_examples=200, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))

os.environ.update([RUN_MARK.split("=")])

# What a site keeps (users, tokens) is kept in no user's home by a test, and gone with the run.
os.environ["FRAMELOOM_STATE_DIR"] = tempfile.mkdtemp(prefix="fl-state-")
atexit.register(shutil.rmtree, os.environ["FRAMELOOM_STATE_DIR"], ignore_errors=True)


def new_runtime_dir() -> tempfile.TemporaryDirectory[str]:
    """A folder (mode 0700) with a short path, unlike `tmp_path`: a Unix socket has 107 bytes for it."""
    base = "/tmp" if os.path.isdir("/tmp") else None
    return tempfile.TemporaryDirectory(prefix="fl-", dir=base, ignore_cleanup_errors=True)


@pytest.fixture
def runtime_dir(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runtime folder of this test alone, with a short path, exported as FRAMELOOM_RUNTIME_DIR."""
    with new_runtime_dir() as folder:
        monkeypatch.setenv("FRAMELOOM_RUNTIME_DIR", folder)
        yield Path(folder)


@pytest.fixture
def state_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of this test alone for what sites keep, exported as FRAMELOOM_STATE_DIR."""
    folder = tmp_path / "state"
    monkeypatch.setenv("FRAMELOOM_STATE_DIR", str(folder))
    return folder


@pytest.fixture(scope="module")
def module_runtime_dir() -> Iterator[Path]:
    """A runtime folder for the tests of one module, for fixtures that start a site once."""
    with new_runtime_dir() as folder:
        yield Path(folder)


@pytest.fixture(autouse=True)
def no_child_outlives_its_test() -> Iterator[None]:
    """Fail a test that leaves a process behind, and end that process.

    Fixtures with a wider scope are set up before this one: their processes, and what those start, are no finding.
    """
    before = set(psutil.pids())
    yield
    left = list(left_behind(before))
    if not left:
        return
    _, alive = psutil.wait_procs(left, timeout=CHILD_GRACE_S)
    commands = [command_of(process) for process in alive]
    for process in alive:
        process.kill()
    psutil.wait_procs(alive, timeout=CHILD_GRACE_S)
    if commands:
        pytest.fail("processes outlived the test: " + "; ".join(commands), pytrace=False)


def left_behind(before: set[int]) -> Iterator[psutil.Process]:
    """Processes that were not there before and are children of this one, or carry its mark; not those that ended."""
    new = set(psutil.pids()) - before
    children = {child.pid for child in psutil.Process().children(recursive=True)} if new else set()
    for pid in new:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            if process.status() == psutil.STATUS_ZOMBIE or is_interpreters_own(process):
                continue
            if is_child_of(process, children & before):
                continue
            if pid in children or has_mark(process):
                yield process


def is_child_of(process: psutil.Process, pids: set[int]) -> bool:
    """Whether a process descends from one of `pids`."""
    return any(parent.pid in pids for parent in process.parents())


def has_mark(process: psutil.Process) -> bool:
    """Whether a process descends from this run of pytest, though its parent may be gone."""
    name, value = RUN_MARK.split("=")
    return process.environ().get(name) == value


def is_interpreters_own(process: psutil.Process) -> bool:
    """Whether a process is one of multiprocessing's helpers."""
    return any(name in argument for argument in process.cmdline() for name in INTERPRETERS_OWN)


def command_of(process: psutil.Process) -> str:
    """What to call a process in a message."""
    try:
        return f"{process.pid} {' '.join(process.cmdline())[:200]}"
    except psutil.Error:
        return str(process.pid)


# FRAMELOOM_REQUIRE_ALL=1: in CI a test that cannot run is a failure.

SKIPPED = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Make room for the names of skipped tests."""
    config.stash[SKIPPED] = []
    config.pluginmanager.register(SkipCollector(config.stash[SKIPPED]), "frameloom-skips")


class SkipCollector:
    """Notes every skip, whether of a test or of a whole module; an expected failure is not one."""

    def __init__(self, skipped: list[str]) -> None:
        self.skipped = skipped

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            self.skipped.append(f"{report.nodeid}: {reason_of(report)}")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self.skipped.append(f"{report.nodeid}: {reason_of(report)}")


def reason_of(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Why a test was skipped, in its own words."""
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")


def skips_that_fail(config: pytest.Config) -> list[str]:
    """The skipped tests, where none may be skipped."""
    return config.stash[SKIPPED] if os.environ.get("FRAMELOOM_REQUIRE_ALL") == "1" else []


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A skip where none is allowed fails the run."""
    if skips_that_fail(session.config) and session.exitstatus in (0, pytest.ExitCode.NO_TESTS_COLLECTED):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say which skips failed the run."""
    if skips := skips_that_fail(config):
        terminalreporter.section("FRAMELOOM_REQUIRE_ALL=1: skipped, and so the run fails", red=True)
        for skip in skips:
            terminalreporter.line(skip)
