"""Hosts a camera: packets go to the bus as they came, and are decoded only while somebody wants frames.

How a source is opened again after a loss belongs to `frameloom.sources.reconnect`, from which packet on decoding can
begin to `decoding`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from frameloom.bus.publisher import FramePublisher, PacketPublisher, Slot
from frameloom.model.clock import NS_PER_S, SystemClock
from frameloom.model.errors import OutOfMemory, SourceMisconfigured
from frameloom.model.frame import PictureFormat
from frameloom.model.names import packets_of
from frameloom.model.packet import BEGINS, Packet, PacketFormat
from frameloom.model.stages import Source
from frameloom.model.worker import State, WorkerReport, WorkerSpec
from frameloom.sources import Kind, Opener, SourceSettings
from frameloom.sources.in_band import InBand
from frameloom.sources.picture import Picture
from frameloom.sources.reconnect import Reconnecting

from .decoding import INTRA, Decoding
from .host import Host
from .inbox import Inbox
from .link import Link
from .meter import Meter

_ENDING_S = 30.0  # how long readers may take to fetch the last frames of a film
_MEMORY_WAIT_S = 0.5  # until a film tries again to get memory for a frame
_LATE_NS = 2 * NS_PER_S  # so far behind the camera, pictures are left out
_CAUGHT_UP_NS = NS_PER_S // 2

log = logging.getLogger(__name__)


class CameraHost(Host):
    """Publishes the frames and the packets of one source.

    config: `source` (`SourceSettings` as JSON); `base_dir` for relative paths; `give_up`: end on what a person
    must fix, instead of trying again.
    """

    def __init__(self, spec: WorkerSpec, link: Link) -> None:
        super().__init__(spec, link)
        link.work = "decoding"
        self._settings = _settings(spec.config)
        self._clock = SystemClock()
        self._inbox = Inbox(link.stop_fd)
        self._arrived, self._decoded = Meter(), Meter()
        self._health = _Health()
        self._dropped = 0
        self._unsaid = self._tried = False
        self._opener = Opener(spec.name, self._settings, self._clock)
        self._sessions = Reconnecting(self._open, self._clock, link.stopping, self._tell)
        self._format: PacketFormat | None = None
        self._in_band: InBand | None = None
        self._media_time = _MediaTime()
        self._begins = False
        self._decoding = Decoding(spec.name, link, lambda: self._frames.wanted and not link.stopping.is_set())
        self._picture_due_ns = 0  # 0: nobody waits for one
        self._most_silent_ns = round(self._settings.silence_s * NS_PER_S)
        self._is_late = False
        self._can_wait = self._settings.pace == "unpaced"
        self._is_film = self._can_wait or self._settings.kind is Kind.FILE
        self._packets = PacketPublisher(packets_of(spec.name), site=spec.site, can_wait=self._can_wait)
        self._frames = FramePublisher(spec.name, site=spec.site, can_wait=self._can_wait)
        for publisher in (self._packets, self._frames):
            publisher.on_wanted = lambda _: self._inbox.nudge()

    def run(self) -> None:
        threading.Thread(target=self._wake_source_at_stop, name="stop", daemon=True).start()
        try:
            for format, packets in self._sessions:
                self._begin(format)
                for packet in packets:
                    if not self._await_readers():
                        break
                    self._take(packet)
            self._finish()
        finally:
            self._frames.close()
            self._packets.close()
            self._inbox.close()
            self._opener.close()

    def report(self) -> WorkerReport:
        decoding = self._decoding.active
        meter = self._decoded if decoding else self._arrived
        state, detail = self._health.told()
        if waiting := _waiting(self._sessions.source):
            state, detail = State.DEGRADED, waiting
        return WorkerReport(
            state,
            detail,
            fps=meter.fps(),
            frames=self._arrived.count,
            dropped=self._dropped + _dropped_by(self._sessions.source),
            latency_ms=meter.latency_ms(),
            streams={
                self._frames.stream: _described("frames", self._frames),
                self._packets.stream: _described("packets", self._packets),
            },
            info={
                "decoding": decoding,
                "decoded": self._decoded.count,
                "decode_errors": self._decoding.errors,
                "withheld": self._decoding.withheld,
                "losses": self._sessions.losses,
                **_geometry(self._format),
                **_told_by(self._sessions.source),
            },
        )

    # --- the source ---

    def _open(self) -> Source:
        self._dropped += _dropped_by(self._sessions.source)
        return self._opener()

    def _tell(self, state: str, detail: str, wait_s: float) -> None:
        """What `Reconnecting` is doing about the source; called in the main thread."""
        if state == "misconfigured" and self.spec.config.get("give_up"):
            raise SourceMisconfigured(detail)
        if state in ("lost", "misconfigured", "ended"):
            self._end_decoding()
        if state in ("lost", "misconfigured"):
            self._frames.forget()  # the last picture is no longer the present
            self._packets.forget()
            self._unsaid |= self._health.lost(detail, wait_s)
            # A camera that starts together with us is often a moment later than we are: that needs no warning yet.
            if self._unsaid and (state == "misconfigured" or self._tried):
                log.warning("%s", self._health.told()[1])
                self._unsaid = False
            self._tried = True
        elif state == "connecting":
            self._health.connecting()
        elif state == "running":
            self._health.connected()
        self.link.wake()

    def _wake_source_at_stop(self) -> None:
        """A source that waits for its camera is woken, so that stopping does not take as long as its patience."""
        self.link.stopping.wait()
        self._opener.interrupt()
        self._sessions.close()

    def _begin(self, format: PacketFormat) -> None:
        """A connection begins; nothing is known yet of its pictures but `format`."""
        self._in_band = InBand(format)
        self._media_time.begin()
        self._begins = True
        self._is_late = False
        self._change_format(format)
        if self._can_wait:
            self._good()  # a film that can be opened is well; its first picture waits for its reader

    def _take(self, packet: Packet) -> None:
        self._arrived.tick(packet.captured_ns)
        self._follow(packet)
        self._hand_on(packet)
        if not self._frames.wanted:
            self._skip(packet)
            self._is_late = False
            self._trouble("frames", "")
            self._good()
            self._sessions.relay(self._take_unwatched)
        elif self._falls_behind(packet):
            self._skip(packet)
            self._dropped += 1
        else:
            self._decode(packet)

    def _take_unwatched(self, packet: Packet) -> bool:
        """While nobody wants frames, the thread that has read a packet hands it on, and the main thread sleeps.

        That all is well, the main thread has said before.
        """
        if self._frames.wanted:
            return False
        self._arrived.tick(packet.captured_ns)
        self._follow(packet)
        self._hand_on(packet)
        self._decoding.skip(packet)
        return True

    def _skip(self, packet: Packet) -> None:
        self._decoding.skip(packet)
        self._picture_due_ns = 0

    def _follow(self, packet: Packet) -> None:
        """Take over what changes in the midst of a stream: its picture format, and never its media time."""
        assert self._in_band is not None
        self._media_time.place(packet)
        if self._begins:
            self._begins = False
            packet.metadata = {**packet.metadata, BEGINS: True}
        packet.format = self._in_band.follow(packet)
        if packet.format is not self._format:
            self._end_decoding()
            self._change_format(packet.format)

    def _change_format(self, format: PacketFormat) -> None:
        self._format = format
        self._decoding.begin(format)
        self._picture_due_ns = 0

    def _hand_on(self, packet: Packet) -> None:
        """To those who want packets, and to those who will: they begin at the newest key frame, which is kept."""
        if packet.format.codec in INTRA and not self._packets.wanted:
            self._packets.forget()  # the next one will do as well
            return
        try:
            self._packets.publish(packet)
            self._trouble("packets", "")
        except OutOfMemory as error:
            self._dropped += 1
            self._trouble("packets", str(error))

    def _good(self) -> None:
        self._sessions.good()
        self._tried = True
        self._unsaid = False
        if self._health.good():
            log.info("%r: running", self.spec.name)
            self.link.wake()

    def _trouble(self, stream: str, what: str) -> None:
        if self._health.trouble(stream, what):
            self.link.wake()

    # --- films ---

    def _await_readers(self) -> bool:
        """A film waits until somebody wants it, and for those who want all of it; a camera waits for nobody.

        False if the worker is to end.
        """
        while self._can_wait and not self.link.stopping.is_set():
            if not (self._frames.wanted or self._packets.wanted):
                self._health.note("waiting for a reader")
                self._inbox.wait()
                self._inbox.apply(self.change)
            elif self._all_ready():
                self._health.note("")
                break
        return not self.link.stopping.is_set()

    def _all_ready(self) -> bool:
        """Wait a while for those who want everything."""
        both = (self._frames, self._packets)
        return all(publisher.wait_ready(1.0, self.link.stop_fd) for publisher in both)

    def _finish(self) -> None:
        """The proper end of a film: nobody shall take it for a death."""
        if self.link.stopping.is_set():
            return
        if self._decoding.errors and not self._decoded.count:
            raise SourceMisconfigured(f"{self.spec.name!r}: no picture could be made of it")
        self._health.note("finished")
        self.link.wake()
        publishers = (self._frames, self._packets)
        for publisher in publishers:
            publisher.end()
        deadline_ns = self._clock.monotonic_ns() + round(_ENDING_S * NS_PER_S)
        for publisher in publishers:
            left_s = (deadline_ns - self._clock.monotonic_ns()) / NS_PER_S
            publisher.wait_ended(max(0.0, left_s), self.link.stop_fd)

    # --- decoding ---

    def _decode(self, packet: Packet) -> None:
        try:
            seen = self._publish_all(self._decoding.decode(packet))
        except OutOfMemory as error:
            self._dropped += 1
            self._trouble("frames", str(error))
        except SourceMisconfigured as error:
            self._cannot_decode(error)
        except Exception as error:  # FFmpeg's, or ours: whoever wants packets shall not lose them
            log.exception("decoding fails, and goes on at the next key frame")
            self._decoding.give_up()
            self._trouble("frames", f"decoding fails: {type(error).__name__}: {error}")
        else:
            self._judge(seen, packet.captured_ns)

    def _falls_behind(self, packet: Packet) -> bool:
        """Where decoding is slower than the camera, pictures are left out up to a key frame, and no packet is lost.

        Otherwise all of them would be as old as the source's queue is long, and then packets would be lost.
        """
        age_ns = 0 if self._is_film else self._clock.monotonic_ns() - packet.captured_ns
        if self._is_late:
            self._is_late = not (packet.is_key and age_ns < _CAUGHT_UP_NS)
        else:
            self._is_late = age_ns > _LATE_NS
        return self._is_late

    def _cannot_decode(self, error: SourceMisconfigured) -> None:
        if self.spec.config.get("give_up"):
            raise error
        self._trouble("frames", str(error))

    def _judge(self, seen: bool, now_ns: int) -> None:
        """Packets of which no picture can be made, for as long as silence may last, are a lost camera too."""
        if seen:
            self._good()
            self._trouble("frames", "")
        if seen or not self._picture_due_ns:
            self._picture_due_ns = now_ns + self._most_silent_ns
        elif now_ns > self._picture_due_ns and not self._is_film:  # which would show the same damage again
            self._picture_due_ns = 0
            self._sessions.lose(
                f"{self.spec.name!r}: no picture could be made for {self._settings.silence_s:g} s"
            )

    def _end_decoding(self) -> None:
        """No more packets of this kind come: the pictures that were held back come out."""
        if self._frames.wanted and not self.link.stopping.is_set():
            self._decode_rest()
        self._decoding.rest()

    def _decode_rest(self) -> None:
        try:
            self._publish_all(self._decoding.end())
        except OutOfMemory as error:
            self._dropped += 1
            self._trouble("frames", str(error))

    def _publish_all(self, pictures: Sequence[Picture]) -> bool:
        """True if there was one."""
        for picture in pictures:
            while self._can_wait and not (self._all_ready() or self.link.stopping.is_set()):
                pass
            with self.link.busy():
                self._publish(picture)
        return bool(pictures)

    def _publish(self, picture: Picture) -> None:
        slot = self._slot(picture.format)
        picture.fill(slot.planes)
        self._frames.publish(
            slot,
            pts_ns=picture.pts_ns,
            captured_ns=picture.captured_ns,
            captured_at_ns=picture.captured_at_ns,
            metadata=picture.metadata,
        )
        self._decoded.tick(picture.captured_ns)

    def _slot(self, format: PictureFormat) -> Slot:
        """Memory for a picture. A film tries until there is some, for it may lose nothing."""
        while True:
            try:
                return self._frames.reserve(format)
            except OutOfMemory as error:
                if not self._can_wait:
                    raise
                self._trouble("frames", str(error))
                self.link.end()
                if self.link.stopping.wait(_MEMORY_WAIT_S):
                    raise
                self.link.begin()


class _Health:
    """What people are told of the camera: whether its pictures come, and what stands in the way.

    Written by the thread that works, read by the one that reports.
    """

    def __init__(self) -> None:
        self._why_lost = ""
        self._telling = (State.STARTING, "connecting")
        self._note = ""
        self._troubles = {"frames": "", "packets": ""}

    def told(self) -> tuple[State, str]:
        trouble = next((what for what in self._troubles.values() if what), "")
        if trouble and not self._why_lost:
            return State.DEGRADED, trouble
        state, detail = self._telling
        return state, detail or self._note

    def lost(self, why: str, wait_s: float) -> bool:
        """True if that is news."""
        news = self._why_lost != why
        self._why_lost = why
        wait = f"{wait_s:.0f}" if wait_s >= 10 else f"{wait_s:.1f}"
        self._telling = State.DEGRADED, f"{why}; trying again in {wait} s"
        return news

    def connecting(self) -> None:
        if self._why_lost:
            self._telling = State.DEGRADED, f"{self._why_lost}; trying again"

    def connected(self) -> None:
        """It answers: not yet a reason to believe that pictures come."""
        if self._why_lost:
            self._telling = State.DEGRADED, f"{self._why_lost}; connected again, waiting for a picture"
        else:
            self._telling = State.STARTING, "connected, waiting for a picture"

    def good(self) -> bool:
        """A picture came. True if that is news."""
        news = self._telling[0] is not State.RUNNING
        self._why_lost, self._telling = "", (State.RUNNING, "")
        return news

    def trouble(self, stream: str, what: str) -> bool:
        """Something of ours keeps `stream` from being published; '' when it is over. True if that is news."""
        news = self._troubles[stream] != what
        self._troubles[stream] = what
        return news

    def note(self, what: str) -> None:
        """What a camera that is well is doing."""
        self._note = what


class _MediaTime:
    """Lets media time go on over a loss, by the time that has passed: each connection counts from zero."""

    def __init__(self) -> None:
        self._shift_ns: int | None = None
        self._last: Packet | None = None
        self._end_ns = 0
        self._last_dts_ns = self._last_captured_ns = 0
        self._begun = False

    def begin(self) -> None:
        """The next packet is the first of a connection."""
        self._shift_ns = None

    def place(self, packet: Packet) -> None:
        if self._shift_ns is None:
            self._shift_ns = self._goes_on_at(packet.captured_ns) - packet.dts_ns if self._begun else 0
        packet.pts_ns += self._shift_ns
        packet.dts_ns += self._shift_ns
        self._begun = True
        self._end_ns = max(self._end_ns, packet.pts_ns + packet.duration_ns)
        self._last_dts_ns, self._last_captured_ns = packet.dts_ns, packet.captured_ns

    def _goes_on_at(self, captured_ns: int) -> int:
        return max(self._end_ns, self._last_dts_ns + captured_ns - self._last_captured_ns)


def _settings(config: Mapping[str, Any]) -> SourceSettings:
    settings = SourceSettings(**config["source"])
    if settings.kind is Kind.FILE:
        path = Path(config.get("base_dir", ".")) / settings.path
        settings = settings.model_copy(update={"url": str(path)})
    return settings


def _dropped_by(source: Source | None) -> int:
    """Packets that a source lost because its reader was too slow."""
    dropped: int = getattr(source, "dropped", 0)
    return dropped


def _waiting(source: Source | None) -> str:
    """For whom a source waits that others have to come to."""
    waiting: str = getattr(source, "waiting", "")
    return waiting


def _told_by(source: Source | None) -> dict[str, Any]:
    """What a source has to say of itself beside its pictures."""
    told: dict[str, Any] = getattr(source, "told", {})
    return told


def _geometry(format: PacketFormat | None) -> dict[str, Any]:
    return {"codec": format.codec, "width": format.width, "height": format.height} if format else {}


def _described(kind: str, publisher: FramePublisher | PacketPublisher) -> dict[str, Any]:
    readers = publisher.readers()
    return {"kind": kind, "readers": [r.client for r in readers], "dropped": sum(r.dropped for r in readers)}
