"""The picture that travels, and the check that it arrived whole.

Random bytes, the same in every process, in which three places bear the picture's number: at its start, in its middle
and at its end. A reader adds up the bytes that it touches and compares: a torn, stale or foreign picture shows.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np

from .peers import Array

SIZES = {"320x180": 320 * 180 * 3, "1080p": 1920 * 1080 * 3, "4K": 3840 * 2160 * 3}
PAGE, LINE = 4096, 64
STRIDES = {"one byte a page": PAGE, "every cache line": LINE, "nothing": 0}


def _marks(nbytes: int) -> tuple[int, int, int]:
    last = (nbytes - 1) // PAGE * PAGE
    return 0, last // 2 // PAGE * PAGE, last


class Source:
    """A picture that is changed a little and sent again."""

    def __init__(self, nbytes: int) -> None:
        self.picture: Array = np.random.default_rng(7).integers(0, 256, nbytes, np.uint8)
        self._first, self._middle, self._last = _marks(nbytes)

    def numbered(self, number: int) -> Array:
        """The picture of this number; the same memory at each call."""
        self.picture[self._first] = self.picture[self._middle] = self.picture[self._last] = number & 255
        return self.picture


class Touch:
    """Reads a picture as a consumer would, and says whether it is the right one."""

    def __init__(self, nbytes: int, stride: int) -> None:
        picture = Source(nbytes).numbered(0)
        self._stride = stride
        self._sum = int(picture[::stride].sum()) if stride else 0
        self._distinct = len(set(_marks(nbytes)))

    def is_right(self, picture: Array, number: int) -> bool:
        if not self._stride:
            return True
        mark = number & 255
        return (
            int(picture[:: self._stride].sum()) == self._sum + self._distinct * mark
            and int(picture[0]) == mark
        )


WARM, END = 1, 0  # stamps of pictures that are not measured, and of the last one


@dataclass
class Taken:
    """What one reader got: how many measured pictures, how many of them wrong, and when."""

    count: int = 0
    wrong: int = 0
    first_ns: int = 0
    last_ns: int = 0
    latencies_ns: list[int] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Pictures a second, from the first to the last."""
        return (self.count - 1) / max(1, self.last_ns - self.first_ns) * 1e9


class Taker:
    """Takes one picture after the other, on the reader's side."""

    def __init__(self, nbytes: int, stride: int, with_latency: bool) -> None:
        self.taken = Taken()
        self._touch = Touch(nbytes, stride)
        self._with_latency = with_latency
        self._number = 0

    def take(self, picture: Array, stamp_ns: int) -> bool:
        """False at the end. To be called at once when the picture is there."""
        now_ns = time.monotonic_ns()
        if stamp_ns == END:
            return False
        taken = self.taken
        right = self._touch.is_right(picture, self._number)
        self._number += 1
        if not right:
            taken.wrong += 1
        if stamp_ns != WARM:
            taken.count += 1
            taken.first_ns = taken.first_ns or now_ns
            taken.last_ns = now_ns
            if self._with_latency:
                taken.latencies_ns.append(now_ns - stamp_ns)
        return True
