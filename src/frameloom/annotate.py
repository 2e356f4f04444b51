"""Draws what processors saw on a picture: boxes with captions, regions, trails, in the colours of the page.

Which result belongs to which frame is decided elsewhere (`frameloom.workers.annotating`). What is drawn is read from a
result's values, which come from anybody's code: what is no shape is passed over, and nothing here raises for it.

    boxes    [[x, y, width, height], ...]
    labels   texts, one for each box; a box without one has the processor's name
    regions  [[[x, y], ...], ...]: polygons
    trails   [[[x, y], ...], ...]: open lines, such as where something came from

All are normalised to 0..1 of the picture. 1280x720 with two processors of three boxes each: 0.6 ms.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from frameloom import pixels
from frameloom.model.frame import Array, Frame, PictureFormat, PixelFormat

Colour = tuple[int, int, int]
Points = npt.NDArray[np.int32]

COLOURS: tuple[Colour, ...] = (  # BGR, those of the page
    (87, 200, 255),
    (255, 210, 99),
    (224, 156, 255),
    (125, 237, 165),
    (255, 176, 200),
    (110, 159, 255),
)
_SHADOW: Colour = (20, 20, 20)
_MOST_SHAPES = 200
_MOST_POINTS = 2000
_MOST_CAPTIONS = 12
_LONGEST_CAPTION = 40
_FURTHEST = 8.0  # pictures away: OpenCV's whole numbers must hold it
_SHIFT = 4  # of the pixel, OpenCV takes 1/16
_LINE_ROWS = 480  # a line is two pixels wide in a picture of so many rows
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_FONT_ROWS = 22.0  # height of the font at scale 1, pixels


class Layer(NamedTuple):
    """What one processor saw. `number`: which of the processors of the stream it is, for its colour."""

    processor: str
    number: int
    values: Mapping[str, Any]

    @property
    def colour(self) -> Colour:
        return COLOURS[self.number % len(COLOURS)]


class Canvas:
    """A picture that frames are copied to and drawn on, in memory that is used again and again; for one thread."""

    def __init__(self) -> None:
        self._picture: Array = np.empty((0, 0, 3), np.uint8)

    def draw(self, frame: Frame, layers: Iterable[Layer], max_width: int) -> Frame:
        """`frame` with the layers on it: full-range BGR, no wider than `max_width` pixels, with the frame's times.

        The given frame stays as it is. What is returned is valid until the next call.
        """
        width = min(frame.width, max_width)
        height = max(1, round(frame.height * width / frame.width))
        if self._picture.shape != (height, width, 3):
            self._picture = np.empty((height, width, 3), np.uint8)
        np.copyto(self._picture, pixels.convert(frame, "bgr24", width, height))
        draw(self._picture, layers)
        return Frame(
            self._picture.reshape(-1),
            PictureFormat(PixelFormat.BGR, width, height, full_range=True),
            stream=frame.stream,
            seq=frame.seq,
            pts_ns=frame.pts_ns,
            captured_ns=frame.captured_ns,
            captured_at_ns=frame.captured_at_ns,
            metadata=frame.metadata,
        )


def draw(picture: Array, layers: Iterable[Layer]) -> None:
    """Draw on `picture`, (height, width, 3) uint8 BGR, which is changed. Later layers lie on top."""
    for layer in layers:
        pen = _Pen(picture, layer.colour)
        for polygon in _polygons(layer.values.get("regions")):
            pen.line(polygon, is_closed=True)
        for trail in _polygons(layer.values.get("trails")):
            pen.line(trail, is_closed=False)
        boxes = list(_boxes(layer.values.get("boxes")))
        for x, y, width, height in boxes:
            corners = ((x, y), (x + width, y), (x + width, y + height), (x, y + height))
            pen.line(np.array(corners), is_closed=True)
        captions = zip(boxes, _captions(layer, len(boxes)), strict=False)
        for (x, y, _, height), text in captions:
            pen.caption(text, x, y, y + height)


class _Pen:
    """Draws in one colour, with a dark rim that shows it on a bright picture too."""

    def __init__(self, picture: Array, colour: Colour) -> None:
        self._picture, self._colour = picture, colour
        self._rows, self._columns = picture.shape[:2]
        self._thickness = max(1, round(2 * self._rows / _LINE_ROWS))

    def line(self, points: npt.NDArray[np.float64], is_closed: bool) -> None:
        """A line through these points, (n, 2), normalised."""
        # The edge between two pixels is half a pixel from the middle of either, which is where OpenCV counts from.
        placed = points * (self._columns, self._rows) - 0.5
        fixed: Points = np.rint(placed * (1 << _SHIFT)).astype(np.int32)
        rim = self._thickness + 2 * max(1, self._thickness // 2)
        for colour, thickness in ((_SHADOW, rim), (self._colour, self._thickness)):
            cv2.polylines(self._picture, [fixed], is_closed, colour, thickness, cv2.LINE_AA, _SHIFT)

    def caption(self, text: str, x: float, top: float, bottom: float) -> None:
        """Above the box that begins at `x` and goes from `top` to `bottom`, normalised; else below it."""
        scale = max(0.4, 12 * self._thickness / 2 / _FONT_ROWS)
        (width, height), below = cv2.getTextSize(text, _FONT, scale, 1)
        gap = self._thickness + 2 + below
        left = min(max(0, round(x * self._columns)), max(0, self._columns - width))
        row = round(top * self._rows) - gap
        if row < height:
            row = min(round(bottom * self._rows) + gap + height, self._rows - below)
        plate = ((left - 1, row - height - 2), (left + width + 1, row + below))
        cv2.rectangle(self._picture, *plate, _SHADOW, cv2.FILLED)
        cv2.putText(self._picture, text, (left, row), _FONT, scale, self._colour, 1, cv2.LINE_AA)


def _captions(layer: Layer, count: int) -> Iterator[str]:
    labels = layer.values.get("labels")
    labels = labels if isinstance(labels, list) else []
    for number in range(min(count, _MOST_CAPTIONS)):
        label = labels[number] if number < len(labels) else layer.processor
        text = str(label)[:_LONGEST_CAPTION]
        yield text.encode("ascii", "replace").decode()  # what OpenCV's letters are


def _boxes(value: Any) -> Iterator[tuple[float, float, float, float]]:
    for each in _listed(value, _MOST_SHAPES):
        numbers = _numbers(each, 4)
        if numbers is not None:
            yield (numbers[0], numbers[1], numbers[2], numbers[3])


def _polygons(value: Any) -> Iterator[npt.NDArray[np.float64]]:
    for each in _listed(value, _MOST_SHAPES):
        found = [_numbers(point, 2) for point in _listed(each, _MOST_POINTS)]
        points = [point for point in found if point is not None]
        if len(points) > 1:
            yield np.array(points, np.float64)


def _numbers(value: Any, count: int) -> list[float] | None:
    if not isinstance(value, list) or len(value) < count:
        return None
    numbers = value[:count]
    if not all(type(number) in (int, float) and math.isfinite(number) for number in numbers):
        return None
    return [min(max(float(number), -_FURTHEST), _FURTHEST) for number in numbers]


def _listed(value: Any, most: int) -> list[Any]:
    return value[:most] if isinstance(value, list) else []
