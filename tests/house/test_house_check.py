"""Each house rule finds what it is for, in a small repository of its own; and ours has no finding."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
HOME = "/" + "home/somebody"
INDEX = "https://" + "pypi.org" + "/simple"
LONG = "def f():\n    '''{}'''\n" + "    pass\n" * 61

CASES = {
    "path": ("notes.md", f"see {HOME}/films\n", "notes.md:1: a path of one machine"),
    "registry": ("notes.md", f"\n\n{INDEX}\n", "notes.md:3: the address of a package registry"),
    "media": ("tests/film.mp4", "", "no media in the repository"),
    "lock": ("uv.lock", "", "the locks are requirements"),
    "large": ("large.csv", "x" * 1_000_001, "at most 1000000 are allowed"),
    "function": ("tools/a.py", LONG, "tools/a.py:1: f has 62 lines"),
    "package": (
        "src/frameloom/bus/pool.py",
        "'''Slots.'''\n",
        "src/frameloom/bus: has modules but no __init__.py",
    ),
    "docstring": ("src/frameloom/pool.py", "import os\n", "src/frameloom/pool.py:1: no docstring"),
    "link": ("docs/a.md", "[b](b.md)\n", "docs/a.md:1: the link b.md leads nowhere"),
    "anchor": ("docs/a.md", "[b](../README.md#no)\n", "the link ../README.md#no names no heading"),
    "reference": ("docs/a.md", "\n[b]: b.md\n", "docs/a.md:2: the link b.md leads nowhere"),
    "changelog": ("CHANGELOG.md", "# Changelog\n", "no section `## [Unreleased]`"),
}
FINE = {
    "short": ("tools/a.py", LONG.replace("    pass\n", "", 2).format("\n" * 100)),
    "link": ("docs/a.md", "[one](../README.md#the-first-thing--more) [two](#here) `[no](link)`\n\n# Here\n"),
    "far": ("docs/a.md", "[far](https://example.org/nowhere.md)\n"),
    "code": ("docs/a.md", "```text\n[no](link)\n```\n"),
    "runtime": ("docs/a.md", "/tmp/frameloom-1000\n"),
    "picture": ("docs/images/page.png", ""),
}


@pytest.fixture
def house_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The tool, looking at a repository with nothing wrong in it."""
    spec = importlib.util.spec_from_file_location("house_check", ROOT / "tools/house_check.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    (tmp_path / "CHANGELOG.md").write_text("## [Unreleased]\n")
    (tmp_path / "README.md").write_text("# Frameloom\n\n## The first thing & more\n")
    return module


def add(path: str, text: str) -> None:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    if file.parts[:2] == ("src", "frameloom") and len(file.parts) == 3:
        file.with_name("__init__.py").write_text("'''A package.'''\n")


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_finding(
    case: tuple[str, str, str], house_check: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    path, text, finding = case
    add(path, text)
    assert house_check.main() == 1
    assert finding in capsys.readouterr().out


@pytest.mark.parametrize("case", FINE.values(), ids=FINE)
def test_no_finding(
    case: tuple[str, str], house_check: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    add(*case)
    assert house_check.main() == 0, capsys.readouterr().out


def test_this_repository_has_no_finding() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools/house_check.py")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
