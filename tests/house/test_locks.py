"""The locks are complete, hold a hash for every file, and say nothing of where packages come from."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
GROUPS = {
    "run": ["build"],
    "dev": ["build", "test", "check"],
    "bench": ["build", "bench"],
    "lock": ["lock"],
}
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def lock_text(name: str) -> str:
    return (ROOT / "requirements" / f"{name}.txt").read_text()


def blocks(name: str) -> Iterator[list[str]]:
    """The requirements of a lock, each as its parts: the requirement, then its hashes."""
    code = "\n".join(line for line in lock_text(name).splitlines() if not line.startswith("#"))
    for block in re.split(r"(?<!\\)\n", code):
        if block.strip():
            yield [part.strip() for part in block.split("\\\n")]


def pins(name: str) -> dict[str, Requirement]:
    requirements = [Requirement(parts[0]) for parts in blocks(name)]
    return {canonicalize_name(requirement.name): requirement for requirement in requirements}


def wanted(name: str) -> list[Requirement]:
    """What pyproject.toml asks of a lock."""
    direct = [] if name == "lock" else PYPROJECT["project"]["dependencies"]
    grouped = [text for group in GROUPS[name] for text in PYPROJECT["dependency-groups"][group]]
    return [Requirement(text) for text in [*direct, *grouped]]


def test_there_is_one_lock_for_each_use() -> None:
    assert sorted(path.stem for path in (ROOT / "requirements").iterdir()) == sorted(GROUPS)


@pytest.mark.parametrize("name", GROUPS)
def test_no_address_and_no_path(name: str) -> None:
    lines = [line.split("#")[0] for line in lock_text(name).splitlines()]
    named = [line for line in lines if re.search(r"/|\bfile:|@ |^ *-(?!-hash=)", line)]
    assert named == []
    assert "://" not in lock_text(name)


@pytest.mark.parametrize("name", GROUPS)
def test_every_line_is_one_version_with_hashes(name: str) -> None:
    for requirement, *hashes in blocks(name):
        assert re.fullmatch(r"[a-z0-9-]+==[^\s;,]+( ; .+)?", requirement)
        assert hashes, f"{requirement} has no hash"
        assert all(HASH.fullmatch(text) for text in hashes), requirement


@pytest.mark.parametrize("name", GROUPS)
def test_what_pyproject_asks_is_locked(name: str) -> None:
    locked = pins(name)
    for requirement in wanted(name):
        pin = locked[canonicalize_name(requirement.name)]
        version = next(iter(pin.specifier)).version
        assert requirement.specifier.contains(version, prereleases=True), f"{requirement}, locked: {pin}"


@pytest.mark.parametrize("name", ["dev", "bench"])
def test_one_environment_can_hold_all_locks(name: str) -> None:
    theirs = pins(name)
    for package, pin in pins("run").items():
        assert theirs[package].specifier == pin.specifier


def test_dev_and_bench_agree() -> None:
    dev, bench = pins("dev"), pins("bench")
    differ = [name for name in dev.keys() & bench.keys() if dev[name].specifier != bench[name].specifier]
    assert differ == []
