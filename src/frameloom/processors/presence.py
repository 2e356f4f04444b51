"""From "seen in this frame" to events with a start and an end. Pure bookkeeping; what is seen is for
processors."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass

from frameloom.model.clock import NS_PER_S
from frameloom.model.frame import Frame
from frameloom.model.result import Event


@dataclass(slots=True)
class _Span:
    """From the first to the last frame that showed it, in media time and UTC, ns."""

    first_pts_ns: int
    first_at_ns: int
    last_pts_ns: int
    last_at_ns: int
    peak_score: float
    id: str = ""  # empty until it has been held for long enough to be an event

    def extend(self, frame: Frame, score: float) -> None:
        self.last_pts_ns, self.last_at_ns = frame.pts_ns, frame.captured_at_ns
        self.peak_score = max(self.peak_score, score)


class Presence:
    """Tells when something begins and ends to be there; the times are media times, so any frame rate will do.

    name    of the events
    new_id  gives each event its id; a random UUID if not given

    A start carries the time of the first frame of the unbroken row that led to it, an end that of the last
    frame that showed it, though both are known only later.
    """

    def __init__(self, name: str, new_id: Callable[[], str] | None = None) -> None:
        self.name = name
        self._new_id = new_id or (lambda: uuid.uuid4().hex)
        self._span: _Span | None = None
        self._newest_pts_ns: int | None = None

    @property
    def present(self) -> bool:
        """An event has started and not ended."""
        return self._span is not None and self._span.id != ""

    def update(self, frame: Frame, score: float, start_after_s: float, end_after_s: float) -> list[Event]:
        """Take what `frame` shows (`score` 0: nothing) and return the events that this decides, in order."""
        events = self._ended_by(frame, score, end_after_s)
        if score > 0:
            self._extend(frame, score)
            events += self._started_by(frame, start_after_s)
        self._newest_pts_ns = frame.pts_ns
        return events

    def stop(self) -> list[Event]:
        """No frame will come any more: end what is still there."""
        span, self._span = self._span, None
        return [self._end_of(span)] if span is not None and span.id else []

    def _ended_by(self, frame: Frame, score: float, end_after_s: float) -> list[Event]:
        """End what is too long ago, or of another time altogether because the stream began again."""
        span = self._span
        if span is None:
            return []
        began_again = self._newest_pts_ns is not None and frame.pts_ns < self._newest_pts_ns
        wait_s = end_after_s if span.id else 0.0
        if not began_again and (score > 0 or frame.pts_ns - span.last_pts_ns < wait_s * NS_PER_S):
            return []
        self._span = None
        return [self._end_of(span)] if span.id else []

    def _end_of(self, span: _Span) -> Event:
        values = {"peak_score": span.peak_score}
        return Event(span.id, self.name, "end", span.last_pts_ns, span.last_at_ns, span.first_pts_ns, values)

    def _extend(self, frame: Frame, score: float) -> None:
        if self._span is None:
            at_ns = frame.captured_at_ns
            self._span = _Span(frame.pts_ns, at_ns, frame.pts_ns, at_ns, score)
        self._span.extend(frame, score)

    def _started_by(self, frame: Frame, start_after_s: float) -> list[Event]:
        span = self._span
        if span is None or span.id or frame.pts_ns - span.first_pts_ns < start_after_s * NS_PER_S:
            return []
        span.id = self._new_id()
        return [Event(span.id, self.name, "start", span.first_pts_ns, span.first_at_ns, span.first_pts_ns)]
