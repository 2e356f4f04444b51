"""Keeps an index as the files are: now and then by comparing all, in between by looking at what has changed.

Knows no stream and no worker: it is told which paths changed and what processors saw. The files are never changed here,
but for events, which are written down beside the recordings.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

from frameloom.model.errors import NeedsPerson
from frameloom.model.names import check_name
from frameloom.sinks.names import RESULTS_SUFFIX, SUFFIX, found_in, read_name, results_of
from frameloom.sinks.segment import is_being_written

from . import event_files
from .boxes import BadFilm
from .film import Survey
from .index import Index, place_of
from .rows import EventRow, SegmentRow

BATCH = 100
"""So many files are looked at between two transactions."""

_MOST_GROWING = 1000

T = TypeVar("T")
log = logging.getLogger(__name__)


class Place(NamedTuple):
    """A file that may be a recording: which camera's, in which folder, and its id."""

    folder: Path
    camera: str
    id: str
    path: Path


class WrittenEvent(NamedTuple):
    """An event, the folder in which it was written down, and the bytes of that file then."""

    row: EventRow
    folder: Path
    nbytes: int


class Keeper:
    """The index of what is in `folders`. All may raise `IndexUnavailable`; what was not stored then, `sync` finds."""

    def __init__(self, index: Index, folders: Iterable[Path]) -> None:
        self.index = index
        self.folders = tuple(dict.fromkeys(folders))
        self.writing: set[Place] = set()
        self._growing: dict[Path, Survey] = {}
        self._bad: dict[Path, int] = {}  # what cannot be read, with its size: it is not said again and again

    # --- all of it ---

    def sync(self) -> Iterator[int]:
        """Make the index as the files are, a piece with each step, which gives how many files were looked at."""
        present: set[tuple[str, str]] = set()
        for folder in self.folders:
            for camera in _cameras(folder):
                present.add((place_of(folder), camera))
                yield from self._sync_segments(folder, camera)
                yield from self._sync_events(folder, camera)
        for place, camera in sorted(self.index.known_places() - present):
            self.index.forget_place(place, camera)
            yield 0

    def rebuild(self) -> Iterator[int]:
        """Forget all, and read the files again."""
        self._growing.clear()
        self._bad.clear()
        self.index.clear()
        yield from self.sync()

    def _sync_segments(self, folder: Path, camera: str) -> Iterator[int]:
        known = self.index.known(camera, folder)
        found = {
            segment.path.name.removesuffix(SUFFIX): segment for segment in sorted(found_in(folder, camera))
        }
        gone = [(camera, id, folder) for id in known if id not in found]
        for old in _batches(gone):
            self.index.store([], old)
            yield 0
        changed = []
        for id, segment in found.items():
            now = known.get(id)
            same = now is not None and now.bytes == segment.nbytes and now.state != "writing"
            if not (same and now is not None and now.has_results == results_of(segment.path).exists()):
                changed.append(Place(folder, camera, id, segment.path))
        for some in _batches(changed):
            self._look_at(some)
            yield len(some)

    def _sync_events(self, folder: Path, camera: str) -> Iterator[int]:
        known, found = self.index.known_event_files(camera, folder), event_files.found_files(folder, camera)
        for day in sorted(known.keys() | found.keys()):
            if known.get(day) != found.get(day):
                self._read_events(folder, camera, day)
                yield 0

    # --- what changed ---

    def look(self, paths: Iterable[Path]) -> None:
        """Look at these paths, whatever happened to them: recordings, results, files of events, or folders of a day."""
        places: dict[Path, Place] = {}
        for path in paths:
            for found in self._meant_by(path):
                places[found.path] = found
        for some in _batches(list(places.values())):
            self._look_at(some)

    def look_at_writing(self) -> None:
        """Of the files that were being written: those that are no more."""
        ended = [place for place in self.writing if not is_being_written(place.path)]
        for some in _batches(ended):
            self._look_at(some)

    def write_event(self, row: EventRow) -> WrittenEvent:
        """Write an event down beside the recordings of its camera, or in the first folder. Raises `OSError` only."""
        folder = next((one for one in self.folders if (one / row.camera).is_dir()), self.folders[0])
        return WrittenEvent(row, folder, event_files.append(folder, row))

    def store_event(self, written: WrittenEvent) -> None:
        """Have the index know it."""
        row, folder, nbytes = written
        self.index.store_events(row.camera, folder, row.day, [row], nbytes, anew=False)

    def _meant_by(self, path: Path) -> list[Place]:
        for folder in self.folders:
            if path.is_relative_to(folder):
                parts = path.relative_to(folder).parts
                return self._meant_in(folder, parts, path) if parts and _is_camera(parts[0]) else []
        return []

    def _meant_in(self, folder: Path, parts: tuple[str, ...], path: Path) -> list[Place]:
        camera = parts[0]
        if len(parts) < 3:  # a folder of a camera or of a day, that may have been there before it was watched
            return self._all_in(folder, camera, path) if path.is_dir() else []
        if parts[1] == event_files.FOLDER:
            day = event_files.day_of_file(parts[2])
            if day is not None and not self._has_read(folder, camera, day):
                self._read_events(folder, camera, day)
            return []
        film = path
        if path.name.endswith(RESULTS_SUFFIX):
            film = path.with_name(path.name.removesuffix(RESULTS_SUFFIX) + SUFFIX)
        if len(parts) != 3 or read_name(camera, film.name) is None:
            return []
        return [Place(folder, camera, film.name.removesuffix(SUFFIX), film)]

    def _all_in(self, folder: Path, camera: str, path: Path) -> list[Place]:
        found = (one for one in found_in(folder, camera) if one.path.is_relative_to(path))
        return [Place(folder, camera, one.path.name.removesuffix(SUFFIX), one.path) for one in found]

    def _has_read(self, folder: Path, camera: str, day: str) -> bool:
        known = self.index.known_event_files(camera, folder)
        return known.get(day) == event_files.found_files(folder, camera).get(day)

    def _read_events(self, folder: Path, camera: str, day: str) -> None:
        nbytes = event_files.found_files(folder, camera).get(day)
        rows: list[EventRow] = []
        with suppress(OSError):
            rows = event_files.read(folder, camera, day) if nbytes is not None else []
        self.index.store_events(camera, folder, day, rows, nbytes, anew=True)

    # --- one file ---

    def _look_at(self, places: Iterable[Place]) -> None:
        rows: list[SegmentRow] = []
        gone: list[tuple[str, str, Path]] = []
        for place in places:
            row = self._row(place)
            if row is not None:
                rows.append(row)
            else:
                gone.append((place.camera, place.id, place.folder))
        self.index.store(rows, gone)

    def _row(self, place: Place) -> SegmentRow | None:
        """What the file says now; None if there is none, or no picture in it yet."""
        try:
            status = os.lstat(place.path)
        except OSError:
            self._drop(place)
            return None
        # A file gets its lock before its first byte: one that is empty must not be locked by us meanwhile.
        if not status.st_size or self._bad.get(place.path) == status.st_size:
            return None
        # Before it is read: what was written until it was let go of is seen then.
        is_written = is_being_written(place.path)
        survey = self._growing.get(place.path) or Survey(place.path)
        try:
            facts = survey.look()
        except (BadFilm, OSError) as error:
            self._refuse(place, status.st_size, error)
            return None
        assert survey.head is not None
        self._keep(place, survey, is_written)
        state = "writing" if is_written else "complete" if facts.is_complete else "cut"
        head = survey.head
        return SegmentRow(
            place.camera,
            place.id,
            str(place.folder),
            facts.begin_utc_ns,
            facts.end_utc_ns,
            facts.nbytes,
            facts.frames,
            head.codec,
            head.mime,
            head.width,
            head.height,
            state,
            results_of(place.path).exists(),
        )

    def _keep(self, place: Place, survey: Survey, is_written: bool) -> None:
        self._bad.pop(place.path, None)
        if is_written and len(self._growing) < _MOST_GROWING:
            self.writing.add(place)
            self._growing[place.path] = survey
        else:
            self._drop(place)

    def _drop(self, place: Place) -> None:
        self.writing.discard(place)
        self._growing.pop(place.path, None)
        self._bad.pop(place.path, None)

    def _refuse(self, place: Place, nbytes: int, error: Exception) -> None:
        self._drop(place)
        if not isinstance(error, FileNotFoundError):
            self._bad[place.path] = nbytes
            log.warning("%s is not in the index: %s", place.path, getattr(error, "strerror", None) or error)


def _cameras(folder: Path) -> list[str]:
    """The folders that may be those of cameras, by name."""
    try:
        with os.scandir(folder) as entries:
            return sorted(
                one.name for one in entries if _is_camera(one.name) and one.is_dir(follow_symlinks=False)
            )
    except OSError:
        return []


def _is_camera(name: str) -> bool:
    try:
        check_name(name, "camera")
    except NeedsPerson:
        return False
    return True


def _batches(items: list[T]) -> Iterator[list[T]]:
    for first in range(0, len(items), BATCH):
        yield items[first : first + BATCH]
