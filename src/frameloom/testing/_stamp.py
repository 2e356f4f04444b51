"""The frame number as black and white blocks in a picture, twice: at the top left and at the bottom left.

Blocks are large (a fortieth of the width), so that a lossy codec at normal quality keeps them. The number stands
in two places, so that a picture made of two frames does not read as one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Gray = npt.NDArray[np.uint8]

_ROWS, _COLUMNS = 2, 14
_BITS = 24
_WHITE, _BLACK = 235, 16
_LEAST_CONTRAST = 80
MODULUS = 1 << _BITS
"""Counters count from 0 to MODULUS - 1 and begin again."""


def check_size(width: int, height: int) -> None:
    """Raise ValueError where a picture is too small for two stamps."""
    if width < 160 or height < 2 * int(_edges(width)[0][-1]):
        raise ValueError(f"frame counters need a width of 160, a tenth of it as height; got {width}x{height}")


def regions(width: int, height: int) -> list[tuple[int, int, int, int]]:
    """The two rectangles (left, top, width, height; pixels) that stamps cover: what a motion test must ignore."""
    rows, columns = _edges(width)
    return [(0, top, int(columns[-1]), int(rows[-1])) for top in (0, height - int(rows[-1]))]


def draw(picture: npt.NDArray[Any], n: int) -> None:
    """Write `n` modulo MODULUS into a uint8 picture, gray or colour, in place."""
    rows, columns = _edges(picture.shape[1])
    block = np.where(_cells(n % MODULUS), _WHITE, _BLACK).astype(np.uint8)
    block = block.repeat(np.diff(rows), axis=0).repeat(np.diff(columns), axis=1)
    if picture.ndim == 3:
        block = block[:, :, None]
    for x, y, width, height in regions(picture.shape[1], picture.shape[0]):
        picture[y : y + height, x : x + width] = block


def read_counter(gray: Gray) -> int | None:
    """The number stamped into `gray`, (height, width) uint8, of any size: pictures may have been scaled.

    None where there is no stamp, where a bit is unclear, or where the two stamps disagree (a torn picture).
    """
    if gray.ndim != 2:
        raise ValueError(f"want (height, width) gray, got shape {gray.shape}")
    height = int(_edges(gray.shape[1])[0][-1])
    upper = _read_one(gray[:height])
    return upper if upper is not None and upper == _read_one(gray[gray.shape[0] - height :]) else None


def _read_one(stamp: Gray) -> int | None:
    light = _sample(stamp).reshape(-1)
    white, black = light[0], light[1]
    contrast = white - black
    level = (light - black) / contrast if contrast >= _LEAST_CONTRAST else np.full_like(light, 0.5)
    if np.any((level > 0.3) & (level < 0.7)):
        return None
    cells = level >= 0.5
    n = int.from_bytes(np.packbits(cells[2 : 2 + _BITS]).tobytes(), "big")
    return n if bool(np.array_equal(cells, _cells(n).reshape(-1))) else None


def _cells(n: int) -> npt.NDArray[np.bool_]:
    """White marker, black marker, 24 bits from the highest, parity of the even and of the odd ones; (2, 14)."""
    bits = [bool(n >> shift & 1) for shift in range(_BITS - 1, -1, -1)]
    parity = [sum(bits[0::2]) % 2 == 1, sum(bits[1::2]) % 2 == 1]
    return np.array([True, False, *bits, *parity]).reshape(_ROWS, _COLUMNS)


def _sample(stamp: Gray) -> npt.NDArray[np.float64]:
    """Mean brightness of the middle of each cell, (2, 14): edges are where codecs smear."""
    size = stamp.shape[1] / 40
    offsets = np.array([0.3, 0.5, 0.7])
    rows = ((np.arange(_ROWS)[:, None] + offsets) * size).astype(int).reshape(-1)
    columns = ((np.arange(_COLUMNS)[:, None] + offsets) * size).astype(int).reshape(-1)
    grid = stamp[np.ix_(rows, columns)].astype(np.float64)
    return np.asarray(grid.reshape(_ROWS, 3, _COLUMNS, 3).mean(axis=(1, 3)))


def _edges(width: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Where cells begin and end, from the corner: rows, columns."""
    size = width / 40
    return (
        np.rint(np.arange(_ROWS + 1) * size).astype(np.int64),
        np.rint(np.arange(_COLUMNS + 1) * size).astype(np.int64),
    )
