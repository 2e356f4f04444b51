"""The Makefile: what it lists, and how it hands on what a user types. Nothing is installed here."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = "rtsp://user:pa$word;`id`&\"'@127.0.0.1/a?b=c d"
FRAMELOOM = """#!/bin/sh
printf '%s\\n' "arguments: $*" "source: ${FRAMELOOM_SOURCE-none}"
"""
PYTHON = """#!/bin/sh
echo "python $*"
"""
BUILT = "python tools/web_build.py\n"


def make(*arguments: str) -> str:
    """What make prints, with an environment that needs no installing."""
    plain = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MAKE", "MFLAGS", "FRAMELOOM"))
    }
    for name in ("SOURCE", "PORT"):
        plain.pop(name, None)
    command = ["make", "PYTHON=true", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=plain, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def fake_bin(tmp_path: Path) -> str:
    for name, text in (("frameloom", FRAMELOOM), ("python", PYTHON)):
        program = tmp_path / name
        program.write_text(text)
        program.chmod(0o755)
    return f"BIN={tmp_path}"


def test_every_target_is_listed_with_a_word_about_it() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^([a-z0-9-]+):", makefile, re.MULTILINE)
    listed = re.findall(r"^  make ([a-z0-9-]+) +\S", make(), re.MULTILINE)
    assert listed == targets
    assert set(targets) == set(re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[0].split())


def test_run_starts_the_demo(fake_bin: str) -> None:
    said = make("run", fake_bin)
    assert said == f"{BUILT}arguments: up --demo\nsource: none\n"


def test_a_source_is_handed_on_as_typed_and_not_printed(
    fake_bin: str,
) -> None:
    said = make("run", fake_bin, f"SOURCE={SOURCE}", "PORT=9000")
    assert said == f"{BUILT}arguments: up --demo --port 9000\nsource: {SOURCE}\n"
    assert "word" not in make("-n", "run", f"SOURCE={SOURCE}")
