"""Hosts a camera: packets from its source go to the bus as they came; frames are decoded only while somebody wants them."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from frameloom.bus.publisher import FramePublisher, PacketPublisher
from frameloom.model.clock import NS_PER_S, SystemClock
from frameloom.model.errors import SourceMisconfigured
from frameloom.model.names import packets_of
from frameloom.model.packet import Packet, PacketFormat
from frameloom.model.stages import Source
from frameloom.model.worker import State, WorkerReport, WorkerSpec
from frameloom.sources import Kind, SourceSettings, open_source
from frameloom.sources.decode import Decoder
from frameloom.sources.picture import Picture
from frameloom.sources.reconnect import Reconnecting

from .host import Host
from .inbox import Inbox
from .link import Link
from .meter import Meter

_ENDING_S = 30.0  # how long readers may take to fetch the last frames of a film
_MOST_BACKLOG_BYTES = 64 << 20  # packets since the newest key frame, kept so that a newcomer's first frame comes at once


class CameraHost(Host):
    """config: `source` (`SourceSettings` as JSON), `base_dir` for relative paths; `give_up`: end on what a person must fix."""

    def __init__(self, spec: WorkerSpec, link: Link) -> None:
        super().__init__(spec, link)
        link.work = "decoding"
        self._settings = _settings(spec.config)
        self._clock = SystemClock()
        self._inbox = Inbox(link.stop_fd)
        self._arrived, self._decoded = Meter(), Meter()
        self._state, self._detail = State.STARTING, "connecting"
        self._complaint = ""
        self._over = threading.Event()
        self._sessions = Reconnecting(self._open, self._clock, self._over, self._tell)
        self._decode_errors = 0
        self._picture_due_ns = 0  # 0: nobody waits for one
        self._backlog = Backlog()
        self._decoder: Decoder | None = None
        can_wait = self._settings.pace == "unpaced"
        self._packets = PacketPublisher(packets_of(spec.name), site=spec.site, can_wait=can_wait)
        self._frames = FramePublisher(spec.name, site=spec.site, can_wait=can_wait)
        for publisher in (self._packets, self._frames):
            publisher.on_wanted = lambda _: self._inbox.nudge()
        self._can_wait = can_wait

    def run(self) -> None:
        threading.Thread(target=self._wake_source_at_stop, name="stop", daemon=True).start()
        for format, packets in self._sessions:
            self._begin(format)
            for packet in packets:
                self._wait_for_readers()
                if self.link.stopping.is_set():
                    break
                self._take(packet)
            self._stop_decoding()
        if self._complaint:
            raise SourceMisconfigured(self._complaint)
        self._finish()

    def report(self) -> WorkerReport:
        decoding = self._decoder is not None
        meter = self._decoded if decoding else self._arrived
        return WorkerReport(
            self._state,
            self._detail,
            fps=meter.fps(),
            frames=self._arrived.count,
            dropped=getattr(self._sessions.source, "dropped", 0),
            latency_ms=meter.latency_ms(),
            streams={
                self._frames.stream: _described("frames", self._frames),
                self._packets.stream: _described("packets", self._packets),
            },
            info={
                "decoding": decoding,
                "decoded": self._decoded.count,
                "decode_errors": self._decode_errors + (self._decoder.errors if self._decoder else 0),
                "losses": self._sessions.losses,
                **self._backlog.describe(),
            },
        )

    # --- the source ---

    def _open(self) -> Source:
        return open_source(self.spec.name, self._settings, self._clock)

    def _tell(self, state: str, detail: str, wait_s: float) -> None:
        """What `Reconnecting` is doing about the source; called in the main thread."""
        if state == "misconfigured" and self.spec.config.get("give_up"):
            self._complaint = detail
            self._over.set()
        elif state in ("lost", "misconfigured"):
            self._frames.forget()  # the last picture is no longer the present
            self._state, self._detail = State.DEGRADED, f"{detail}; trying again in {max(0.1, wait_s):.2g} s"
        elif state == "running":
            self._state, self._detail = State.RUNNING, ""
        self.link.wake()

    def _wake_source_at_stop(self) -> None:
        """A source that waits for its camera is woken, so that stopping does not take as long as its patience."""
        self.link.stopping.wait()
        self._over.set()
        self._sessions.close()

    def _begin(self, format: PacketFormat) -> None:
        self._backlog = Backlog(format)
        self._picture_due_ns = 0

    def _take(self, packet: Packet) -> None:
        self._packets.publish(packet)
        self._arrived.tick(packet.captured_ns)
        if self._frames.wanted:
            with self.link.busy():
                self._decode(packet)
        else:
            self._stop_decoding()
            self._sessions.good()
        self._backlog.add(packet)

    def _finish(self) -> None:
        """The proper end of a film: nobody shall take it for a death."""
        publishers = (self._frames, self._packets)
        if not self.link.stopping.is_set():
            self._detail = "finished"
            for publisher in publishers:
                publisher.end()
            for publisher in publishers:
                publisher.wait_ended(_ENDING_S, self.link.stop_fd)
        for publisher in publishers:
            publisher.close()

    def _wait_for_readers(self) -> None:
        """A film waits until somebody wants it, and for those who want all of it; a camera waits for nobody."""
        if not self._can_wait:
            return
        while not self.link.stopping.is_set():
            if not (self._frames.wanted or self._packets.wanted):
                self._inbox.wait(-1)
                self._inbox.apply(self.change)
            elif self._all_ready():
                return

    def _all_ready(self) -> bool:
        both = (self._frames, self._packets)
        return all(publisher.wait_ready(1.0, self.link.stop_fd) for publisher in both)

    # --- decoding ---

    def _decode(self, packet: Packet) -> None:
        if self._decoder is None:
            self._start_decoding()
        assert self._decoder is not None
        pictures = self._decoder.decode(packet)
        for picture in pictures:
            self._publish(picture)
        self._judge(bool(pictures), packet.captured_ns)

    def _judge(self, seen: bool, now_ns: int) -> None:
        """Packets of which no picture can be made, for as long as silence may last, are a lost camera too."""
        if seen:
            self._sessions.good()
        if seen or not self._picture_due_ns:
            self._picture_due_ns = now_ns + round(self._settings.silence_s * NS_PER_S)
        elif now_ns > self._picture_due_ns:
            self._picture_due_ns = 0
            self._sessions.lose(f"{self.spec.name!r}: no picture could be made for {self._settings.silence_s:g} s")

    def _start_decoding(self) -> None:
        """From the newest key frame on, so that a newcomer's first frame is the present one and not the next key frame."""
        self._decoder = Decoder(self._backlog.format)
        for packet in self._backlog.packets:
            self._decoder.decode(packet)
            self.link.begin()  # each is a piece of work of its own

    def _stop_decoding(self) -> None:
        if self._decoder is None:
            return
        for picture in self._decoder.flush():
            self._publish(picture)
        self._decode_errors += self._decoder.errors
        self._decoder.close()
        self._decoder = None
        self._picture_due_ns = 0

    def _publish(self, picture: Picture) -> None:
        slot = self._frames.reserve(picture.format)
        picture.fill(slot.planes)
        self._frames.publish(
            slot,
            pts_ns=picture.pts_ns,
            captured_ns=picture.captured_ns,
            captured_at_ns=picture.captured_at_ns,
            metadata=picture.metadata,
        )
        self._decoded.tick(picture.captured_ns)


