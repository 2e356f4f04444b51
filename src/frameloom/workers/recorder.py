"""Hosts a recorder: the packets of one camera, as it sent them, go into files.

Where a segment begins and what happens when a disk does not obey is `frameloom.sinks.recorder`'s business.
"""

from __future__ import annotations

import os
import select
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

from frameloom.bus.paths import site_dir
from frameloom.bus.subscriber import Subscription
from frameloom.model.clock import NS_PER_S, Clock, SystemClock
from frameloom.model.errors import CommandError, PeerError, StreamEnded
from frameloom.model.packet import Packet
from frameloom.model.parameters import Number, declared, validate_all
from frameloom.model.result import Result
from frameloom.model.worker import State, WorkerReport, WorkerSpec
from frameloom.sinks.events import EventRecorder, Rolls
from frameloom.sinks.recorder import Limits, Recorder
from frameloom.sinks.sizes import Size, SizeOrShare

from .host import Host
from .inbox import Inbox
from .link import Link
from .meter import Meter

_TICK_S = 1.0
_WAITING_NS = 2 * NS_PER_S  # without a packet for so long, the worker says that it waits
_PRUNE_S = 60.0  # what is too old is deleted also while nothing is recorded
_AGAIN_S = 1.0  # until a stream that has ended, or refused us, is joined again
_LEASES = 64  # packets asked for ahead: the camera's worker must not wait for our disk

COMMANDS = ("start", "stop")


