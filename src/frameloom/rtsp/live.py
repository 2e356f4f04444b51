"""A live stream as an RTSP mount: read and cut into RTP payloads once for all clients, and only while there are any.

Who may come, and what is said to them, is `sessions`'s business.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from frameloom.bus.subscriber import Subscription
from frameloom.model.clock import NS_PER_S, Clock
from frameloom.model.errors import FrameloomError
from frameloom.model.kept import Kept
from frameloom.model.packet import Packet, PacketFormat

from . import rtp
from .links import Link
from .sessions import Begin, Described, Unavailable

log = logging.getLogger(__name__)

_KEPT_BYTES = 16 << 20
_AGAIN_S = 1.0  # until a stream that refused us is joined again
_DESCRIBE_S = 10.0  # for the first key frame; players give up soon after that
_LEASES = 32


@dataclass(frozen=True, slots=True)
class Unit:
    """One encoded picture as RTP payloads. `ticks` is when it is shown, in 1/90000 s, and grows without end."""

    number: int
    payloads: Sequence[bytes]
    ticks: int
    is_key: bool
    nbytes: int
    captured_ns: int
    captured_at_ns: int


class Unfit(Exception):
    """RTP cannot carry what is in the stream."""


class LiveMount:
    """`streams`: where the pictures are read, and where instead if RTP cannot carry those of the first.

    players  clients that play now; `missed` counts the pictures that they were too slow for
    """

    def __init__(
        self, name: str, streams: Sequence[str], site: str, clock: Clock, rng: random.Random, client: str
    ) -> None:
        self.name = name
        self.ssrc: int = rng.getrandbits(32)
        self.players: set[LivePlayer] = set()
        self.missed = 0
        self.report_interval_ns = 5 * NS_PER_S
        self.clock = clock
        self.rng = rng
        self.payload_type = 0
        self._streams = tuple(streams)
        self._site = site
        self._client = client
        self._holders = 0
        self._task: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._forget()

    def _forget(self) -> None:
        """Nobody looks: what was read will not be the present when somebody does."""
        self._kept: Kept[Unit] = Kept(_KEPT_BYTES)
        self._described: Described | None = None
        self._packetiser: rtp.Packetiser | None = None
        self._format: PacketFormat | None = None
        self._last: Packet | None = None
        self._number = 0
        self._needs_key = True
        self._base_ticks = self.rng.getrandbits(32)
        self._ticks = self._base_ticks

    # --- for sessions ---

    def hold(self) -> None:
        self._holders += 1
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._read())

    def release(self) -> None:
        self._holders -= 1
        if not self._holders and self._task is not None:
            self._task.cancel()
            self._task = None
            self._forget()

    async def describe(self) -> Described:
        try:
            async with asyncio.timeout(_DESCRIBE_S):
                while self._described is None:
                    await self._news.wait()
        except TimeoutError:
            raise Unavailable(503) from None
        return self._described

    def player(self, link: Link) -> LivePlayer:
        return LivePlayer(self, link)

    # --- for players ---

    @property
    def number(self) -> int:
        """Of the newest picture; 0 before the first."""
        return self._number

    def newest_key(self) -> Unit | None:
        """Where a client may begin now."""
        return self._kept.first(self.clock.monotonic_ns())

    async def after(self, number: int) -> Unit:
        """The picture after `number`, or a later key picture."""
        return await self._next(lambda: self._kept.after(number))

    async def key_after(self, number: int) -> Unit:
        """The first key picture after `number`."""
        return await self._next(lambda: self._kept.key_after(number))

    async def _next(self, look: Callable[[], Unit | None]) -> Unit:
        while (unit := look()) is None:
            await self._news.wait()
        return unit

    # --- reading ---

    async def _read(self) -> None:
        """Until cancelled. A stream that refuses us is tried again."""
        streams, said = list(self._streams), ""
        while True:
            try:
                await self._read_stream(streams[0])
            except Unfit as why:
                if len(streams) > 1:
                    del streams[0]
                    continue
                log.error("%s: %s", self.name, why)
            except (FrameloomError, OSError) as error:
                if said != (said := str(error)):
                    log.warning("%s: %s", self.name, error)
            except Exception:  # our bug, or a camera's nonsense: clients shall not wait for ever
                log.exception("%s: a packet could not be read", self.name)
                self._packetiser = None
            await asyncio.sleep(_AGAIN_S)

    async def _read_stream(self, stream: str) -> None:
        with Subscription(
            stream, site=self._site, policy="every", leases=_LEASES, client=self._client
        ) as packets:
            async for packet in packets:
                self._take(packet)

    def _take(self, packet: Packet) -> None:
        if self._packetiser is None or packet.format != self._format:
            self._begin(packet.format)
        assert self._packetiser is not None
        if self._last is None or packet.seq != self._last.seq + 1 or packet.dts_ns < self._last.dts_ns:
            self._needs_key = True
        self._number += 1 if self._last is None else max(1, packet.seq - self._last.seq)
        self._follow_time(packet)
        self._last = packet
        if self._needs_key and not packet.is_key:
            return
        self._needs_key = False
        self._keep(packet, self._payloads(packet))

    def _begin(self, format: PacketFormat) -> None:
        """Another codec is another stream: those who play the old one have to ask again."""
        packetiser = packetiser_of(format)
        if self._packetiser is not None and packetiser.payload_type != self._packetiser.payload_type:
            self._described = None
            self._kept.clear()
            for player in tuple(self.players):
                player.link.abort()
        self._packetiser, self._format = packetiser, format
        self._needs_key = True

    def _payloads(self, packet: Packet) -> list[bytes]:
        assert self._packetiser is not None
        try:
            return self._packetiser.payloads(bytes(packet.data), is_key=packet.is_key)
        except ValueError as error:
            raise Unfit(str(error)) from error

    def _follow_time(self, packet: Packet) -> None:
        """The media clock of a stream never goes back, also where the camera's begins anew."""
        last = self._last
        if last is not None and packet.dts_ns < last.dts_ns:
            gone_ns = packet.captured_ns - last.captured_ns
            self._base_ticks = self._ticks + ticks_of(gone_ns) - ticks_of(packet.pts_ns)
        self._ticks = self._base_ticks + ticks_of(packet.pts_ns)

    def _keep(self, packet: Packet, payloads: list[bytes]) -> None:
        nbytes = sum(map(len, payloads))
        times = (packet.captured_ns, packet.captured_at_ns)
        if not payloads:
            return
        self._kept.add(Unit(self._number, payloads, self._ticks, packet.is_key, nbytes, *times))
        if self._described is None:
            assert self._packetiser is not None
            self.payload_type = self._packetiser.payload_type
            self._described = Described(self.payload_type, tuple(self._packetiser.sdp_lines()))
        news, self._news = self._news, asyncio.Event()
        news.set()


