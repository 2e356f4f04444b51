"""H.264 as browsers want it: units with their lengths before them, and the parameter sets apart (`avcC`).

Cameras send Annex B (start codes between units, parameter sets before key frames), files mostly what browsers want.
Nothing is decoded here. Sources: ITU-T H.264, 7.3 and annex B; ISO/IEC 14496-15, 5.3.3 (avcC).
"""

from __future__ import annotations

from dataclasses import dataclass

from frameloom.model.packet import PacketFormat

_START = b"\0\0\1"
_SPS, _PPS, _DELIMITER, _SPS_EXTENSION = 7, 8, 9, 13
_APART = frozenset({_SPS, _PPS, _DELIMITER, _SPS_EXTENSION})
_PLAYABLE = frozenset({66, 77, 88, 100})  # 8 bits, 4:2:0: Baseline, Main, Extended, High
_LENGTH_BYTES = 4


class NotPlayable(ValueError):
    """No browser can play this; the message says why."""


@dataclass(frozen=True, slots=True)
class AvcConfig:
    """What a decoder must know: `description` is the avcC record, `codec` its short name as in RFC 6381, pixels."""

    codec: str
    description: bytes
    width: int
    height: int


class AvcStream:
    """Makes the packets of one stream, all of one `PacketFormat`, fit for browsers."""

    def __init__(self, format: PacketFormat) -> None:
        """Raises `NotPlayable` for any other codec, and for H.264 that browsers cannot play."""
        if format.codec != "h264":
            raise NotPlayable(f"browsers play H.264, this is {format.codec}")
        self.format = format
        self._has_lengths = format.extradata[:1] == b"\1"
        self._length_bytes = (format.extradata[4] & 3) + 1 if self._has_lengths else 0
        self.config: AvcConfig | None = None
        if self._has_lengths:
            self._take(format.extradata)
        else:
            self._look_for_sets(_annex_b(format.extradata))

    def unit(self, data: bytes) -> bytes:
        """An access unit, each of its units with 4 bytes of length before it, without parameter sets.

        Parameter sets that it brings become `config`. Raises `NotPlayable`.
        """
        if self._has_lengths:
            return data if self._length_bytes == _LENGTH_BYTES else _with_lengths(self._split(data))
        units = _annex_b(data)
        if any(unit[0] & 31 == _SPS for unit in units):
            self._look_for_sets(units)
        return _with_lengths([unit for unit in units if unit[0] & 31 not in _APART])

    def _look_for_sets(self, units: list[bytes]) -> None:
        sps = [unit for unit in units if unit[0] & 31 == _SPS]
        pps = [unit for unit in units if unit[0] & 31 == _PPS]
        if sps and pps:
            self._take(_avcc(sps, pps))

    def _take(self, description: bytes) -> None:
        if self.config is not None and self.config.description == description:
            return
        if len(description) < 7:
            raise NotPlayable("H.264 whose parameter sets are cut short")
        if description[1] not in _PLAYABLE:
            raise NotPlayable(f"browsers play 8 bits and 4:2:0, this is profile {description[1]} of H.264")
        codec = f"avc1.{description[1:4].hex()}"
        self.config = AvcConfig(codec, description, self.format.width, self.format.height)

    def _split(self, data: bytes) -> list[bytes]:
        units, at = [], 0
        while at + self._length_bytes <= len(data):
            end = at + self._length_bytes + int.from_bytes(data[at : at + self._length_bytes], "big")
            units.append(data[at + self._length_bytes : end])
            at = end
        return [unit for unit in units if unit]


def _avcc(sps: list[bytes], pps: list[bytes]) -> bytes:
    sets = b"".join(len(each).to_bytes(2, "big") + each for each in sps)
    more = b"".join(len(each).to_bytes(2, "big") + each for each in pps)
    head = bytes([1, *sps[0][1:4].ljust(3, b"\0"), 0xFC | _LENGTH_BYTES - 1, 0xE0 | len(sps)])
    record = head + sets + bytes([len(pps)]) + more
    # High profile says once more what its sets say: 4:2:0, 8 bits, no extensions.
    return record + b"\xfd\xf8\xf8\0" if sps[0][1] == 100 else record


def _annex_b(data: bytes) -> list[bytes]:
    return [unit for part in data.split(_START)[1:] if (unit := part.rstrip(b"\0"))]


def _with_lengths(units: list[bytes]) -> bytes:
    return b"".join(part for unit in units for part in (len(unit).to_bytes(_LENGTH_BYTES, "big"), unit))
