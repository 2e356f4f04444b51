"""Changes of a stream's parameters that come within the stream, as when a camera's size is set while it is watched.

FFmpeg decodes such a stream without a word, but whoever takes packets (a recording, a decoder that begins later) has
to be told what comes from now on. Only the beginnings of packets are looked at.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from frameloom.model.packet import Packet, PacketFormat

from .decode import Decoder

_SEARCH_BYTES = 4096  # parameter sets stand before the first slice
_START = b"\0\0\1"
_LONGEST_JPEG_HEAD = 64  # segments
_JPEG_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # start of frame, of all processes
_JPEG_END_OF_HEAD = frozenset({0xD9, 0xDA})


@dataclass(frozen=True, slots=True)
class _Nals:
    """How a codec numbers its units: the sets, the one of them that tells the size, and the pictures' own."""

    shift: int
    mask: int
    sets: frozenset[int]
    sequence: int
    slices: frozenset[int]

    def kind(self, first_byte: int) -> int:
        return first_byte >> self.shift & self.mask


_CODECS = {
    "h264": _Nals(0, 31, frozenset({7, 8, 13, 15}), 7, frozenset(range(1, 6))),
    "hevc": _Nals(1, 63, frozenset({32, 33, 34}), 33, frozenset(range(32))),
}


class InBand:
    """Keeps the `PacketFormat` of one stream true; for one thread. `format` is what the stream began with."""

    def __init__(self, format: PacketFormat) -> None:
        self.format = format
        self._nals = _CODECS.get(format.codec)
        if format.extradata[:1] == b"\1":  # avcC, hvcC: a container's sets, which its packets cannot change
            self._nals = None
        self._sequence = self._sets(format.extradata)[1] if self._nals else b""

    def follow(self, packet: Packet) -> PacketFormat:
        """What `packet`, the next one in decoding order, and those after it are made of."""
        if self.format.codec == "mjpeg":
            self._take_size(jpeg_size(memoryview(packet.data)))
        elif self._nals is not None and packet.is_key:
            self._look_at_sets(packet)
        return self.format

    def _look_at_sets(self, packet: Packet) -> None:
        sets, sequence = self._sets(bytes(memoryview(packet.data)[:_SEARCH_BYTES]))
        if not sequence or sequence == self._sequence:
            return
        # The first picture is the surest reader of its sets, and such a change is rare.
        size = _decoded_size(replace(self.format, extradata=sets, width=0, height=0), packet)
        if size is not None:
            self._sequence = sequence
            self.format = replace(self.format, extradata=sets, width=size[0], height=size[1])

    def _take_size(self, size: tuple[int, int] | None) -> None:
        if size is not None and size != (self.format.width, self.format.height):
            self.format = replace(self.format, width=size[0], height=size[1])

    def _sets(self, data: bytes) -> tuple[bytes, bytes]:
        """All parameter sets before the first slice, as Annex B, and the sequence parameter set among them."""
        assert self._nals is not None
        sets, sequence = b"", b""
        for nal in _annex_b(data):
            kind = self._nals.kind(nal[0])
            if kind in self._nals.slices:
                break
            if kind in self._nals.sets:
                sets += b"\0" + _START + nal
            if kind == self._nals.sequence:
                sequence = nal
        return sets, sequence


def jpeg_size(data: memoryview) -> tuple[int, int] | None:
    """Width and height that a JPEG tells of itself, pixels; None if it is damaged."""
    at = 2
    for _ in range(_LONGEST_JPEG_HEAD):
        if at + 9 > len(data) or data[at] != 0xFF or data[at + 1] in _JPEG_END_OF_HEAD:
            return None
        if data[at + 1] in _JPEG_SIZES:
            height, width = data[at + 5] << 8 | data[at + 6], data[at + 7] << 8 | data[at + 8]
            return (width, height) if width and height else None
        at += 2 + (data[at + 2] << 8 | data[at + 3])
    return None


def _annex_b(data: bytes) -> list[bytes]:
    return [nal for part in data.split(_START)[1:] if (nal := part.rstrip(b"\0"))]


def _decoded_size(format: PacketFormat, packet: Packet) -> tuple[int, int] | None:
    decoder = Decoder(format, strict=False)
    try:
        pictures = [*decoder.decode(packet), *decoder.flush()]
        return (pictures[0].format.width, pictures[0].format.height) if pictures else None
    finally:
        decoder.close()
