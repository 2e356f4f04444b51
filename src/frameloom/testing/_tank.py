"""A rotating tank seen from above: a textured disc that turns at a known rate, with tracer dots on it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import numpy.typing as npt

from frameloom.testing._film import Film, FrameTruth, Picture
from frameloom.testing._paint import SHIFT, fixed, textured


@dataclass(frozen=True)
class TankTruth(FrameTruth):
    """`angle_deg` grows counter-clockwise as seen in the picture, from 0 in frame 0, and is not wrapped.

    `dots` are the tracers' positions (x, y) in pixels, in an order that stays; they drift on small circles in the
    rotating frame, as inertial motion does.
    """

    angle_deg: float
    centre: tuple[float, float]
    radius: float
    dots: tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True)
class RotatingTank(Film):
    """Turns at `rpm` (negative: clockwise) about `centre` (pixels; None: near the middle, off the grid).

    Loops seamlessly where `rpm * duration_s / 60` is whole. `dots` tracers drift on circles of `drift` radii.
    """

    name: str = "tank"
    rpm: float = 10.0
    centre: tuple[float, float] | None = None
    radius: float | None = None
    dots: int = 24
    drift: float = 0.03

    def truth(self, n: int) -> TankTruth:
        angle_deg = 6.0 * self.rpm * self.time_s(n)
        x, y = self._centre
        dots = tuple((float(a), float(b)) for a, b in self._dots_at(n % self.frames))
        return TankTruth(n, self.time_s(n), angle_deg, (x, y), self._radius, dots)

    def _paint(self, n: int, out: Picture) -> None:
        np.copyto(out, self._background)
        self._paint_disc(n, out)
        centre = (fixed(self._centre[0]), fixed(self._centre[1]))
        cv2.circle(out, centre, fixed(self._radius), (188, 190, 192), self._rim_px, cv2.LINE_AA, SHIFT)
        size = fixed(self._dot_radius)
        for x, y in self._dots_at(n):
            cv2.circle(out, (fixed(x), fixed(y)), size, (90, 235, 250), -1, cv2.LINE_AA, SHIFT)

    def _paint_disc(self, n: int, out: Picture) -> None:
        x, y, width, height = self._window
        middle = (self._texture.shape[0] - 1) / 2
        turn = cv2.getRotationMatrix2D((middle, middle), 6.0 * self.rpm * self.time_s(n), 1.0)
        turn[:, 2] += (self._centre[0] - x - middle, self._centre[1] - y - middle)
        cv2.warpAffine(self._texture, turn, (width, height), dst=self._turned, flags=cv2.INTER_LINEAR)
        cv2.copyTo(self._turned, self._mask, out[y : y + height, x : x + width])

    def _dots_at(self, n: int) -> npt.NDArray[np.float64]:
        """(dots, 2) positions in pixels at frame `n`."""
        turn = math.radians(6.0 * self.rpm * self.time_s(n))
        distance, angle, phase, turns = self._dot_paths
        wander = phase + turns * 2 * np.pi * n / self.frames
        x = distance * np.cos(angle) + self.drift * np.cos(wander)
        y = distance * np.sin(angle) + self.drift * np.sin(wander)
        seen_x = x * math.cos(turn) - y * math.sin(turn)
        seen_y = -x * math.sin(turn) - y * math.cos(turn)  # pictures count rows downwards
        return np.array(self._centre) + self._radius * np.stack([seen_x, seen_y], axis=1)

    @cached_property
    def _dot_paths(self) -> tuple[npt.NDArray[np.float64], ...]:
        rng = np.random.default_rng([self.seed, 2])
        distance = 0.9 * np.sqrt(rng.uniform(0.02, 1, self.dots))
        angle, phase = rng.uniform(0, 2 * np.pi, (2, self.dots))
        return distance, angle, phase, rng.integers(1, 4, self.dots).astype(np.float64)

    @cached_property
    def _centre(self) -> tuple[float, float]:
        return self.centre or (self.width * 0.5 + 1.3, self.height * 0.5 - 0.65)

    @cached_property
    def _radius(self) -> float:
        return self.radius or 0.44 * min(self.width, self.height)

    @property
    def _rim_px(self) -> int:
        return max(2, round(self._radius / 50))

    @property
    def _dot_radius(self) -> float:
        return max(1.5, self._radius / 70)

    @cached_property
    def _window(self) -> tuple[int, int, int, int]:
        """Left, top, width, height of the pixels that the disc may touch."""
        left, top = (max(0, int(c - self._radius) - 1) for c in self._centre)
        right = min(self.width, int(self._centre[0] + self._radius) + 2)
        bottom = min(self.height, int(self._centre[1] + self._radius) + 2)
        return left, top, right - left, bottom - top

    @cached_property
    def _turned(self) -> Picture:
        return np.zeros((self._window[3], self._window[2], 3), np.uint8)

    @cached_property
    def _mask(self) -> Picture:
        x, y, width, height = self._window
        rows, columns = np.ogrid[0:height, 0:width]
        inside = np.hypot(columns + x - self._centre[0], rows + y - self._centre[1]) <= self._radius
        return inside.astype(np.uint8) * 255

    @cached_property
    def _texture(self) -> Picture:
        side = int(2 * self._radius) + 4
        rng = np.random.default_rng([self.seed, 1])
        return textured(side, side, rng, (128, 108, 66), coarse=0.12, contrast=46)

    @cached_property
    def _background(self) -> Picture:
        rng = np.random.default_rng([self.seed, 0])
        return textured(self.height, self.width, rng, (54, 52, 50), coarse=0.2, contrast=8)
