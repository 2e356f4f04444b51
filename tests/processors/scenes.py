"""Tiny scenes with known truth: a textured wall, noise, and squares that are where one says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
import numpy.typing as npt

from frameloom.model.frame import Array

WIDTH, HEIGHT = 320, 240
Square = tuple[int, int, int, int]
"""Left, top, width, height in pixels."""


def gray(width: int = WIDTH, height: int = HEIGHT, level: int = 100) -> Array:
    return np.full((height, width), level, np.uint8)


@cache
def wall(width: int = WIDTH, height: int = HEIGHT) -> Array:
    """A still surface of 80 to 120 levels, read-only."""
    rows, columns = np.mgrid[0:height, 0:width]
    surface: Array = (100 + 10 * np.sin(columns / 9) + 10 * np.sin(rows / 7)).astype(np.uint8)
    surface.flags.writeable = False
    return surface


@cache
def noise_field(size: int, sigma: float) -> npt.NDArray[np.int16]:
    return np.rint(np.random.default_rng(1).normal(0, sigma, size)).astype(np.int16)


def noisy(picture: Array, sigma: float, seed: int) -> Array:
    """With Gaussian noise, another one for each seed: a shifted piece of one long row of noise, to save time."""
    field = noise_field(2 * picture.size, sigma)
    first = seed * 7919 % picture.size
    return np.clip(picture + field[first : first + picture.size].reshape(picture.shape), 0, 255).astype(
        np.uint8
    )


def with_square(picture: Array, square: Square, level: int = 200) -> Array:
    left, top, width, height = square
    changed = picture.copy()
    changed[max(0, top) : max(0, top + height), max(0, left) : max(0, left + width)] = level
    return changed


def scene(
    seconds: float,
    fps: int,
    square_at: Callable[[float], Square | None],
    noise: float = 0.0,
    level: int = 200,
) -> Iterator[Array]:
    """A wall, and in front of it a square where `square_at(time in s)` says."""
    background = wall()
    for n in range(round(seconds * fps)):
        square = square_at(n / fps)
        picture = with_square(background, square, level) if square else background
        yield noisy(picture, noise, n) if noise else picture


def crossing(
    first_s: float, last_s: float, size: int = 40, top: int = 100
) -> Callable[[float], Square | None]:
    """A square that goes from the left edge to the right between two moments."""

    def square_at(time_s: float) -> Square | None:
        if not first_s <= time_s <= last_s:
            return None
        done = (time_s - first_s) / (last_s - first_s)
        return round(done * (WIDTH - size)), top, size, size

    return square_at
