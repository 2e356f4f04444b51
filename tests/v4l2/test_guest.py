"""The tests of V4L2 cameras, run in the guest; and does the guest do what guest.py promises?"""

from __future__ import annotations

import hashlib
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.v4l2 import guest

pytestmark = [pytest.mark.qemu, pytest.mark.timeout(900)]

SCRIPT = guest.__file__
ENOUGH_S = "600"
Outcome = subprocess.CompletedProcess[bytes]


def run_guest(
    *command: str, options: tuple[str, ...] = (), environment: Mapping[str, str] = os.environ
) -> Outcome:
    arguments = [sys.executable, SCRIPT, "--time-limit", ENOUGH_S, *options, "--", *command]
    return subprocess.run(arguments, capture_output=True, env=dict(environment))


def skip_without_packages(outcome: Outcome) -> Outcome:
    """Where a Debian package is missing, the test is skipped by its name."""
    if outcome.returncode == guest.EXIT_GUEST_BROKEN and b"apt-get install" in outcome.stderr:
        pytest.skip(outcome.stderr.decode().strip().splitlines()[-1])
    return outcome


def test_v4l2_tests_pass_in_the_guest() -> None:
    pytest_command = [
        "python",
        "-m",
        "pytest",
        "tests/v4l2/in_guest",
        "-p",
        "no:cacheprovider",
        "--timeout=300",
    ]
    outcome = skip_without_packages(run_guest(*pytest_command))
    told = (outcome.stdout + outcome.stderr).decode(errors="replace")
    assert outcome.returncode == 0, told
    summary = re.search(r"^=+ (\d+) passed in [^,]*=+$", told, re.MULTILINE)
    assert summary, told  # nothing skipped, nothing else
    assert int(summary[1]) > 0


def test_command_output_and_exit_code_pass_unchanged_and_the_host_stays_as_it_was(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("as it was")
    words = ["two words", 'it\'s "quoted"', "a line\nand another", "$HOME *", ""]
    script = (
        'printf "%s|" "$@"; head -c 3000000 /dev/zero; printf "not the <end"; printf "to stderr" >&2;'
        f"echo changed >{kept}; echo new >{tmp_path}/new; cat {kept} >&2; ls /sys/class/net >&2; exit 7"
    )
    outcome = skip_without_packages(run_guest("sh", "-c", script, "sh", *words))
    expected = "".join(f"{word}|" for word in words).encode() + bytes(3_000_000) + b"not the <end"
    assert hashlib.sha256(outcome.stdout).digest() == hashlib.sha256(expected).digest()
    assert b"to stderrchanged\nlo\n" in outcome.stderr
    assert outcome.returncode == 7
    assert (kept.read_text(), (tmp_path / "new").exists()) == ("as it was", False)


def test_a_kernel_that_crashes_is_told_with_its_last_words() -> None:
    outcome = skip_without_packages(run_guest("sh", "-c", "echo c >/proc/sysrq-trigger"))
    assert outcome.returncode == guest.EXIT_GUEST_BROKEN
    assert b"the guest ended early" in outcome.stderr
    assert b"Kernel panic" in outcome.stderr


def test_the_time_limit_ends_the_guest() -> None:
    outcome = skip_without_packages(run_guest("sleep", "600", options=("--time-limit", "2")))
    assert outcome.returncode == guest.EXIT_TIME_LIMIT
    assert b"time limit of 2 s is over" in outcome.stderr


def test_qemu_dies_with_its_parent() -> None:
    command = [sys.executable, SCRIPT, "--accel", "tcg", "--", "sleep", "600"]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as parent:
        assert parent.stderr is not None
        line = parent.stderr.readline().decode()
        if "apt-get install" in line:
            pytest.skip(line)
        qemu = re.search(r"qemu is process (\d+)", line)
        assert qemu, line
        pidfd = os.pidfd_open(int(qemu[1]))
        parent.send_signal(signal.SIGKILL)
    try:
        assert select.select([pidfd], [], [], 60)[0]
    finally:
        os.close(pidfd)


def test_a_missing_program_is_named_with_its_package(tmp_path: Path) -> None:
    skip_without_packages(run_guest("true", options=("--time-limit", "0")))
    for program, package in (("busybox", "busybox-static"), ("qemu-system-x86_64", "qemu-system-x86")):
        outcome = run_guest("true", environment={"PATH": str(tmp_path)})
        assert outcome.returncode == guest.EXIT_GUEST_BROKEN
        assert f"{program} is not installed: apt-get install {package}" in outcome.stderr.decode()
        (tmp_path / program).symlink_to(guest.need_program(program, package))


def test_a_busybox_that_needs_libraries_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "busybox").symlink_to("/bin/ls")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(guest.GuestError, match="apt-get install busybox-static"):
        guest.static_busybox()


def test_a_kernel_without_the_modules_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vmlinuz-6.1-cloud").touch()
    (tmp_path / "6.1-cloud").mkdir()
    (tmp_path / "6.1-cloud" / "modules.dep").write_text("kernel/fs/9p/9p.ko.xz:\n")
    (tmp_path / "6.1-cloud" / "modules.builtin").touch()
    with pytest.raises(guest.GuestError, match=r"vmlinuz-6.1-cloud.*apt-get install linux-image-amd64"):
        guest.newest_kernel(boot=tmp_path, modules=tmp_path)


def test_modules_are_loaded_after_those_they_need(tmp_path: Path) -> None:
    lines = "a/top-one.ko.xz: b/middle.ko.xz c/base.ko.xz\nb/middle.ko.xz: c/base.ko.xz\nc/base.ko.xz:\n"
    (tmp_path / "modules.dep").write_text(lines)
    (tmp_path / "modules.builtin").write_text("kernel/built-in.ko\n")
    order = guest.Kernel(tmp_path, tmp_path).load_order(["middle", "built_in", "top_one"])
    assert order == ["c/base.ko.xz", "b/middle.ko.xz", "a/top-one.ko.xz"]


@pytest.mark.parametrize(
    ("content", "size"), [(b"text", 0), (b"text<", 1), (b"<e<en", 3), (b"", 0), (b"end>", 0)]
)
def test_what_may_be_the_start_of_the_end_mark_is_kept_back(content: bytes, size: int) -> None:
    assert guest.possible_start(content, b"<end>") == size
