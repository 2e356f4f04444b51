"""Live H.264 for viewers, as the camera sent it: one subscription per camera, however many look.

Each access unit is made fit for browsers once (`frameloom.server.avc`), and wrapped for Media Source Extensions once,
if anybody wants it so; nothing is read when nobody looks. A newcomer begins at the newest key frame and is there at
once. Who is slow goes on at a key frame, and what he missed is counted. How a viewer is reached belongs to
`frameloom.server.viewers`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import struct
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from frameloom.bus.subscriber import Subscription
from frameloom.model.clock import NS_PER_S
from frameloom.model.errors import CommandError, FrameloomError
from frameloom.model.names import live_of, packets_of
from frameloom.model.packet import Packet, PacketFormat

from .avc import AvcConfig, AvcStream, NotPlayable
from .fmp4 import fragment, init_segment
from .news import News

log = logging.getLogger(__name__)

_AGAIN_S = 1.0
_KEPT_BYTES = 16 << 20
_LATE_NS = NS_PER_S // 2  # so far behind, a viewer goes on at a newer key frame if there is one
_HEAD = struct.Struct("<I")
_FIRST_GAP_NS = 40_000_000
_OLD_NS = 10 * NS_PER_S


@dataclass(frozen=True)
class Unit:
    """One access unit. `number` counts the units of a feed, with gaps where some were lost before they came here."""

    number: int
    packet: Packet
    data: bytes
    config: AvcConfig
    duration_ns: int

    @cached_property
    def message(self) -> bytes:
        """For a decoder: uint32 length of a JSON text, the text, the unit. The same for all viewers."""
        return _framed(self._head, self.data)

    @cached_property
    def fragment(self) -> bytes:
        """For Media Source Extensions: the same with `moof` and `mdat` in place of the unit."""
        packet = self.packet
        times = {"pts_ns": packet.pts_ns, "dts_ns": packet.dts_ns, "duration_ns": self.duration_ns}
        return _framed(self._head, fragment(self.number, self.data, is_key=packet.is_key, **times))

    @cached_property
    def _head(self) -> bytes:
        packet = self.packet
        head = {
            "number": self.number,
            "key": packet.is_key,
            "pts_ns": packet.pts_ns,
            "captured_ns": packet.captured_ns,
            "captured_at_ns": packet.captured_at_ns,
        }
        return json.dumps(head, separators=(",", ":")).encode()


def describe(config: AvcConfig) -> str:
    """The text message that comes before the first unit of a format: what a decoder must know, as JSON."""
    size = {"width": config.width, "height": config.height}
    return json.dumps({"codec": config.codec, **size, "description": config.description.hex()})


def init_message(config: AvcConfig) -> bytes:
    """The binary message that comes before the first fragment of a format."""
    return _framed(b'{"init":true}', init_segment(config))


class VideoFeed:
    """What all viewers of one camera's video share. `missed` counts the units that one of them was too slow for."""

    def __init__(self, camera: str, site: str) -> None:
        self.stream = camera
        self.viewers = 0
        self.missed = 0
        self.ended: CommandError | None = None
        self._site = site
        self._news = News()
        self._units: deque[Unit] = deque()
        self._kept_bytes = 0
        self._stream: AvcStream | None = None
        self._last: Packet | None = None
        self._needs_key = True
        self._gap_ns = _FIRST_GAP_NS
        self._task: asyncio.Task[None] | None = None

    def start(self, processors: Iterable[str]) -> None:
        """Begin to read; what processors say of it is not read here."""
        self._task = asyncio.create_task(self._keep_going())

    def follow(self, processors: Iterable[str]) -> None:
        """Nothing changes for the video."""

    def end(self, why: CommandError) -> None:
        """Stop reading, and let every viewer go."""
        if self._task is not None:
            self._task.cancel()
        self.ended = why
        self._news.tell()

    async def next(self, number: int) -> Unit | None:
        """The unit after `number` (0: the newest key frame), or a later key frame; None when the feed has ended."""
        while self.ended is None:
            if (unit := self._after(number)) is not None:
                if number:
                    self.missed += unit.number - number - 1
                return unit
            await self._news.wait()
        return None

    async def end_of_feed(self) -> None:
        while self.ended is None:
            await self._news.wait()

    def _after(self, number: int) -> Unit | None:
        units = self._units
        if not units or units[-1].number <= number:
            return None
        if not number and time.monotonic_ns() - units[-1].packet.captured_ns > _OLD_NS:
            return None  # of a camera that has been lost since: nobody shall take it for the present
        follower = next((unit for unit in units if unit.number > number), None)
        key = next((unit for unit in reversed(units) if unit.packet.is_key), None)
        if number and follower is not None and follower.number == number + 1:
            is_late = units[-1].packet.captured_ns - follower.packet.captured_ns > _LATE_NS
            return key if is_late and key is not None and key.number > number else follower
        return key if key is not None and key.number > number else None

    # --- reading -------------------------------------------------------------------------------------------------

    async def _keep_going(self) -> None:
        """A stream that refuses us is tried again; viewers wait."""
        said, stream = "", packets_of(self.stream)
        while True:
            try:
                await self._read(stream)
            except NotPlayable as why:
                if stream != live_of(self.stream):
                    log.info("camera %s: %s; it is encoded once for all viewers", self.stream, why)
                    stream = live_of(self.stream)
                    continue
                log.error("stream %s: %s", stream, why)
            except (FrameloomError, OSError) as error:
                if said != (said := str(error)):
                    log.warning("stream %s: %s", stream, error)
            except Exception:  # our bug, or a camera's nonsense: viewers shall not wait for ever
                log.exception("stream %s: a packet could not be read", stream)
                self._stream = None
            await asyncio.sleep(_AGAIN_S)

    async def _read(self, stream: str) -> None:
        with Subscription(stream, site=self._site, policy="every", leases=32, client="server") as packets:
            async for packet in packets:
                self._take(packet)

    def _take(self, packet: Packet) -> None:
        if self._stream is None or packet.format is not self._stream.format:
            self._begin(packet.format)
        assert self._stream
        if self._last is not None and packet.dts_ns < self._last.dts_ns:
            self._stream = AvcStream(packet.format)  # the camera's time begins anew, and so does every player
        if self._last is None or packet.seq != self._last.seq + 1:
            self._needs_key = True
        self._measure(packet)
        data = self._stream.unit(bytes(packet.data))
        if self._stream.config is None or (self._needs_key and not packet.is_key) or not data:
            return
        self._needs_key = False
        self._keep(Unit(self._number() + 1, packet, data, self._stream.config, 2 * self._gap_ns))

    def _begin(self, format: PacketFormat) -> None:
        if self._stream is None or format != self._stream.format:
            self._stream = AvcStream(format)
            self._needs_key = True
        else:
            self._stream.format = format

    def _measure(self, packet: Packet) -> None:
        """How far apart pictures are. Told doubled as their duration: a player takes a longer gap for a break."""
        if self._last is not None and 0 < (gap_ns := packet.dts_ns - self._last.dts_ns) < NS_PER_S * 10:
            self._gap_ns = gap_ns
        self._last = packet

    def _number(self) -> int:
        return self._units[-1].number if self._units else 0

    def _keep(self, unit: Unit) -> None:
        """Two groups of pictures: whoever is a little late when a new one begins loses nothing."""
        units = self._units
        units.append(unit)
        self._kept_bytes += len(unit.data)
        if unit.packet.is_key:
            keys = [each.number for each in units if each.packet.is_key]
            while keys[-2:] and units[0].number < keys[-2:][0]:
                self._drop()
        while self._kept_bytes > _KEPT_BYTES and len(units) > 1:
            self._drop()
        self._news.tell()

    def _drop(self) -> None:
        self._kept_bytes -= len(self._units.popleft().data)


def _framed(head: bytes, data: bytes) -> bytes:
    return b"".join((_HEAD.pack(len(head)), head, data))


__all__ = ["Unit", "VideoFeed", "describe", "init_message"]
