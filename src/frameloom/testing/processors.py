"""Processors in tests: feed one with arrays or a film and read its results, without a process or a clock.

    results = run_processor(Motion(threshold=30), walking_figures(width=320, height=240), fps=25)

Below are tiny processors that misbehave on purpose, for tests of what hosts them: `frameloom.testing.processors:Crash`
and so on can be named wherever a processor can.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from frameloom.model.clock import NS_PER_S
from frameloom.model.frame import Array, ColorMatrix, Frame, PictureFormat, PixelFormat
from frameloom.model.parameters import Integer, Number
from frameloom.model.stages import Processor
from frameloom.testing._film import Film
from frameloom.testing.clock import UTC_START_NS

Arrays = Iterable[Array] | Film


def frame_from(
    array: Array,
    seconds: float | Fraction = 0.0,
    *,
    stream: str = "test",
    seq: int = 0,
    pixel: PixelFormat | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Frame:
    """A frame of a copy of `array`, `seconds` of media time after the start of its stream.

    (height, width) uint8 is full-range luma, (height, width, 3) uint8 is BGR, or what `pixel` says. Monotonic time is
    `seconds`, too, and UTC counts from 2026. Raises `ValueError` for another shape or dtype.
    """
    pts_ns = round(seconds * NS_PER_S)
    plain = Frame.from_array(array, pixel=pixel)
    picture = PictureFormat(plain.format.pixel, plain.width, plain.height, ColorMatrix.BT601, full_range=True)
    return Frame(
        plain.data,
        picture,
        stream=stream,
        seq=seq,
        pts_ns=pts_ns,
        captured_ns=pts_ns,
        captured_at_ns=UTC_START_NS + pts_ns,
        metadata=metadata or {},
    )


def frames_from(arrays: Arrays, fps: float | Fraction = 25, start_s: float = 0.0) -> Iterator[Frame]:
    """Frames of arrays or of a film, `fps` to the second of media time from `start_s`.

    Of a film, `fps` picks the pictures by time: at half the film's rate it is every other one.
    """
    step_s = 1 / Fraction(fps)
    for seq, array in enumerate(_pictures(arrays, step_s)):
        yield frame_from(array, start_s + seq * step_s, seq=seq)


def run_processor(
    processor: Processor, arrays: Arrays, fps: float | Fraction = 25, start_s: float = 0.0
) -> list[Mapping[str, Any] | None]:
    """What `processor` says of each picture, in order; `start` and `stop` are called around it."""
    processor.start()
    try:
        return [processor.process(frame) for frame in frames_from(arrays, fps, start_s)]
    finally:
        processor.stop()


def _pictures(arrays: Arrays, step_s: Fraction) -> Iterator[Array]:
    if not isinstance(arrays, Film):
        yield from arrays
        return
    step = step_s * Fraction(arrays.fps)
    for index in range(int(arrays.frames / step)):
        yield arrays.render(int(index * step))


class CountFrames(Processor):
    """Says `seq`, the number of each frame, and `count`, how many it has seen."""

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        self._count = 0

    def process(self, frame: Frame) -> Mapping[str, Any]:
        self._count += 1
        return {"seq": frame.seq, "count": self._count}


class _AfterSome(CountFrames):
    """Well-behaved for `after` frames; then `misbehave`s at each."""

    after = Integer(
        3, minimum=0, maximum=1_000_000, unit="frames", description="Well-behaved frames before it"
    )

    def process(self, frame: Frame) -> Mapping[str, Any]:
        values = super().process(frame)
        if self._count > self.after:
            self.misbehave()
        return values

    def misbehave(self) -> None:
        """What goes wrong."""
        raise NotImplementedError


class Crash(_AfterSome):
    """Raises a `RuntimeError` after some frames."""

    def misbehave(self) -> None:
        raise RuntimeError(f"crashed on purpose after {self.after} frames")


class Exit(_AfterSome):
    """Ends its process at once after some frames, without a word."""

    code = Integer(3, minimum=0, maximum=255, description="Exit code")

    def misbehave(self) -> None:
        os._exit(self.code)


class Hang(_AfterSome):
    """Never returns after some frames; it waits, and takes no processor time."""

    def misbehave(self) -> None:
        while True:
            time.sleep(3600)


class Leak(CountFrames):
    """Takes more memory with every frame and never gives it back."""

    megabytes = Number(10, minimum=0, maximum=1000, unit="MB", description="Memory lost at each frame")

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        self._lost: list[Array] = []

    def process(self, frame: Frame) -> Mapping[str, Any]:
        # Written to: untouched memory would only be promised.
        self._lost.append(np.ones(round(self.megabytes * 1_000_000), np.uint8))
        return {**super().process(frame), "lost_mb": sum(each.nbytes for each in self._lost) / 1e6}


class Slow(CountFrames):
    """Takes its time for every frame, asleep."""

    seconds = Number(0.5, minimum=0, maximum=3600, unit="s", description="Time for each frame")

    def process(self, frame: Frame) -> Mapping[str, Any]:
        time.sleep(self.seconds)
        return super().process(frame)
