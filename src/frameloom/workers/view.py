"""Hosts a view: one JPEG encode of a stream for all its viewers, and none while nobody looks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from frameloom import pixels
from frameloom.bus.publisher import PacketPublisher
from frameloom.bus.subscriber import Subscription
from frameloom.model.clock import NS_PER_S, SystemClock
from frameloom.model.errors import OutOfMemory, PeerError, StreamEnded
from frameloom.model.frame import Frame
from frameloom.model.packet import Packet, PacketFormat
from frameloom.model.parameters import Integer, Number, declared, validate_all
from frameloom.model.worker import State, WorkerReport, WorkerSpec

from .host import Host
from .inbox import Inbox
from .link import Link
from .meter import Meter

_WAITING_S = 2.0  # without a frame for so long, the worker says that it waits
_AGAIN_S = 1.0  # until a stream that has ended, or refused us, is joined again


class ViewHost(Host):
    """Publishes 'mjpeg' packets of the stream it reads; `frame_seq` in their metadata tells which frame each shows."""

    quality = Integer(80, minimum=20, maximum=95, unit="%", description="JPEG quality of the live picture")
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
        self._packets = PacketPublisher(spec.name, site=spec.site, memory_bytes=4 << 20)
        self._packets.on_wanted = lambda _: self._inbox.nudge()

    def run(self) -> None:
        self.link.wake()
        while not self.link.stopping.is_set():
            if self._inbox.apply(self._change):
                self.link.wake()
            if self._packets.wanted:
                self._show_next()
            else:
                self._rest()
        self._stop_reading()
        self._packets.close()
        self._inbox.close()

    def change(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return self._inbox.submit(values)

    def report(self) -> WorkerReport:
        readers = [reader.client for reader in self._packets.readers()]
        frames = self._frames
        return WorkerReport(
            State.RUNNING,
            self._detail if readers else "nobody is watching",
            fps=self._meter.fps(),
            frames=self._meter.count,
            dropped=self._dropped + (frames.stats.dropped if frames else 0),
            latency_ms=self._meter.latency_ms(),
            values=dict(self._values),
            declared=[parameter.declaration() for parameter in self._parameters.values()],
            streams={self.spec.name: {"kind": "packets", "readers": readers}},
        )

    def _change(self, values: Mapping[str, Any]) -> dict[str, Any]:
        taken = validate_all(self._parameters, values)
        self._values = {**self._values, **taken}
        return taken

    def _rest(self) -> None:
        """Nobody looks: leave the stream, so that the camera may stop decoding."""
        self._stop_reading()
        self._packets.forget()  # the next viewer would take the last picture for a new one
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
        with self.link.busy():
            packet = self._encoded(frame)
        try:
            self._packets.publish(packet)
        except OutOfMemory as error:
            self._dropped += 1
            self._tell(str(error))
            return
        self._meter.tick(frame.captured_ns)
        self._tell("")

    def _encoded(self, frame: Frame) -> Packet:
        width = min(frame.width, self._values["max_width"])
        height = max(1, round(frame.height * width / frame.width))
        return Packet(
            pixels.to_jpeg(frame, self._values["quality"], max_width=width),
            PacketFormat("mjpeg", width, height),
            frame.pts_ns,
            True,
            frame.captured_ns,
            frame.captured_at_ns,
            dts_ns=frame.pts_ns,
            metadata={"frame_seq": frame.seq},
        )

    def _tell(self, detail: str) -> None:
        if detail != self._detail:
            self._detail = detail
            self.link.wake()


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
