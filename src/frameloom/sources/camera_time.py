"""What a camera says of the time at which it took a picture, in UTC, beside the host's own clock.

Never used for a decision: it travels in a packet's metadata as `camera_utc_ns` and `camera_utc_error_ns`.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from frameloom.model.clock import NS_PER_S

from .timeline import Times

if TYPE_CHECKING:
    from av.packet import Packet

    AvPacket = Packet[Any]
else:
    AvPacket = object  # FFmpeg's packet, which is generic for type checkers only

_NOTHING: Mapping[str, Any] = MappingProxyType({})
_REFERENCE_TIME = struct.Struct("=q")  # AVProducerReferenceTime.wallclock: us since 1970
_REPORT_ERROR_NS = 1_000_000
_OLDEST_NS = 10 * NS_PER_S
_LOOK_EVERY_NS = NS_PER_S // 4


class ReportedTime:
    """The camera's clock as its RTCP sender reports tell it; nothing before the first report (up to 5 s).

    The error is that of the reading (a tick of RTP's clock, the reports' own rounding). Whether the camera's clock
    is right, nobody here can know.
    """

    def __init__(self, time_base: Fraction) -> None:
        tick_ns = time_base * NS_PER_S
        self._num, self._den = tick_ns.numerator, tick_ns.denominator
        self._offset_ns: int | None = None  # from the stream's stamps to UTC
        self._look_ns: int | None = None
        self._seen = False

    def of(self, packet: AvPacket, times: Times, captured_ns: int, captured_at_ns: int) -> Mapping[str, Any]:
        """Metadata for `packet`."""
        if packet.pts is None:
            return _NOTHING
        stamp_ns = packet.pts * self._num // self._den
        # Asking PyAV is dear, so it is asked now and then: between two reports the camera's stamps go on evenly.
        if self._look_ns is None or not 0 <= self._look_ns - stamp_ns <= _LOOK_EVERY_NS:
            self._look(packet, stamp_ns)
        if self._offset_ns is None:
            return _NOTHING
        return {"camera_utc_ns": stamp_ns + self._offset_ns, "camera_utc_error_ns": _REPORT_ERROR_NS}

    def _look(self, packet: AvPacket, stamp_ns: int) -> None:
        # The first packet after the first report carries the time of the picture that follows it: FFmpeg's parser
        # hands a packet out when the next one begins. So it takes two in a row.
        before, self._seen = self._seen, packet.has_sidedata("prft")
        if before and self._seen:
            (utc_us,) = _REFERENCE_TIME.unpack_from(bytes(packet.get_sidedata("prft")))
            self._offset_ns = utc_us * 1000 - stamp_ns
        self._look_ns = stamp_ns + (_LOOK_EVERY_NS if before or not self._seen else 0)


class DriverTime:
    """When a V4L2 driver had the picture: its stamps are host monotonic time (see `frameloom.sources.v4l2`).

    The error is one picture's duration, for some drivers stamp its start, others its end, and some its end before it
    has come.
    """

    def of(self, packet: AvPacket, times: Times, captured_ns: int, captured_at_ns: int) -> Mapping[str, Any]:
        """Metadata for `packet`; nothing if the stamp is of another clock."""
        age_ns = captured_ns - (packet.pts or 0) * 1000
        if not -times.duration_ns <= age_ns < _OLDEST_NS:
            return _NOTHING
        return {"camera_utc_ns": captured_at_ns - age_ns, "camera_utc_error_ns": times.duration_ns}
