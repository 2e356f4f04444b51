"""Who plays what, when: mounts, the players that follow them, and the links that carry packets to clients.

Requests and responses are `_rtsp_service`'s business; how pictures become payloads is `rtp`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from frameloom.testing import rtp
from frameloom.testing._timeline import EncodedFilm, Timeline

Garbage = Literal["payload", "junk"]

_LATE_S = 0.5
"""A client that is this far behind loses pictures up to the newest key frame."""

_DEAD_S = 20.0
"""A client that takes nothing for so long is gone."""

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


class Link(Protocol):
    """A way for packets to one client."""

    joins_late: bool
    """Whether a client may be sent all since the newest key frame at once when it joins."""

    async def send(self, packets: Sequence[bytes]) -> None:
        """Send RTP packets, waiting where the client is slow. Raises OSError or TimeoutError when it is gone."""

    def send_report(self, packet: bytes) -> None:
        """Send one RTCP packet."""

    def send_junk(self, junk: bytes) -> None:
        """Send bytes that are not even framed, where there is a way to do that."""

    def abort(self) -> None:
        """End the client's connection now."""


class TcpLink:
    """Interleaved in the RTSP connection; the buffer is bounded by the writer's high-water mark."""

    joins_late = True

    def __init__(self, writer: asyncio.StreamWriter, channel: int) -> None:
        self._writer = writer
        self._channel = channel

    async def send(self, packets: Sequence[bytes]) -> None:
        self._writer.write(b"".join([rtp.interleaved(packet, self._channel) for packet in packets]))
        async with asyncio.timeout(_DEAD_S):
            await self._writer.drain()

    def send_report(self, packet: bytes) -> None:
        self._writer.write(rtp.interleaved(packet, self._channel + 1))

    def send_junk(self, junk: bytes) -> None:
        self._writer.write(junk)

    def abort(self) -> None:
        self._writer.transport.abort()


class UdpLink:
    """To a pair of the client's ports. What the kernel does not take at once is lost, as on a real network."""

    joins_late = False  # a second's worth of packets at once would overflow the client's socket
    _burst = 32
    _pause_s = 0.002

    def __init__(self, writer: asyncio.StreamWriter, ports: UdpPorts, host: str, client_port: int) -> None:
        self._writer = writer
        self._ports = ports
        self._rtp_address = (host, client_port)
        self.rtcp_address = (host, client_port + 1)

    async def send(self, packets: Sequence[bytes]) -> None:
        for index, packet in enumerate(packets):
            if index and index % self._burst == 0:
                await asyncio.sleep(self._pause_s)  # large key frames: let the client empty its socket
            _send_or_lose(self._ports.rtp, packet, self._rtp_address)

    def send_report(self, packet: bytes) -> None:
        _send_or_lose(self._ports.rtcp, packet, self.rtcp_address)

    def send_junk(self, junk: bytes) -> None:
        _send_or_lose(self._ports.rtp, junk, self._rtp_address)

    def abort(self) -> None:
        self._writer.transport.abort()


def _send_or_lose(sender: socket.socket, packet: bytes, address: tuple[str, int]) -> None:
    with contextlib.suppress(BlockingIOError):
        sender.sendto(packet, address)


class UdpPorts:
    """The server's pair of UDP ports, RTP on an even one and RTCP on the next, shared by all clients.

    `on_report` is called inside the loop with the address that sent something to either.
    """

    def __init__(self, host: str, on_report: Callable[[tuple[str, int]], None]) -> None:
        self.rtp, self.rtcp = _bind_pair(host)
        self._on_report = on_report
        for sock in (self.rtp, self.rtcp):
            asyncio.get_running_loop().add_reader(sock, self._read, sock)

    @property
    def numbers(self) -> tuple[int, int]:
        return self.rtp.getsockname()[1], self.rtcp.getsockname()[1]

    def close(self) -> None:
        for sock in (self.rtp, self.rtcp):
            asyncio.get_running_loop().remove_reader(sock)
            sock.close()

    def _read(self, sock: socket.socket) -> None:
        try:
            _, address = sock.recvfrom(2048)
        except OSError:
            return
        self._on_report((address[0], address[1]))


def _bind_pair(host: str) -> tuple[socket.socket, socket.socket]:
    """Two neighbouring ports, the lower one even. Raises OSError where a hundred tries find none."""
    for _ in range(100):
        lower = _udp_socket(host, 0)
        number = lower.getsockname()[1]
        try:
            if lower is not None and number % 2 == 0:
                return lower, _udp_socket(host, number + 1)
        except OSError:
            pass
        lower.close()
    raise OSError(f"no two neighbouring UDP ports are free on {host}")


def _udp_socket(host: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    try:
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


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
        self.ssrc = self.rng.getrandbits(32)
        self.first_sequence = self.rng.getrandbits(16)
        self._first_ticks = self.rng.getrandbits(32)
        self._epoch_s = self.timeline.start_s

    @property
    def film(self) -> EncodedFilm:
        return self.timeline.film

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

    async def play(self, position: int) -> None:
        """Send for ever; ends by cancellation, or by closing the connection when the client is gone."""
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
