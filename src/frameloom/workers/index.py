"""Hosts the index of recordings: follows the folders of recordings and the events of processors, and keeps both.

What is kept, and how it is found in files, is `frameloom.catalog`'s business. Recorders know nothing of this worker:
what happens to the database does not happen to them.
"""

from __future__ import annotations

import logging
import select
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from frameloom.catalog import event_files
from frameloom.catalog.changes import Changes
from frameloom.catalog.database import Database, IndexUnavailable
from frameloom.catalog.index import Index
from frameloom.catalog.keeper import Keeper, WrittenEvent
from frameloom.catalog.rows import LATEST_NS, EventRow
from frameloom.catalog.told import segment_json, summary_json
from frameloom.model.clock import NS_PER_S, Clock, SystemClock
from frameloom.model.errors import CommandError
from frameloom.model.result import Result
from frameloom.model.worker import State, WorkerReport, WorkerSpec

from .hearing import Hearing
from .host import Host
from .inbox import Inbox
from .link import Link

COMMANDS = ("rebuild", "cameras", "segments")
RETRY_S = 5.0
"""So long after a trouble with the database it is tried again."""

_COMPARE_S = 600.0  # all files with the index, however little was heard of changes
_WRITING_S = 5.0  # that a recorder has let go of a file is told by nothing
_IDLE_S = 60.0
_MOST_EVENTS = 10_000
_MOST_TOLD = 1000  # recordings in one answer: a message has its limit
_OPEN_NS = 2 * 86_400 * NS_PER_S

log = logging.getLogger(__name__)


