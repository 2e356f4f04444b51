"""Hosts a view: a stream's pictures as JPEG and as H.264, each encoded once for all its viewers and never for none.

Which frames are shown is decided here; how one becomes a packet, in `frameloom.workers.encode`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from frameloom.bus.subscriber import Subscription
from frameloom.model.clock import NS_PER_S, SystemClock
from frameloom.model.errors import PeerError, StreamEnded
from frameloom.model.frame import Frame
from frameloom.model.names import live_of, view_of
from frameloom.model.parameters import Integer, Number, declared, validate_all
from frameloom.model.worker import State, WorkerReport, WorkerSpec

from .encode import JpegOutput, LiveOutput, Output
from .host import Host
from .inbox import Inbox
from .link import Link
from .meter import Meter

_WAITING_S = 2.0  # without a frame for so long, the worker says that it waits
_AGAIN_S = 1.0  # until a stream that has ended, or refused us, is joined again


class ViewHost(Host):
    """Publishes 'mjpeg' packets of the stream it reads, and 'h264' packets beside them for those who read these.

    `frame_seq` in their metadata tells which frame each shows, and their times are those of that frame.
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
        self._values = defaults | validate_all(self._parameters, spec.params)
        self._inbox = Inbox(link.stop_fd)
        self._meter = Meter()
        self._pace = Pace()
        self._clock = SystemClock()
        self._frames: Subscription | None = None
        self._detail = ""
        self._dropped = 0
        self._outputs: tuple[Output, ...] = (
            LiveOutput(live_stream(spec), spec.site, self._inbox.nudge),
            JpegOutput(spec.name, spec.site, self._inbox.nudge),
        )

    def run(self) -> None:
        self.link.wake()
        while not self.link.stopping.is_set():
            if self._inbox.apply(self._change):
                self.link.wake()
            if self._wanted():
                self._show_next()
            else:
                self._rest()
        self._stop_reading()
        for output in self._outputs:
            output.close()
        self._inbox.close()

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
        taken = validate_all(self._parameters, values)
        self._values = {**self._values, **taken}
        return taken

    def _wanted(self) -> list[Output]:
        """What somebody reads; all else comes to rest."""
        for output in self._outputs:
            if not output.wanted:
                output.rest()
        return [output for output in self._outputs if output.wanted]

    def _rest(self) -> None:
        """Nobody looks: leave the stream, so that the camera may stop decoding."""
        self._stop_reading()
        self._tell("")
        self._inbox.wait()

    def _stop_reading(self) -> None:
        frames, self._frames = self._frames, None
        if frames is not None:
            self._dropped += frames.stats.dropped
            frames.close()

    def _show_next(self) -> None:
        if self._frames is None:
            self._frames = Subscription(self.spec.streams[0], site=self.spec.site, client=self.spec.name)
        began_ns = self._clock.monotonic_ns()
        try:
            frame = self._frames.get(_WAITING_S, interrupt_fd=self._inbox.fileno())
        except (StreamEnded, PeerError) as error:
            self._tell(str(error))
            self._stop_reading()
            self._inbox.wait(_AGAIN_S)
            return
        if isinstance(frame, Frame):
            if self._pace.lets_through(frame.captured_ns, self._values["max_fps"]):
                self._show(frame)
        elif self._clock.monotonic_ns() - began_ns >= _WAITING_S * NS_PER_S:  # not just interrupted
            self._tell(f"waiting for pictures of {self.spec.streams[0]!r}")

    def _show(self, frame: Frame) -> None:
        before = self._trouble()
        with self.link.busy():
            shown = [output.show(frame, self._values) for output in self._wanted()]
        if any(shown):
            self._meter.tick(frame.captured_ns)
        self._tell("")
        if self._trouble() != before:
            self.link.wake()

    def _trouble(self) -> str:
        return next((output.trouble for output in self._outputs if output.trouble), "")

    def _tell(self, detail: str) -> None:
        if detail != self._detail:
            self._detail = detail
            self.link.wake()


def live_stream(spec: WorkerSpec) -> str:
    """The stream of H.264 of a view: that of the camera whose own view it is, else one of its own."""
    camera = spec.streams[0]
    return live_of(camera if spec.name == view_of(camera) else spec.name)


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
