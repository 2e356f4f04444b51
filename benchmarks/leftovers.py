"""What stays behind when every process of a way is killed (SIGKILL) while pictures flow, and whether it starts again.

No speed: facts about files. What is found is removed afterwards.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

from . import peers, report
from .pictures import PAGE, SIZES
from .report import Part
from .teams import Team, Trial, kill_tree, scratch

_SHOWN, _LONGEST_NAME = 3, 30
_QUICK_WAYS = 2
_ROOT = Path(__file__).parent.parent


def run(quick: bool) -> Part:
    """Kill, look, start again, and tell."""
    part = Part("After kill -9 of every process")
    ways, _ = peers.installed()
    rows = []
    for way in ways[:_QUICK_WAYS] if quick else ways:
        print(f"leftovers: {peers.load(way).NAME}", file=sys.stderr, flush=True)
        rows.append(_row(way, "320x180" if quick else "1080p"))
    part.say(
        "Publisher, reader, the process that started them and whatever else they started (Python's resource tracker, "
        "Ray's daemons) are killed while pictures flow. What is left of what they had open or mapped in /dev/shm, what "
        "is left in the folder in /tmp that the way was given, and how the next start goes, under the same names and "
        "with nothing tidied up in between."
    )
    part.say(report.table(("way", "in /dev/shm", "in its folder", "next start"), rows).replace("---:", "---"))
    return part


def _row(way: str, size: str) -> list[str]:
    with scratch() as folder:
        shared = _run_and_kill(way, folder, size)
        try:
            own = [path for path in Path(folder).rglob("*") if not path.is_dir()]
            return [peers.load(way).NAME, _told(shared), _told(own), _start_again(way, folder, size)]
        finally:
            for path in shared:
                path.unlink(missing_ok=True)


def _run_and_kill(way: str, folder: str, size: str) -> set[Path]:
    """Files in /dev/shm that the killed processes had."""
    with subprocess.Popen(
        _command(way, folder, size, 60.0), stdout=subprocess.PIPE, cwd=_ROOT, text=True
    ) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline().strip() != "flowing":
                raise RuntimeError(f"{way} did not start")
            time.sleep(0.5)
            return _files_of(process.pid)
        finally:
            kill_tree(process.pid)


def _files_of(pid: int) -> set[Path]:
    parent = psutil.Process(pid)
    found: set[str] = set()
    for process in [parent, *parent.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            found |= {each.path for each in process.memory_maps()} | {
                each.path for each in process.open_files()
            }
    return {Path(path.removesuffix(" (deleted)")) for path in found if path.startswith("/dev/shm/")}


def _start_again(way: str, folder: str, size: str) -> str:
    ended = subprocess.run(
        _command(way, folder, size, 0.3), capture_output=True, cwd=_ROOT, text=True, timeout=120, check=False
    )
    said = ended.stdout.strip().splitlines()
    return said[-1] if said else f"fails: {ended.returncode}"


def _command(way: str, folder: str, size: str, duration_s: float) -> list[str]:
    return [sys.executable, "-m", "benchmarks.leftovers", way, folder, size, f"{duration_s}"]


def _told(paths: Iterable[Path]) -> str:
    found = sorted(path for path in paths if path.exists() or path.is_symlink())
    if not found:
        return "nothing"
    kib = sum(path.lstat().st_blocks for path in found) // 2
    names = ", ".join(f"`{_short(path.name)}`" for path in found[:_SHOWN])
    return f"{len(found)} ({kib:,} KiB): {names}{', ...' if len(found) > _SHOWN else ''}"


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 12]}..{name[-10:]}"


def _main(way: str, folder: str, size: str, duration_s: str) -> None:
    """The process that is killed, or that starts again: a short trial says that pictures flow, another follows."""
    with Team(way, folder, 1) as team:
        for index, seconds in enumerate((0.5, float(duration_s))):
            outcome = team.run(Trial("paced", SIZES[size], 1, PAGE, seconds))
            if not outcome.complete:
                print(f"fails: {outcome.problem}")
                return
            print("goes on" if index else "flowing", flush=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])
