"""Simple human figures that walk over a still background, enter, leave, and are sometimes not there at all."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from frameloom.testing._film import Box, Film, FrameTruth, Picture
from frameloom.testing._paint import SHIFT, fixed, textured

Point = tuple[float, float]
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Walk:
    """One figure's way through the picture.

    `enters` and `leaves` are shares 0..1 of the film; `rightwards` the direction; `depth` 0 (far, small) to 1 (near).
    """

    enters: float
    leaves: float
    rightwards: bool = True
    depth: float = 0.5


DEFAULT_WALKS = (
    Walk(0.10, 0.38, rightwards=True, depth=0.65),
    Walk(0.26, 0.52, rightwards=False, depth=0.25),
    Walk(0.66, 0.93, rightwards=False, depth=0.95),
    Walk(0.70, 0.90, rightwards=True, depth=0.45),
)
"""Nobody is there before 10 %, between 52 % and 66 %, and after 93 % of the film."""


@dataclass(frozen=True)
class WalkersTruth(FrameTruth):
    """Boxes around the visible part of each figure, `figures` the index of its walk; figures may overlap."""

    boxes: tuple[Box, ...]
    figures: tuple[int, ...]

    @property
    def moving(self) -> bool:
        return bool(self.boxes)


@dataclass(frozen=True)
class _Limb:
    """A thick line with round ends, or a disc where both ends are the same point."""

    start: Point
    end: Point
    thickness_px: int
    colour: Colour


@dataclass(frozen=True, kw_only=True)
class WalkingFigures(Film):
    """Walkers over a still, textured background; loops seamlessly with the default walks."""

    name: str = "walkers"
    walks: tuple[Walk, ...] = DEFAULT_WALKS

    def truth(self, n: int) -> WalkersTruth:
        found = [(index, box) for index, box in self._boxes(n % self.frames) if box is not None]
        boxes = tuple(box for _, box in found)
        return WalkersTruth(n, self.time_s(n), boxes, tuple(index for index, _ in found))

    def quiet_spans(self) -> list[tuple[int, int]]:
        """Stretches (first frame, last frame) in which nobody is in the picture."""
        still = [not self.truth(n).moving for n in range(self.frames)]
        edges = np.flatnonzero(np.diff(np.array([False, *still, False]).astype(np.int8)))
        return [(int(first), int(end) - 1) for first, end in edges.reshape(-1, 2)]

    def _paint(self, n: int, out: Picture) -> None:
        np.copyto(out, self._background)
        for _, limbs in self._figures(n):
            for limb in limbs:
                _draw(out, limb, limb.colour, cv2.LINE_AA)

    def _boxes(self, n: int) -> Iterator[tuple[int, Box | None]]:
        for index, limbs in self._figures(n):
            yield index, self._bounds(limbs)

    def _bounds(self, limbs: list[_Limb]) -> Box | None:
        """The box around what is visible of a figure; None where nothing is."""
        self._outline.fill(0)
        for limb in limbs:
            _draw(self._outline, limb, (255, 255, 255), cv2.LINE_8)
        left, top, width, height = cv2.boundingRect(self._outline)
        return Box(left, top, width, height, self.width, self.height) if width else None

    def _figures(self, n: int) -> Iterator[tuple[int, list[_Limb]]]:
        """The figures on their way at frame `n`, farthest first."""
        for index in sorted(range(len(self.walks)), key=lambda i: self.walks[i].depth):
            walk = self.walks[index]
            done = (n / self.frames - walk.enters) / (walk.leaves - walk.enters)
            if 0 <= done <= 1:
                yield index, self._limbs(index, walk, done)

    def _limbs(self, index: int, walk: Walk, done: float) -> list[_Limb]:
        tall = self.height * (0.3 + 0.35 * walk.depth)
        way = self.width + 0.8 * tall  # from wholly outside to wholly outside
        x = -0.4 * tall + way * (done if walk.rightwards else 1 - done)
        ground = self.height * (0.62 + 0.33 * walk.depth)
        shirt, trousers = self._clothes[index]
        stride = 2 * math.pi * way * done / (0.8 * tall)
        return _body(x, ground, tall, stride, 1 if walk.rightwards else -1, shirt, trousers)

    @cached_property
    def _outline(self) -> Picture:
        return np.zeros((self.height, self.width), np.uint8)

    @cached_property
    def _clothes(self) -> list[tuple[Colour, Colour]]:
        """Shirts bright, trousers dark: both differ from the background in brightness, not only in colour."""
        rng = np.random.default_rng([self.seed, 5])
        shirts = [(70, 225, 250), (250, 230, 90), (120, 120, 255), (150, 250, 150), (245, 245, 245)]
        order = rng.permutation(len(shirts))
        return [(shirts[order[i % len(shirts)]], (52, 38, 34)) for i in range(len(self.walks))]

    @cached_property
    def _background(self) -> Picture:
        rng = np.random.default_rng([self.seed, 3])
        wall = textured(self.height, self.width, rng, (118, 122, 120), coarse=0.15, contrast=14)
        floor = textured(self.height, self.width, rng, (96, 104, 110), coarse=0.05, contrast=14)
        wall[int(self.height * 0.55) :] = floor[int(self.height * 0.55) :]
        return wall


def _body(
    x: float, ground: float, tall: float, stride: float, facing: int, shirt: Colour, trousers: Colour
) -> list[_Limb]:
    """A person `tall` pixels high at `x`, feet on `ground`; `stride` is the phase of the steps in radians."""
    skin = (150, 180, 225)
    swing = 0.45 * math.sin(stride)
    hip, shoulder = (x, ground - 0.47 * tall), (x, ground - 0.79 * tall)
    arm, leg, trunk = (max(2, round(share * tall)) for share in (0.05, 0.075, 0.15))
    head = (x + 0.015 * tall * facing, ground - 0.925 * tall)
    return [
        *_leg(hip, 0.43 * tall, -swing, leg, facing, trousers),
        _Limb(shoulder, _hang(shoulder, 0.36 * tall, swing), arm, skin),
        _Limb((x, ground - 0.75 * tall), (x, ground - 0.5 * tall), trunk, shirt),
        *_leg(hip, 0.43 * tall, swing, leg, facing, trousers),
        _Limb(head, head, max(3, round(0.14 * tall)), skin),
        _Limb(shoulder, _hang(shoulder, 0.36 * tall, -swing), arm, skin),
    ]


def _leg(hip: Point, length: float, swing: float, thick: int, facing: int, colour: Colour) -> list[_Limb]:
    knee = _hang(hip, 0.5 * length, swing)
    foot = _hang(knee, 0.5 * length, swing - 0.25 * facing * (1 + math.cos(swing)) / 2)
    return [_Limb(hip, knee, thick, colour), _Limb(knee, foot, thick, colour)]


def _hang(top: Point, length: float, swing: float) -> Point:
    return top[0] + length * math.sin(swing), top[1] + length * math.cos(swing)


def _draw(out: Picture, limb: _Limb, colour: Colour, line: int) -> None:
    start = (fixed(limb.start[0]), fixed(limb.start[1]))
    if limb.start == limb.end:
        cv2.circle(out, start, fixed(limb.thickness_px / 2), colour, -1, line, SHIFT)
        return
    end = (fixed(limb.end[0]), fixed(limb.end[1]))
    cv2.line(out, start, end, colour, limb.thickness_px, line, SHIFT)
