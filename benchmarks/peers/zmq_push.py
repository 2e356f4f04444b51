"""pyzmq: one PUSH/PULL pair a reader over ipc, so that every reader gets every picture and a slow one is waited for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import zmq

from . import DEPTH, Array, Run

NAME = "pyzmq"
HOW = (
    "one PUSH/PULL pair a reader over ipc, high-water mark 2; one copy into a re-used buffer, `send(copy=False)` to "
    "each reader (faster than `copy=True`), `recv_multipart(copy=False)`"
)
PACKAGE = "pyzmq"
FAST = False


def shared(context: Any, readers: int) -> None:
    return None


class _Out:
    # One copy into a buffer that all sockets send from; with a copy by each socket it is slower from two readers on.
    def __init__(self, run: Run) -> None:
        self._context = zmq.Context()
        self._sockets = [self._socket(f"ipc://{run.folder}/zmq{index}") for index in range(run.readers)]
        self._buffers = [np.zeros(run.nbytes, np.uint8) for _ in range(DEPTH + 2)]
        self._under_way: list[list[Any]] = [[] for _ in self._buffers]
        self._next = 0

    def _socket(self, address: str) -> Any:
        socket = self._context.socket(zmq.PUSH)
        socket.set_hwm(DEPTH)
        socket.bind(address)
        return socket

    def ready(self) -> bool:
        return True

    def send(self, picture: Array | None, stamp_ns: int) -> None:
        assert picture is not None
        buffer, under_way = self._free_buffer()
        np.copyto(buffer, picture)
        head = stamp_ns.to_bytes(8, "little")
        for socket in self._sockets:
            socket.send(head, zmq.SNDMORE)
            under_way.append(socket.send(buffer, copy=False, track=True))

    def _free_buffer(self) -> tuple[Array, list[Any]]:
        index, self._next = self._next, (self._next + 1) % len(self._buffers)
        for tracker in self._under_way[index]:
            tracker.wait(30)
        self._under_way[index] = []
        return self._buffers[index], self._under_way[index]

    def close(self) -> None:
        for socket in self._sockets:
            socket.close(linger=0)
        self._context.term()


@contextlib.contextmanager
def publish(run: Run) -> Iterator[_Out]:
    out = _Out(run)
    yield out
    out.close()


def read(run: Run, index: int) -> Iterator[tuple[Array, int]]:
    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        socket.set_hwm(DEPTH)
        socket.connect(f"ipc://{run.folder}/zmq{index}")
        while True:
            stamp, frame = socket.recv_multipart(copy=False)
            yield np.frombuffer(frame.buffer, np.uint8), int.from_bytes(stamp.bytes, "little")
