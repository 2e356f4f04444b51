"""Films with known truth for the tests of sources, encoded once and read back from pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from frameloom.model.clock import SystemClock
from frameloom.model.frame import Array, PictureFormat
from frameloom.model.packet import Packet
from frameloom.model.stages import Source
from frameloom.sources import SourceSettings, open_source
from frameloom.sources.decode import Decoder
from frameloom.sources.picture import Picture
from frameloom.testing.films import Counter, counter, encode, read_counter

FPS = 50
FRAMES = 40
STEP_NS = 1_000_000_000 // FPS


def film(width: int = 320, height: int = 240, frames: int = FRAMES, fps: int | Fraction = FPS) -> Counter:
    """Every picture holds its number."""
    return counter(width=width, height=height, frames=frames, fps=fps)


class Films:
    """Makes each film once, in a folder that lives as long as the tests."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, name: str, what: Counter | None = None, gop: int = 10, **options: Any) -> Path:
        """The file called `name`, encoded by `frameloom.testing.films.encode` if it is not there yet."""
        path = self._folder / name
        return path if path.exists() else encode(what or film(), path, gop=gop, **options)


@dataclass
class Shown:
    """What came out of a decoder: numbers read from the pictures, media times, formats."""

    read: Callable[[Array], int | None] = read_counter
    numbers: list[int | None] = field(default_factory=list)
    pts_ns: list[int] = field(default_factory=list)
    formats: list[PictureFormat] = field(default_factory=list)

    def add(self, picture: Picture) -> None:
        planes = filled(picture)
        luma = planes[0] if planes[0].ndim == 2 else planes[0][:, :, 1]
        self.numbers.append(self.read(luma))
        self.pts_ns.append(picture.pts_ns)
        self.formats.append(picture.format)


def filled(picture: Picture) -> list[Array]:
    """The planes of a picture, copied the way a publisher does it: into a slot."""
    slot = np.zeros(picture.format.nbytes, np.uint8)
    planes = [plane.of(slot) for plane in picture.format.planes]
    picture.fill(planes)
    return planes


def pictures(packets: Iterable[Packet], decoder: Decoder) -> Iterator[Picture]:
    """Everything that `decoder` makes of `packets`, its last pictures included; each is to be copied at once."""
    for packet in packets:
        yield from decoder.decode(packet)
    yield from decoder.flush()


def shown(some: Iterable[Picture], read: Callable[[Array], int | None] = read_counter) -> Shown:
    """What is to be seen in `some` pictures."""
    seen = Shown(read)
    for picture in some:
        seen.add(picture)
    return seen


def decoded(packets: Iterable[Packet], decoder: Decoder) -> Shown:
    """What is to be seen in all that `decoder` makes of `packets`."""
    return shown(pictures(packets, decoder))


class Opener:
    """Makes sources that are closed when the test is over."""

    def __init__(self) -> None:
        self.made: list[Source] = []

    def __call__(self, url: str | Path, **settings: object) -> Source:
        made = open_source(
            "yard", SourceSettings.model_validate({"url": str(url), **settings}), SystemClock()
        )
        self.made.append(made)
        return made
