"""Recordings for the server: its way to the index and to the files, in threads, so that no disk keeps it waiting.

What is asked and answered over HTTP is `recordings`' business.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from frameloom.catalog.boxes import BadFilm
from frameloom.catalog.film import Film
from frameloom.catalog.orders import EXPORT, environment
from frameloom.catalog.player import Virtual, whole_film
from frameloom.catalog.rows import MOST_EVENTS, MOST_SEGMENTS, EventRow, SegmentRow, Summary
from frameloom.model.errors import CommandError, NeedsPerson
from frameloom.sinks.names import results_of
from frameloom.sinks.segment import is_being_written

if TYPE_CHECKING:
    from frameloom.catalog.index import Index

MOST_EXPORTS = 2
_MOST_HEADS = 8
_THREADS = 4
_ALL = 1_000_000
_BITE_BYTES = 256 << 10
_LONGEST_LINE_BYTES = 1 << 20

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Deletion:
    """What was deleted, or would be."""

    segments: int = 0
    bytes: int = 0
    length_ns: int = 0
    begin_ns: int | None = None
    end_ns: int | None = None


class Recordings:
    """The recordings of one site. `database` as in its index's worker. Every method may raise `CommandError`."""

    def __init__(self, site: str, database: str | None) -> None:
        self._site, self._url = site, database
        self._index: Index | None = None
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="recordings")
        self._heads: OrderedDict[tuple[str, int, int], Virtual] = OrderedDict()
        self._lock = threading.Lock()
        self._exports = 0

    def close(self) -> None:
        """No more is asked."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._index is not None:
            self._index.database.close()

    async def summaries(self) -> list[Summary]:
        """Of each camera of which there are recordings."""
        return await self._ask(lambda index: index.summaries()) or []

    async def segments(
        self, camera: str, from_ns: int, to_ns: int, most: int = MOST_SEGMENTS
    ) -> tuple[list[SegmentRow], bool]:
        """See `Index.segments`."""
        return await self._ask(lambda index: index.segments(camera, from_ns, to_ns, most)) or ([], False)

    async def events(
        self, camera: str | None, from_ns: int, to_ns: int, most: int = MOST_EVENTS
    ) -> tuple[list[EventRow], bool]:
        """See `Index.events`."""
        return await self._ask(lambda index: index.events(camera, from_ns, to_ns, most)) or ([], False)

    async def segment(self, camera: str, id: str) -> SegmentRow:
        """One recording that is in the index."""
        row = await self._ask(lambda index: index.segment(camera, id))
        if row is None or row.path is None:
            raise CommandError("unknown-name", f"camera {camera!r}: there is no recording {id[:100]!r}")
        return row

    async def grown(self, row: SegmentRow) -> int | None:
        """Bytes in whole fragments of a file that is being written; None for one that is not."""
        return await self._in_thread(lambda: _with_file(row, _grown))

    async def film(self, row: SegmentRow, most_bytes: int | None) -> Virtual:
        """The recording as a film in which one can seek; of the first `most_bytes` of the file."""
        return await self._in_thread(lambda: _with_file(row, lambda path: self._film(path, most_bytes)))

    async def results(self, row: SegmentRow) -> Lines:
        """What processors said up to now, a JSON text in each line."""
        return await self._in_thread(lambda: _with_file(row, lambda path: Lines(results_of(path))))

    async def delete(self, camera: str, from_ns: int, to_ns: int, *, dry_run: bool) -> Deletion:
        """Delete the finished recordings that lie wholly in that time."""

        def delete(index: Index) -> Deletion:
            rows = [
                row
                for row in index.segments(camera, from_ns, to_ns, _ALL)[0]
                if row.begin_ns >= from_ns and row.end_ns <= to_ns
            ]
            gone = [row for row in rows if _may_go(row) and (dry_run or _unlink(row))]
            if gone and not dry_run:
                index.store([], [(row.camera, row.id, Path(row.folder)) for row in gone])
            return _sum(gone)

        return await self._ask(delete) or Deletion()

    def bites(self, film: Virtual, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes of a film, read as they are sent."""
        return self.read(film.read(start, end))

    async def read(self, reader: Iterator[bytes]) -> AsyncIterator[bytes]:
        """What a reader of files gives, without anybody waiting for the disk."""
        while (bite := await self._in_thread(lambda: next(reader, None))) is not None:
            yield bite

    def export(self, rows: Sequence[SegmentRow], from_ns: int, to_ns: int) -> Export:
        """A film of several recordings, made by a process of its own; raises `CommandError` if too many are made."""
        if self._exports >= MOST_EXPORTS:
            raise CommandError("busy", f"{MOST_EXPORTS} exports are under way: try again later")
        order = {
            "paths": [str(row.path) for row in rows if row.path],
            "from_utc_ns": from_ns,
            "to_utc_ns": to_ns,
        }
        self._exports += 1
        return Export(order, self._export_ended)

    def _export_ended(self) -> None:
        self._exports -= 1

    async def _ask(self, question: Callable[[Index], T]) -> T | None:
        """The index's answer to a question; None where there is no index yet."""
        return await self._in_thread(lambda: self._answer(question))

    def _answer(self, question: Callable[[Index], T]) -> T | None:
        # A database takes long to load, and nobody may ever ask.
        from frameloom.catalog.database import Database, IndexUnavailable
        from frameloom.catalog.index import Index

        try:
            with self._lock:
                if self._index is None:
                    self._index = Index(Database(self._url, self._site), self._site)
            return question(self._index) if self._index.database.is_there else None
        except (IndexUnavailable, NeedsPerson) as error:
            raise CommandError("no-index", str(error)) from None

    def _film(self, path: Path, most_bytes: int | None) -> Virtual:
        status = os.stat(path)
        key = (str(path), status.st_size if most_bytes is None else most_bytes, status.st_ino)
        with self._lock:
            if key in self._heads:
                self._heads.move_to_end(key)
                return self._heads[key]
        film = whole_film(path, most_bytes)
        with self._lock:
            self._heads[key] = film
            while len(self._heads) > _MOST_HEADS:
                self._heads.popitem(last=False)
        return film

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


