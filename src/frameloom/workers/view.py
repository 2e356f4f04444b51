"""Hosts a view: one JPEG encode of a stream for all its viewers, and none while nobody looks."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from frameloom.bus.publisher import PacketPublisher
from frameloom.bus.subscriber import Subscription
from frameloom.model.errors import StreamEnded
from frameloom.model.frame import Frame
from frameloom.model.packet import Packet, PacketFormat
from frameloom.model.parameters import Integer, Number, declared, validate_all
from frameloom.model.worker import State, WorkerReport, WorkerSpec

from .host import Host
from .inbox import Inbox
from .link import Link
from .meter import Meter


class ViewHost(Host):
    """Publishes 'mjpeg' packets of the stream it reads; each tells in `metadata` which frame it shows."""

    quality = Integer(80, minimum=20, maximum=95, unit="%", description="JPEG quality of the live picture")
    max_width = Integer(
        1280, minimum=160, maximum=7680, unit="px", description="Wider pictures are shrunk to this width for viewers"
    )
    max_fps = Number(
        30, minimum=0.2, maximum=120, unit="frames/s", description="Viewers get at most so many pictures a second"
    )

    def __init__(self, spec: WorkerSpec, link: Link) -> None:
        super().__init__(spec, link)
        link.work = "encoding"
        parameters = declared(type(self))
        self._parameters = parameters
        self._values = {name: p.default for name, p in parameters.items()} | validate_all(parameters, spec.params)
        self._inbox = Inbox(link.stop_fd)
        self._meter = Meter()
        self._frames: Subscription | None = None
        self._due_ns = 0
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

    def change(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return self._inbox.submit(values)

    def report(self) -> WorkerReport:
        readers = [reader.client for reader in self._packets.readers()]
        return WorkerReport(
            State.RUNNING,
            "" if readers else "nobody is watching",
            fps=self._meter.fps(),
            frames=self._meter.count,
            dropped=self._dropped + (self._frames.stats.dropped if self._frames else 0),
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
        self._inbox.wait(-1)

    def _stop_reading(self) -> None:
        if self._frames is not None:
            self._dropped += self._frames.stats.dropped
            self._frames.close()
            self._frames = None

    def _show_next(self) -> None:
        if self._frames is None:
            self._frames = Subscription(self.spec.streams[0], site=self.spec.site, client=self.spec.name)
        try:
            frame = self._frames.get(interrupt_fd=self._inbox.fileno())
        except StreamEnded:
            self._stop_reading()
            self._inbox.wait(1.0)
            return
        if isinstance(frame, Frame) and self._is_due(frame):
            self._show(frame)

    def _is_due(self, frame: Frame) -> bool:
        """At most `max_fps` in the long run; two close together are let through, for cameras jitter."""
        gap_ns = round(1e9 / self._values["max_fps"])
        captured_ns = frame.captured_ns
        if self._due_ns - captured_ns > 2 * gap_ns:
            self._due_ns = 0  # the camera's host began to count anew
        if captured_ns < self._due_ns:
            return False
        self._due_ns = max(self._due_ns, captured_ns - gap_ns) + gap_ns
        return True

    def _show(self, frame: Frame) -> None:
        with self.link.busy():
            pixels = importlib.import_module("frameloom.pixels")  # not before somebody looks: it loads a codec
            width = min(frame.width, self._values["max_width"])
            height = max(1, round(frame.height * width / frame.width))
            jpeg = pixels.to_jpeg(frame, self._values["quality"], max_width=width)
        self._packets.publish(
            Packet(
                jpeg,
                PacketFormat("mjpeg", width, height),
                frame.pts_ns,
                True,
                frame.captured_ns,
                frame.captured_at_ns,
                dts_ns=frame.pts_ns,
                metadata={"frame_seq": frame.seq},
            )
        )
        self._meter.tick(frame.captured_ns)
