"""Packets that are pictures already: nothing is decoded, their planes are looked at where they are.

For test pictures and devices that send plain pixels in a layout that a frame may have; see `SUPPORTED`.
"""

from __future__ import annotations

import numpy as np

from frameloom.model.frame import Array, ColorMatrix, PictureFormat, PixelFormat
from frameloom.model.packet import Packet, PacketFormat

from .picture import Picture

SUPPORTED = {
    "gray": (PixelFormat.GRAY, True),
    "yuv420p": (PixelFormat.YUV420P, False),
    "yuvj420p": (PixelFormat.YUV420P, True),
    "nv12": (PixelFormat.NV12, False),
    "bgr24": (PixelFormat.BGR, True),
    "rgb24": (PixelFormat.RGB, True),
}
"""FFmpeg's names of the pixel formats that need no conversion: layout, full range."""


def usual_matrix(height: int) -> ColorMatrix:
    """The colour matrix of a stream that does not tell: BT.709 from 720 lines on."""
    return ColorMatrix.BT709 if height >= 720 else ColorMatrix.BT601


class RawPictures:
    """Turns packets of `format`, codec 'rawvideo' and a `SUPPORTED` pixel format, into pictures."""

    def __init__(self, format: PacketFormat) -> None:
        pixel, full_range = SUPPORTED[format.pixel]
        matrix = usual_matrix(format.height)
        self.errors = 0
        self.withheld = 0
        self._picture = PictureFormat(pixel, format.width, format.height, matrix, full_range)
        self._rotation_deg = format.rotation_deg
        self._nbytes = sum(plane.nbytes for plane in self._picture.planes)

    def decode(self, packet: Packet) -> list[Picture]:
        """The one picture, or nothing if the packet is not of its size."""
        data = np.frombuffer(packet.data, np.uint8)
        if data.size != self._nbytes:
            self.errors += 1
            return []
        picture = Picture.of(
            packet, packet.pts_ns, True, self._picture, lambda: self._views(data), self._rotation_deg
        )
        return [picture]

    def flush(self) -> list[Picture]:
        return []

    def close(self) -> None:
        pass

    def _views(self, data: Array) -> list[Array]:
        """Planes without padding between them, as FFmpeg packs them."""
        views, at = [], 0
        for plane in self._picture.planes:
            shape = (plane.height, plane.width) + ((plane.channels,) if plane.channels > 1 else ())
            views.append(data[at : at + plane.nbytes].reshape(shape))
            at += plane.nbytes
        return views
