"""Hosts a view: a stream's pictures as JPEG and as H.264, each encoded once for all its viewers and never for none.

Which frames are shown is decided here; how one becomes a packet, in `frameloom.workers.encode`, and what is drawn on
those that are to show what processors saw, in `frameloom.workers.annotating`.
"""

from __future__ import annotations

import select
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from frameloom.bus.subscriber import Subscription
from frameloom.model.clock import NS_PER_S, SystemClock
from frameloom.model.errors import PeerError, StreamEnded
from frameloom.model.frame import Frame
from frameloom.model.names import annotated_live_of, annotated_of, live_of, view_of
from frameloom.model.parameters import Integer, Number, declared, validate_all
from frameloom.model.worker import State, WorkerReport, WorkerSpec

from .encode import JpegOutput, LiveOutput, Output, for_recording
from .hearing import without_names
from .host import Host
from .inbox import Inbox
from .link import Link
from .meter import Meter

if TYPE_CHECKING:
    from .annotating import Annotator

_WAITING_S = 2.0  # without a frame for so long, the worker says that it waits
_AGAIN_S = 1.0  # until a stream that has ended, or refused us, is joined again
_MOST_GIVEN_TWICE = 32
_NAMES = ("processors", "recorders")


class ViewHost(Host):
    """Publishes 'mjpeg' packets of the stream it reads, and 'h264' packets beside them for those who read these.

    `frame_seq` in their metadata tells which frame each shows, and their times are those of that frame. Both exist once
    more with what processors saw drawn on them. Beside the parameters that people set, the site says two lists of
    names: `processors`, those that look at the stream, and `recorders`, those who record what they read of us.
    """

    quality = Integer(
        80, minimum=20, maximum=95, unit="%", description="Quality of the live picture, as of a JPEG"
    )
    max_width = Integer(
        1280,
        minimum=160,
        maximum=7680,
        unit="px",
        description="Wider pictures are shrunk to this width for viewers",
    )
    max_fps = Number(
        30,
        minimum=0.2,
        maximum=120,
        unit="frames/s",
        description="Viewers get at most so many pictures a second",
    )
    max_kbps = Integer(
        4000,
        minimum=100,
        maximum=16000,
        unit="kbit/s",
        description="Where H.264 is made for browsers, it takes at most so much",
    )

    def __init__(self, spec: WorkerSpec, link: Link) -> None:
        super().__init__(spec, link)
        link.work = "encoding"
        self._parameters = declared(type(self))
        defaults = {name: parameter.default for name, parameter in self._parameters.items()}
        params, names = without_names(spec.params, *_NAMES)
        self._values = defaults | validate_all(self._parameters, params)
        self._names: dict[str, tuple[str, ...]] = dict.fromkeys(_NAMES, ()) | names
        self._waking = select.epoll()
        self._waking.register(link.stop_fd, select.EPOLLIN)
        self._inbox = Inbox(self._waking.fileno())
        self._meter = Meter()
        self._pace = Pace()
        self._clock = SystemClock()
        self._frames: Subscription | None = None
        self._seen: deque[tuple[int, int]] = deque(maxlen=_MOST_GIVEN_TWICE)
        self._detail = ""
        self._dropped = 0
        self._annotator: Annotator | None = None
        self._plain: tuple[Output, ...] = (
            LiveOutput(live_stream(spec), spec.site, self._inbox.nudge),
            JpegOutput(spec.name, spec.site, self._inbox.nudge),
        )
        self._annotated: tuple[Output, ...] = (
            LiveOutput(annotated_live_of(shown_as(spec)), spec.site, self._inbox.nudge),
            JpegOutput(annotated_of(shown_as(spec)), spec.site, self._inbox.nudge),
        )
        self._outputs = (*self._plain, *self._annotated)

    def run(self) -> None:
        self.link.wake()
        while not self.link.stopping.is_set():
            if self._inbox.apply(self._change):
                self.link.wake()
            if self._wanted(self._outputs):
                self._show_next()
            else:
                self._rest()
        self._stop_reading()
        self._stop_annotating()
        for output in self._outputs:
            output.close()
        self._inbox.close()
        self._waking.close()

    def change(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return self._inbox.submit(values)

    def report(self) -> WorkerReport:
        streams = {output.stream: output.described() for output in self._outputs}
        trouble = self._trouble()
        frames = self._frames
        is_watched = any(stream["readers"] for stream in streams.values())
        return WorkerReport(
            State.DEGRADED if trouble else State.RUNNING,
            trouble or (self._detail if is_watched else "nobody is watching"),
            fps=self._meter.fps(),
            frames=self._meter.count,
            dropped=self._dropped
            + sum(output.dropped for output in self._outputs)
            + (frames.stats.dropped if frames else 0),
            latency_ms=self._meter.latency_ms(),
            values=dict(self._values),
            declared=[parameter.declaration() for parameter in self._parameters.values()],
            streams=streams,
        )

    def _change(self, values: Mapping[str, Any]) -> dict[str, Any]:
        given, names = without_names(values, *_NAMES)
        taken = validate_all(self._parameters, given)
        self._values = {**self._values, **taken}
        self._names |= names
        if self._annotator is not None:
            self._annotator.follow(self._names["processors"])
        return {**taken, **{key: list(value) for key, value in names.items()}}

    def _wanted(self, outputs: Sequence[Output]) -> list[Output]:
        """What somebody reads of these; all else comes to rest."""
        for output in outputs:
            if not output.wanted:
                output.rest()
        return [output for output in outputs if output.wanted]

    def _rest(self) -> None:
        """Nobody looks: leave the stream, so that the camera may stop decoding."""
        self._stop_reading()
        self._stop_annotating()
        self._tell("")
        self._inbox.wait()

    def _stop_reading(self) -> None:
        frames, self._frames = self._frames, None
        if frames is not None:
            self._dropped += frames.stats.dropped
            frames.close()

    def _show_next(self) -> None:
        frames = self._joined()
        began_ns = self._clock.monotonic_ns()
        try:
            frame = frames.get(self._wait_s(), interrupt_fd=self._inbox.fileno())
        except (StreamEnded, PeerError) as error:
            self._tell(str(error))
            self._stop_reading()
            self._inbox.wait(_AGAIN_S)
            return
        if isinstance(frame, Frame):
            if self._is_new(frame) and self._pace.lets_through(frame.captured_ns, self._values["max_fps"]):
                self._show(frame)
        elif self._clock.monotonic_ns() - began_ns >= _WAITING_S * NS_PER_S:  # not just interrupted
            self._tell(f"waiting for pictures of {self.spec.streams[0]!r}")
        self._show_annotated()

    def _joined(self) -> Subscription:
        """The frames: the newest for viewers, and each of them, as far as that is possible, for a recording."""
        policy = "every" if any(map(self._is_recorded, self._outputs)) else "latest"
        if self._frames is not None and self._frames.policy == policy:
            return self._frames
        frames = Subscription(self.spec.streams[0], site=self.spec.site, policy=policy, client=self.spec.name)
        self._stop_reading()  # not before: a camera that nobody reads stops decoding
        self._frames = frames
        return frames

    def _is_new(self, frame: Frame) -> bool:
        """Not one of those that a stream gives once more to who joins it in another way."""
        identity = frame.seq, frame.captured_ns
        if identity in self._seen:
            return False
        self._seen.append(identity)
        return True

    def _wait_s(self) -> float:
        """How long to wait for a frame, while others may wait for what processors say of them."""
        wait_s = self._annotator.wait_s() if self._annotator is not None else None
        return _WAITING_S if wait_s is None else min(wait_s, _WAITING_S)

    def _show(self, frame: Frame) -> None:
        self._encode(self._plain, frame)
        if any(output.wanted for output in self._annotated):
            self._begin_annotating().give(frame)

    def _show_annotated(self) -> None:
        """Those frames of which all has been said, or that have waited long enough."""
        if self._annotator is None:
            return
        wanted = self._wanted(self._annotated)
        if not wanted:
            self._stop_annotating()
            return
        width = max(self._values_for(output)["max_width"] for output in wanted)
        for frame in self._annotator.drawn(width):
            self._encode(self._annotated, frame)

    def _begin_annotating(self) -> Annotator:
        if self._annotator is None:
            from .annotating import Annotator  # OpenCV, which a view of no viewer does without

            self._annotator = Annotator(
                self.spec.streams[0], self.spec.site, self.spec.name, self._clock, self._names["processors"]
            )
            self._waking.register(self._annotator.fileno(), select.EPOLLIN)
        return self._annotator

    def _stop_annotating(self) -> None:
        annotator, self._annotator = self._annotator, None
        if annotator is not None:
            self._waking.unregister(annotator.fileno())
            annotator.close()

    def _encode(self, outputs: Sequence[Output], frame: Frame) -> None:
        before = self._trouble()
        with self.link.busy():
            shown = [output.show(frame, self._values_for(output)) for output in self._wanted(outputs)]
        if any(shown):
            self._count(outputs, frame)
        self._tell("")
        if self._trouble() != before:
            self.link.wake()

    def _count(self, outputs: Sequence[Output], frame: Frame) -> None:
        """A frame that is shown in both ways is one frame."""
        if outputs is self._plain or not any(output.wanted for output in self._plain):
            self._meter.tick(frame.captured_ns)

    def _values_for(self, output: Output) -> Mapping[str, Any]:
        return for_recording(self._values) if self._is_recorded(output) else self._values

    def _is_recorded(self, output: Output) -> bool:
        recorders = self._names["recorders"]
        return bool(recorders) and output.wanted and any(client in recorders for client in output.clients)

    def _trouble(self) -> str:
        return next((output.trouble for output in self._outputs if output.trouble), "")

    def _tell(self, detail: str) -> None:
        if detail != self._detail:
            self._detail = detail
            self.link.wake()


def live_stream(spec: WorkerSpec) -> str:
    """The stream of H.264 of a view: that of the camera whose own view it is, else one of its own."""
    return live_of(shown_as(spec))


def shown_as(spec: WorkerSpec) -> str:
    """What the streams of a view are named by: the camera whose own view it is, else the view."""
    camera = spec.streams[0]
    return camera if spec.name == view_of(camera) else spec.name


class Pace:
    """Lets so many frames through in the long run; two close together, too, for cameras jitter."""

    def __init__(self) -> None:
        self._due_ns = 0

    def lets_through(self, captured_ns: int, most_fps: float) -> bool:
        """Whether the frame captured then (monotonic) is one of at most `most_fps` a second."""
        gap_ns = round(NS_PER_S / most_fps)
        if self._due_ns - captured_ns > 2 * gap_ns:
            self._due_ns = 0  # the gap was longer, or the camera's host began to count anew
        if captured_ns < self._due_ns:
            return False
        self._due_ns = max(self._due_ns, captured_ns - gap_ns) + gap_ns
        return True
