"""Ray: the picture into the object store, its reference to an actor for each reader.

Ray starts its readers itself, as actors; they take pictures with the same `Taker` as the readers of the other ways.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray as _ray

from benchmarks.pictures import Taken, Taker

from . import DEPTH, Array, Run

ray: Any = _ray  # its types know nothing of actors
NAME = "Ray"
HOW = (
    "`ray.put(picture)` and its reference to one actor a reader, at most two pictures under way; no dashboard"
)
PACKAGE = "ray"
FAST = False
INSIDE = True  # its readers are not processes of the run
_STORE_BYTES = 1 << 30


def shared(context: Any, readers: int) -> None:
    return None


class _Reader:
    """An actor that takes pictures in the order of the calls."""

    def __init__(self, nbytes: int, stride: int) -> None:
        self._taker = Taker(nbytes, stride, with_latency=True)

    def take(self, picture: Array, stamp_ns: int) -> None:
        self._taker.take(picture, stamp_ns)

    def result(self) -> Taken:
        return self._taker.taken


class _Out:
    def __init__(self, run: Run) -> None:
        actor = ray.remote(num_cpus=0)(_Reader)
        self.readers = [actor.remote(run.nbytes, run.stride) for _ in range(run.readers)]
        ray.get([reader.result.remote() for reader in self.readers])
        self._under_way: list[Any] = []

    def ready(self) -> bool:
        return True

    def send(self, picture: Array | None, stamp_ns: int) -> None:
        reference = ray.put(picture)
        self._under_way += [reader.take.remote(reference, stamp_ns) for reader in self.readers]
        while len(self._under_way) > DEPTH * len(self.readers):
            _, self._under_way = ray.wait(self._under_way, num_returns=len(self.readers))

    def results(self) -> list[Taken]:
        """What the readers took."""
        taken: list[Taken] = ray.get([reader.result.remote() for reader in self.readers])
        return taken


def _start(folder: str) -> None:
    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
    ray.init(num_cpus=2, object_store_memory=_STORE_BYTES, _temp_dir=folder, **quiet)


@contextlib.contextmanager
def publish(run: Run) -> Iterator[_Out]:
    if not ray.is_initialized():
        _start(f"{os.path.dirname(run.folder)}/ray")
    out = _Out(run)
    yield out
    for reader in out.readers:
        ray.kill(reader)


def read(run: Run, index: int) -> Iterator[tuple[Array, int]]:
    raise NotImplementedError("Ray's readers are actors")
