"""One who looks: his connection, and the packets that he gets.

A picture's payloads are shared with all others; what is his own is the head of each packet, its encryption and its
number. Packets that he says he has lost are sent again. One that the network is too slow for goes on at a key frame,
and what he missed is counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, cast

from aiortc import RTCCertificate, RTCDtlsFingerprint, RTCDtlsParameters, RTCDtlsTransport
from aiortc import rtp as rtcp

from . import rtp
from .ice import Seat
from .pictures import Picture, Pictures
from .sdp import Offer

log = logging.getLogger(__name__)

_SENT = 1024  # packets that can be sent again; a power of two
_BURST = 64  # packets sent at once: a key frame, and not more than a receiver's socket holds
_REST_S = 0.004
_MOST_WAITING = 4096  # packets, about 5 MB
_RESENT_PER_S = 2000
_RESYNC_S = 0.5
_STEP = 90  # RTP ticks (1 ms) between pictures that are only there to be decoded
_JOIN_S = 10.0
_SILENT_S = 15.0  # browsers ask every 2 to 5 s whether we are there
_GONE = ("closed", "failed")


class _Waiting(NamedTuple):
    payload: bytes
    time: int
    is_last: bool


class Viewer:
    """A connection. `missed` counts pictures that he was too slow for, `connected` says whether he is there.

    on_gone  called once, when he has gone, whatever the reason
    """

    def __init__(
        self,
        seat: Seat,
        pictures: Pictures,
        offer: Offer,
        certificate: RTCCertificate,
        on_gone: Callable[[Viewer], None],
    ) -> None:
        self.id = secrets.token_hex(8)
        self.seat = seat
        self.pictures = pictures
        self.missed = 0
        self.sent = 0
        self._offer = offer
        self._on_gone = on_gone
        self._began_s = time.monotonic()
        self._is_there = False
        self._is_over = False
        self._dtls = RTCDtlsTransport(cast(Any, seat), [certificate])
        self._ssrc = secrets.randbits(32)
        self._number = secrets.randbits(15)  # in the lower half, so that it does not begin anew right away
        self._extension = b"" if offer.playout_id is None else rtp.playout_extension(offer.playout_id)
        self._waiting: deque[_Waiting] = deque()
        self._history: list[tuple[int, bytes] | None] = [None] * _SENT
        self._needs_key = True
        self._resyncs = False
        self._resynced_s = 0.0
        self._last_time = 0
        self._newest: Picture | None = None
        self._resent = 0
        self._bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        pictures.watchers.add(self)
        self._joining = asyncio.get_running_loop().create_task(self._join())

    @property
    def ssrc(self) -> int:
        return self._ssrc

    @property
    def connected(self) -> bool:
        return self._dtls.state == "connected"

    # --- coming and going ----------------------------------------------------------------------------------------

    async def _join(self) -> None:
        fingerprints = [RTCDtlsFingerprint(algorithm, value) for algorithm, value in self._offer.fingerprints]
        self._dtls._set_role("server")
        self._dtls._rtp_router.register_sender(cast(Any, self), ssrc=self._ssrc)
        self._dtls.on("statechange", self._changed)
        try:
            await self._dtls.start(RTCDtlsParameters(fingerprints))
        except (
            Exception
        ) as error:  # of the encryption's library: his connection cannot be had, whatever it is
            self.end(f"{type(error).__name__}: {error}")
        if self.connected and not self._is_over:
            self._greet()

    def _greet(self) -> None:
        """He has a picture at once."""
        kept = self.pictures.since_key()
        if kept:
            self._catch_up(kept, kept[-1].time - _STEP * len(kept))
        self._is_there = True

    def _changed(self) -> None:
        if self._dtls.state in _GONE:
            self.end("he has gone")

    def end(self, why: str) -> None:
        """Let go of him. May be called twice."""
        if self._is_over:
            return
        self._is_over = True
        log.info("a viewer of %s ends: %s", self.pictures.camera, why)
        self.pictures.watchers.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        if self.connected:
            self._send_rtcp(rtp.goodbye(self._ssrc))
        self._leaving = asyncio.get_running_loop().create_task(self._leave())
        self._on_gone(self)

    async def _leave(self) -> None:
        with contextlib.suppress(Exception):  # as above: nothing depends on it
            await self._dtls.stop()
        self.seat.close()
        self._joining.cancel()

    def look(self) -> None:
        """Called every second: says where we are, and notices that he is gone."""
        now_s = time.monotonic()
        self._resent = 0
        if not self.connected and now_s - self._began_s > _JOIN_S:
            self.end(f"no connection within {_JOIN_S:g} s")
        elif now_s - self.seat.heard_s > _SILENT_S:
            self.end(f"not heard for {_SILENT_S:g} s")
        elif self.connected and self._newest is not None:
            picture = self._newest
            self._send_rtcp(
                rtp.sender_report(self._ssrc, picture.captured_at_ns, picture.time, self.sent, self._bytes)
            )

    # --- pictures ------------------------------------------------------------------------------------------------

    def give(self, picture: Picture) -> None:
        """Send the next picture, or leave it out."""
        if not self._is_there:
            return
        if self._resyncs and (kept := self.pictures.since_key()):
            self._resyncs = self._needs_key = False
            self._catch_up(kept, self._last_time)
            return
        if self._needs_key and not picture.is_key:
            self.missed += 1
            return
        self._needs_key = self._resyncs = False
        self._put(picture, picture.time)
        if len(self._waiting) > _MOST_WAITING:
            self.missed += sum(each.is_last for each in self._waiting)
            self._waiting.clear()
            self._needs_key = True
        self._flush()

    def _catch_up(self, kept: list[Picture], after: int) -> None:
        """All since the key frame. Only the last keeps its time; the others are there to be decoded, not to be seen.

        after  RTP time of what came before
        """
        span = kept[-1].time - after & 0xFFFFFFFF
        step = min(_STEP, max(1, span // (len(kept) + 1)))
        for index, picture in enumerate(kept):
            self._put(picture, kept[-1].time - step * (len(kept) - 1 - index) & 0xFFFFFFFF)
        self._needs_key = False
        self._flush()

    def _put(self, picture: Picture, time: int) -> None:
        self._newest, self._last_time = picture, time
        last = len(picture.payloads) - 1
        self._waiting.extend(
            _Waiting(payload, time, index == last) for index, payload in enumerate(picture.payloads)
        )

    def _flush(self) -> None:
        """Send what waits, a burst at a time."""
        if self._timer is not None or self._is_over:
            return
        waiting = self._waiting
        for _ in range(min(_BURST, len(waiting))):
            if not self._send(waiting[0]):
                break
            waiting.popleft()
        if waiting:
            self._timer = asyncio.get_running_loop().call_later(_REST_S, self._go_on)

    def _go_on(self) -> None:
        self._timer = None
        self._flush()

    def _send(self, what: _Waiting) -> bool:
        head = rtp.head(
            marker=what.is_last,
            payload_type=self._offer.payload_type,
            number=self._number,
            time=what.time,
            ssrc=self._ssrc,
            has_extension=bool(self._extension),
        )
        data = self._dtls._tx_srtp.protect(b"".join((head, self._extension, what.payload)))
        if not self.seat.send(data):
            return False
        self._history[self._number & _SENT - 1] = (self._number, data)
        self._number = self._number + 1 & 0xFFFF
        self.sent += 1
        self._bytes += len(what.payload)
        return True

    def _send_rtcp(self, data: bytes) -> None:
        with contextlib.suppress(Exception):  # it is a report: the next one says the same
            self.seat.send(self._dtls._tx_srtp.protect_rtcp(data))

    # --- what he says --------------------------------------------------------------------------------------------

    async def _handle_rtcp_packet(self, packet: Any) -> None:
        """Called by aiortc."""
        if isinstance(packet, rtcp.RtcpRtpfbPacket) and packet.fmt == rtcp.RTCP_RTPFB_NACK:
            self._send_again(packet.lost)
        elif isinstance(packet, rtcp.RtcpPsfbPacket) and packet.fmt in (
            rtcp.RTCP_PSFB_PLI,
            rtcp.RTCP_PSFB_FIR,
        ):
            self._resync()

    def _send_again(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            sent = self._history[number & _SENT - 1]
            if sent is not None and sent[0] == number and self._resent < _RESENT_PER_S:
                self._resent += 1
                self.seat.send(sent[1])

    def _resync(self) -> None:
        """He cannot decode what comes: he gets all since the last key frame with the next picture."""
        now_s = time.monotonic()
        if now_s - self._resynced_s > _RESYNC_S:
            self._resynced_s = now_s
            self._resyncs = True