class IndexHost(Host):
    """config: `folders` of recordings, absolute; `events`: the camera of each processor; `database`: its URL, or None
    for the site's own file.

    Commands: `rebuild` makes the index anew; `cameras`, and `segments` (camera, from_utc_ns, to_utc_ns), tell what is
    in it.
    """

    def __init__(self, spec: WorkerSpec, link: Link, clock: Clock | None = None) -> None:
        super().__init__(spec, link)
        link.work = "reading recordings"
        self._clock = clock or SystemClock()
        self._cameras: dict[str, str] = spec.config["events"]
        self._hearing = Hearing(spec.site, spec.name, self._clock)
        self._hearing.follow(self._cameras)
        self._waking = select.epoll()
        self._waking.register(link.stop_fd, select.EPOLLIN)
        self._waking.register(self._hearing.fileno(), select.EPOLLIN)
        self._inbox = Inbox(self._waking.fileno())
        self._index = Index(Database(spec.config["database"], spec.site), spec.site)
        self._keeper = Keeper(self._index, [Path(one) for one in spec.config["folders"]])
        self._changes: Changes | None = None
        self._prepared = False
        self._comparing: Iterator[int] | None = None
        self._compare_ns = self._writing_ns = self._retry_ns = 0
        self._trouble = self._events_trouble = ""
        self._looked: int | None = None
        self._times = 0  # that all was compared
        self._pending: deque[EventRow] = deque(maxlen=_MOST_EVENTS)
        self._written: deque[WrittenEvent] = deque(maxlen=_MOST_EVENTS)
        self._open: dict[tuple[str, str], EventRow] = {}
        self._heard = 0

    def run(self) -> None:
        self._changes = Changes(self._keeper.folders, self._inbox.nudge)
        try:
            while not self.link.stopping.is_set():
                self._turn()
                self._inbox.wait(self._pause_s())
        finally:
            self._changes.close()
            self._hearing.close()
            self._inbox.close()
            self._waking.close()
            self._index.database.close()

    def command(self, name: str, args: Mapping[str, Any]) -> dict[str, Any]:
        if name not in COMMANDS:
            allowed = ", ".join(COMMANDS)
            raise CommandError("unknown-command", f"{self.spec.name!r}: read {name!r}, allowed: {allowed}")
        if name == "rebuild":
            return self._inbox.submit({"rebuild": True})
        try:
            return self._cameras_told() if name == "cameras" else self._segments_told(args)
        except IndexUnavailable as error:
            raise CommandError("no-index", str(error)) from None

    def report(self) -> WorkerReport:
        trouble = self._trouble or self._events_trouble
        state = State.DEGRADED if trouble else State.RUNNING if self._times else State.STARTING
        detail = trouble or (f"{self._looked} recordings looked at" if self._looked is not None else "")
        return WorkerReport(
            state if self._looked is None or trouble else State.RUNNING, detail, info=self._info()
        )

    def _info(self) -> dict[str, Any]:
        return {
            "folders": [str(folder) for folder in self._keeper.folders],
            "writing": len(self._keeper.writing),
            "events": self._heard,
            "looked_at": self._looked,
            "compared": self._times,
        }

    # --- the main thread ---

    def _turn(self) -> None:
        """A piece of work. Whatever the database does, what processors say is heard and written down."""
        with self.link.busy():
            self._hear()
            self._write_events()
            self._inbox.apply(self._order)
            if self._clock.monotonic_ns() < self._retry_ns:
                return
            try:
                self._keep()
            except IndexUnavailable as error:
                self._fail(error)

    def _pause_s(self) -> float:
        if self._trouble:
            return max(0.0, (self._retry_ns - self._clock.monotonic_ns()) / NS_PER_S)
        if self._comparing is not None:
            return 0.0
        return _WRITING_S if self._keeper.writing else RETRY_S if self._pending else _IDLE_S

    def _keep(self) -> None:
        self._prepare()
        self._store_events()
        self._take_changes()
        if self._comparing is not None:
            self._compare_on(self._comparing)
        now_ns = self._clock.monotonic_ns()
        if now_ns >= self._writing_ns:
            self._writing_ns = now_ns + round(_WRITING_S * NS_PER_S)
            self._keeper.look_at_writing()
        if self._comparing is None and now_ns >= self._compare_ns:
            self._begin(self._keeper.sync())
        self._say_trouble("")

    def _prepare(self) -> None:
        if self._prepared and self._index.database.is_there:
            return
        self._index.database.prepare()
        self._prepared = True
        since_ns = self._clock.utc_ns() - _OPEN_NS
        self._open.update({(row.processor, row.id): row for row in self._index.open_events(since_ns)})
        self._begin(self._keeper.sync())

    def _begin(self, comparing: Iterator[int]) -> None:
        self._comparing, self._looked = comparing, 0

    def _compare_on(self, comparing: Iterator[int]) -> None:
        step = next(comparing, None)
        if step is not None:
            self._looked = (self._looked or 0) + step
            return
        self._comparing = self._looked = None
        self._times += 1
        self._compare_ns = self._clock.monotonic_ns() + round(_COMPARE_S * NS_PER_S)
        self.link.wake()

    def _take_changes(self) -> None:
        assert self._changes is not None
        paths, everything = self._changes.take()
        if everything:
            self._compare_ns = 0
        self._keeper.look(paths)

    def _order(self, order: Mapping[str, Any]) -> dict[str, Any]:
        self._retry_ns = 0
        self._begin(self._keeper.rebuild())
        return {"compared": self._times}

    def _fail(self, error: IndexUnavailable) -> None:
        """What was not stored is found when all is compared again."""
        self._prepared, self._comparing, self._looked = False, None, None
        self._written.clear()
        wait_s = 0.0 if error.is_lost and not self._trouble else RETRY_S
        self._retry_ns = self._clock.monotonic_ns() + round(wait_s * NS_PER_S)
        self._say_trouble(f"{error}; trying again every {RETRY_S:g} s")

    def _say_trouble(self, trouble: str) -> None:
        if trouble != self._trouble:
            log.warning("%s", trouble or "the index is kept again")
            self._trouble = trouble
            self.link.wake()

    # --- events ---

    def _hear(self) -> None:
        for result in self._hearing.take():
            events = result.values.get("events")
            for told in events if isinstance(events, list) else []:
                if isinstance(told, dict):
                    self._hear_event(result, told)

    def _hear_event(self, result: Result, told: dict[str, Any]) -> None:
        row = self._row(result, told)
        if row is not None:
            self._heard += 1
            self._pending.append(row)

    def _row(self, result: Result, told: dict[str, Any]) -> EventRow | None:
        at_ns = _at_ns(result, told, "pts_ns") if not told.get("at_ns") else told["at_ns"]
        if not isinstance(at_ns, int) or not 0 <= at_ns < LATEST_NS:
            return None
        camera = self._cameras[result.stream]
        key = result.stream, str(told.get("id", ""))
        if told.get("phase") == "start":
            row = event_files.event_of(camera, result.stream, told, at_ns, None)
            if len(self._open) < _MOST_EVENTS:
                self._open[key] = row
            return row
        if told.get("phase") != "end":
            return None
        began = self._open.pop(key, None)
        if began is None:  # before we were there
            began_ns = _at_ns(result, told, "started_pts_ns")
            began = event_files.event_of(
                camera, result.stream, told, at_ns if began_ns is None else began_ns, None
            )
        ended = event_files.event_of(camera, result.stream, told, began.at_ns, at_ns)
        return replace(ended, values={**began.values, **ended.values})

    def _write_events(self) -> None:
        """Beside the recordings, whether there is a database or not."""
        try:
            while self._pending:
                self._written.append(self._keeper.write_event(self._pending[0]))
                self._pending.popleft()
        except OSError as error:
            self._events_trouble = f"events cannot be written down: {error.filename}: {error.strerror}"
        else:
            self._events_trouble = ""

    def _store_events(self) -> None:
        while self._written:
            self._keeper.store_event(self._written[0])
            self._written.popleft()

    # --- what is told, in the command thread ---

    def _cameras_told(self) -> dict[str, Any]:
        return {"cameras": [summary_json(one) for one in self._index.summaries()]}

    def _segments_told(self, args: Mapping[str, Any]) -> dict[str, Any]:
        try:
            camera, times = str(args["camera"]), (int(args["from_utc_ns"]), int(args["to_utc_ns"]))
        except (KeyError, TypeError, ValueError):
            message = f"{self.spec.name!r}: segments wants camera, from_utc_ns, to_utc_ns"
            raise CommandError("invalid", message) from None
        rows, truncated = self._index.segments(camera, *times, most=_MOST_TOLD)
        told = [{**segment_json(row), "path": str(row.path)} for row in rows if row.path]
        return {"camera": camera, "segments": told, "truncated": truncated}


def _at_ns(result: Result, told: Mapping[str, Any], key: str) -> int | None:
    """UTC of a media time that an event tells, by that of the frame that it was told with."""
    pts_ns = told.get(key)
    return result.captured_at_ns - result.pts_ns + pts_ns if isinstance(pts_ns, int) else None
