"""The pictures of one camera as all its viewers share them: one subscription, each access unit cut into payloads once.

What came since the newest key frame is kept, so that who comes, or lost something, has a picture at once: no camera can
be asked for a key frame.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from dataclasses import dataclass
from typing import Protocol

from frameloom.model.packet import Packet
from frameloom.workers.avc import AvcConfig
from frameloom.workers.playable import PlayableStream

from . import rtp

log = logging.getLogger(__name__)

_MOST_KEPT = 600
_KEPT_BYTES = 4 << 20  # more is not sent at once: a newcomer waits for the next key frame
_KNOWN_S = 0.5


@dataclass(frozen=True)
class Picture:
    """One access unit in payloads. `time` is its RTP time, 32 bits; `nbytes` that of its payloads in all."""

    payloads: list[bytes]
    time: int
    is_key: bool
    captured_at_ns: int
    nbytes: int


class Watcher(Protocol):
    """Who looks."""

    def give(self, picture: Picture) -> None:
        """The next picture."""

    def end(self, why: str) -> None:
        """There will be no more pictures like these: he is to come again."""


class Pictures:
    """Of one camera.

    users   who looks, or is about to: the last one closes it
    origin  RTP time of media time 0
    unfit   why they cannot be sent, or empty
    """

    def __init__(self, camera: str, site: str) -> None:
        self.camera = camera
        self.users = 0
        self.origin = secrets.randbits(32)
        self.unfit = ""
        self.kept: list[Picture] = []
        self.watchers: set[Watcher] = set()
        self._config: AvcConfig | None = None
        self._known = asyncio.Event()
        self._newest_pts_ns = -1
        self._newest_dts_ns = -1
        self._kept_bytes = 0
        self._is_whole = False  # whether `kept` begins with a key frame
        stream = PlayableStream(camera, site, self._take, client="webrtc")
        self._reading = asyncio.get_running_loop().create_task(stream.read())

    def close(self) -> None:
        """Stop reading."""
        self._reading.cancel()

    async def profile(self) -> int | None:
        """`profile_idc` of its H.264; None if the camera gives nothing within half a second."""
        try:
            async with asyncio.timeout(_KNOWN_S):
                await self._known.wait()
        except TimeoutError:
            return None
        return self.description[1] if self.description else None

    @property
    def description(self) -> bytes:
        """The avcC record of its H.264; empty if it is not known."""
        return self._config.description if self._config is not None else b""

    def since_key(self) -> list[Picture]:
        """What a newcomer needs to see the newest picture; nothing if that is too much."""
        return self.kept if self._is_whole else []

    def _take(self, packet: Packet, data: bytes, config: AvcConfig) -> None:
        self._config = config
        self._known.set()
        if packet.dts_ns < self._newest_dts_ns:
            self._begin_anew()
        self._newest_dts_ns = packet.dts_ns
        if packet.pts_ns < self._newest_pts_ns:
            self._refuse(
                f"camera {self.camera!r} sends its pictures out of order (B-frames), which WebRTC cannot"
            )
        if self.unfit:
            return
        self._newest_pts_ns = packet.pts_ns
        picture = self._picture(packet, data, config)
        self._keep(picture)
        for watcher in list(self.watchers):
            watcher.give(picture)

    def _picture(self, packet: Packet, data: bytes, config: AvcConfig) -> Picture:
        payloads = rtp.payloads(data, config.description if packet.is_key else b"")
        time = self.origin + rtp.ticks(packet.pts_ns) & 0xFFFFFFFF
        return Picture(payloads, time, packet.is_key, packet.captured_at_ns, sum(map(len, payloads)))

    def _keep(self, picture: Picture) -> None:
        if picture.is_key:
            self.kept, self._kept_bytes, self._is_whole = [], 0, True
        self.kept.append(picture)
        self._kept_bytes += picture.nbytes
        if self._kept_bytes > _KEPT_BYTES or len(self.kept) > _MOST_KEPT:
            self.kept, self._kept_bytes, self._is_whole = [], 0, False

    def _begin_anew(self) -> None:
        """The camera's time does: what viewers know of it holds no more."""
        self._newest_pts_ns = -1
        self.kept, self._kept_bytes, self._is_whole = [], 0, False
        self.unfit = ""
        self._end_all("the camera's time begins anew")

    def _refuse(self, why: str) -> None:
        if not self.unfit:
            log.warning("%s: viewers get it in another way", why)
        self.unfit = why
        self._end_all(why)

    def _end_all(self, why: str) -> None:
        for watcher in list(self.watchers):
            watcher.end(why)
