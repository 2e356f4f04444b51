"""A film whose only content is its frame number, for machines and for people."""

from __future__ import annotations

from dataclasses import dataclass

import cv2

from frameloom.testing._film import Film, FrameTruth, Picture


@dataclass(frozen=True)
class CounterTruth(FrameTruth):
    """`counter` is what `read_counter` reads in this frame."""

    counter: int


@dataclass(frozen=True, kw_only=True)
class Counter(Film):
    """Frame numbers in figures over a shade that drifts, so that every part of every picture differs."""

    name: str = "counter"
    stamp: bool = True

    def truth(self, n: int) -> CounterTruth:
        return CounterTruth(n, self.time_s(n), n)

    def _paint(self, n: int, out: Picture) -> None:
        out[:] = (60 + n * 3 % 120, 70, 90 + n * 7 % 100)
        bar = n * 11 % self.width
        out[:, bar : bar + max(2, self.width // 40)] = (170, 160, 60)
        size = self.height / 110
        where, thick = (self.width // 10, self.height * 6 // 10), max(1, int(size * 2))
        cv2.putText(out, f"{n:06d}", where, cv2.FONT_HERSHEY_SIMPLEX, size, (240, 240, 240), thick)
