"""A Unix stream socket a reader: a header and the raw bytes, received into one re-used buffer."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import numpy as np

from . import Array, Run

NAME = "Unix socket, raw"
HOW = "one `SOCK_STREAM` socket a reader, `sendall` of header and picture, `recv_into` one re-used buffer"
PACKAGE = ""
FAST = False


def shared(context: Any, readers: int) -> None:
    return None


class _Out:
    def __init__(self, run: Run) -> None:
        self._wanted = run.readers
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(f"{run.folder}/raw")
        self.listener.listen(16)
        self.listener.setblocking(False)
        self.readers: list[socket.socket] = []

    def ready(self) -> bool:
        with contextlib.suppress(BlockingIOError):
            reader, _ = self.listener.accept()
            reader.setblocking(True)
            self.readers.append(reader)
        return len(self.readers) == self._wanted

    def send(self, picture: Array | None, stamp_ns: int) -> None:
        assert picture is not None
        head = stamp_ns.to_bytes(8, "little")
        for reader in self.readers:
            reader.sendall(head)
            reader.sendall(picture.data)


@contextlib.contextmanager
def publish(run: Run) -> Iterator[_Out]:
    out = _Out(run)
    yield out
    for each in [out.listener, *out.readers]:
        each.close()


def read(run: Run, index: int) -> Iterator[tuple[Array, int]]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(f"{run.folder}/raw")
        picture = np.empty(run.nbytes, np.uint8)
        while True:
            stamp = connection.recv(8, socket.MSG_WAITALL)
            connection.recv_into(picture.data, 0, socket.MSG_WAITALL)
            yield picture, int.from_bytes(stamp, "little")
