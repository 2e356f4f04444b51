"""What every film is: size, rate, length, seed, a picture and a truth for each frame.

Scenes live in `_tank`, `_walkers`, `_lights` and `_counter`; encoding in `_encode`. Nothing here knows a codec.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from frameloom.testing import _stamp

Picture = npt.NDArray[np.uint8]
"""(height, width, 3) uint8, colour order blue, green, red; or (height, width) uint8 where gray is meant."""


@dataclass(frozen=True)
class FrameTruth:
    """What is certainly to be seen in one frame.

    Positions are pixels; (0, 0) is the centre of the top-left pixel, x grows to the right, y downwards.
    """

    frame: int
    time_s: float


@dataclass(frozen=True)
class Box:
    """A rectangle of whole pixels: columns `x_px` to `x_px + width_px - 1`, rows likewise, inside its picture."""

    x_px: int
    y_px: int
    width_px: int
    height_px: int
    picture_width: int
    picture_height: int

    @property
    def pixels(self) -> tuple[int, int, int, int]:
        """Left, top, width, height in pixels."""
        return self.x_px, self.y_px, self.width_px, self.height_px

    @property
    def normalised(self) -> tuple[float, float, float, float]:
        """Left, top, width, height as shares 0..1 of the picture."""
        return (
            self.x_px / self.picture_width,
            self.y_px / self.picture_height,
            self.width_px / self.picture_width,
            self.height_px / self.picture_height,
        )


@dataclass(frozen=True, kw_only=True)
class Film(ABC):
    """A film that our own code renders: the same arguments give the same pictures, everywhere.

    `fps` is frames per second, `frames` the length. Scenes repeat after `frames`, most of them seamlessly.
    `stamp=True` writes the frame number into two corners (see `read_counter`). A film may be sent to another
    process; one film object renders in one thread only, since it re-uses its buffers.
    """

    name: str
    width: int = 320
    height: int = 240
    fps: int | Fraction = 25
    frames: int = 100
    seed: int = 1
    stamp: bool = False

    def __post_init__(self) -> None:
        if self.frames < 1 or self.fps <= 0:
            raise ValueError(
                f"film {self.name!r}: want frames and fps above 0, got {self.frames}, {self.fps}"
            )
        if self.width < 32 or self.height < 32:
            raise ValueError(f"film {self.name!r}: want 32x32 pixels or more, got {self.width}x{self.height}")
        if self.stamp:
            _stamp.check_size(self.width, self.height)

    @property
    def duration_s(self) -> float:
        return float(self.frames / Fraction(self.fps))

    def time_s(self, n: int) -> float:
        """Media time of frame `n`, seconds from the first one."""
        return float(n / Fraction(self.fps))

    def render(self, n: int) -> Picture:
        """Frame `n` as (height, width, 3) uint8 BGR, in a buffer that the next `render` overwrites."""
        return self.render_into(n, self._buffer)

    def render_into(self, n: int, out: Picture) -> Picture:
        """Draw frame `n` over all of `out`, (height, width, 3) uint8 BGR and contiguous, and return it.

        `n` may be beyond the end: the scene repeats and the stamp counts on.
        """
        wanted = (self.height, self.width, 3)
        if out.shape != wanted or out.dtype != np.uint8:
            raise ValueError(f"film {self.name!r}: want a {wanted} uint8 buffer, got {out.shape} {out.dtype}")
        self._paint(n % self.frames, out)
        if self.stamp:
            _stamp.draw(out, n)
        return out

    @abstractmethod
    def truth(self, n: int) -> FrameTruth:
        """What frame `n` shows; for `n` beyond the end the scene repeats."""

    @abstractmethod
    def _paint(self, n: int, out: Picture) -> None:
        """Draw the scene at frame `n`, 0 <= n < frames, over every pixel of `out`."""

    @cached_property
    def _buffer(self) -> Picture:
        return np.zeros((self.height, self.width, 3), np.uint8)

    def __getstate__(self) -> dict[str, Any]:
        # Rendered backgrounds and buffers are cached in the instance: they need not travel.
        return {field.name: getattr(self, field.name) for field in fields(self)}
