"""A packet: one encoded access unit with its times, as the camera sent it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Self

BEGINS = "begins"
"""Mark in a packet's metadata: it is the first of a connection, and does not follow what came before."""

_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class PacketFormat:
    """What a decoder must know before the first packet. `codec` is FFmpeg's name: 'h264', 'hevc', 'mjpeg', 'rawvideo'.

    `extradata` holds parameter sets as the container gave them (Annex B or avcC), or is empty.
    `rotation_deg` is the display rotation, counter-clockwise, one of 0, 90, 180, 270.
    """

    codec: str
    width: int
    height: int
    extradata: bytes = b""
    rotation_deg: int = 0
    pixel: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "codec": self.codec,
            "width": self.width,
            "height": self.height,
            "extradata": base64.b64encode(self.extradata).decode(),
            "rotation_deg": self.rotation_deg,
            "pixel": self.pixel,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(
            str(data["codec"]),
            int(data["width"]),
            int(data["height"]),
            base64.b64decode(data.get("extradata", "")),
            int(data.get("rotation_deg", 0)),
            str(data.get("pixel", "")),
        )


@dataclass(slots=True)
class Packet:
    """One access unit. `data` is bytes-like, read-only, and valid as long as the packet is kept.

    stream          name of the stream
    seq             number of the packet in its stream, counted by the publisher
    pts_ns, dts_ns  presentation and decoding time, ns from the start of the stream
    is_key          a decoder can start here
    captured_ns     host monotonic time of its last byte, ns; captured_at_ns the same moment in UTC
    """

    data: Any
    format: PacketFormat
    pts_ns: int
    is_key: bool
    captured_ns: int
    captured_at_ns: int
    dts_ns: int = 0
    duration_ns: int = 0
    stream: str = ""
    seq: int = 0
    metadata: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
