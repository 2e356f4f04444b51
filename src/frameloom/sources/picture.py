"""A decoded picture on its way into a slot: what it looks like, and how its planes get there, upright.

Decoding belongs to `frameloom.sources.decode`, conversion for display to `frameloom.pixels`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from frameloom.model.frame import Array, PictureFormat
from frameloom.model.packet import Packet

Views = Callable[[], Sequence[Array]]


@dataclass(slots=True)
class Picture:
    """One decoded picture. Its planes live until the decoder is given the next packet; `fill` copies them out.

    format          of the picture as `fill` writes it, upright
    pts_ns          media time, ns from the start of the stream; increases from picture to picture
    captured_ns     host monotonic time of the packet that brought it, ns; captured_at_ns the same moment in UTC
    metadata        of that packet
    """

    format: PictureFormat
    pts_ns: int
    captured_ns: int
    captured_at_ns: int
    metadata: Mapping[str, Any]
    is_key: bool
    _views: Views
    _rotation_deg: int = 0

    @classmethod
    def of(
        cls, packet: Packet, pts_ns: int, is_key: bool, stored: PictureFormat, views: Views, rotation_deg: int
    ) -> Picture:
        """A picture that `packet` brought, `stored` this way in `views`, to be turned counter-clockwise."""
        return cls(
            format=upright(stored, rotation_deg),
            pts_ns=pts_ns,
            captured_ns=packet.captured_ns,
            captured_at_ns=packet.captured_at_ns,
            metadata=packet.metadata,
            is_key=is_key,
            _views=views,
            _rotation_deg=rotation_deg,
        )

    def fill(self, planes: Sequence[Array]) -> None:
        """Copy into `planes`, writable uint8 arrays shaped as `format.planes`; allocates nothing of that size.

        Raises `ValueError` for other shapes.
        """
        for plane, wanted in zip(planes, self.format.planes, strict=True):
            if plane.shape[:2] != (wanted.height, wanted.width):
                raise ValueError(f"want a plane of {wanted.height} x {wanted.width}, got {plane.shape}")
        copy = _turner(self._rotation_deg) if self._rotation_deg else np.copyto
        for plane, view in zip(planes, self._views(), strict=True):
            copy(plane, view)


@cache
def upright(stored: PictureFormat, rotation_deg: int) -> PictureFormat:
    """The format after a turn: width and height change places for 90 and 270 degrees."""
    if rotation_deg % 180 == 0:
        return stored
    return replace(stored, width=stored.height, height=stored.width)


def _turner(rotation_deg: int) -> Callable[[Array, Array], None]:
    """Copies the second array into the first, turned counter-clockwise.

    Chroma planes are turned like luma. Where an odd size is halved, colours move by one luma pixel.
    """
    # Loaded by the few that have a turned film or camera.
    cv2 = importlib.import_module("cv2")
    code = {90: cv2.ROTATE_90_COUNTERCLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_CLOCKWISE}[
        rotation_deg
    ]

    def turn(plane: Array, view: Array) -> None:
        cv2.rotate(view, code, dst=plane)

    return turn
