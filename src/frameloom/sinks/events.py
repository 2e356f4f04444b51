"""Records around events: some time before each one begins, until some time after the last one has ended.

What an event is, a processor says (`frameloom.model.result.Event` among a result's `events`); when it is told, it has
begun already, so the newest packets are always kept. Files and disks are `frameloom.sinks.recorder`'s business.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

from frameloom.model.clock import NS_PER_S
from frameloom.model.packet import Packet
from frameloom.model.result import Result

from .recorder import Recorder

LATE_S = 10.0
"""Packets are kept for so much longer than the pre-roll: of an event one hears when it has gone on for a while."""

MOST_BYTES = 128 << 20
_MOST_OPEN = 1000


@dataclass(slots=True)
class Rolls:
    """Seconds to record before the start of an event, and after its end."""

    pre_roll_s: float = 20.0
    post_roll_s: float = 10.0


class PreRoll:
    """The newest packets in whole groups, no more than time and memory allow."""

    def __init__(self) -> None:
        self._groups: deque[list[Packet]] = deque()
        self.nbytes = 0

    def add(self, packet: Packet, reach_s: float) -> None:
        """Keep `packet`, and of the others those that are needed to show the last `reach_s` seconds."""
        if packet.is_key:
            self._groups.append([])
        if self._groups:
            self._groups[-1].append(packet)
            self.nbytes += len(packet.data)
        oldest_ns = packet.pts_ns - round(reach_s * NS_PER_S)
        while len(self._groups) > 1 and self._groups[1][0].pts_ns <= oldest_ns:
            self._drop()
        while self.nbytes > MOST_BYTES:
            self._drop()

    def take_from(self, pts_ns: int) -> list[Packet]:
        """All from the newest key frame that is not after `pts_ns`, or from the oldest; nothing is kept."""
        while len(self._groups) > 1 and self._groups[1][0].pts_ns <= pts_ns:
            self._drop()
        taken = [packet for group in self._groups for packet in group]
        self.clear()
        return taken

    def clear(self) -> None:
        """Forget all."""
        self._groups.clear()
        self.nbytes = 0

    def _drop(self) -> None:
        self.nbytes -= sum(len(packet.data) for packet in self._groups.popleft())


class EventRecorder:
    """Starts and stops a `Recorder`. Give it every packet and every result, each as it comes."""

    def __init__(self, recorder: Recorder, rolls: Rolls) -> None:
        self.rolls = rolls
        self.events = 0
        self._recorder = recorder
        self._kept = PreRoll()
        self._open: set[str] = set()
        self._until_ns: int | None = None  # media time; None while an event goes on
        self._newest_ns = 0

    def take(self, packet: Packet) -> None:
        """Record it, or keep it for the event that may be about to begin."""
        self._newest_ns = packet.pts_ns
        if self._recorder.recording and self._is_over(packet):
            self._recorder.pause()
        if self._recorder.recording:
            self._recorder.take(packet)
        else:
            self._kept.add(packet, self.rolls.pre_roll_s + LATE_S)

    def hear(self, result: Result) -> None:
        """Look for events in what the processor says."""
        events = result.values.get("events")
        for event in events if isinstance(events, list) else []:
            if isinstance(event, dict) and isinstance(event.get("pts_ns"), int):
                self._hear(str(event.get("id")), event)

    def lost_processor(self) -> None:
        """Nobody will tell of the end of what goes on: it ends now."""
        if self._open:
            self._open.clear()
            self._until_ns = self._after(self._newest_ns)

    def lost_camera(self) -> None:
        """What is kept does not go on, and media time may begin anew."""
        self._kept.clear()
        self.lost_processor()
        if self._recorder.recording:
            self._recorder.lost_camera()
            self._recorder.pause()

    def _hear(self, id: str, event: dict[str, Any]) -> None:
        if event.get("phase") == "start" and len(self._open) < _MOST_OPEN:
            self._open.add(id)
            self._until_ns = None
            self._begin(event["pts_ns"])
        elif event.get("phase") == "end" and id in self._open:
            self._open.discard(id)
            self._until_ns = None if self._open else self._after(event["pts_ns"])

    def _begin(self, pts_ns: int) -> None:
        self.events += 1
        if self._recorder.recording:
            return
        self._recorder.start(anew=False)
        for packet in self._kept.take_from(pts_ns - round(self.rolls.pre_roll_s * NS_PER_S)):
            self._recorder.take(packet)

    def _after(self, pts_ns: int) -> int:
        return pts_ns + round(self.rolls.post_roll_s * NS_PER_S)

    def _is_over(self, packet: Packet) -> bool:
        """At a key frame only: what comes after is kept for the next event, and must be playable too."""
        return packet.is_key and self._until_ns is not None and packet.pts_ns > self._until_ns
