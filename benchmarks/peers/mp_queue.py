"""multiprocessing.Queue: pickle through a pipe; one bounded queue a reader."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from . import DEPTH, Array, Run

NAME = "multiprocessing.Queue"
HOW = "one `Queue(maxsize=2)` a reader, `put((picture, stamp))`"
PACKAGE = ""
FAST = False


def shared(context: Any, readers: int) -> list[Any]:
    """A queue for each reader."""
    return [context.Queue(DEPTH) for _ in range(readers)]


class _Out:
    # A queue pickles in a thread of its own, later: what was put must stay as it is until then. Re-used buffers are
    # fair to it, for a fresh copy of each picture would cost more than the copy: its pages.
    def __init__(self, run: Run) -> None:
        self._queues = run.shared[: run.readers]
        self._buffers = [np.zeros(run.nbytes, np.uint8) for _ in range(DEPTH + 2)]
        self._next = 0

    def ready(self) -> bool:
        return True

    def send(self, picture: Array | None, stamp_ns: int) -> None:
        assert picture is not None
        buffer = self._buffers[self._next]
        self._next = (self._next + 1) % len(self._buffers)
        np.copyto(buffer, picture)
        for queue in self._queues:
            queue.put((buffer, stamp_ns))


@contextlib.contextmanager
def publish(run: Run) -> Iterator[_Out]:
    yield _Out(run)


def read(run: Run, index: int) -> Iterator[tuple[Array, int]]:
    queue = run.shared[index]
    while True:
        yield queue.get()
