"""Hosts a recorder: the packets of one camera, as it sent them, go into files, and what processors say of them beside.

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
from frameloom.sinks.events import LATE_S as EVENTS_LATE_S
from frameloom.sinks.events import EventRecorder, Rolls
from frameloom.sinks.recorder import Limits, Recorder
from frameloom.sinks.results import LATE_S as RESULTS_LATE_S
from frameloom.sinks.sizes import Size, SizeOrShare

from .hearing import Hearing, without_names
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
_NAMES = ("results",)
_AS_SENT = ("h264", "hevc")  # what is recorded as it comes, even where something else could be made of it
_GAP_NS = 2 * NS_PER_S  # in what is encoded for us: the camera was lost, and may be another one
_USUAL_TIMES = 4


class RecorderHost(Host):
    """Records one camera. It reads `spec.streams[0]`, a stream of packets.

    config: `camera`, its name; `folder`, absolute; `mode`: 'continuous', or 'command': between the commands `start`
    and `stop`, or 'event': around the events of the processor `on`; `instead`, the stream that is recorded where that
    has packets other than H.264 and H.265, or None. Commands answer what `report().info` says. Beside the parameters
    that people set, the site says `results`: the names of the processors whose results are written.
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
        params, names = without_names(spec.params, *_NAMES)
        self._values = defaults | validate_all(self._parameters, params)
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
        self._beside = Beside(
            names.get("results", ()), self._recorder, Hearing(spec.site, spec.name, self._clock)
        )
        self._beside.reach_s = self._reach_s()
        self._waking.register(self._beside.fileno(), select.EPOLLIN)
        self._results: Subscription | None = None
        self._results_joins = 0
        self._ask_results_ns = 0
        self._packets: Subscription | None = None
        self._stream = spec.streams[0]
        self._last_pts_ns = self._step_ns = 0
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
                self._beside.hear(self._reads)
            if self._reads:
                self._record_next()
            else:
                self._inbox.wait(_TICK_S if self._recorder.results.is_open else _PRUNE_S)
        with self.link.busy():
            self._beside.hear(self._reads)
            self._recorder.stop()
            self._recorder.close()
        self._stop_reading()
        self._stop_hearing()
        self._beside.close()
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
            "results": recorder.results.written,
            **({"on": self.spec.config["on"], "events": self._events.events} if self._events else {}),
        }

    def _limits(self) -> Limits:
        return Limits(**{field.name: self._values[field.name] for field in fields(Limits)})

    def _rolls(self) -> Rolls:
        return Rolls(self._values["pre_roll_s"], self._values["post_roll_s"])

    def _reach_s(self) -> float:
        """How long a result may have to wait for its picture to be recorded."""
        before_s = self._values["pre_roll_s"] + EVENTS_LATE_S if self.spec.config["mode"] == "event" else 0.0
        return RESULTS_LATE_S + float(before_s)

    # --- the main thread ---

    @property
    def _reads(self) -> bool:
        return self._recorder.recording or self._events is not None

    def _hear(self) -> None:
        """Take what was changed or commanded."""
        changed = self._inbox.apply(self._change)
        if self._orders.apply(self._switch) or changed:
            self.link.wake()

    def _change(self, values: Mapping[str, Any]) -> dict[str, Any]:
        given, names = without_names(values, *_NAMES)
        taken = validate_all(self._parameters, given)
        self._values = {**self._values, **taken}
        self._beside.follow(names.get("results", self._beside.processors))
        self._beside.reach_s = self._reach_s()
        self._recorder.limits = self._limits()
        if self._events is not None:
            self._events.rolls = self._rolls()
        with self.link.busy():
            self._recorder.prune()
        return {**taken, **{key: list(value) for key, value in names.items()}}

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
            self._tell(f"waiting for packets of {self._stream!r}{self._why_instead()}")

    def _joined(self) -> Subscription:
        self._joins = self._last_pts_ns = 0
        self._heard_ns = self._clock.monotonic_ns()
        return Subscription(
            self._stream, site=self.spec.site, policy="every", leases=_LEASES, client=self.spec.name
        )

    def _why_instead(self) -> str:
        if self._stream == self.spec.streams[0]:
            return ""
        camera = self.spec.config["camera"]
        return f": camera {camera!r} sends neither H.264 nor H.265, and its view, which encodes it, gives nothing"

    def _goes_elsewhere(self, packet: Packet) -> bool:
        """Whether this packet is not for us, because another stream is to be recorded from here on."""
        own, instead = self.spec.streams[0], self.spec.config.get("instead")
        if instead is None:
            return False
        if self._stream == own:
            wanted = own if packet.format.codec in _AS_SENT else instead
        else:
            wanted = instead if self._follows(packet) else own
        is_other, self._stream = wanted != self._stream, wanted
        return is_other

    def _follows(self, packet: Packet) -> bool:
        """Whether the camera is certainly still the same; else it is asked again what it sends."""
        last_ns, self._last_pts_ns = self._last_pts_ns, packet.pts_ns
        step_ns, longest_ns = packet.pts_ns - last_ns, max(_GAP_NS, _USUAL_TIMES * self._step_ns)
        if not last_ns:
            return True
        self._step_ns = max(0, step_ns)
        return 0 < step_ns < longest_ns

    def _take(self, packet: Packet, packets: Subscription) -> None:
        self._heard_ns = self._clock.monotonic_ns()
        if self._goes_elsewhere(packet):
            with self.link.busy():
                self._sink.lost_camera()
            self._stop_reading()
            return
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


class Beside:
    """What processors say, on its way to the recording. For the main thread.

    reach_s  see `frameloom.sinks.results.Results`
    """

    def __init__(self, processors: tuple[str, ...], recorder: Recorder, hearing: Hearing) -> None:
        self.processors = processors
        self.reach_s = RESULTS_LATE_S
        self._recorder = recorder
        self._hearing = hearing
        self._camera = recorder.camera

    def fileno(self) -> int:
        """Readable when they have said something."""
        return self._hearing.fileno()

    def follow(self, processors: tuple[str, ...]) -> None:
        """These from now on."""
        self.processors = processors

    def hear(self, is_reading: bool) -> None:
        """Take what has been said by now, while pictures are read, and for a while after the last one."""
        results = self._recorder.results
        results.reach_s = self.reach_s
        self._hearing.follow(self.processors if is_reading or results.is_open else ())
        for result in self._hearing.take():
            if result.source == self._camera:
                self._recorder.hear(result)

    def close(self) -> None:
        """Hear nobody."""
        self._hearing.close()
