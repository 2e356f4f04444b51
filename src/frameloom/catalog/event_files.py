"""Events beside the recordings: `<folder>/<camera>/events/<day>.jsonl`, a line when one begins and one when it ends.

Like the recordings these files are the truth, and the index is made from them.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .rows import EventRow

FOLDER = "events"
_FILE = re.compile(r"(\d{4}-\d{2}-\d{2})\.jsonl", re.ASCII)
_LONGEST_TEXT = 200
_LONGEST_VALUES = 8192


def event_of(camera: str, processor: str, told: dict[str, Any], at_ns: int, end_ns: int | None) -> EventRow:
    """An event as a processor told it, cut to what the index takes."""
    values = told.get("values")
    values = values if isinstance(values, dict) and len(json.dumps(values)) <= _LONGEST_VALUES else {}
    id, name = (str(told.get(key, ""))[:_LONGEST_TEXT] for key in ("id", "name"))
    return EventRow(camera, processor, id, at_ns, end_ns, name, values)


def append(folder: Path, row: EventRow) -> int:
    """Write it down; returns the bytes of the file. Raises `OSError`; `folder` itself has to be there."""
    path = path_of(folder, row.camera, row.day)
    path.parent.parent.mkdir(exist_ok=True)
    path.parent.mkdir(exist_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        os.write(fd, _line(row))
        return os.fstat(fd).st_size
    finally:
        os.close(fd)


def found_files(folder: Path, camera: str) -> dict[str, int]:
    """The days of which there are events, with the bytes of the file."""
    try:
        with os.scandir(folder / camera / FOLDER) as entries:
            return dict(_days(entries))
    except OSError:
        return {}


def read(folder: Path, camera: str, day: str) -> list[EventRow]:
    """The events of a day as they were told last, in order; a line that is none is passed over. Raises `OSError`."""
    found: dict[tuple[str, int, str], EventRow] = {}
    with path_of(folder, camera, day).open("rb") as lines:
        for line in lines:
            row = _row(camera, line)
            if row is not None and row.day == day:
                found[row.processor, row.at_ns, row.id] = row
    return list(found.values())


def path_of(folder: Path, camera: str, day: str) -> Path:
    """The file of a day."""
    return folder / camera / FOLDER / f"{day}.jsonl"


def day_of_file(name: str) -> str | None:
    """The day of a file of that name; None if it is no file of events."""
    found = _FILE.fullmatch(name)
    return found[1] if found else None


def _days(entries: Iterator[os.DirEntry[str]]) -> Iterator[tuple[str, int]]:
    for entry in entries:
        day = day_of_file(entry.name)
        if day is not None and entry.is_file(follow_symlinks=False):
            yield day, entry.stat(follow_symlinks=False).st_size


def _line(row: EventRow) -> bytes:
    told = {
        "processor": row.processor,
        "id": row.id,
        "name": row.name,
        "at_utc_ns": row.at_ns,
        "end_utc_ns": row.end_ns,
        "values": row.values,
    }
    return json.dumps(told, separators=(",", ":")).encode() + b"\n"


def _row(camera: str, line: bytes) -> EventRow | None:
    try:
        told = json.loads(line)
        at_ns, end_ns = int(told["at_utc_ns"]), told["end_utc_ns"]
        return event_of(
            camera, str(told["processor"])[:48], told, at_ns, None if end_ns is None else int(end_ns)
        )
    except (ValueError, KeyError, TypeError):
        return None
