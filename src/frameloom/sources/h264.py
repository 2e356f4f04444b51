"""Finding out that an H.264 picture is missing, from the picture numbers in the stream.

Where a whole picture was lost on the way, FFmpeg goes on with what it has, without an error: moving things smear until
the next key picture. Every reference picture carries a number that counts up, so a gap can be seen before decoding.
"""

from __future__ import annotations

from dataclasses import dataclass

_SLICE, _IDR_SLICE, _SPS = 1, 5, 7
_START = b"\0\0\1"
_HEAD_BYTES = 24  # more than the fields of a slice's header that are read here
_SEARCH_BYTES = 4096  # parameter sets stand before the first slice
_WITH_CHROMA_FORMAT = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})


class _Bits:
    """Reads single bits and Exp-Golomb numbers; `IndexError` at the end."""

    def __init__(self, nal: bytes) -> None:
        data = nal.replace(b"\0\0\3", b"\0\0")  # emulation prevention
        self._left = 8 * len(data)
        self._value = int.from_bytes(data, "big")  # of the bits that are left

    def bit(self) -> int:
        return self.bits(1)

    def bits(self, count: int) -> int:
        if count > self._left:
            raise IndexError("the unit is cut off")
        self._left -= count
        value = self._value >> self._left
        self._value &= (1 << self._left) - 1
        return value

    def ue(self) -> int:
        zeros = self._left - self._value.bit_length()
        return self.bits(2 * zeros + 1) - 1

    def se(self) -> int:
        value = self.ue()
        return (value + 1) // 2 if value & 1 else -(value // 2)


@dataclass(frozen=True, slots=True)
class Sps:
    """What a sequence parameter set says about picture numbers."""

    frame_num_bits: int
    gaps_allowed: bool
    separate_planes: bool


class PictureNumbers:
    """Watches the access units of one stream, in decoding order. `extradata` as the container gave it.

    One sequence parameter set at a time is understood, the last one seen: that is what cameras and encoders send.
    """

    def __init__(self, extradata: bytes) -> None:
        self._length_bytes = (extradata[4] & 3) + 1 if extradata[:1] == b"\1" and len(extradata) > 6 else 0
        self._sps: Sps | None = None
        self._last_reference: int | None = None
        self._learn(extradata)

    def gap_before(self, unit: memoryview) -> bool:
        """True if a reference picture is missing between the last access unit and this one."""
        try:
            return self._gap_before(unit)
        except (IndexError, ValueError):  # damaged: the decoder will say so
            return False

    def _gap_before(self, unit: memoryview) -> bool:
        for nal in self._nals(unit):
            kind = nal[0] & 31
            if kind == _SPS:
                self._sps = parse_sps(nal)
            elif kind in (_SLICE, _IDR_SLICE):
                return self._follow(nal, is_idr=kind == _IDR_SLICE)
        return False

    def _follow(self, nal: bytes, is_idr: bool) -> bool:
        if self._sps is None or self._sps.gaps_allowed:
            return False
        number, last = _frame_num(nal, self._sps), self._last_reference
        count, is_reference = 1 << self._sps.frame_num_bits, bool(nal[0] & 0x60)
        is_gap = not is_idr and last is not None and number not in (last, (last + 1) % count)
        if is_reference:
            self._last_reference = number
        elif is_gap:
            self._last_reference = (number - 1) % count
        return is_gap

    def _learn(self, extradata: bytes) -> None:
        if self._length_bytes and extradata[5] & 31:
            size = int.from_bytes(extradata[6:8], "big")
            self.gap_before(memoryview(size.to_bytes(self._length_bytes, "big") + extradata[8 : 8 + size]))
        elif not self._length_bytes:
            self.gap_before(memoryview(extradata))

    def _nals(self, unit: memoryview) -> list[bytes]:
        """The units up to the first slice; of that, only the beginning."""
        return _prefixed(unit, self._length_bytes) if self._length_bytes else _annex_b(unit)


def parse_sps(nal: bytes) -> Sps:
    """Read a sequence parameter set (with its one-byte header). Raises `IndexError` if it is cut off."""
    profile = nal[1]
    bits = _Bits(nal[4:])
    bits.ue()  # its number
    separate = _skip_chroma_format(bits) if profile in _WITH_CHROMA_FORMAT else False
    frame_num_bits = bits.ue() + 4
    _skip_order_count(bits)
    bits.ue()  # reference frames
    return Sps(frame_num_bits, bool(bits.bit()), separate)


def _skip_chroma_format(bits: _Bits) -> bool:
    """Skip what the high profiles add; True if colour planes are coded apart."""
    chroma = bits.ue()
    separate = bool(bits.bit()) if chroma == 3 else False
    bits.ue()  # luma depth
    bits.ue()  # chroma depth
    bits.bit()  # lossless
    if bits.bit():
        for index in range(12 if chroma == 3 else 8):
            if bits.bit():
                _skip_scaling_list(bits, 16 if index < 6 else 64)
    return separate


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.se()) % 256
        last = following or last


def _skip_order_count(bits: _Bits) -> None:
    kind = bits.ue()
    if kind == 0:
        bits.ue()
    elif kind == 1:
        bits.bit()
        bits.se()
        bits.se()
        for _ in range(bits.ue()):
            bits.se()


def _frame_num(nal: bytes, sps: Sps) -> int:
    bits = _Bits(nal[1:_HEAD_BYTES])
    bits.ue()  # first macroblock
    bits.ue()  # slice type
    bits.ue()  # picture parameter set
    if sps.separate_planes:
        bits.bits(2)
    return bits.bits(sps.frame_num_bits)


def _prefixed(unit: memoryview, length_bytes: int) -> list[bytes]:
    nals, at = [], 0
    while at + length_bytes < len(unit):
        size = int.from_bytes(unit[at : at + length_bytes], "big")
        at += length_bytes
        nals.append(bytes(unit[at : at + (size if unit[at] & 31 == _SPS else min(size, _HEAD_BYTES))]))
        if unit[at] & 31 in (_SLICE, _IDR_SLICE):
            break
        at += size
    return nals


def _annex_b(unit: memoryview) -> list[bytes]:
    nals: list[bytes] = []
    data = bytes(unit[:_SEARCH_BYTES])
    at = data.find(_START)
    while at >= 0 and at + 3 < len(data):
        if data[at + 3] & 31 in (_SLICE, _IDR_SLICE):
            return [*nals, data[at + 3 : at + 3 + _HEAD_BYTES]]
        end = data.find(_START, at + 3)
        nals.append(data[at + 3 : end if end >= 0 else len(data)])
        at = end
    return [nal for nal in nals if nal]
