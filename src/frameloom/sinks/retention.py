"""Which segments of a camera are deleted, and when: the oldest finished ones, if they are too old or too many.

Only files that `frameloom.sinks.names` recognises as segments of that camera; nothing at all where no limit is set.
"""

from __future__ import annotations

import logging
from bisect import insort
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from frameloom.model.clock import NS_PER_S, Clock

from .names import Segment, found_in, results_of
from .segment import is_being_written

LOOK_AGAIN_S = 3600.0
"""So often the folder is read anew: a person may have deleted or added files."""

_MOST_AT_ONCE = 50  # deletions: the packets that come meanwhile have to wait
_MS_PER_DAY = 86_400_000

log = logging.getLogger(__name__)


class Retention:
    """The finished segments of one camera under `folder`, and the deletion of the oldest."""

    def __init__(self, folder: Path, camera: str, clock: Clock) -> None:
        self._folder, self._camera, self._clock = folder, camera, clock
        self._segments: list[Segment] = []
        self._nbytes = 0
        self._looked_ns: int | None = None
        self.deleted = 0

    def add(self, segment: Segment) -> None:
        """A segment has been finished."""
        if self._looked_ns is not None and segment not in self._segments:
            insort(self._segments, segment)
            self._nbytes += _all_bytes(segment)

    def prune(self, keep_days: float, keep_bytes: int, growing: Segment | None = None) -> int:
        """Delete what is older than `keep_days`, or the oldest beyond `keep_bytes`; 0: no limit. Returns how many.

        `growing` is being written: it counts, and stays. Raises nothing: what cannot be deleted is passed over.
        """
        if not (keep_days or keep_bytes):
            return 0
        self._look()
        doomed = list(self._doomed(keep_days, keep_bytes, growing))[:_MOST_AT_ONCE]
        gone = sum(self._delete(segment) for segment in doomed)
        self.deleted += gone
        return gone

    def _doomed(self, keep_days: float, keep_bytes: int, growing: Segment | None) -> Iterator[Segment]:
        oldest_ms = self._clock.utc_ns() // 1_000_000 - keep_days * _MS_PER_DAY
        nbytes = self._nbytes + (_all_bytes(growing) if growing else 0)
        for segment in self._segments:
            is_old = bool(keep_days) and segment.utc_ms < oldest_ms
            is_too_much = bool(keep_bytes) and nbytes > keep_bytes
            if not (is_old or is_too_much):
                return
            if growing is None or segment.path != growing.path:
                nbytes -= _all_bytes(segment)
                yield segment

    def _delete(self, segment: Segment) -> bool:
        """Whether the file was there and is gone."""
        if is_being_written(segment.path):
            return False
        with suppress(OSError):  # before the film: without that, nobody would look for them
            results_of(segment.path).unlink()
        try:
            segment.path.unlink()
        except FileNotFoundError:
            self._forget(segment)
            return False
        except OSError as error:
            log.warning("%s cannot be deleted: %s", segment.path, error.strerror)
            self._forget(segment)  # until the folder is read again
            return False
        self._forget(segment)
        with suppress(OSError):  # there is more in it
            segment.path.parent.rmdir()
        return True

    def _forget(self, segment: Segment) -> None:
        self._segments.remove(segment)
        self._nbytes -= _all_bytes(segment)

    def _look(self) -> None:
        now_ns = self._clock.monotonic_ns()
        if self._looked_ns is not None and now_ns - self._looked_ns < LOOK_AGAIN_S * NS_PER_S:
            return
        self._looked_ns = now_ns
        self._segments = sorted(found_in(self._folder, self._camera))
        self._nbytes = sum(map(_all_bytes, self._segments))


def _all_bytes(segment: Segment) -> int:
    return segment.nbytes + segment.results_bytes
