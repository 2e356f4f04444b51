"""Hosts a TCP sink: a camera's pictures as a plain stream of bytes, for players and programs that connect to a port.

Who gets what is `frameloom.sinks.tcp_fanout`'s business, what the bytes are, that of `tcp_mpegts` and `tcp_jpeg`.
"""

from __future__ import annotations

import logging
import select
from collections.abc import Mapping
from typing import Any, Protocol

from frameloom.bus.subscriber import Subscription
from frameloom.listening import Networks, listen, written
from frameloom.model.clock import NS_PER_S, Clock, SystemClock
from frameloom.model.errors import PeerError, StreamEnded
from frameloom.model.packet import Packet, PacketFormat
from frameloom.model.parameters import Integer, Number, declared, validate_all
from frameloom.model.worker import State, WorkerReport, WorkerSpec
from frameloom.sinks.tcp_fanout import Fanout
from frameloom.sinks.tcp_jpeg import Multipart
from frameloom.sinks.tcp_mpegts import MpegTs

from .host import Host
from .inbox import Inbox
from .link import Link
from .meter import Meter

_TICK_S = 1.0
_AGAIN_NS = NS_PER_S  # until a stream that has ended, or refused us, is joined again
_WAITING_NS = 2 * NS_PER_S  # without a packet for so long, the worker says that it waits
_LEASES = 32  # packets asked for ahead
_MOST_IN_A_TURN = 64

log = logging.getLogger(__name__)


class Wrap(Protocol):
    """Packets of one codec as parts of a stream of bytes. Raises `ValueError` for what does not fit into it."""

    format: PacketFormat

    def __init__(self, name: str, first: Packet) -> None: ...
    def add(self, packet: Packet) -> bytes: ...
    def joining(self, part: bytes) -> bytes: ...
    def close(self) -> None: ...


WRAPS: dict[str, type[Wrap]] = {"mpegts": MpegTs, "mjpeg": Multipart}


