"""pyzmq: one PUSH/PULL pair a reader over ipc, so that every reader gets every picture and a slow one is waited for."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import zmq

from . import DEPTH, Array, Run

NAME = "pyzmq"
ZERO_COPY = os.environ.get("BENCH_ZMQ") == "zero-copy"
HOW = "one PUSH/PULL pair a reader over ipc, high-water mark 2, `send_multipart(copy=True)`, `recv_multipart(copy=False)`"
PACKAGE = "pyzmq"
FAST = False


def shared(context: Any, readers: int) -> None:
    return None


class _Out:
    def __init__(self, run: Run) -> None:
        self._context = zmq.Context()
        self._sockets = [self._socket(f"ipc://{run.folder}/zmq{index}") for index in range(run.readers)]
        self._buffers = [np.zeros(run.nbytes, np.uint8) for _ in range(4)]
        self._trackers: list[list[Any]] = [[] for _ in range(4)]
        self._n = 0

    def _socket(self, address: str) -> Any:
        socket = self._context.socket(zmq.PUSH)
        socket.set_hwm(DEPTH)
        socket.bind(address)
        return socket

    def ready(self) -> bool:
        return True

    def send(self, picture: Array | None, stamp_ns: int) -> None:
        assert picture is not None
        head = stamp_ns.to_bytes(8, "little")
        if ZERO_COPY:
            i = self._n % 4
            self._n += 1
            for t in self._trackers[i]:
                t.wait(10)
            np.copyto(self._buffers[i], picture)
            self._trackers[i] = []
            for socket in self._sockets:
                socket.send(head, zmq.SNDMORE)
                self._trackers[i].append(socket.send(self._buffers[i], copy=False, track=True))
            return
        for socket in self._sockets:
            socket.send(head, zmq.SNDMORE)
            socket.send(picture)

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