class LivePlayer:
    """One client's way through a live stream: at its own pace, over pictures that it is too slow for."""

    def __init__(self, mount: LiveMount, link: Link) -> None:
        self._mount = mount
        self._link = link
        self._sequence = mount.rng.getrandbits(16)
        self._first: Unit | None = None
        self._from = 0
        self._packets = self._octets = 0
        self._reported_ns: int | None = None

    @property
    def link(self) -> Link:
        return self._link

    def begin(self) -> Begin:
        """At the newest key frame; where a client must not be flooded, at the next one."""
        self._from = self._mount.number
        self._first = self._mount.newest_key() if self._link.joins_late else None
        return Begin(self._sequence, None if self._first is None else self._first.ticks & 0xFFFFFFFF)

    async def play(self) -> None:
        """Send for ever; ends by cancellation, or by closing the connection when the client is gone."""
        self._mount.players.add(self)
        try:
            await self._play()
        except (OSError, TimeoutError):
            self._link.abort()
        finally:
            self._mount.players.discard(self)

    async def _play(self) -> None:
        unit = self._first or await self._mount.key_after(self._from)
        while True:
            await self._send(unit)
            number = unit.number
            unit = await self._mount.after(number)
            self._mount.missed += unit.number - number - 1

    async def _send(self, unit: Unit) -> None:
        mount = self._mount
        self._report(unit)
        packets = list(rtp.packets(unit.payloads, mount.payload_type, self._sequence, unit.ticks, mount.ssrc))
        self._sequence = self._sequence + len(packets) & 0xFFFF
        self._packets += len(packets)
        self._octets += unit.nbytes
        await self._link.send(packets)

    def _report(self, unit: Unit) -> None:
        """Now and then: which UTC belongs to which time stamp, to the accuracy of the capture."""
        mount, now_ns = self._mount, self._mount.clock.monotonic_ns()
        if self._reported_ns is not None and now_ns - self._reported_ns < mount.report_interval_ns:
            return
        self._reported_ns = now_ns
        utc_s, cname = unit.captured_at_ns / NS_PER_S, f"{mount.name}@frameloom"
        self._link.send_report(
            rtp.sender_report(mount.ssrc, utc_s, unit.ticks, self._packets, self._octets, cname)
        )


def packetiser_of(format: PacketFormat) -> rtp.Packetiser:
    """How pictures of a format are cut into payloads; raises `Unfit`."""
    if format.codec == "h264":
        return rtp.H264Packetiser(format.extradata)
    if format.codec == "hevc":
        return rtp.H265Packetiser(format.extradata)
    if format.codec == "mjpeg":
        return rtp.JpegPacketiser()
    raise Unfit(f"RTP does not carry {format.codec}")


def ticks_of(ns: int) -> int:
    """Nanoseconds in ticks of 1/90000 s, to the nearest."""
    return (ns * rtp.CLOCK_HZ + NS_PER_S // 2) // NS_PER_S
