"""The viewers of a site by WebRTC, and the cameras that they look at. Everything happens in one event loop."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from aiortc import RTCCertificate

from frameloom.model.errors import CommandError

from .ice import Port
from .pictures import Pictures
from .sdp import Ours, answer, read_offer
from .viewer import Viewer

log = logging.getLogger(__name__)

MOST_VIEWERS = 64
_EVERY_S = 1.0


class Service:
    """Made in the event loop that it works in.

    host, port  where to listen: one UDP port for all; 0 is any
    """

    def __init__(self, site: str, host: str, port: int) -> None:
        self._site = site
        self._port = Port(host, port)
        self._certificate = RTCCertificate.generateCertificate()
        self._fingerprint = next(
            each.value for each in self._certificate.getFingerprints() if each.algorithm == "sha-256"
        )
        self._viewers: dict[str, Viewer] = {}
        self._cameras: dict[str, Pictures] = {}
        self._unfit: dict[str, tuple[bytes, str]] = {}
        self._missed = 0

    async def offer(self, camera: str, sdp: str, called: str = "") -> dict[str, Any]:
        """A viewer comes: gives `id`, `sdp` (our answer) and `origin` (RTP time of media time 0).

        called  the address by which he reached the server. Raises `CommandError`.
        """
        if len(self._viewers) >= MOST_VIEWERS:
            raise CommandError("busy", f"{MOST_VIEWERS} viewers look by WebRTC already; take another way")
        read_offer(sdp)
        pictures = self._joined(camera)
        try:
            offer = read_offer(sdp, await pictures.profile())
            self._refuse_unfit(pictures)
        except BaseException:
            self._left(pictures)
            raise
        viewer = Viewer(self._port.seat(), pictures, offer, self._certificate, self._gone)
        self._viewers[viewer.id] = viewer
        seat = viewer.seat
        candidates = self._port.candidates(called)
        ours = Ours(seat.ufrag, seat.password, self._fingerprint, viewer.ssrc, candidates, self._port.number)
        return {"id": viewer.id, "sdp": answer(offer, ours), "origin": pictures.origin}

    async def leave(self, camera: str, id: str) -> dict[str, Any]:
        """A viewer says that he goes. Raises `CommandError` if there is none like that."""
        viewer = self._viewers.get(id)
        if viewer is None or viewer.pictures.camera != camera:
            raise CommandError("unknown-name", "there is no such viewer, or no more")
        viewer.end("he says so")
        return {}

    async def run(self, stopping: asyncio.Event) -> None:
        """Look after the viewers until `stopping` is set."""
        try:
            while not stopping.is_set():
                for viewer in list(self._viewers.values()):
                    viewer.look()
                await _either(stopping, _EVERY_S)
        finally:
            await self._close()

    @property
    def viewers(self) -> int:
        return sum(viewer.connected for viewer in list(self._viewers.values()))

    @property
    def missed(self) -> int:
        """Pictures that viewers were too slow for, in all."""
        return self._missed + sum(viewer.missed for viewer in list(self._viewers.values()))

    @property
    def port(self) -> int:
        return self._port.number

    def _joined(self, camera: str) -> Pictures:
        """Its pictures, for one more."""
        pictures = self._cameras.get(camera)
        if pictures is None:
            pictures = self._cameras[camera] = Pictures(camera, self._site)
        pictures.users += 1
        return pictures

    def _left(self, pictures: Pictures) -> None:
        """By one; when nobody looks any more, nothing is read."""
        pictures.users -= 1
        if pictures.users:
            return
        del self._cameras[pictures.camera]
        if pictures.unfit:
            self._unfit[pictures.camera] = (pictures.description, pictures.unfit)
        pictures.close()

    def _refuse_unfit(self, pictures: Pictures) -> None:
        """What has been found out of a camera holds as long as it sends the same."""
        description, why = self._unfit.get(pictures.camera, (b"", ""))
        if pictures.unfit or (why and description == pictures.description):
            raise CommandError("unsupported", pictures.unfit or why)
        if pictures.description:
            self._unfit.pop(pictures.camera, None)

    def _gone(self, viewer: Viewer) -> None:
        del self._viewers[viewer.id]
        self._missed += viewer.missed
        self._left(viewer.pictures)

    async def _close(self) -> None:
        for viewer in list(self._viewers.values()):
            viewer.end("the worker stops")
        await asyncio.sleep(0.05)  # so that they hear it
        self._port.close()


async def _either(event: asyncio.Event, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return
