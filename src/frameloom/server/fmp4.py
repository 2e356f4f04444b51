"""Fragmented MP4 of one H.264 track: what Media Source Extensions take, one fragment for each picture.

Written by hand because the server loads no codec library, and because a muxer hands a fragment out only when the next
picture has begun. Source: ISO/IEC 14496-12 (boxes), 14496-15 (avc1), and the byte stream format for MSE.
"""

from __future__ import annotations

import struct

from frameloom.workers.avc import AvcConfig

TIMESCALE = 1_000_000
"""Ticks per second: media time in microseconds, as browsers count it."""

_NS_PER_TICK = 1_000_000_000 // TIMESCALE
_TRACK = 1
_MATRIX = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
_KEY, _NOT_KEY = (
    0x02000000,
    0x01010000,
)  # depends on no other picture; depends on others, and is no sync sample
_TFHD = 0x020000  # default-base-is-moof
_TRUN = (
    0x000001 | 0x000100 | 0x000200 | 0x000400 | 0x000800
)  # data offset; duration, size, flags, composition offset


def init_segment(config: AvcConfig) -> bytes:
    """What comes before the first fragment: `ftyp` and `moov`, with no samples."""
    return _box(b"ftyp", b"iso5\0\0\2\0iso5iso6mp41") + _box(b"moov", _mvhd(), _trak(config), _mvex())


def fragment(number: int, data: bytes, *, pts_ns: int, dts_ns: int, duration_ns: int, is_key: bool) -> bytes:
    """`moof` and `mdat` of one picture, `data` as `avc.AvcStream.unit` gives it. `number` counts fragments, from 1."""
    dts = max(0, dts_ns) // _NS_PER_TICK
    offset, duration = pts_ns // _NS_PER_TICK - dts, max(1, duration_ns // _NS_PER_TICK)
    mfhd = _full(b"mfhd", 0, 0, struct.pack(">I", number & 0xFFFFFFFF))
    tfhd = _full(b"tfhd", 0, _TFHD, struct.pack(">I", _TRACK))
    tfdt = _full(b"tfdt", 1, 0, struct.pack(">Q", dts))
    sample = struct.pack(">IIIi", duration, len(data), _KEY if is_key else _NOT_KEY, offset)
    # The data begins after moof and the 8 bytes of mdat's head; moof's length does not depend on the number itself.
    length = 8 + len(mfhd) + 8 + len(tfhd) + len(tfdt) + 12 + 8 + len(sample)
    trun = _full(b"trun", 1, _TRUN, struct.pack(">Ii", 1, length + 8) + sample)
    return _box(b"moof", mfhd, _box(b"traf", tfhd, tfdt, trun)) + _box(b"mdat", data)


def _mvhd() -> bytes:
    times = struct.pack(">IIII", 0, 0, TIMESCALE, 0)
    return _full(
        b"mvhd",
        0,
        0,
        times + struct.pack(">IHHII", 0x10000, 0x0100, 0, 0, 0) + _MATRIX + bytes(24) + b"\0\0\0\2",
    )


def _trak(config: AvcConfig) -> bytes:
    size = struct.pack(">II", config.width << 16, config.height << 16)
    tkhd = _full(b"tkhd", 0, 7, struct.pack(">IIIII", 0, 0, _TRACK, 0, 0) + bytes(16) + _MATRIX + size)
    mdhd = _full(b"mdhd", 0, 0, struct.pack(">IIIIHH", 0, 0, TIMESCALE, 0, 0x55C4, 0))  # language: und
    hdlr = _full(b"hdlr", 0, 0, bytes(4) + b"vide" + bytes(12) + b"Frameloom\0")
    dref = _full(b"dref", 0, 0, struct.pack(">I", 1) + _full(b"url ", 0, 1))
    stbl = _box(
        b"stbl",
        _stsd(config),
        *(_full(name, 0, 0, bytes(4)) for name in (b"stts", b"stsc", b"stco")),
        _stsz(),
    )
    minf = _box(b"minf", _full(b"vmhd", 0, 1, bytes(8)), _box(b"dinf", dref), stbl)
    return _box(b"trak", tkhd, _box(b"mdia", mdhd, hdlr, minf))


def _stsd(config: AvcConfig) -> bytes:
    place = bytes(6) + struct.pack(">H", 1) + bytes(16) + struct.pack(">HH", config.width, config.height)
    look = (
        struct.pack(">III", 0x480000, 0x480000, 0)
        + struct.pack(">H", 1)
        + bytes(32)
        + struct.pack(">Hh", 24, -1)
    )
    return _full(
        b"stsd", 0, 0, struct.pack(">I", 1) + _box(b"avc1", place, look, _box(b"avcC", config.description))
    )


def _stsz() -> bytes:
    return _full(b"stsz", 0, 0, bytes(8))


def _mvex() -> bytes:
    return _box(b"mvex", _full(b"trex", 0, 0, struct.pack(">IIIII", _TRACK, 1, 0, 0, 0)))


def _full(name: bytes, version: int, flags: int, *parts: bytes) -> bytes:
    return _box(name, struct.pack(">I", version << 24 | flags), *parts)


def _box(name: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I", 8 + len(body)) + name + body
