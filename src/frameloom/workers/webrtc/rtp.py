"""H.264 in RTP packets: payloads, made once for all viewers, and the heads that each viewer's packets have.

Sources: RFC 3550 (RTP, RTCP), RFC 6184 (H.264: STAP-A, FU-A), RFC 8285 (header extensions).
"""

from __future__ import annotations

import struct

from frameloom.model.clock import NS_PER_S

CLOCK_HZ = 90_000
MOST_BYTES = 1200
"""Of a payload: with all heads it fits through tunnels, too."""

_STAP_A, _FU_A = 24, 28
_NTP_EPOCH_S = 2_208_988_800  # 1900 to 1970
_HEAD = struct.Struct("!BBHII")
_SENDER_REPORT = struct.Struct("!BBHIIIIII")


def ticks(pts_ns: int) -> int:
    """Media time in RTP's clock, rounded down."""
    return pts_ns * 9 // 100_000


def payloads(units: bytes, sets: bytes) -> list[bytes]:
    """Of one access unit whose units have 4 bytes of length before them.

    sets  avcC, whose parameter sets come first, as they must before a key frame; empty before any other
    """
    whole = [*parameter_sets(sets), *_split(units)] if sets else _split(units)
    found: list[bytes] = []
    together: list[bytes] = []
    for unit in whole:
        if sum(map(len, together)) + 2 * len(together) + len(unit) + 3 > MOST_BYTES:
            found += _together(together)
            together = []
        if len(unit) > MOST_BYTES:
            found += _fragments(unit)
        else:
            together.append(unit)
    return found + _together(together)


def parameter_sets(description: bytes) -> list[bytes]:
    """Those of an avcC record; as many as can be read."""
    found, at = [], 6
    for count in (description[5] & 31, None):
        if count is None:
            if at >= len(description):
                break
            count, at = description[at], at + 1
        for _ in range(count):
            end = at + 2 + int.from_bytes(description[at : at + 2], "big")
            found.append(description[at + 2 : end])
            at = end
    return [each for each in found if each]


def head(*, marker: bool, payload_type: int, number: int, time: int, ssrc: int, has_extension: bool) -> bytes:
    """The first 12 bytes of a packet; a `playout_extension` follows if it has one."""
    return _HEAD.pack(0x90 if has_extension else 0x80, marker << 7 | payload_type, number, time, ssrc)


def playout_extension(number: int) -> bytes:
    """Says that a picture is to be shown at once: no least and no longest delay."""
    return b"\xbe\xde\0\1" + bytes([number << 4 | 2, 0, 0, 0])


def sender_report(ssrc: int, utc_ns: int, time: int, packets: int, nbytes: int) -> bytes:
    """RTCP: a picture of RTP time `time` was captured at `utc_ns`; so much has been sent so far. With who we are."""
    ntp = (utc_ns // NS_PER_S + _NTP_EPOCH_S) << 32 | (utc_ns % NS_PER_S << 32) // NS_PER_S
    counts = packets & 0xFFFFFFFF, nbytes & 0xFFFFFFFF
    report = _SENDER_REPORT.pack(0x80, 200, 6, ssrc, ntp >> 32 & 0xFFFFFFFF, ntp & 0xFFFFFFFF, time, *counts)
    name = b"\1\x09frameloom\0\0"[:11].ljust(12, b"\0")
    return report + struct.pack("!BBHI", 0x81, 202, 1 + len(name) // 4, ssrc) + name


def goodbye(ssrc: int) -> bytes:
    """RTCP: nothing more will come."""
    return struct.pack("!BBHI", 0x81, 203, 1, ssrc)


def _split(units: bytes) -> list[bytes]:
    found, at = [], 0
    while at + 4 < len(units):
        end = at + 4 + int.from_bytes(units[at : at + 4], "big")
        found.append(units[at + 4 : end])
        at = end
    return [unit for unit in found if unit]


def _together(units: list[bytes]) -> list[bytes]:
    """Small units in one payload."""
    if len(units) < 2:
        return units
    first = max(unit[0] & 0x60 for unit in units) | max(unit[0] & 0x80 for unit in units) | _STAP_A
    parts = (part for unit in units for part in (len(unit).to_bytes(2, "big"), unit))
    return [b"".join((bytes([first]), *parts))]


def _fragments(unit: bytes) -> list[bytes]:
    """A large unit in payloads of about the same size."""
    kind, body = unit[0] & 31, unit[1:]
    count = -(-len(body) // (MOST_BYTES - 2))
    size = -(-len(body) // count)
    starts = range(0, len(body), size)
    indicator = unit[0] & 0xE0 | _FU_A
    marks = [(at == 0) << 7 | (at + size >= len(body)) << 6 | kind for at in starts]
    return [bytes([indicator, mark]) + body[at : at + size] for at, mark in zip(starts, marks, strict=True)]
