"""A film whose object is where we know, and the box that is drawn around it, as both are to be seen in a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from frameloom.testing.films import Box, Film, FrameTruth

SIDE = 40
STEP = 8  # pixels from frame to frame: more than any tolerance
TOP = 120
GROUND, OBJECT = 60, 235


@dataclass(frozen=True)
class SquareTruth(FrameTruth):
    """`box` is all of the square."""

    box: Box


@dataclass(frozen=True, kw_only=True)
class Square(Film):
    """A bright square that goes to the right over a dark gray ground, and back to where it began."""

    name: str = "square"
    frames: int = 30

    def truth(self, n: int) -> SquareTruth:
        left = 16 + n % self.frames * STEP
        return SquareTruth(n, self.time_s(n), Box(left, TOP, SIDE, SIDE, self.width, self.height))

    def _paint(self, n: int, out: Any) -> None:
        left, top, width, height = self.truth(n).box.pixels
        out[:] = GROUND
        out[top : top + height, left : left + width] = OBJECT


FINDER = """\
import numpy as np
from frameloom import Processor

class Finder(Processor):
    def process(self, frame):
        rows, columns = np.nonzero(frame.gray > 150)
        if not len(rows):
            return {"boxes": []}
        left, top, right, bottom = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        w, h = frame.width, frame.height
        return {"boxes": [[left / w, top / h, (right - left) / w, (bottom - top) / h]], "left": np.array([left])}
"""
"""A processor that says where the square is."""


def where_drawn(picture: Any) -> list[float] | None:
    """Left, top, right and bottom of the box that is drawn on (height, width, 3) BGR, in pixels; None for none.

    It is the only thing in colour; what is written above it is shorter than its sides.
    """
    blue, _, red = (picture[..., channel].astype(int) for channel in range(3))
    coloured = np.abs(blue - red) > 40
    columns = np.flatnonzero(coloured.sum(axis=0) >= SIDE - 6)
    rows = np.flatnonzero(coloured.sum(axis=1) >= SIDE - 6)
    if not (len(columns) and len(rows)):
        return None
    (left, right), (top, bottom) = _ends(columns), _ends(rows)
    return [left, top, right, bottom]


def _ends(places: Any) -> tuple[float, float]:
    """The middle of the first and of the last line, of several pixels each; between two pixels is a whole number."""
    middle = (places[0] + places[-1]) / 2
    first, last = places[places <= middle], places[places > middle]
    return float(first.mean() + 0.5), float((last if len(last) else first).mean() + 0.5)


def where_shown(picture: Any) -> list[float]:
    """The same of the square itself, whatever is drawn over its edges."""
    gray = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    inner = gray > (GROUND + OBJECT) / 2
    colour = np.ptp(picture.astype(int), axis=2) > 40
    middle = (inner & ~colour)[TOP + SIDE // 2 - 4 : TOP + SIDE // 2 + 4]
    columns = np.flatnonzero(middle.sum(axis=0) >= 4)
    centre = float(np.median(columns) + 0.5)
    return [centre - SIDE / 2, float(TOP), centre + SIDE / 2, float(TOP + SIDE)]
