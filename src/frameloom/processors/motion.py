"""Motion: what differs from a background that is learnt all the time. The first processor, and an example of
one.

Looks at luma only, at a small size: the mean over areas, so that noise is averaged away before anything is
decided. When something begins and ends to move is decided by `frameloom.processors.presence`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import cv2
import numpy as np

from frameloom.model.clock import NS_PER_S
from frameloom.model.frame import Array, Frame
from frameloom.model.parameters import Integer, Number, Polygon, Regions
from frameloom.model.stages import Processor
from frameloom.processors.presence import Presence

MOST_BOXES = 50
_FIRST_PICTURES = 8  # the background is the mean of so many at least, even without a warm-up
_WARM_UP_FOLLOWS = 4  # time constants in a warm-up: a camera's exposure settles meanwhile
_LIGHT_STEP = 4  # of so many rows and columns, one is asked how bright it is
_BRIGHT_LEVELS = 32  # darker places say little about a factor
_LEAST_GAIN = 0.01


class Motion(Processor):
    """Says where something moves, and when it begins and ends to.

    Each pixel is compared with a background, the running average of the last seconds. What differs by more
    than `threshold` and is not too small is in motion. What stands still becomes background after a while.
    When most of the picture changes at once, the light was switched: that is no motion, and the background is
    learnt anew.
    """

    threshold = Number(
        18,
        minimum=1,
        maximum=255,
        unit="levels",
        description="How much brighter or darker than the background a place must be to count",
    )
    min_area = Number(
        0.002,
        minimum=0,
        maximum=1,
        unit="of the picture",
        description="Smaller moving areas are ignored",
    )
    look = Regions((), description="Where to look; without any region, everywhere")
    ignore = Regions(
        (), description="Where not to look, such as a tree, a road or the camera's clock; wins over `look`"
    )
    start_after_s = Number(
        0.2,
        minimum=0,
        maximum=60,
        unit="s",
        description="An event starts when motion has been seen in every frame for so long",
    )
    end_after_s = Number(
        2,
        minimum=0,
        maximum=600,
        unit="s",
        description="An event ends when no motion has been seen for so long",
    )
    background_s = Number(
        10,
        minimum=0.5,
        maximum=3600,
        unit="s",
        description="How fast the background follows the picture: shorter forgets sooner what came to a stop, "
        "longer keeps slow things in motion",
    )
    join_gap = Number(
        0.03,
        minimum=0,
        maximum=0.25,
        unit="of the width",
        description="Moving parts closer together than this are one box",
    )
    lighting_area = Number(
        0.6,
        minimum=0.1,
        maximum=1,
        unit="of the picture",
        description="If at least so much changes at once, the light was switched; 1: every change of light is motion",
    )
    warm_up_s = Number(
        1,
        minimum=0,
        maximum=60,
        unit="s",
        description="No motion is reported for so long after the stream begins or the light was switched",
    )
    working_width = Integer(
        320,
        minimum=64,
        maximum=1920,
        unit="pixels",
        description="Wider pictures are made so small before looking: less sees less detail, more costs time",
    )

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        self._presence = Presence("motion")
        self._canvas: _Canvas | None = None
        self._mask: Array | None = None
        self._mask_is_old = True

    def process(self, frame: Frame) -> Mapping[str, Any]:
        """`score`, `moving`, `boxes` and `events`; see docs/processors/motion.md."""
        found = self._look_at(frame)
        events = self._presence.update(frame, found.score, self.start_after_s, self.end_after_s)
        return {
            "score": found.score,
            "moving": self._presence.present,
            "boxes": found.boxes,
            "events": [event.to_json() for event in events],
        }

    def stop(self) -> Mapping[str, Any] | None:
        events = self._presence.stop()
        if not events:
            return None
        return {"score": 0.0, "moving": False, "boxes": [], "events": [event.to_json() for event in events]}

    def changed(self, names: frozenset[str]) -> None:
        if names & {"look", "ignore"}:
            self._mask_is_old = True

    def _look_at(self, frame: Frame) -> _Found:
        canvas = self._canvas_for(frame)
        canvas.take(frame.resized(canvas.width, canvas.height, "gray"))
        if canvas.is_out_of_date(frame.pts_ns, self.background_s):
            canvas.begin(frame.pts_ns)
            return _Found(0.0, [])
        is_warming_up = canvas.age_s(frame.pts_ns) < self.warm_up_s
        share = canvas.compare(self.threshold)
        if share >= self.lighting_area < 1:
            canvas.begin(frame.pts_ns)
            return _Found(0.0, [])
        found = self._find(canvas) if share and not is_warming_up else _Found(0.0, [])
        canvas.learn(frame.pts_ns, self.warm_up_s / _WARM_UP_FOLLOWS if is_warming_up else self.background_s)
        return found

    def _find(self, canvas: _Canvas) -> _Found:
        if self.lighting_area < 1 and canvas.follow_light():
            canvas.compare(self.threshold)
        mask = self._mask_for(canvas)
        if mask is not None:
            cv2.bitwise_and(canvas.changed, mask, dst=canvas.changed)
        return canvas.find(self.min_area, self.join_gap)

    def _canvas_for(self, frame: Frame) -> _Canvas:
        width = min(self.working_width, frame.width)
        height = max(1, round(frame.height * width / frame.width))
        picture = (frame.width, frame.height)
        canvas = self._canvas
        if canvas is None or (canvas.width, canvas.height, canvas.picture) != (width, height, picture):
            canvas = self._canvas = _Canvas(width, height, picture)
            self._mask_is_old = True
        return canvas

    def _mask_for(self, canvas: _Canvas) -> Array | None:
        if self._mask_is_old:
            self._mask = _mask_of(self.look, self.ignore, canvas.width, canvas.height)
            self._mask_is_old = False
        return self._mask


class _Found(NamedTuple):
    """Share of the picture in motion, and boxes [x, y, width, height], normalised, largest first."""

    score: float
    boxes: list[list[float]]


class _Canvas:
    """Background and present picture at the working size, in buffers that are made once."""

    def __init__(self, width: int, height: int, picture: tuple[int, int]) -> None:
        """`picture` is the width and height that the small picture comes from."""
        self.width, self.height, self.picture = width, height, picture
        shape = (height, width)
        self.present = np.zeros(shape, np.uint8)
        self.changed = np.zeros(shape, np.uint8)
        self._background = np.zeros(shape, np.float32)
        self._levels = np.zeros(shape, np.uint8)
        self._joined = np.zeros(shape, np.uint8)
        self._labels = np.zeros(shape, np.int32)
        self._first_pts_ns: int | None = None
        self._last_pts_ns = 0
        self._learnt = 0

    def take(self, luma: Array) -> None:
        """The present picture, with single pixels' noise smoothed away."""
        cv2.GaussianBlur(luma, (3, 3), 0, dst=self.present)

    def is_out_of_date(self, pts_ns: int, background_s: float) -> bool:
        """There is no background, or it is of another time: the stream began again, or paused for long."""
        if self._first_pts_ns is None:
            return True
        return not 0 <= pts_ns - self._last_pts_ns <= background_s * NS_PER_S

    def begin(self, pts_ns: int) -> None:
        """All that is known of the background is the present picture."""
        self._first_pts_ns = self._last_pts_ns = pts_ns
        np.copyto(self._background, self.present)
        self._learnt = 1

    def age_s(self, pts_ns: int) -> float:
        """Media time since `begin`."""
        return (pts_ns - (self._first_pts_ns or 0)) / NS_PER_S

    def compare(self, threshold: float) -> float:
        """Mark in `changed` (255) what differs by more than `threshold` levels; its share of the picture."""
        cv2.convertScaleAbs(self._background, dst=self._levels)
        cv2.absdiff(self.present, self._levels, dst=self.changed)
        cv2.threshold(self.changed, threshold, 255, cv2.THRESH_BINARY, dst=self.changed)
        return cv2.countNonZero(self.changed) / self.changed.size

    def follow_light(self) -> bool:
        """Make the background brighter or darker by as much as most of the picture is; whether it was needed.

        Clouds and a camera's exposure change everything by one factor, too fast to be learnt and too little
        at once for a lamp. The median does not mind what moves in less than half of the picture.
        """
        background = self._background[::_LIGHT_STEP, ::_LIGHT_STEP]
        bright = background > _BRIGHT_LEVELS
        if np.count_nonzero(bright) * 10 < bright.size:
            return False
        gain = float(np.median(self.present[::_LIGHT_STEP, ::_LIGHT_STEP][bright] / background[bright]))
        if abs(gain - 1) < _LEAST_GAIN:
            return False
        np.multiply(self._background, gain, out=self._background)
        return True

    def learn(self, pts_ns: int, time_constant_s: float) -> None:
        """Move the background towards the present picture, by as much as time has passed.

        At first it is the mean of the pictures so far: the noise of one alone would stay in it for long.
        """
        share = 1 - math.exp((self._last_pts_ns - pts_ns) / NS_PER_S / time_constant_s)
        self._last_pts_ns = pts_ns
        self._learnt += 1
        if self._learnt <= _FIRST_PICTURES:
            share = max(share, 1 / self._learnt)
        cv2.accumulateWeighted(self.present, self._background, share)

    def find(self, min_area: float, join_gap: float) -> _Found:
        """The areas of `changed` that are large enough, joined over gaps of that share of the width."""
        gap = (
            2 * round(join_gap * self.width / 2) + 1
        )  # odd: an even kernel would shift everything by a pixel
        cv2.morphologyEx(self.changed, cv2.MORPH_CLOSE, np.ones((gap, gap), np.uint8), dst=self._joined)
        # By name, because what OpenCV 5 takes by itself needs three times as long on a picture of this size.
        _, _, stats, _ = cv2.connectedComponentsWithStatsWithAlgorithm(
            self._joined, 8, cv2.CV_32S, cv2.CCL_GRANA, self._labels
        )
        # Only what has changed itself counts: across the gaps, a few specks of noise would make a large area.
        stats[:, cv2.CC_STAT_AREA] = np.bincount(self._labels[self.changed > 0], minlength=len(stats))
        least = max(1.0, min_area * self.changed.size)
        return self._found([area for area in stats.tolist() if area[cv2.CC_STAT_AREA] >= least])

    def _found(self, areas: list[list[int]]) -> _Found:
        areas.sort(key=lambda row: -row[cv2.CC_STAT_AREA])
        score = sum(row[cv2.CC_STAT_AREA] for row in areas) / self.changed.size
        return _Found(score, [self._box(row) for row in areas[:MOST_BOXES]])

    def _box(self, row: list[int]) -> list[float]:
        left, top, width, height = row[:4]
        shares = (left / self.width, top / self.height, width / self.width, height / self.height)
        return [round(share, 4) for share in shares]


def _mask_of(look: tuple[Polygon, ...], ignore: tuple[Polygon, ...], width: int, height: int) -> Array | None:
    """255 where to look, 0 elsewhere, to a pixel; None if that is everywhere."""
    if not look and not ignore:
        return None
    mask = np.full((height, width), 0 if look else 255, np.uint8)
    for polygons, value in ((look, 255), (ignore, 0)):
        for polygon in polygons:
            corners = np.rint(np.asarray(polygon) * (width, height)).astype(np.int32)
            cv2.fillPoly(mask, [corners], value)
    return mask
