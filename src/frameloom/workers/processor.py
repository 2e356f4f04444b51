"""Hosts a processor: frames from a stream go in, results come out on the stream of the worker's name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from frameloom.bus.publisher import ResultPublisher
from frameloom.bus.subscriber import Subscription
from frameloom.model.errors import StreamEnded
from frameloom.model.frame import Frame
from frameloom.model.stages import Processor
from frameloom.model.worker import State, WorkerReport, WorkerSpec
from frameloom.processors import resolve

from .host import Host
from .inbox import Inbox
from .link import Link
from .meter import Meter

_WAITING_S = 2.0  # without a frame for so long, the worker says that it waits
_ENDING_S = 10.0  # how long readers may take to fetch the last results of a film


class _Times(NamedTuple):
    """What a result says of its frame; the frame itself is not kept, for its lease."""

    source: str
    frame_seq: int
    pts_ns: int
    captured_ns: int
    captured_at_ns: int


class ProcessorHost(Host):
    """config: `use` (see `frameloom.processors.resolve`), `base_dir`, `policy` ('latest' or 'every')."""

    def __init__(self, spec: WorkerSpec, link: Link) -> None:
        super().__init__(spec, link)
        link.work = "process()"
        cls = resolve(spec.config["use"], Path(spec.config.get("base_dir", ".")))
        self._processor: Processor = cls(**spec.params)
        self._declared = [parameter.declaration() for parameter in cls.parameters.values()]
        self._inbox = Inbox(link.stop_fd)
        self._meter = Meter()
        self._started = False
        self._waiting = False
        self._last_frame: _Times | None = None
        policy = spec.config.get("policy", "latest")
        self._frames = Subscription(spec.streams[0], site=spec.site, policy=policy, client=spec.name)
        self._results = ResultPublisher(spec.name, site=spec.site)

    def run(self) -> None:
        with self.link.busy():
            self._processor.start()
        self._started = True
        self.link.wake()
        self._await_reader()
        try:
            self._work()
        except StreamEnded:
            self._finish(ended=True)
        else:
            self._finish(ended=False)

    def change(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return self._inbox.submit(values)

    def report(self) -> WorkerReport:
        stats = self._frames.stats
        state, detail = self._state()
        return WorkerReport(
            state,
            detail,
            fps=self._meter.fps(),
            frames=self._meter.count,
            dropped=stats.dropped,
            latency_ms=self._meter.latency_ms(),
            values=self._processor.values,
            declared=self._declared,
            streams={
                self.spec.name: {"kind": "results", "readers": [r.client for r in self._results.readers()]}
            },
            info={"joins": stats.joins, "copied": stats.copied},
        )

    def _state(self) -> tuple[State, str]:
        if not self._started:
            return State.STARTING, "starting the processor"
        if self._waiting:
            return State.DEGRADED, f"waiting for frames of {self.spec.streams[0]!r}"
        return State.RUNNING, ""

    def _work(self) -> None:
        while not self.link.stopping.is_set():
            if self._inbox.apply(self._processor.change):
                self.link.wake()
            frame = self._frames.get(_WAITING_S, interrupt_fd=self._inbox.fileno())
            if isinstance(frame, Frame):
                self._look_at(frame)
                del frame  # its lease must not wait for the next one
            elif not (self._waiting or self.link.stopping.is_set() or self._inbox.waiting):
                self._set_waiting(True)

    def _await_reader(self) -> None:
        """Where somebody started us to read our results, the first frame waits for them."""
        self._results.on_wanted = lambda _: self._inbox.nudge()
        while self.spec.config.get("await_reader") and not self.link.stopping.is_set():
            if self._results.wanted:
                return
            self._inbox.wait(-1)
            self._inbox.apply(self._processor.change)

    def _look_at(self, frame: Frame) -> None:
        self._set_waiting(False)
        self._wait_for_readers()
        with self.link.busy():
            values = self._processor.process(frame)
        self._last_frame = _Times(
            frame.stream, frame.seq, frame.pts_ns, frame.captured_ns, frame.captured_at_ns
        )
        if values is not None:
            self._publish(self._last_frame, values)
        self._meter.tick(frame.captured_ns)

    def _publish(self, frame: _Times, values: Mapping[str, Any]) -> None:
        self._results.publish(values, **frame._asdict())

    def _wait_for_readers(self) -> None:
        """A film waits for whoever wants every result of it; a camera waits for nobody."""
        self._results.can_wait = self._frames.can_wait
        while not self.link.stopping.is_set():
            if self._results.wait_ready(1.0, self.link.stop_fd):
                return

    def _set_waiting(self, waiting: bool) -> None:
        if waiting != self._waiting:
            self._waiting = waiting
            self.link.wake()

    def _finish(self, ended: bool) -> None:
        with self.link.busy():
            late = self._processor.stop()
        if late is not None and self._last_frame is not None:
            self._publish(self._last_frame, late)
        if ended:
            self._wait_for_readers()
            self._results.end()
            self._results.wait_ended(_ENDING_S, self.link.stop_fd)
        self._frames.close()
        self._results.close()
