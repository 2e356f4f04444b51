"""What the index of one site holds, as rows, and the questions that are put to it.

Keeping it up to date is `keeper`'s business. Every method may raise `IndexUnavailable`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from .database import Database
from .rows import LATEST_NS, MOST_EVENTS, MOST_SEGMENTS, EventRow, SegmentRow, Summary
from .tables import event_files, events, segments


class Known(NamedTuple):
    """What is enough to see whether a file has changed."""

    bytes: int
    state: str
    has_results: bool


def place_of(folder: Path | str) -> str:
    """A short name for a folder: paths are too long for the keys of some databases."""
    return hashlib.sha256(str(folder).encode()).hexdigest()[:16]


class Index:
    """The index of `site` in `database`, which other sites may share."""

    def __init__(self, database: Database, site: str) -> None:
        self.database = database
        self._site = site

    # --- questions ---

    def summaries(self) -> list[Summary]:
        """Of each camera of which there are recordings, by name."""
        table = segments.c
        query = (
            sa.select(
                table.camera,
                sa.func.count(),
                sa.func.sum(table.bytes),
                sa.func.sum(table.end_ns - table.begin_ns),
                sa.func.min(table.begin_ns),
                sa.func.max(table.end_ns),
            )
            .where(table.site == self._site)
            .group_by(table.camera)
            .order_by(table.camera)
        )
        with self.database.transaction() as connection:
            return [Summary(row[0], *map(int, row[1:])) for row in connection.execute(query)]

    def segments(
        self, camera: str, from_ns: int = 0, to_ns: int = LATEST_NS, most: int = MOST_SEGMENTS
    ) -> tuple[list[SegmentRow], bool]:
        """Those that reach into this time, in order; the newest `most` of them, and whether there are more."""
        table = segments.c
        query = (
            sa.select(segments)
            .where(table.site == self._site, table.camera == camera)
            .where(table.begin_ns < to_ns, table.end_ns > from_ns)
            .order_by(table.begin_ns.desc(), table.id.desc(), table.place)
            .limit(most + 1)
        )
        with self.database.transaction() as connection:
            rows = [_segment(row) for row in connection.execute(query)]
        return rows[most - 1 :: -1] if len(rows) > most else rows[::-1], len(rows) > most

    def segment(self, camera: str, id: str) -> SegmentRow | None:
        """One recording; where two folders have one of this name, that of the first."""
        table = segments.c
        query = (
            sa.select(segments)
            .where(table.site == self._site, table.camera == camera, table.id == id)
            .order_by(table.place)
            .limit(1)
        )
        with self.database.transaction() as connection:
            row = connection.execute(query).first()
        return _segment(row) if row else None

    def events(
        self, camera: str | None = None, from_ns: int = 0, to_ns: int = LATEST_NS, most: int = MOST_EVENTS
    ) -> tuple[list[EventRow], bool]:
        """Those that began in that time, the newest first; `most` of them, and whether there are more."""
        table = events.c
        query = (
            sa.select(events)
            .where(table.site == self._site, table.at_ns >= from_ns, table.at_ns < to_ns)
            .order_by(table.at_ns.desc(), table.processor, table.id)
            .limit(most + 1)
        )
        if camera is not None:
            query = query.where(table.camera == camera)
        with self.database.transaction() as connection:
            rows = [_event(row) for row in connection.execute(query)]
        return rows[:most], len(rows) > most

    def open_events(self, since_ns: int) -> list[EventRow]:
        """Those that began since then and whose end was not told."""
        table = events.c
        query = sa.select(events).where(
            table.site == self._site, table.end_ns.is_(None), table.at_ns >= since_ns
        )
        with self.database.transaction() as connection:
            return [_event(row) for row in connection.execute(query)]

    # --- for the keeper ---

    def known(self, camera: str, folder: Path) -> dict[str, Known]:
        """What is known of the recordings of a camera in a folder, by id."""
        table = segments.c
        query = sa.select(table.id, table.bytes, table.state, table.has_results).where(
            table.site == self._site, table.camera == camera, table.place == place_of(folder)
        )
        with self.database.transaction() as connection:
            return {row[0]: Known(*row[1:]) for row in connection.execute(query)}

    def known_places(self) -> set[tuple[str, str]]:
        """(place, camera) of everything in the index."""
        found: set[tuple[str, str]] = set()
        with self.database.transaction() as connection:
            for table in (segments, event_files):
                query = sa.select(table.c.place, table.c.camera).where(table.c.site == self._site).distinct()
                found |= {(row[0], row[1]) for row in connection.execute(query)}
        return found

    def store(self, rows: Sequence[SegmentRow], gone: Iterable[tuple[str, str, Path]] = ()) -> None:
        """Put these in, in the place of what was known of them; forget those of `gone`: (camera, id, folder)."""
        keys = [self._key(row.camera, row.id, row.folder) for row in rows]
        with self.database.transaction() as connection:
            _delete(connection, segments, [*keys, *(self._key(*one) for one in gone)])
            if rows:
                values = [asdict(row) | key for row, key in zip(rows, keys, strict=True)]
                connection.execute(sa.insert(segments), values)

    def forget_place(self, place: str, camera: str) -> None:
        """Nothing of this camera is in that folder any more."""
        with self.database.transaction() as connection:
            for table in (segments, events, event_files):
                connection.execute(
                    sa.delete(table).where(
                        table.c.site == self._site, table.c.place == place, table.c.camera == camera
                    )
                )

    def clear(self) -> None:
        """Forget all of this site."""
        with self.database.transaction() as connection:
            for table in (segments, events, event_files):
                connection.execute(sa.delete(table).where(table.c.site == self._site))

    def known_event_files(self, camera: str, folder: Path) -> dict[str, int]:
        """Bytes of each file of events, when it was read, by day."""
        table = event_files.c
        query = sa.select(table.day, table.bytes).where(
            table.site == self._site, table.camera == camera, table.place == place_of(folder)
        )
        with self.database.transaction() as connection:
            return {row[0]: int(row[1]) for row in connection.execute(query)}

    def store_events(
        self, camera: str, folder: Path, day: str, rows: Sequence[EventRow], nbytes: int | None, *, anew: bool
    ) -> None:
        """Put events of one file in; `anew`: all others of it are gone. `nbytes` of the file; None: it is gone."""
        place = place_of(folder)
        file = {"site": self._site, "camera": camera, "place": place, "day": day}
        values = [self._event_values(row, place) for row in rows]
        with self.database.transaction() as connection:
            if anew:
                _delete(connection, events, [file])
            _delete(connection, events, [{name: one[name] for name in _EVENT_KEY} for one in values])
            if values:
                connection.execute(sa.insert(events), values)
            _delete(connection, event_files, [file])
            if nbytes is not None:
                connection.execute(sa.insert(event_files), [file | {"bytes": nbytes}])

    def _event_values(self, row: EventRow, place: str) -> dict[str, Any]:
        detail = json.dumps(row.values, separators=(",", ":"))
        return {
            "site": self._site,
            "camera": row.camera,
            "processor": row.processor,
            "at_ns": row.at_ns,
            "id": row.id,
            "end_ns": row.end_ns,
            "name": row.name,
            "detail": detail,
            "place": place,
            "day": row.day,
        }

    def _key(self, camera: str, id: str, folder: Path | str) -> dict[str, Any]:
        return {"site": self._site, "camera": camera, "id": id, "place": place_of(folder)}


_EVENT_KEY = ("site", "camera", "processor", "at_ns", "id")
_SEGMENT = tuple(SegmentRow.__dataclass_fields__)


def _delete(connection: Connection, table: sa.Table, keys: Sequence[Mapping[str, Any]]) -> None:
    """The rows whose columns are as one of `keys` says, all of which name the same columns."""
    if not keys:
        return
    names = list(keys[0])
    matches = [table.c[name] == sa.bindparam(f"p_{name}") for name in names]
    connection.execute(
        sa.delete(table).where(*matches), [{f"p_{name}": key[name] for name in names} for key in keys]
    )


def _segment(row: Any) -> SegmentRow:
    values = row._mapping
    return SegmentRow(**{name: values[name] for name in _SEGMENT})


def _event(row: Any) -> EventRow:
    return EventRow(
        row.camera, row.processor, row.id, row.at_ns, row.end_ns, row.name, json.loads(row.detail)
    )
