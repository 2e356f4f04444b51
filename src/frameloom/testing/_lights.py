"""Coloured lights that move on smooth closed curves over a dim background."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import numpy.typing as npt

from frameloom.testing._film import Film, FrameTruth, Picture
from frameloom.testing._paint import textured


@dataclass(frozen=True)
class Light:
    """`id` 0, 1, ...; `x`, `y` in pixels; `colour` BGR 0..255 at full saturation; `sigma_px` its Gaussian width."""

    id: int
    x: float
    y: float
    colour: tuple[int, int, int]
    sigma_px: float


@dataclass(frozen=True)
class LightsTruth(FrameTruth):
    lights: tuple[Light, ...]


@dataclass(frozen=True, kw_only=True)
class ColouredLights(Film):
    """`lights` lights of distinct hues; paths cross; each goes round up to `laps` times and loops seamlessly."""

    name: str = "lights"
    lights: int = 6
    laps: int = 2

    def truth(self, n: int) -> LightsTruth:
        places = self._places(n % self.frames)
        lights = (self._light(index, x, y) for index, (x, y) in enumerate(places))
        return LightsTruth(n, self.time_s(n), tuple(lights))

    def _light(self, index: int, x: float, y: float) -> Light:
        blue, green, red = self._colours[index]
        return Light(index, float(x), float(y), (int(blue), int(green), int(red)), self._sigma_px)

    def _paint(self, n: int, out: Picture) -> None:
        np.copyto(out, self._background)
        for index, (x, y) in enumerate(self._places(n)):
            self._glow(out, x, y, self._colours[index])

    def _glow(self, out: Picture, x: float, y: float, colour: npt.NDArray[np.float32]) -> None:
        """Add a Gaussian spot at a sub-pixel place; its core is clipped, as in a real picture of a lamp."""
        reach = int(4 * self._sigma_px)
        left, top = round(x) - reach, round(y) - reach
        steps = np.arange(2 * reach + 1, dtype=np.float32)
        across = np.exp(-0.5 * ((steps + left - x) / self._sigma_px) ** 2).astype(np.float32)
        down = np.exp(-0.5 * ((steps + top - y) / self._sigma_px) ** 2).astype(np.float32)
        spot = np.minimum(1.7 * down[:, None] * across, 1.0)[:, :, None] * colour
        place = out[top : top + len(steps), left : left + len(steps)]
        place[:] = cv2.add(place, spot.astype(np.uint8))

    def _places(self, n: int) -> npt.NDArray[np.float64]:
        """(lights, 2) positions in pixels."""
        rate, phase = self._curves
        swing = np.sin(2 * np.pi * rate * n / self.frames + phase)
        room = np.array([self.width, self.height]) / 2 - 4 * self._sigma_px - 2
        return np.array([self.width, self.height]) / 2 + room * swing

    @cached_property
    def _curves(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        rng = np.random.default_rng([self.seed, 6])
        rate = rng.integers(1, self.laps + 1, (self.lights, 2)).astype(np.float64)
        return rate, rng.uniform(0, 2 * np.pi, (self.lights, 2))

    @cached_property
    def _colours(self) -> list[npt.NDArray[np.float32]]:
        hues = [colorsys.hsv_to_rgb(index / self.lights, 1.0, 1.0) for index in range(self.lights)]
        return [np.rint(np.array([b, g, r], np.float32) * 235) for r, g, b in hues]

    @property
    def _sigma_px(self) -> float:
        return max(2.0, min(self.width, self.height) / 70)

    @cached_property
    def _background(self) -> Picture:
        rng = np.random.default_rng([self.seed, 7])
        return textured(self.height, self.width, rng, (26, 20, 18), coarse=0.25, contrast=8)
