"""The three films of the demo site: rendered and encoded once, then read from a cache folder."""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from frameloom.testing._encode import encode
from frameloom.testing._film import Film
from frameloom.testing._lights import ColouredLights
from frameloom.testing._tank import RotatingTank
from frameloom.testing._walkers import WalkingFigures

DemoProgress = Callable[[str, int, int], None]
"""Called with (film's name, frames done, frames in all)."""

_LOOK = 1
"""Raise it when the pictures or the encoding change in a way that the films' parameters do not show."""

# 600 frames are 24 s: whole turns of the tank, whole groups of pictures, nobody there at either end.
_FILMS: tuple[Film, ...] = (
    RotatingTank(width=1280, height=720, frames=600, rpm=10.0),
    WalkingFigures(width=1280, height=720, frames=600),
    ColouredLights(width=1280, height=720, frames=600),
)


def demo_films(
    cache_dir: Path, progress: DemoProgress | None = None, films: tuple[Film, ...] = _FILMS
) -> dict[str, Path]:
    """The demo films as H.264 files (1280x720, 25 fps, 24 s, a key frame a second, no B frames), by name.

    Made on first use, about ten seconds in all, and kept in `cache_dir` (created where missing) under names that
    carry a version: a film whose parameters change is made anew. Safe when several processes ask at once: one
    makes, the others wait. Raises OSError where the folder cannot be written.
    """
    cache_dir.mkdir(parents=True, exist_ok=True)
    return {film.name: _cached(film, cache_dir, progress) for film in films}


def _cached(film: Film, cache_dir: Path, progress: DemoProgress | None) -> Path:
    path = cache_dir / f"{film.name}-{_version(film)}.mp4"
    if not path.exists():
        with _locked(cache_dir / f".{film.name}.lock"):
            if not path.exists():
                _make(film, path, progress)
    return path


def _make(film: Film, path: Path, progress: DemoProgress | None) -> None:
    for left_over in path.parent.glob(f".{film.name}-*.part"):
        left_over.unlink()  # of a process that was killed: whoever makes this film holds the lock, and that is us
    report = None if progress is None else (lambda done, total: progress(film.name, done, total))
    encode(film, path, gop=25, preset="ultrafast", crf=21, progress=report)


def _version(film: Film) -> str:
    return hashlib.sha256(f"{_LOOK} {film!r}".encode()).hexdigest()[:10]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an advisory lock that the kernel releases with the process."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