class Backlog:
    """The packets since the newest key frame: what a decoder that starts now must see first."""

    def __init__(self, format: PacketFormat | None = None) -> None:
        self._format = format
        self.packets: list[Packet] = []
        self._bytes = 0

    @property
    def format(self) -> PacketFormat:
        assert self._format is not None
        return self._format

    def add(self, packet: Packet) -> None:
        if packet.is_key or self._bytes > _MOST_BACKLOG_BYTES:
            self.packets.clear()
            self._bytes = 0
        if packet.is_key or self.packets:
            self.packets.append(packet)
            self._bytes += len(packet.data)

    def describe(self) -> dict[str, Any]:
        f = self._format
        return {"codec": f.codec, "width": f.width, "height": f.height} if f else {}


def _settings(config: Mapping[str, Any]) -> SourceSettings:
    settings = SourceSettings(**config["source"])
    if settings.kind is Kind.FILE:
        path = Path(config.get("base_dir", ".")) / settings.path
        settings = settings.model_copy(update={"url": str(path)})
    return settings


def _described(kind: str, publisher: FramePublisher | PacketPublisher) -> dict[str, Any]:
    readers = publisher.readers()
    return {"kind": kind, "readers": [r.client for r in readers], "dropped": sum(r.dropped for r in readers)}

