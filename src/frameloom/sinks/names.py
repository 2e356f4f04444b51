"""Where segments are: `<folder>/<camera>/<day>/<camera>-<UTC of the first picture>Z.mp4`, and back from a name.

Whatever a name says, only what `found_in` recognises as a segment of that camera is ever taken for one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from frameloom.model.clock import NS_PER_S

SUFFIX = ".mp4"
RESULTS_SUFFIX = ".results.jsonl"
_MOMENT = re.compile(r"(\d{8}T\d{6})\.(\d{3})Z(?:-([1-9]\d{0,5}))?", re.ASCII)
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_LATEST_NS = 253_402_300_799 * NS_PER_S  # the end of the year 9999


class Segment(NamedTuple):
    """A file as its name tells it; in order of time when sorted. `utc_ms`: first picture, ms since 1970.

    `results_bytes`: what stands beside it, see `results_of`.
    """

    utc_ms: int
    number: int
    path: Path
    nbytes: int
    results_bytes: int = 0


def day_of(utc_ns: int) -> str:
    """'2026-11-21': the folder of a segment that begins then."""
    return _datetime(utc_ns).strftime("%Y-%m-%d")


def name_of(camera: str, utc_ns: int, number: int = 1) -> str:
    """'hall-20261121T133000.123Z.mp4'; with '-2' and so on where a name is taken."""
    ms = _clamped(utc_ns) // 1_000_000 % 1000
    moment = f"{_datetime(utc_ns):%Y%m%dT%H%M%S}.{ms:03}Z"
    return f"{camera}-{moment}{f'-{number}' if number > 1 else ''}{SUFFIX}"


def read_name(camera: str, name: str) -> tuple[int, int] | None:
    """(UTC in ms, number) of a segment of `camera`; None for any other name."""
    if not (name.startswith(f"{camera}-") and name.endswith(SUFFIX)):
        return None
    found = _MOMENT.fullmatch(name[len(camera) + 1 : -len(SUFFIX)])
    if found is None:
        return None
    try:
        moment = datetime.strptime(found[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    return int(moment.timestamp()) * 1000 + int(found[2]), int(found[3] or 1)


def found_in(folder: Path, camera: str) -> Iterator[Segment]:
    """The segments of `camera` under `folder`, in no order. What cannot be read is passed over; links too."""
    for day in _entries(folder / camera):
        if _DAY.fullmatch(day.name) and day.is_dir(follow_symlinks=False):
            entries = _entries(Path(day.path))
            beside = {entry.name: entry for entry in entries if entry.name.endswith(RESULTS_SUFFIX)}
            for entry in entries:
                if (segment := _segment(camera, entry)) is not None:
                    results = beside.get(results_of(segment.path).name)
                    yield segment._replace(results_bytes=_size_bytes(results)) if results else segment


def results_of(segment: Path) -> Path:
    """Where what processors saw during a segment stands, a JSON text in each line: beside it."""
    return segment.with_name(segment.name.removesuffix(SUFFIX) + RESULTS_SUFFIX)


def utc_text(utc_ns: int) -> str:
    """ISO 8601 with nanoseconds."""
    ns = _clamped(utc_ns)
    return f"{_datetime(ns):%Y-%m-%dT%H:%M:%S}.{ns % NS_PER_S:09}Z"


def _segment(camera: str, entry: os.DirEntry[str]) -> Segment | None:
    read = read_name(camera, entry.name)
    if read is None:
        return None
    with suppress(OSError):
        if entry.is_file(follow_symlinks=False):
            return Segment(*read, Path(entry.path), entry.stat(follow_symlinks=False).st_size)
    return None


def _size_bytes(entry: os.DirEntry[str]) -> int:
    with suppress(OSError):
        return entry.stat(follow_symlinks=False).st_size
    return 0


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []


def _datetime(utc_ns: int) -> datetime:
    return datetime.fromtimestamp(_clamped(utc_ns) // NS_PER_S, UTC)


def _clamped(utc_ns: int) -> int:
    """A clock may say anything; a name needs a year of four digits."""
    return min(max(0, utc_ns), _LATEST_NS)
