"""Which results are drawn on which frame, and how long a frame waits for them. The drawing is `frameloom.annotate`'s.

A frame waits for the results of just that frame, for a bounded time, and only for processors that are usually in time;
of the others the last result before it is drawn, as the page does.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from frameloom.annotate import Canvas, Layer
from frameloom.model.clock import NS_PER_S, Clock
from frameloom.model.frame import Frame
from frameloom.model.result import Result

from .hearing import Hearing

WAIT_S = 0.25
"""How long a frame may wait for what is said of it."""

MOST_WAITING = 8  # frames: a lease or a copy each
_WAIT_NS = round(WAIT_S * NS_PER_S)
_KEPT = 64
_OLD_NS = 2 * NS_PER_S  # a box that is older is of something else
_LEARNING = 0.2
_WORTH_WAITING = 0.7


class FrameId(NamedTuple):
    """Which frame of a stream. When it was captured belongs to it, for numbers begin anew with their publisher."""

    seq: int
    captured_ns: int


class Said:
    """The last results of one processor on one stream, by frame. All times are monotonic, in ns."""

    def __init__(self) -> None:
        self._kept: OrderedDict[FrameId, tuple[Result, int]] = OrderedDict()
        self._on_time = 1.0  # the share of the last frames of which it had spoken in time
        self._expected: deque[tuple[FrameId, int]] = deque()  # and until when it is in time

    def add(self, result: Result, now_ns: int) -> None:
        """Keep what was said of a frame, and came just now."""
        newest = self._newest()
        if newest is not None and result.frame_seq <= newest.seq:
            self._kept.clear()  # the camera began to count anew
        self._kept[FrameId(result.frame_seq, result.captured_ns)] = (result, now_ns)
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)

    def expect(self, frame: FrameId, now_ns: int) -> None:
        """A frame has come: something had better be said of it. Judges how it was with those before."""
        while self._expected and self._expected[0][1] < now_ns:
            self._on_time += _LEARNING * (self._was_there(*self._expected.popleft()) - self._on_time)
        self._expected.append((frame, now_ns + _WAIT_NS))

    def is_worth_waiting(self, frame: FrameId) -> bool:
        """Whether the result of `frame` is still to come, and likely to come in time."""
        return self._on_time > _WORTH_WAITING and not self._has_reached(frame)

    def of(self, frame: FrameId) -> Result | None:
        """The result of `frame`, or else the last one before it, if that is not too old."""
        if (exact := self._kept.get(frame)) is not None:
            return exact[0]
        before = (kept for kept in reversed(self._kept) if kept.seq < frame.seq and _are_close(kept, frame))
        found = next(before, None)
        return self._kept[found][0] if found is not None else None

    def _has_reached(self, frame: FrameId) -> bool:
        """Whether it has spoken of this frame, or of a later one and so has left this one out."""
        newest = self._newest()
        return newest is not None and newest.seq >= frame.seq and _are_close(newest, frame)

    def _was_there(self, frame: FrameId, deadline_ns: int) -> bool:
        reached = (come_ns for kept, (_, come_ns) in self._kept.items() if kept.seq >= frame.seq)
        return next(reached, deadline_ns + 1) <= deadline_ns

    def _newest(self) -> FrameId | None:
        return next(reversed(self._kept), None)


class _Waiting(NamedTuple):
    frame: Frame
    due_ns: int


class Annotator:
    """Give it frames of `stream`, and take them back with what was seen on them, in order. For one thread.

    It hears processors from the beginning to `close`, so it is made when somebody looks.
    """

    def __init__(
        self, stream: str, site: str, client: str, clock: Clock, processors: Sequence[str] = ()
    ) -> None:
        self._stream = stream
        self._clock = clock
        self._hearing = Hearing(site, client, clock)
        self._said: dict[str, Said] = {}
        self._waiting: deque[_Waiting] = deque()
        self._canvas = Canvas()
        self.follow(processors)

    def fileno(self) -> int:
        """Readable when processors have said something: time to ask for what is `drawn`."""
        return self._hearing.fileno()

    def follow(self, processors: Sequence[str]) -> None:
        """These look at the stream now; their order says which colour each has."""
        self._hearing.follow(processors)
        self._said = {name: self._said.get(name) or Said() for name in processors}

    def give(self, frame: Frame) -> None:
        """A frame that is to be drawn on."""
        now_ns = self._clock.monotonic_ns()
        for said in self._said.values():
            said.expect(FrameId(frame.seq, frame.captured_ns), now_ns)
        self._waiting.append(_Waiting(frame, now_ns + _WAIT_NS))

    def wait_s(self) -> float | None:
        """Until a frame is drawn whatever has been said of it; None if none waits."""
        if not self._waiting:
            return None
        return max(0, self._waiting[0].due_ns - self._clock.monotonic_ns()) / NS_PER_S

    def drawn(self, max_width: int) -> Iterator[Frame]:
        """Each frame that need not wait any more, with what was seen drawn on it; valid until the next one."""
        self._hear()
        while self._waiting and self._is_ready(self._waiting[0]):
            frame = self._waiting.popleft().frame
            yield self._canvas.draw(frame, self._layers(FrameId(frame.seq, frame.captured_ns)), max_width)

    def close(self) -> None:
        """Hear nobody, and let go of the frames that wait."""
        self._waiting.clear()
        self._hearing.close()

    def _hear(self) -> None:
        for result in self._hearing.take():
            if result.source == self._stream and result.stream in self._said:
                self._said[result.stream].add(result, self._clock.monotonic_ns())

    def _is_ready(self, waiting: _Waiting) -> bool:
        if len(self._waiting) > MOST_WAITING or self._clock.monotonic_ns() >= waiting.due_ns:
            return True
        frame = FrameId(waiting.frame.seq, waiting.frame.captured_ns)
        return not any(said.is_worth_waiting(frame) for said in self._said.values())

    def _layers(self, frame: FrameId) -> Iterable[Layer]:
        for number, (name, said) in enumerate(self._said.items()):
            if (result := said.of(frame)) is not None:
                yield Layer(name, number, result.values)


def _are_close(one: FrameId, other: FrameId) -> bool:
    return abs(one.captured_ns - other.captured_ns) < _OLD_NS
