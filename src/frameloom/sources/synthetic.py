"""Test pictures made in this process, with known truth: `synthetic:NAME?width=..&height=..&fps=..`.

`synthetic:counter` needs nothing but this module. Every other name is a film of `frameloom.testing.films`, found when
it is wanted. What the films show belongs there.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import numpy as np

from frameloom.model.clock import NS_PER_S, Clock
from frameloom.model.errors import SourceMisconfigured
from frameloom.model.frame import Array
from frameloom.model.packet import Packet, PacketFormat

from .pacing import Pacer
from .settings import SourceSettings

Render = Callable[[int], Array]
"""A fresh picture of a number, beyond the end too: (height, width) uint8 gray or (height, width, 3) uint8 BGR."""

_BITS = 16
_OPTIONS = {"width": (16, 16384), "height": (16, 16384), "frames": (0, 1 << 31)}


@dataclass(frozen=True)
class Pattern:
    """A film that is rendered picture by picture; `frames` is 0 for one without end."""

    width: int
    height: int
    fps: float
    frames: int
    pixel: str
    render: Render


class SyntheticSource:
    """Packets of codec 'rawvideo'. `live` (a late reader gets the newest pictures) unless the pace is 'unpaced'."""

    def __init__(self, name: str, pattern: Pattern, settings: SourceSettings, clock: Clock) -> None:
        self.name = name
        self.live = settings.pace != "unpaced"
        self._pattern = pattern
        self._loop = settings.loop
        self._clock = clock
        self._closed = threading.Event()
        self._closed.set()
        self._number, self._pacer = 0, Pacer()
        self.format = PacketFormat("rawvideo", pattern.width, pattern.height, pixel=pattern.pixel)

    def open(self) -> PacketFormat:
        self._closed.clear()
        self._number, self._pacer = 0, Pacer()
        return self.format

    def packets(self) -> Iterator[Packet]:
        while not self._closed.is_set() and self._has(self._number):
            number, self._number = self._number, self._number + 1
            pts_ns = round(number * NS_PER_S / self._pattern.fps)
            wait_s = self._pacer.wait_s(pts_ns, self._clock.monotonic_ns()) if self.live else 0.0
            if wait_s > 0 and self._clock.wait(self._closed, wait_s):
                return
            yield self._packet(number, pts_ns)

    def close(self) -> None:
        self._closed.set()

    def _has(self, number: int) -> bool:
        return self._loop or not self._pattern.frames or number < self._pattern.frames

    def _packet(self, number: int, pts_ns: int) -> Packet:
        pattern = self._pattern
        return Packet(
            data=pattern.render(number).reshape(-1).data.toreadonly(),
            format=self.format,
            pts_ns=pts_ns,
            dts_ns=pts_ns,
            duration_ns=round(NS_PER_S / pattern.fps),
            is_key=True,
            captured_ns=self._clock.monotonic_ns(),
            captured_at_ns=self._clock.utc_ns(),
            metadata={"number": number},
        )


def open_synthetic(name: str, settings: SourceSettings, clock: Clock) -> SyntheticSource:
    """The test picture that `settings.url` names. Raises `SourceMisconfigured` for one that is not known."""
    what, _, query = settings.url.removeprefix("synthetic:").partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    pattern = _counter(name, options) if what == "counter" else _film(name, what, options)
    return SyntheticSource(name, pattern, settings, clock)


def read_counter(gray: Array) -> int:
    """The number in a picture of `synthetic:counter`, from 0 to 65535: (height, width) uint8 luma."""
    height, width = gray.shape
    cells = gray[height // 4, ((np.arange(_BITS) * 2 + 1) * width) // (2 * _BITS)]
    return int(sum(1 << bit for bit, cell in enumerate(cells) if cell > 127))


def _counter(name: str, options: dict[str, str]) -> Pattern:
    """The upper half shows a number in bits, least significant on the left; in the lower half a bar moves."""
    numbers = _numbers(name, options, {"width": 320, "height": 240, "frames": 0, "fps": 25.0})
    width, height = int(numbers["width"]), int(numbers["height"])
    columns = np.arange(width) * _BITS // width

    def render(number: int) -> Array:
        picture = np.zeros((height, width), np.uint8)
        picture[: height // 2] = np.where(number >> columns & 1, 255, 0)
        at = number * 4 % width
        picture[height // 2 :, at : at + max(1, width // 16)] = 200
        return picture

    return Pattern(width, height, numbers["fps"], int(numbers["frames"]), "gray", render)


def _film(name: str, what: str, options: dict[str, str]) -> Pattern:
    # By name: the films are above the sources, and few need them.
    try:
        films: Any = importlib.import_module("frameloom.testing.films")
        make = getattr(films, what.replace("-", "_"))
        film = make(**{key: _number(name, key, value) for key, value in options.items()})
    except (ImportError, AttributeError):
        raise _unknown(name, what) from None
    except (TypeError, ValueError) as error:
        raise SourceMisconfigured(f"{name!r}: synthetic:{what}: {error}") from None
    if not isinstance(film, films.Film):
        raise _unknown(name, what)
    # A film draws into one buffer again and again; a packet must not change.
    return Pattern(
        film.width,
        film.height,
        float(film.fps),
        film.frames,
        "bgr24",
        lambda number: film.render(number).copy(),
    )


def _unknown(name: str, what: str) -> SourceMisconfigured:
    return SourceMisconfigured(f"{name!r}: there is no synthetic:{what}; one of them is synthetic:counter")


def _numbers(name: str, options: dict[str, str], defaults: dict[str, float]) -> dict[str, float]:
    for key in options:
        if key not in defaults:
            raise SourceMisconfigured(f"{name!r}: url option {key!r}, allowed: {', '.join(defaults)}")
    numbers = {key: float(_number(name, key, value)) for key, value in options.items()}
    for key, (low, high) in _OPTIONS.items():
        if key in numbers and not low <= numbers[key] <= high:
            raise SourceMisconfigured(f"{name!r}: {key}: read {numbers[key]:g}, allowed: {low} to {high}")
    if not 0 < numbers.get("fps", 1) <= 1000:
        raise SourceMisconfigured(f"{name!r}: fps: read {numbers['fps']:g}, allowed: above 0, to 1000")
    return {**defaults, **numbers}


def _number(name: str, key: str, value: str) -> int | float:
    try:
        number = float(value)
    except ValueError:
        raise SourceMisconfigured(f"{name!r}: {key}: read {value!r}, allowed: a number") from None
    return int(number) if number.is_integer() else number
