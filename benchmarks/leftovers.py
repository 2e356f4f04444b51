"""What stays behind when every process of a way is killed (SIGKILL) while pictures flow, and whether it starts again.

No speed: facts about the file system. What is found there is removed afterwards.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import threading
import time
from pathlib import Path

from . import peers, report
from .pictures import PAGE, SIZES
from .report import Part
from .teams import Outcome, Team, Trial, scratch

_PLACES = ("/dev/shm", "/tmp")
_SHOWN = 3


def run(quick: bool) -> Part:
    """Kill, look, start again, and tell."""
    part = Part("After kill -9 of every process")
    size = SIZES["320x180" if quick else "1080p"]
    ways, _ = peers.installed()
    rows = []
    for way in ways:
        if not (quick and way == "ray_store"):
            print(f"leftovers: {peers.load(way).NAME}", file=sys.stderr, flush=True)
            rows.append(_row(way, size))
    part.say(
        "Publisher, reader and whatever they started (Python's resource tracker, Ray's daemons) are killed in the midst "
        "of a paced trial. What is new in the places where it could be found again, and how the next start goes on "
        "under the same names, with nothing tidied up in between."
    )
    part.say(report.table(("way", *_PLACES, "files in its own folder", "next start"), rows).replace("---:", "---"))
    return part


def _row(way: str, nbytes: int) -> list[str]:
    before = _listing()
    with scratch() as folder:
        left, own = _kill(way, nbytes, folder, before)
        again = _start_again(way, nbytes, folder)
    cells = [peers.load(way).NAME, *(_told(left[place]) for place in _PLACES), _told(own), again]
    for place, names in _listing().items():
        for name in names - before[place]:
            _remove(Path(place, name))
    return cells


def _kill(way: str, nbytes: int, folder: str, before: dict[str, set[str]]) -> tuple[dict[str, set[str]], set[str]]:
    """What is new in the common places, and what is in the folder that the way was given."""
    team = Team(way, folder, 1)
    _run_until_killed(team, Trial("paced", nbytes, 1, PAGE, 60.0))
    now = _listing()
    own = {path.name for path in Path(folder).rglob("*") if not path.is_dir()}
    ours = {Path(folder).name}
    return {place: now[place] - before[place] - ours for place in _PLACES}, own


def _run_until_killed(team: Team, trial: Trial) -> None:
    flowing = threading.Thread(target=team.attempt, args=(trial,))
    flowing.start()
    time.sleep(5.0 if hasattr(peers.load(team.way), "INSIDE") else 1.0)
    team.kill_all()
    flowing.join(30)


def _start_again(way: str, nbytes: int, folder: str) -> str:
    with Team(way, folder, 1) as team:
        outcome: Outcome = team.attempt(Trial("paced", nbytes, 1, PAGE, 0.4))
    return "goes on" if outcome.complete else f"fails: {outcome.problem}"


def _listing() -> dict[str, set[str]]:
    return {place: set(os.listdir(place)) for place in _PLACES}


def _told(names: set[str]) -> str:
    if not names:
        return "nothing"
    shown = ", ".join(f"`{name}`" for name in sorted(names)[:_SHOWN])
    more = len(names) - _SHOWN
    return shown + (f" and {more} more" if more > 0 else "")


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
