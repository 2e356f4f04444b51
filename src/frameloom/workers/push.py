"""Hosts a push sink: a camera, as it sends its pictures, sent on to another server, again and again when that is lost.

How packets get there is `frameloom.sinks.push`'s business.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from frameloom.bus.subscriber import Subscription
from frameloom.model.clock import Clock, SystemClock
from frameloom.model.errors import PeerError, SourceLost, StreamEnded
from frameloom.model.packet import Packet
from frameloom.model.worker import State, WorkerReport, WorkerSpec
from frameloom.sinks.push import CannotPush, Push
from frameloom.sources import libav_log

from .host import Host
from .inbox import Inbox
from .link import Link
from .meter import Meter

_WAITS_S = (1, 2, 4, 8, 16, 30)
_TICK_S = 1.0
_LEASES = 32


class PushHost(Host):
    """Sends `spec.streams[0]`, a stream of packets, to a server.

    config: `camera`, its name; `url`, where to; `transport`: 'tcp' or 'udp', for RTSP; `instead`, the stream to read
    where the first one has packets that cannot be sent.
    """

    def __init__(self, spec: WorkerSpec, link: Link, clock: Clock | None = None) -> None:
        super().__init__(spec, link)
        link.work = "connecting or sending"
        self._clock = clock or SystemClock()
        self._stream = spec.streams[0]
        self._inbox = Inbox(link.stop_fd)
        self._meter = Meter()
        self._push: Push | None = None
        self._tries = 0
        self._lost = self._dropped = 0
        self._trouble = ""
        self._since_utc_ns: int | None = None
        libav_log.quieten((spec.config["url"],))

    def run(self) -> None:
        while not self.link.stopping.is_set():
            self._send_until_it_breaks()
            if not self.link.stopping.is_set() and self._trouble:
                self._inbox.wait(self._wait_s())
        self._inbox.close()

    def change(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return self._inbox.submit(values)

    def report(self) -> WorkerReport:
        is_up = self._push is not None
        detail = self._trouble or ("" if is_up else "waiting for a key frame")
        return WorkerReport(
            State.DEGRADED if self._trouble else State.RUNNING,
            detail,
            fps=self._meter.fps(),
            frames=self._meter.count,
            dropped=self._dropped,
            latency_ms=self._meter.latency_ms(),
            info={"connected": is_up, "since_utc_ns": self._since_utc_ns, "lost": self._lost},
        )

    def _wait_s(self) -> float:
        return float(_WAITS_S[min(self._tries, len(_WAITS_S)) - 1])

    def _send_until_it_breaks(self) -> None:
        """Nothing is read while there is nobody to send it to."""
        packets = Subscription(
            self._stream, site=self.spec.site, policy="every", leases=_LEASES, client=self.spec.name
        )
        with packets:
            try:
                self._send(packets)
            except (SourceLost, StreamEnded, PeerError) as error:
                self._fail(str(error))
            except CannotPush as why:
                self._cannot(str(why))
            finally:
                self._hang_up()

    def _send(self, packets: Subscription) -> None:
        last_seq, needs_key = 0, True
        while not self.link.stopping.is_set():
            packet = packets.get(_TICK_S, interrupt_fd=self._inbox.fileno())
            if not isinstance(packet, Packet):
                continue
            if last_seq and packet.seq != last_seq + 1:
                self._dropped += max(0, packet.seq - last_seq - 1)
                needs_key = True
            last_seq = packet.seq
            if needs_key and not packet.is_key:
                self._dropped += 1
                continue
            needs_key = False
            with self.link.busy():
                self._take(packet)

    def _take(self, packet: Packet) -> None:
        if self._push is not None and packet.format != self._push.format:
            raise SourceLost(f"{self.spec.name!r}: the camera sends another format now")
        if self._push is None:
            config = self.spec.config
            self._push = Push(self.spec.name, config["url"], config["transport"], packet)
            self._trouble, self._tries = "", 0
            self._since_utc_ns = self._clock.utc_ns()
            self.link.wake()
        self._push.add(packet)
        self._meter.tick(packet.captured_ns)

    def _fail(self, why: str) -> None:
        self._lost += 1
        self._tries += 1
        self._trouble = f"{why}; trying again in {self._wait_s():g} s"
        self.link.wake()

    def _cannot(self, why: str) -> None:
        instead = self.spec.config["instead"]
        if instead and self._stream != instead:
            self._stream = instead  # encoded once for everybody who wants it so
            return
        self._fail(f"{self.spec.name!r}: {why}")

    def _hang_up(self) -> None:
        push, self._push = self._push, None
        self._since_utc_ns = None
        if push is not None:
            with self.link.busy():
                push.close()
