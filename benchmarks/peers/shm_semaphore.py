"""multiprocessing.shared_memory with a ring of slots, and a pair of semaphores (full, empty) for each reader."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import numpy as np

from . import DEPTH, Array, Run

NAME = "shared_memory + semaphore"
HOW = "a ring of slots in `SharedMemory`, two `multiprocessing.Semaphore` a reader"
PACKAGE = ""
FAST = True
_HEAD = 64
_SLOTS = DEPTH + 2  # one is being filled, one read


def shared(context: Any, readers: int) -> list[tuple[Any, Any]]:
    """(full, empty) for each reader."""
    return [(context.Semaphore(0), context.Semaphore(_SLOTS)) for _ in range(readers)]


def _memory_name(run: Run) -> str:
    return run.folder.strip("/").replace("/", "_")


class _Slots:
    def __init__(self, run: Run, memory: SharedMemory) -> None:
        self.memory = memory
        slot_bytes = _HEAD + -(-run.nbytes // _HEAD) * _HEAD
        assert memory.buf is not None
        whole = np.frombuffer(memory.buf, np.uint8)
        parts = [whole[slot_bytes * index :] for index in range(_SLOTS)]
        self.stamps = [part[:8].view(np.int64) for part in parts]
        self.pictures = [part[_HEAD : _HEAD + run.nbytes] for part in parts]

    @staticmethod
    def nbytes(run: Run) -> int:
        return _SLOTS * (_HEAD + -(-run.nbytes // _HEAD) * _HEAD)

    def close(self) -> None:
        self.stamps, self.pictures = [], []
        with contextlib.suppress(BufferError):
            self.memory.close()


class _Out:
    def __init__(self, run: Run) -> None:
        self._pairs = run.shared[: run.readers]
        for full, empty in self._pairs:
            _set(full, 0)
            _set(empty, _SLOTS - 1)  # one is the publisher's, to be filled next
        self.slots = _Slots(run, SharedMemory(_memory_name(run), create=True, size=_Slots.nbytes(run)))
        self._next = 0

    def ready(self) -> bool:
        return True

    def send(self, picture: Array | None, stamp_ns: int) -> None:
        index = self._next
        self._next = (index + 1) % _SLOTS
        self.slots.stamps[index][0] = stamp_ns
        if picture is not None:
            np.copyto(self.slots.pictures[index], picture)
        for full, _ in self._pairs:
            full.release()
        for _, empty in self._pairs:
            empty.acquire()


def _set(semaphore: Any, value: int) -> None:
    while semaphore.acquire(block=False):
        pass
    for _ in range(value):
        semaphore.release()


@contextlib.contextmanager
def publish(run: Run) -> Iterator[_Out]:
    out = _Out(run)
    try:
        yield out
    finally:
        out.slots.memory.unlink()
        out.slots.close()


def read(run: Run, index: int) -> Iterator[tuple[Array, int]]:
    full, empty = run.shared[index]
    slots = _Slots(run, SharedMemory(_memory_name(run)))
    try:
        yield from _pictures(slots, full, empty)
    finally:
        slots.close()


def _pictures(slots: _Slots, full: Any, empty: Any) -> Iterator[tuple[Array, int]]:
    number = 0
    while True:
        full.acquire()
        yield slots.pictures[number], int(slots.stamps[number][0])
        number = (number + 1) % _SLOTS
        empty.release()
