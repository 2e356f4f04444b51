"""Reads a camera's H.264 as browsers can play it: as the camera sent it, or encoded once where it sends something else.

Shared by whatever hands live video on: the server (WebCodecs, MSE) and the WebRTC worker. What is kept for newcomers,
and how a viewer is reached, is theirs. Nothing is decoded here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from frameloom.bus.subscriber import Subscription
from frameloom.model.clock import NS_PER_S
from frameloom.model.errors import FrameloomError
from frameloom.model.names import live_of, packets_of
from frameloom.model.packet import Packet, PacketFormat

from .avc import AvcConfig, AvcStream, NotPlayable

log = logging.getLogger(__name__)

_AGAIN_S = 1.0
_FIRST_GAP_NS = 40_000_000

Take = Callable[[Packet, bytes, AvcConfig], None]


class PlayableStream:
    """Gives each access unit of a camera to `take`, from a key frame on, and from the next one where some were lost.

    take    is called with the packet, its data with 4 bytes of length before each unit and without parameter sets, and
            what a decoder must know; that is another object whenever players have to begin anew
    client  who reads, for the site's diagrams
    gap_ns  how far apart pictures are
    """

    def __init__(self, camera: str, site: str, take: Take, *, client: str) -> None:
        self.gap_ns = _FIRST_GAP_NS
        self._camera = camera
        self._site = site
        self._give = take
        self._client = client
        self._stream: AvcStream | None = None
        self._last: Packet | None = None
        self._needs_key = True

    async def read(self) -> None:
        """Until cancelled. A stream that refuses us is tried again."""
        said, stream = "", packets_of(self._camera)
        while True:
            try:
                await self._read(stream)
            except NotPlayable as why:
                if stream != live_of(self._camera):
                    log.info("camera %s: %s; it is encoded once for all viewers", self._camera, why)
                    stream = live_of(self._camera)
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
        with Subscription(stream, site=self._site, policy="every", leases=32, client=self._client) as packets:
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
        self._give(packet, data, self._stream.config)

    def _begin(self, format: PacketFormat) -> None:
        if self._stream is None or format != self._stream.format:
            self._stream = AvcStream(format)
            self._needs_key = True
        else:
            self._stream.format = format

    def _measure(self, packet: Packet) -> None:
        if self._last is not None and 0 < (gap_ns := packet.dts_ns - self._last.dts_ns) < NS_PER_S * 10:
            self.gap_ns = gap_ns
        self._last = packet