class Lines:
    """The whole lines of a file as it is now. It may grow while they are read, or be removed: they stay the same."""

    def __init__(self, path: Path) -> None:
        """Raises `OSError`."""
        self._file = path.open("rb", buffering=0)
        self.nbytes = self._whole(os.fstat(self._file.fileno()).st_size)

    def __iter__(self) -> Iterator[bytes]:
        with self._file as file:
            file.seek(0)
            left = self.nbytes
            while left and (bite := file.read(min(left, _BITE_BYTES))):
                left -= len(bite)
                yield bite

    def close(self) -> None:
        """They need not be read."""
        self._file.close()

    def _whole(self, nbytes: int) -> int:
        """Without the line that is being written, unless that is very long."""
        at = max(0, nbytes - _LONGEST_LINE_BYTES)
        tail = os.pread(self._file.fileno(), nbytes - at, at)
        end = tail.rfind(b"\n") + 1
        return at + end if end or not at else nbytes


class Export:
    """One export: `begin` it, then read `bites`, then `close` it, whatever happens."""

    def __init__(self, order: dict[str, Any], on_end: Callable[[], None]) -> None:
        self._order, self._on_end = order, on_end
        self._child: asyncio.subprocess.Process | None = None

    async def begin(self) -> dict[str, Any]:
        """What comes: `nbytes`, `begin_utc_ns`, `end_utc_ns`. Raises `CommandError` if nothing does."""
        pipe = asyncio.subprocess.PIPE
        self._child = await asyncio.create_subprocess_exec(
            *EXPORT, stdin=pipe, stdout=pipe, env=environment()
        )
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        with contextlib.suppress(OSError):
            self._child.stdin.write(json.dumps(self._order).encode())
            self._child.stdin.write_eof()
        try:
            told: dict[str, Any] = json.loads(await self._child.stdout.readline())
        except ValueError:
            raise CommandError("internal", "the process that exports has failed; the log says why") from None
        if "error" in told:
            raise CommandError("refused", told["error"])
        return told

    async def bites(self) -> AsyncIterator[bytes]:
        """The film."""
        assert self._child is not None
        assert self._child.stdout is not None
        while bite := await self._child.stdout.read(_BITE_BYTES):
            yield bite

    async def close(self) -> None:
        """End the process, if it has not ended by itself. May be called twice."""
        child, self._child = self._child, None
        ended, self._on_end = self._on_end, _nothing
        try:
            if child is not None:
                with contextlib.suppress(ProcessLookupError):
                    child.kill()
                await child.wait()
        finally:
            ended()


def _nothing() -> None:
    """What is called when an export has been closed already."""


def _with_file(row: SegmentRow, work: Callable[[Path], T]) -> T:
    """Do something with the file of a recording; raises `CommandError` where it is not there or is no film."""
    path = row.path
    assert path is not None
    try:
        return work(path)
    except FileNotFoundError:
        raise CommandError("unknown-name", f"recording {row.id!r}: the file is not there") from None
    except (OSError, BadFilm) as error:
        words = getattr(error, "strerror", None) or str(error)
        raise CommandError("refused", f"recording {row.id!r}: {words}") from None


def _grown(path: Path) -> int | None:
    if not is_being_written(path):
        return None
    with Film(path) as film:
        for _ in film.fragments():
            pass
        return film.whole


def _may_go(row: SegmentRow) -> bool:
    return row.path is not None and not is_being_written(row.path)


def _unlink(row: SegmentRow) -> bool:
    """Whether the film was there and is gone; what stands beside it goes with it."""
    assert row.path is not None
    try:
        row.path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        log.warning("%s cannot be deleted: %s", row.path, error.strerror)
        return False
    with contextlib.suppress(OSError):
        results_of(row.path).unlink()
    with contextlib.suppress(OSError):  # there is more in it
        row.path.parent.rmdir()
    return True


def _sum(rows: Sequence[SegmentRow]) -> Deletion:
    if not rows:
        return Deletion()
    return Deletion(
        len(rows),
        sum(row.bytes for row in rows),
        sum(row.end_ns - row.begin_ns for row in rows),
        min(row.begin_ns for row in rows),
        max(row.end_ns for row in rows),
    )
