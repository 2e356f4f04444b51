"""Who plays what of a film, when: mounts, and the players that follow them.

Requests and responses are the business of `frameloom.rtsp`, and so is how pictures become payloads.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from frameloom.rtsp import rtp
from frameloom.rtsp.links import Link
from frameloom.rtsp.sessions import Begin, Described
from frameloom.testing._timeline import EncodedFilm, Timeline

Garbage = Literal["payload", "junk"]

_LATE_S = 0.5
"""A client that is this far behind loses pictures up to the newest key frame."""

_JUNK_BYTES = 700


@dataclass
class Script:
    """What is wrong with a mount at the moment."""

    stalled: bool = False
    refusing: bool = False
    garbage: frozenset[Garbage] = frozenset()
    lost_share: float = 0.0
    status: int | None = None
    wall_jump_s: float = 0.0
    media_jump_s: float = 0.0


@dataclass(frozen=True)
class Clocks:
    """`now_s` is monotonic and paces; `wall_s` is UTC and goes into sender reports."""

    now_s: Callable[[], float]
    wall_s: Callable[[], float]


@dataclass
class Mount:
    """One camera: a film on its timeline, its script of failures, its players, its counts."""

    name: str
    timeline: Timeline
    clocks: Clocks
    rng: random.Random
    report_interval_s: float
    on_players: Callable[[], None]
    script: Script = field(default_factory=Script)
    players: set[Player] = field(default_factory=set)
    sent_units: int = 0
    dropped_units: int = 0

    def __post_init__(self) -> None:
        self.ssrc: int = self.rng.getrandbits(32)
        self.first_sequence = self.rng.getrandbits(16)
        self._first_ticks = self.rng.getrandbits(32)
        self._epoch_s = self.timeline.start_s

    @property
    def film(self) -> EncodedFilm:
        return self.timeline.film

    def hold(self) -> None:
        """A camera runs whether or not somebody looks."""

    def release(self) -> None:
        """The same."""

    async def describe(self) -> Described:
        film = self.film
        return Described(film.payload_type, film.sdp_lines, film.frame_rate)

    def player(self, link: Link) -> Player:
        return Player(self, link)

    def ticks_at(self, now_s: float) -> int:
        """What the media clock shows, in ticks, jumps included."""
        return self._first_ticks + round((now_s - self._epoch_s + self.script.media_jump_s) * rtp.CLOCK_HZ)

    def unit_ticks(self, timeline: Timeline, position: int) -> int:
        return self.ticks_at(timeline.start_s) + timeline.pts_ticks(position)

    def replace(self, film: EncodedFilm) -> None:
        """Go on with another film from its first picture; the media clock goes on too."""
        self.timeline = Timeline(film, self.clocks.now_s())
        self.wake()

    def wake(self) -> None:
        """Let every player look at the mount again."""
        for player in self.players:
            player.wake()

    def drop(self) -> None:
        for player in tuple(self.players):
            player.link.abort()

    def report(self) -> None:
        """Send a sender report to everyone now."""
        for player in self.players:
            player.report()


class Player:
    """Follows a mount for one client, from a key frame on, unit by unit as each falls due."""

    def __init__(self, mount: Mount, link: Link) -> None:
        self.mount = mount
        self.link = link
        self._timeline = mount.timeline
        self._next_sequence = self._sequence_offset = mount.first_sequence
        self._waiter: asyncio.Future[None] | None = None
        self._packets = self._octets = 0
        self._reported_s = float("-inf")
        self._position = 0

    def begin(self) -> Begin:
        self._position = first = self.first()
        return Begin(self.sequence(first), self.ticks(first))

    def first(self) -> int:
        """Where a client that joins now begins: the newest key frame, or the next where it must not be flooded."""
        now_s = self.mount.clocks.now_s()
        if self.link.joins_late:
            return self._timeline.newest_key(now_s)
        return self._timeline.next_key(self._timeline.position(now_s) + 1)

    def sequence(self, position: int) -> int:
        """The RTP sequence number of a unit's first packet."""
        return self._sequence_offset + self._timeline.packets_before(position) & 0xFFFF

    def ticks(self, position: int) -> int:
        return self.mount.unit_ticks(self._timeline, position) & 0xFFFFFFFF

    async def play(self) -> None:
        """Send for ever; ends by cancellation, or by closing the connection when the client is gone."""
        position = self._position
        self.mount.players.add(self)
        self.mount.on_players()
        try:
            while True:
                await self._until(self._timeline.due_s(position))
                position = await self._step(position)
        except (OSError, TimeoutError):
            self.link.abort()
        finally:
            self.mount.players.discard(self)
            self.mount.on_players()

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def report(self) -> None:
        mount, now_s = self.mount, self.mount.clocks.now_s()
        self._reported_s = now_s
        unix_s = mount.clocks.wall_s() + mount.script.wall_jump_s
        ticks = mount.ticks_at(now_s)
        cname = f"{mount.name}@frameloom"
        self.link.send_report(
            rtp.sender_report(mount.ssrc, unix_s, ticks, self._packets, self._octets, cname)
        )

    async def _step(self, position: int) -> int:
        """Do what is to be done at a unit's time, and say which unit is next."""
        if self.mount.timeline is not self._timeline:
            return self._change_over()
        if self.mount.script.stalled:
            return await self._sit_out()
        if self.mount.clocks.now_s() < self._timeline.due_s(position):
            return position  # woken early, for nothing
        await self._send(position)
        return self._catch_up(position + 1)

    def _change_over(self) -> int:
        self._timeline = self.mount.timeline
        self._sequence_offset = self._next_sequence
        return 0

    async def _sit_out(self) -> int:
        while self.mount.script.stalled:
            await self._until(None)
        return self._timeline.next_key(self._timeline.position(self.mount.clocks.now_s()) + 1)

    def _catch_up(self, position: int) -> int:
        """The next unit; where the client is late, the newest key frame instead, and a count of what it missed."""
        now_s = self.mount.clocks.now_s()
        if now_s - self._timeline.due_s(position) < _LATE_S:
            return position
        newest = max(position, self._timeline.newest_key(now_s))
        self.mount.dropped_units += newest - position
        return newest

    async def _send(self, position: int) -> None:
        mount = self.mount
        if mount.clocks.now_s() - self._reported_s >= mount.report_interval_s:
            self.report()
        unit = self._timeline.unit(position)
        payloads = self._spoiled(unit.payloads)
        sequence, ticks = self.sequence(position), self.ticks(position)
        packets = list(rtp.packets(payloads, mount.film.payload_type, sequence, ticks, mount.ssrc))
        self._next_sequence = sequence + len(packets)
        self._packets += len(packets)
        self._octets += sum(map(len, payloads))
        mount.sent_units += 1
        await self.link.send(self._kept(packets))

    def _spoiled(self, payloads: tuple[bytes, ...]) -> Sequence[bytes]:
        garbage = self.mount.script.garbage
        if "junk" in garbage:
            self.link.send_junk(self.mount.rng.randbytes(_JUNK_BYTES))
        if "payload" in garbage:
            return [self.mount.rng.randbytes(len(payload)) for payload in payloads]
        return payloads

    def _kept(self, packets: list[bytes]) -> list[bytes]:
        share = self.mount.script.lost_share
        return packets if not share else [packet for packet in packets if self.mount.rng.random() >= share]

    async def _until(self, due_s: float | None) -> None:
        """Wait for a time of the loop's clock, or for `wake` (None: for `wake` alone)."""
        loop = asyncio.get_running_loop()
        delay_s = None if due_s is None else due_s - self.mount.clocks.now_s()
        if delay_s is not None and delay_s <= 0:
            return
        self._waiter = loop.create_future()
        timer = None if delay_s is None else loop.call_later(delay_s, self.wake)
        try:
            await self._waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()
