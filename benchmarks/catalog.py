"""The index of recordings: how long a page waits for answers when there are very many, and how long making it takes.

On SQLite. The files are one recording under many names (hard links), so that they need no room; each is read whole.
"""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from frameloom.catalog.cut import cut
from frameloom.catalog.database import Database
from frameloom.catalog.index import Index
from frameloom.catalog.keeper import Keeper
from frameloom.catalog.player import whole_film
from frameloom.catalog.rows import SegmentRow
from frameloom.sinks.names import day_of, name_of
from frameloom.sinks.recorder import Limits, Recorder
from frameloom.testing.clock import UTC_START_NS, FakeClock
from frameloom.testing.films import counter, encode
from tests.sinks.parts import camera, packets_of_film

from . import report
from .report import Goal, Part

SEGMENTS, CAMERAS, FILES = 20_000, 10, 1_000
_QUICK = 50  # times fewer
_MINUTE_NS = 60_000_000_000
_DAY_NS = 1440 * _MINUTE_NS
_ROUNDS = 15
_AIM_MS = 100.0


def run(quick: bool) -> Part:
    """Fill an index, ask it what the page asks, make another from files."""
    part = Part("Recordings: the index, and films made of files")
    segments, files = (SEGMENTS // _QUICK, FILES // _QUICK) if quick else (SEGMENTS, FILES)
    with tempfile.TemporaryDirectory(prefix="fl-bench-") as name:
        rows = _questions(Path(name), segments, part)
        film = _film(Path(name), quick)
        megabytes = film.stat().st_size / 1e6
        rows += _films(film)
        rows.append(_anew(Path(name), film, files))
    part.say(
        f"An index of {segments:,} recordings of a minute each, of {CAMERAS} cameras, in SQLite. Films are made of a "
        f"file of {megabytes:.1f} MB: its head, and what an export of all of it reads before its first byte."
    )
    part.say(report.table(("what", "ms, median (range)"), rows))
    return part


def _questions(folder: Path, segments: int, part: Part) -> list[tuple[str, str]]:
    database = Database(f"sqlite:///{folder / 'index.sqlite'}", "bench")
    database.prepare()
    index = Index(database, "bench")
    each = segments // CAMERAS
    rows = [_row(f"cam{n % CAMERAS}", n // CAMERAS) for n in range(segments)]
    for first in range(0, segments, 500):
        index.store(rows[first : first + 500])
    last_ns = UTC_START_NS + each * _MINUTE_NS
    questions: dict[str, Callable[[], object]] = {
        "all cameras": index.summaries,
        "a day of one camera": lambda: index.segments("cam0", last_ns - _DAY_NS, last_ns),
        "the newest 2,000 of one camera": lambda: index.segments("cam0"),
        "one recording": lambda: index.segment("cam0", rows[0].id),
        "one more recording is noted": lambda: index.store(rows[:1]),
    }
    told = []
    for what, ask in questions.items():
        took_ms = _timed(ask)
        told.append((what, report.median_and_range(took_ms, 1)))
        usual_ms = statistics.median(took_ms)
        reached = f"{report.at_most(usual_ms, 1)} ms"
        part.goals.append(Goal(f"index: {what}", f"at most {_AIM_MS:g} ms", reached, usual_ms <= _AIM_MS))
    database.close()
    return told


def _row(camera: str, minute: int) -> SegmentRow:
    begin_ns = UTC_START_NS + minute * _MINUTE_NS
    name = name_of(camera, begin_ns).removesuffix(".mp4")
    size = (15_000_000, 1500, "h264", 'video/mp4; codecs="avc1.640028"', 1920, 1080)
    return SegmentRow(camera, name, "/tapes", begin_ns, begin_ns + _MINUTE_NS, *size, "complete", False)


def _film(folder: Path, quick: bool) -> Path:
    """A recording of a minute of 25 pictures a second, or of a short time."""
    source = encode(counter(fps=25, frames=250), folder / "film.mp4", gop=25)
    recorder = Recorder("cam", folder / "one", Limits(segment_s=3600, reserve="0"), FakeClock())
    recorder.start()
    for packet in camera(packets_of_film(source), laps=1 if quick else 6):
        recorder.take(packet)
    recorder.stop()
    return next((folder / "one").rglob("*.mp4"))


def _films(film: Path) -> list[tuple[str, str]]:
    return [
        ("the head of a film of a minute", report.median_and_range(_timed(lambda: whole_film(film)), 1)),
        ("an export of it", report.median_and_range(_timed(lambda: cut([film], 0, 1 << 62)), 1)),
    ]


def _anew(folder: Path, film: Path, files: int) -> tuple[str, str]:
    """The index of so many files, made of nothing."""
    for n in range(files):
        begin_ns = UTC_START_NS + n * _MINUTE_NS
        path = folder / "many" / "cam" / day_of(begin_ns) / name_of("cam", begin_ns)
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(film, path)
    database = Database(f"sqlite:///{folder / 'anew.sqlite'}", "bench")
    database.prepare()
    began_s = time.monotonic()
    looked = sum(Keeper(Index(database, "bench"), [folder / "many"]).sync())
    took_ms = (time.monotonic() - began_s) * 1000
    database.close()
    shutil.rmtree(folder / "many")
    if looked != files:
        raise RuntimeError(f"{looked} of {files} files were looked at")
    return f"made anew, for each of {files:,} files", report.at_most(took_ms / files, 1)


def _timed(work: Callable[[], object]) -> list[float]:
    took_ms = []
    for _ in range(_ROUNDS):
        began_ns = time.perf_counter_ns()
        work()
        took_ms.append((time.perf_counter_ns() - began_ns) / 1e6)
    return took_ms
