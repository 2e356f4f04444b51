"""Small drawing functions that the scenes share."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from frameloom.testing._film import Picture

SHIFT = 4
"""Fractional bits of the coordinates that OpenCV draws with."""


def fixed(value: float) -> int:
    """A coordinate in OpenCV's fixed point (sixteenths of a pixel)."""
    return round(float(value) * (1 << SHIFT))


def textured(
    height: int,
    width: int,
    rng: np.random.Generator,
    colour: tuple[int, int, int],
    *,
    coarse: float,
    contrast: float,
) -> Picture:
    """A still surface, (height, width, 3) uint8: `colour` (BGR) with coarse and fine grain.

    `coarse` is the size of the large patches as a share of the height, `contrast` their amplitude in gray levels.
    """
    fine = _grain(rng, height, width, max(1.0, height * coarse / 10))
    rough = _grain(rng, height, width, max(2.0, height * coarse))
    relief = contrast * (0.7 * rough + 0.3 * fine)
    picture = np.asarray(colour, np.float32) + relief[:, :, None]
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def _grain(rng: np.random.Generator, height: int, width: int, size_px: float) -> npt.NDArray[np.float32]:
    """Smooth noise with patches of about `size_px`, scaled to -1..1."""
    rows, columns = int(height / size_px) + 3, int(width / size_px) + 3
    small = rng.standard_normal((rows, columns)).astype(np.float32)
    large = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(large / np.abs(large).max(), np.float32)
