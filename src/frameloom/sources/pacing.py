"""Letting a film out at the speed at which it was taken.

Media time comes from `frameloom.sources.timeline`; the clock is passed in.
"""

from __future__ import annotations

from frameloom.model.clock import NS_PER_S

_GIVE_UP_NS = 5 * NS_PER_S


class Pacer:
    """Says how long a packet has to wait. Never ahead of media time; when late, it catches up at double speed.

    After a delay of more than 5 s (a suspended host, a stopped process) the lost time stays lost.
    """

    def __init__(self) -> None:
        self._anchor_ns: int | None = None
        self._last_dts_ns = 0
        self._last_out_ns = 0

    def wait_s(self, dts_ns: int, now_ns: int) -> float:
        """Seconds from `now_ns` (host monotonic) until the packet with media time `dts_ns` may go out, or 0."""
        out_ns = self._out_ns(dts_ns, now_ns)
        self._last_dts_ns, self._last_out_ns = dts_ns, out_ns
        return (out_ns - now_ns) / NS_PER_S

    def _out_ns(self, dts_ns: int, now_ns: int) -> int:
        if self._anchor_ns is None or now_ns - self._anchor_ns - dts_ns > _GIVE_UP_NS:
            self._anchor_ns = now_ns - dts_ns
            return now_ns
        soonest_ns = self._last_out_ns + (dts_ns - self._last_dts_ns) // 2
        return max(self._anchor_ns + dts_ns, now_ns, soonest_ns)
