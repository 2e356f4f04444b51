"""Live H.264 for viewers, as the camera sent it: one subscription per camera, however many look.

Each access unit is made fit for browsers once (`frameloom.workers.avc`), and wrapped for Media Source Extensions once,
if anybody wants it so; nothing is read when nobody looks. A newcomer begins at the newest key frame and is there at
once. Who is slow goes on at a key frame, and what he missed is counted. How a viewer is reached belongs to
`frameloom.server.viewers`.
"""

from __future__ import annotations

import asyncio
import json
import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from frameloom.model.clock import NS_PER_S
from frameloom.model.errors import CommandError
from frameloom.model.kept import Kept
from frameloom.model.packet import Packet
from frameloom.workers.avc import AvcConfig
from frameloom.workers.playable import PlayableStream

from .fmp4 import fragment, init_segment
from .news import News

_KEPT_BYTES = 16 << 20
_LATE_NS = NS_PER_S // 2  # so far behind, a viewer goes on at a newer key frame if there is one
_HEAD = struct.Struct("<I")


@dataclass(frozen=True)
class Unit:
    """One access unit. `number` counts the units of a feed, with gaps where some were lost before they came here."""

    number: int
    packet: Packet
    data: bytes
    config: AvcConfig
    duration_ns: int

    @property
    def is_key(self) -> bool:
        return self.packet.is_key

    @property
    def nbytes(self) -> int:
        return len(self.data)

    @property
    def captured_ns(self) -> int:
        return self.packet.captured_ns

    @cached_property
    def message(self) -> bytes:
        """For a decoder: uint32 length of a JSON text, the text, the unit. The same for all viewers."""
        return _framed(self._head, self.data)

    @cached_property
    def times(self) -> bytes:
        """The same without the unit, for who gets that in another way."""
        return _framed(self._head, b"")

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
        self._news = News()
        self._kept: Kept[Unit] = Kept(_KEPT_BYTES, late_ns=_LATE_NS)
        self._packets = PlayableStream(camera, site, self._take, client="server")
        self._task: asyncio.Task[None] | None = None

    def start(self, processors: Iterable[str]) -> None:
        """Begin to read; what processors say of it is not read here."""
        self._task = asyncio.create_task(self._packets.read())

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
        return self._kept.after(number) if number else self._kept.first(time.monotonic_ns())

    def _take(self, packet: Packet, data: bytes, config: AvcConfig) -> None:
        """Its duration is told doubled: a player takes a longer gap for a break."""
        self._kept.add(Unit(self._kept.number + 1, packet, data, config, 2 * self._packets.gap_ns))
        self._news.tell()


def _framed(head: bytes, data: bytes) -> bytes:
    return b"".join((_HEAD.pack(len(head)), head, data))


__all__ = ["Unit", "VideoFeed", "describe", "init_message"]
