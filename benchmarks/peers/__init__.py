"""Ways to hand pictures from one process to others. Each module is one way, used as its documentation advises.

A way is a module as `Way` describes it. Nothing is measured here: see `benchmarks.teams` and `benchmarks.handover`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.uint8]

WAYS = (
    "frameloom_bus",
    "iceoryx2_pubsub",
    "shm_semaphore",
    "unix_socket",
    "zmq_push",
    "mp_queue",
    "ray_store",
)
DEPTH = 2  # pictures that may wait for a reader, beside the one it works on: the same for every way


@dataclass(frozen=True)
class Run:
    """What both sides of one trial know. `folder` is fresh; `shared` is what `Way.shared` made.

    stride    a reader reads each such byte of a picture, 0: none
    """

    folder: str
    nbytes: int
    readers: int
    stride: int
    shared: Any


class Out(Protocol):
    """The publisher's side while a trial runs."""

    def ready(self) -> bool:
        """True when all readers are connected, as far as this way can tell."""

    def send(self, picture: Array | None, stamp_ns: int) -> None:
        """Copy `picture` once into what travels (None: hand over a buffer as it is); wait for slow readers.

        Ways with buffers of their own take the next one at the end, as a camera does, which has one ready when a
        picture comes.
        """


class Way(Protocol):
    """A module of this package.

    NAME     for the tables
    HOW      how it is used, one sentence
    PACKAGE  whose version is to be told, '' for Python's own
    FAST     it shares memory, so that a picture can also be handed over without a copy
    """

    NAME: str
    HOW: str
    PACKAGE: str
    FAST: bool

    def shared(self, context: Any, readers: int) -> Any:
        """What must be inherited by the processes when they start, made from a multiprocessing context."""

    def publish(self, run: Run) -> AbstractContextManager[Out]:
        """Open the publisher's side. It is left when every reader has all pictures."""

    def read(self, run: Run, index: int) -> Iterator[tuple[Array, int]]:
        """(picture, stamp_ns) of every picture in order. The consumer drops the picture before it asks for more."""


def load(name: str) -> Way:
    """One of `WAYS`; raises ImportError if its package is not installed."""
    return cast(Way, importlib.import_module(f"benchmarks.peers.{name}"))


def installed() -> tuple[list[str], dict[str, str]]:
    """The ways that can run here, and why the others cannot."""
    there, missing = [], {}
    for name in WAYS:
        try:
            load(name)
            there.append(name)
        except ImportError as error:
            missing[name] = str(error)
    return there, missing


def version(package: str) -> str:
    return importlib.metadata.version(package) if package else ""