class TcpHost(Host):
    """Sends one camera to whoever connects. It reads `spec.streams[0]`, a stream of packets, while there are clients.

    config: `camera`, its name; `host` and `port` to listen on; `allow`, the networks that clients may come from;
    `format`: 'mpegts' or 'mjpeg'; `instead`, the stream to read where the first one has packets that do not fit it.
    """

    max_clients = Integer(
        100, minimum=1, maximum=1000, description="So many clients at once; more are turned away"
    )
    patience_s = Number(
        30, minimum=1, maximum=3600, unit="s", description="A client that takes nothing for so long is let go"
    )

    def __init__(self, spec: WorkerSpec, link: Link, clock: Clock | None = None) -> None:
        super().__init__(spec, link)
        link.work = "sending"
        self._parameters = declared(type(self))
        defaults = {name: parameter.default for name, parameter in self._parameters.items()}
        self._values = defaults | validate_all(self._parameters, spec.params)
        self._clock = clock or SystemClock()
        config = spec.config
        listener = listen(spec.name, config["host"], config["port"])
        self.address = written(listener.getsockname())
        self._inbox = Inbox(link.stop_fd)
        self._poll = select.epoll()
        self._poll.register(self._inbox.fileno(), select.EPOLLIN)
        self._fanout = Fanout(spec.name, listener, Networks(config["allow"]), self._poll, self._clock)
        self._limit()
        self._meter = Meter()
        self._wrap: Wrap | None = None
        self._packets: Subscription | None = None
        self._packets_fd = -1
        self._stream = spec.streams[0]
        self._joins = 0
        self._last_seq = 0
        self._missing = 0
        self._needs_key = True
        self._again_ns = self._heard_ns = 0
        self._detail = self._trouble = ""

    def run(self) -> None:
        log.info("%r: %s at tcp://%s", self.spec.name, self.spec.config["format"], self.address)
        self.link.wake()
        while not self.link.stopping.is_set():
            if self._inbox.apply(self._change):
                self.link.wake()
            self._join_or_leave()
            is_idle = not self._fanout and not self._fanout.rests
            for fd, events in self._poll.poll(None if is_idle else _TICK_S):
                with self.link.busy():
                    self._turn(fd, events)
            self._look_around()
        self._leave()
        self._fanout.close()
        self._inbox.close()
        self._poll.close()

    def change(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return self._inbox.submit(values)

    def report(self) -> WorkerReport:
        return WorkerReport(
            State.DEGRADED if self._trouble else State.RUNNING,
            self._trouble or self._detail or ("" if self._fanout else "nobody is connected"),
            fps=self._meter.fps(),
            frames=self._meter.count,
            dropped=self._fanout.missed,
            latency_ms=self._meter.latency_ms(),
            values=dict(self._values),
            declared=[parameter.declaration() for parameter in self._parameters.values()],
            info={
                "format": self.spec.config["format"],
                "address": self.address,
                "clients": self._fanout.told(),
                "refused": self._fanout.refused,
                "last_refused": self._fanout.last_refused,
            },
        )

    # --- the main thread ---

    def _change(self, values: Mapping[str, Any]) -> dict[str, Any]:
        taken = validate_all(self._parameters, values)
        self._values = {**self._values, **taken}
        self._limit()
        return taken

    def _limit(self) -> None:
        self._fanout.max_clients = self._values["max_clients"]
        self._fanout.patience_s = self._values["patience_s"]

    def _turn(self, fd: int, events: int) -> None:
        if fd == self._packets_fd:
            self._read()
        elif self._fanout.ours(fd):
            had = len(self._fanout)
            self._fanout.ready(fd, events)
            if len(self._fanout) != had:
                self.link.wake()

    def _look_around(self) -> None:
        self._fanout.tick()
        if self._packets is None or self._trouble:
            return
        is_silent = self._clock.monotonic_ns() - self._heard_ns >= _WAITING_NS
        self._tell(f"waiting for packets of {self._stream!r}" if is_silent else "")

    def _join_or_leave(self) -> None:
        """Nothing is read that nobody wants."""
        if not self._fanout:
            self._leave()
        elif self._packets is None and self._clock.monotonic_ns() >= self._again_ns:
            self._join()

    def _join(self) -> None:
        self._heard_ns = self._clock.monotonic_ns()
        self._joins, self._needs_key = 0, True
        self._packets = Subscription(
            self._stream, site=self.spec.site, policy="every", leases=_LEASES, client=self.spec.name
        )
        self._packets_fd = self._packets.fileno()
        self._poll.register(self._packets_fd, select.EPOLLIN)

    def _leave(self) -> None:
        """Nobody is there: the next one begins with the camera as it is then."""
        self._stop_reading()
        self._end_stream()
        self._fanout.forget()
        self._stream = self.spec.streams[0]
        self._detail = self._trouble = ""
        self._again_ns = 0

    def _end_stream(self) -> None:
        wrap, self._wrap = self._wrap, None
        if wrap is not None:
            wrap.close()

    def _stop_reading(self) -> None:
        packets, self._packets = self._packets, None
        if packets is not None:
            self._poll.unregister(self._packets_fd)
            self._packets_fd = -1
            packets.close()

    # --- reading ---

    def _read(self) -> None:
        for _ in range(_MOST_IN_A_TURN):
            if self._packets is None:
                return
            try:
                packet = self._packets.get(0)
            except (StreamEnded, PeerError) as error:
                self._lose(str(error))
                return
            if not isinstance(packet, Packet):
                return
            self._take(packet, self._packets.stats.joins)

    def _lose(self, why: str) -> None:
        self._stop_reading()
        self._again_ns = self._clock.monotonic_ns() + _AGAIN_NS
        self._tell(why)

    def _take(self, packet: Packet, joins: int) -> None:
        self._heard_ns = self._clock.monotonic_ns()
        self._count_losses(packet, joins)
        if self._needs_key and not packet.is_key:
            self._missing += 1
            return
        try:
            part = self._part(packet)
        except ValueError as error:
            self._cannot(packet, str(error))
            return
        self._needs_key = False
        joining = self._wrapped.joining(part) if packet.is_key else b""
        self._fanout.put(part, joining, packet.captured_ns, self._missing)
        self._missing = 0
        self._meter.tick(packet.captured_ns)
        self._say_trouble("")

    def _count_losses(self, packet: Packet, joins: int) -> None:
        """What is missing before this packet: after that, a stream goes on at a key frame."""
        if joins != self._joins:  # the camera's worker is another one
            self._joins, self._needs_key, self._missing = joins, True, 0
        elif packet.seq != self._last_seq + 1:
            self._needs_key = True
            self._missing += max(0, packet.seq - self._last_seq - 1)
        self._last_seq = packet.seq

    def _part(self, packet: Packet) -> bytes:
        if self._wrap is not None and packet.format.codec != self._wrap.format.codec:
            self._fanout.dismiss("the camera sends another codec now; come again")
            self._end_stream()
        if self._wrap is None:
            self._wrap = WRAPS[self.spec.config["format"]](self.spec.config["camera"], packet)
        return self._wrap.add(packet)

    @property
    def _wrapped(self) -> Wrap:
        assert self._wrap is not None
        return self._wrap

    def _cannot(self, packet: Packet, why: str) -> None:
        """What the camera sends does not fit: its pictures are encoded once for everybody who wants them so."""
        instead = self.spec.config["instead"]
        self._needs_key = True
        if self._wrap is None and instead and self._stream != instead:
            log.info("%r: %s; %r is read instead", self.spec.name, why, instead)
            self._stop_reading()
            self._stream = instead
            return
        self._missing += 1
        self._say_trouble(why)

    def _say_trouble(self, why: str) -> None:
        if why != self._trouble:
            self._trouble = why
            self.link.wake()

    def _tell(self, detail: str) -> None:
        if detail != self._detail:
            self._detail = detail
            self.link.wake()
