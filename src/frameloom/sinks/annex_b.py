"""H.264 and H.265 from the form of containers (lengths before units) to that of cameras (start codes, Annex B).

A recording is always made from the latter, so that there is one way only.
"""

from __future__ import annotations

from frameloom.model.packet import PacketFormat

_START = b"\0\0\0\1"


class AnnexB:
    """Gives the access units of one format as Annex B. `sets` are its parameter sets, or empty.

    Raises `ValueError` for extradata that is cut short.
    """

    def __init__(self, format: PacketFormat) -> None:
        self.sets = format.extradata
        self._length_bytes = 0
        if format.codec in ("h264", "hevc") and format.extradata[:1] == b"\1":
            units, self._length_bytes = _AVCC_LIKE[format.codec](format.extradata)
            self.sets = b"".join(_START + unit for unit in units)

    def of(self, data: bytes) -> bytes:
        """`data` itself where it has start codes already. Raises `ValueError` where lengths do not fit."""
        return self._converted(data) if self._length_bytes else data

    def _converted(self, data: bytes) -> bytes:
        parts: list[bytes] = []
        at, size = 0, self._length_bytes
        while at < len(data):
            end = at + size + int.from_bytes(data[at : at + size], "big")
            if end > len(data):
                raise ValueError("an access unit is cut short")
            parts += (_START, data[at + size : end])
            at = end
        return b"".join(parts)


def _avcc(data: bytes) -> tuple[list[bytes], int]:
    """Parameter sets and bytes of a length, from an AVCDecoderConfigurationRecord (ISO/IEC 14496-15, 5.3.3.1)."""
    units, at = _units(data, 6, _byte(data, 5) & 31)
    more, _ = _units(data, at + 1, _byte(data, at))
    return units + more, (data[4] & 3) + 1


def _hvcc(data: bytes) -> tuple[list[bytes], int]:
    """The same from an HEVCDecoderConfigurationRecord (8.3.3.1)."""
    units: list[bytes] = []
    at = 23
    for _ in range(_byte(data, 22)):
        more, at = _units(data, at + 3, int.from_bytes(data[at + 1 : at + 3], "big"))
        units += more
    return units, (data[21] & 3) + 1


def _units(data: bytes, at: int, count: int) -> tuple[list[bytes], int]:
    """`count` units, each after its length in two bytes, and where the last one ends."""
    units: list[bytes] = []
    for _ in range(count):
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        if end > len(data):
            raise ValueError("the parameter sets are cut short")
        units.append(data[at + 2 : end])
        at = end
    return units, at


def _byte(data: bytes, at: int) -> int:
    if at >= len(data):
        raise ValueError("the parameter sets are cut short")
    return data[at]


_AVCC_LIKE = {"h264": _avcc, "hevc": _hvcc}
