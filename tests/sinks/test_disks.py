"""Disks that are really full, really read-only and really gone: it is said, and when they are back it goes on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from frameloom.testing.needs import missing, require_program
from tests.sinks.mounted import SCENES


def own_mounts() -> list[str]:
    """What a command is run with to have mounts that nobody else sees."""
    unshare = require_program("unshare", "util-linux")
    for options in (["--mount"], ["--user", "--map-root-user", "--mount"]):
        may = subprocess.run([unshare, *options, "true"], capture_output=True, check=False)
        if may.returncode == 0:
            return [unshare, *options]
    return missing("this system lets nobody have mounts of their own (unshare --mount)")


@pytest.mark.parametrize("scene", SCENES)
def test_a_disk(scene: str, films: dict[str, Path], tmp_path: Path) -> None:
    command = [
        *own_mounts(),
        sys.executable,
        "-m",
        "tests.sinks.mounted",
        scene,
        str(tmp_path),
        str(films["h264"]),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
