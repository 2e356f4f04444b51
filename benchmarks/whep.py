"""A viewer by WebRTC that takes everything and decodes nothing, for measuring what one more costs the sender."""

from __future__ import annotations

import asyncio
import contextlib
import urllib.request

from aiortc import RTCCertificate, RTCDtlsTransport, RTCIceGatherer, RTCIceTransport
from aiortc.sdp import SessionDescription

_OFFER = """v=0
o=- 1 1 IN IP4 127.0.0.1
s=-
t=0 0
m=video 9 UDP/TLS/RTP/SAVPF 102
c=IN IP4 0.0.0.0
a=mid:0
a=recvonly
a=rtcp-mux
a=setup:active
a=ice-ufrag:{ufrag}
a=ice-pwd:{password}
a=fingerprint:sha-256 {fingerprint}
a=rtpmap:102 H264/90000
a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f
"""


class CountingTransport(RTCDtlsTransport):
    """Counts pictures by their times, and sets `started` when there are enough."""

    pictures: int
    started: asyncio.Event

    async def _handle_rtp_data(self, data: bytes, arrival_time_ms: int) -> None:
        if data[1] & 128:  # the last packet of a picture
            self.pictures -= 1
            if not self.pictures:
                self.started.set()


async def look(url: str, *, pictures: int, started: asyncio.Event) -> None:
    """Until cancelled; `started` is set after so many pictures. `url` is that of the camera's WHEP resource."""
    gatherer = RTCIceGatherer(iceServers=[])
    await gatherer.gather()
    ice = RTCIceTransport(gatherer)
    ice._connection.ice_controlling = True
    certificate = RTCCertificate.generateCertificate()
    dtls = CountingTransport(ice, [certificate])
    dtls.pictures, dtls.started = pictures, started
    dtls._set_role("client")
    ours = gatherer.getLocalParameters()
    fingerprint = next(each.value for each in certificate.getFingerprints() if each.algorithm == "sha-256")
    offer = _OFFER.format(ufrag=ours.usernameFragment, password=ours.password, fingerprint=fingerprint)
    answer = SessionDescription.parse(await asyncio.to_thread(_post, url, offer.replace("\n", "\r\n")))
    video = answer.media[0]
    for candidate in video.ice_candidates:
        await ice.addRemoteCandidate(candidate)
    await ice.addRemoteCandidate(None)
    try:
        await ice.start(video.ice)
        await dtls.start(video.dtls)
        await asyncio.get_running_loop().create_future()
    finally:
        with contextlib.suppress(Exception):
            await dtls.stop()
            await ice.stop()


def _post(url: str, offer: str) -> str:
    request = urllib.request.Request(url, offer.encode(), {"Content-Type": "application/sdp"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return str(answer.read().decode())