class RecorderHost(Host):
    """Records one camera. It reads `spec.streams[0]`, a stream of packets.

    config: `camera`, its name; `folder`, absolute; `mode`: 'continuous', or 'command': between the commands `start`
    and `stop`, or 'event': around the events of the processor `on`. Commands answer what `report().info` says.
    """

    segment_s = Number(
        60,
        minimum=1,
        maximum=3600,
        unit="s",
        description="A new file is begun at the first key frame after this time",
    )
    keep_days = Number(
        0,
        minimum=0,
        maximum=36500,
        unit="days",
        description="Older recordings are deleted; 0: none is too old",
    )
    keep_bytes = Size(
        "0", description="The oldest recordings are deleted when all of this camera take more; 0: no limit"
    )
    reserve = SizeOrShare("1GB", description="Recording stops when less than this is free on the disk")
    pre_roll_s = Number(
        20, minimum=0, maximum=300, unit="s", description="How long before an event its recording begins"
    )
    post_roll_s = Number(
        10, minimum=0, maximum=3600, unit="s", description="How long after an event its recording ends"
    )

    def __init__(self, spec: WorkerSpec, link: Link, clock: Clock | None = None) -> None:
        super().__init__(spec, link)
        link.work = "writing"
        self._parameters = declared(type(self))
        defaults = {name: parameter.default for name, parameter in self._parameters.items()}
        self._values = defaults | validate_all(self._parameters, spec.params)
        self._clock = clock or SystemClock()
        self._waking = select.epoll()
        self._waking.register(link.stop_fd, select.EPOLLIN)
        self._orders = Inbox(self._waking.fileno())
        self._inbox = Inbox(self._orders.fileno())
        self._meter = Meter()
        self._by_command = spec.config["mode"] == "command"
        self._recorder = Recorder(
            spec.config["camera"], Path(spec.config["folder"]), self._limits(), self._clock
        )
        self._events = (
            EventRecorder(self._recorder, self._rolls()) if spec.config["mode"] == "event" else None
        )
        self._results: Subscription | None = None
        self._results_joins = 0
        self._ask_results_ns = 0
        self._packets: Subscription | None = None
        self._joins = 0
        self._detail = ""
        self._heard_ns = self._clock.monotonic_ns()
        self._started = False

    def run(self) -> None:
        if self.spec.config["mode"] == "continuous" or (self._by_command and self._was_recording()):
            self._recorder.start()
        self._started = True
        self.link.wake()
        while not self.link.stopping.is_set():
            self._hear()
            with self.link.busy():
                self._recorder.tick(on_standby=self._events is not None)
            if self._recorder.recording or self._events is not None:
                self._record_next()
            else:
                self._inbox.wait(_PRUNE_S)
        with self.link.busy():
            self._recorder.stop()
        self._stop_reading()
        self._stop_hearing()
        self._inbox.close()
        self._orders.close()
        self._waking.close()

    def change(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return self._inbox.submit(values)

    def command(self, name: str, args: Mapping[str, Any]) -> dict[str, Any]:
        if name not in COMMANDS:
            allowed = ", ".join(COMMANDS)
            raise CommandError("unknown-command", f"{self.spec.name!r}: read {name!r}, allowed: {allowed}")
        if args:
            raise CommandError(
                "invalid", f"{self.spec.name!r}: {name} takes no arguments, read: {', '.join(args)}"
            )
        if not self._by_command:
            raise CommandError(
                "refused",
                f"{self.spec.name!r} records by itself; `mode: command` in the site file changes that",
            )
        return self._orders.submit({"recording": name == "start"})

    def report(self) -> WorkerReport:
        state, detail = self._state()
        return WorkerReport(
            state,
            detail,
            fps=self._meter.fps(),
            frames=self._meter.count,
            dropped=self._recorder.counts.lost,
            latency_ms=self._meter.latency_ms(),
            values=dict(self._values),
            declared=[parameter.declaration() for parameter in self._parameters.values()],
            info=self._info(),
        )

    def _state(self) -> tuple[State, str]:
        if not self._started:
            return State.STARTING, ""
        if self._recorder.trouble:
            return State.DEGRADED, self._recorder.trouble
        if not self._recorder.recording:
            return State.RUNNING, self._detail or (
                "waiting for an event" if self._events else "not recording"
            )
        return State.RUNNING, self._detail

    def _info(self) -> dict[str, Any]:
        recorder, counts = self._recorder, self._recorder.counts
        file = recorder.file
        return {
            "mode": self.spec.config["mode"],
            "recording": recorder.recording,
            "folder": str(recorder.folder),
            "file": str(file.relative_to(recorder.folder)) if file else None,
            "since_utc_ns": recorder.since_ns,
            "seconds": round(counts.duration_ns / NS_PER_S, 3),
            "bytes": counts.nbytes,
            "packets": counts.packets,
            "segments": counts.segments,
            "lost": counts.lost,
            "gaps": counts.gaps,
            "deleted": recorder.deleted,
            **({"on": self.spec.config["on"], "events": self._events.events} if self._events else {}),
        }

    def _limits(self) -> Limits:
        return Limits(**{field.name: self._values[field.name] for field in fields(Limits)})

    def _rolls(self) -> Rolls:
        return Rolls(self._values["pre_roll_s"], self._values["post_roll_s"])

    # --- the main thread ---

    def _hear(self) -> None:
        """Take what was changed or commanded."""
        changed = self._inbox.apply(self._change)
        if self._orders.apply(self._switch) or changed:
            self.link.wake()

    def _change(self, values: Mapping[str, Any]) -> dict[str, Any]:
        taken = validate_all(self._parameters, values)
        self._values = {**self._values, **taken}
        self._recorder.limits = self._limits()
        if self._events is not None:
            self._events.rolls = self._rolls()
        with self.link.busy():
            self._recorder.prune()
        return taken

    def _switch(self, order: Mapping[str, Any]) -> dict[str, Any]:
        with self.link.busy():
            if order["recording"]:
                self._recorder.start()
            else:
                self._recorder.stop()
                self._stop_reading()
        self._remember(order["recording"])
        return self._info()

    def _record_next(self) -> None:
        if self._events is not None:
            self._hear_results(self._events)
        if self._packets is None:
            self._packets = self._joined()
        try:
            packet = self._packets.get(_TICK_S, interrupt_fd=self._inbox.fileno())
        except (StreamEnded, PeerError) as error:
            self._lose(str(error))
            self._inbox.wait(_AGAIN_S)
            return
        if isinstance(packet, Packet):
            self._take(packet, self._packets)
        elif self._clock.monotonic_ns() - self._heard_ns >= _WAITING_NS:
            self._tell(f"waiting for packets of {self.spec.streams[0]!r}")

    def _joined(self) -> Subscription:
        self._joins = 0
        self._heard_ns = self._clock.monotonic_ns()
        return Subscription(
            self.spec.streams[0], site=self.spec.site, policy="every", leases=_LEASES, client=self.spec.name
        )

    def _take(self, packet: Packet, packets: Subscription) -> None:
        self._heard_ns = self._clock.monotonic_ns()
        was = self._recorder.trouble, self._recorder.file
        with self.link.busy():
            if packets.stats.joins != self._joins:  # the camera's worker is another one
                self._joins = packets.stats.joins
                self._sink.lost_camera()
            self._sink.take(packet)
        self._meter.tick(packet.captured_ns)
        self._tell("")
        if was != (self._recorder.trouble, self._recorder.file):
            self.link.wake()

    def _lose(self, why: str) -> None:
        with self.link.busy():
            self._sink.lost_camera()
        self._stop_reading()
        self._tell(why)

    def _stop_reading(self) -> None:
        packets, self._packets = self._packets, None
        if packets is not None:
            packets.close()

    def _tell(self, detail: str) -> None:
        if detail != self._detail:
            self._detail = detail
            self.link.wake()

    @property
    def _sink(self) -> Recorder | EventRecorder:
        return self._events or self._recorder

    # --- events ---

    def _hear_results(self, events: EventRecorder) -> None:
        """Whatever the processor has said by now; it wakes us when it says more."""
        results = self._results or self._join_results()
        if results is None:
            return
        try:
            while (result := results.get(0)) is not None:
                if isinstance(result, Result):
                    with self.link.busy():
                        self._hear_one(events, results, result)
        except (StreamEnded, PeerError):
            self._stop_hearing()
        if self._results is None or not results.connected:
            events.lost_processor()

    def _hear_one(self, events: EventRecorder, results: Subscription, result: Result) -> None:
        if (
            results.stats.joins != self._results_joins
        ):  # another process, that knows nothing of what has begun
            self._results_joins = results.stats.joins
            events.lost_processor()
        events.hear(result)

    def _join_results(self) -> Subscription | None:
        now_ns = self._clock.monotonic_ns()
        if now_ns < self._ask_results_ns:
            return None
        self._ask_results_ns = now_ns + round(_AGAIN_S * NS_PER_S)
        self._results = Subscription(
            self.spec.config["on"], site=self.spec.site, policy="every", client=self.spec.name
        )
        self._results_joins = 0
        self._waking.register(self._results.fileno(), select.EPOLLIN)
        return self._results

    def _stop_hearing(self) -> None:
        results, self._results = self._results, None
        if results is not None:
            self._waking.unregister(results.fileno())
            results.close()

    # --- what was commanded outlives this process, and not the site ---

    def _remember(self, recording: bool) -> None:
        """A recorder that dies goes on when it is started again, by the same supervisor."""
        with suppress(OSError):
            if recording:
                self._note().write_text(str(os.getppid()))
            else:
                self._note().unlink(missing_ok=True)

    def _was_recording(self) -> bool:
        try:
            return self._note().read_text() == str(os.getppid())
        except (OSError, ValueError):
            return False

    def _note(self) -> Path:
        return site_dir(self.spec.site) / f"{self.spec.name}.recording"
