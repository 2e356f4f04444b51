"""Both ends of a connection without our own code in between: what a stranger, or an attacker, can do."""

from __future__ import annotations

import fcntl
import mmap
import os
import socket
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Self

from frameloom.bus import protocol
from frameloom.bus.protocol import Hello, Kind, Policy, Type
from frameloom.model.frame import PictureFormat
from tests.bus.parts import GENEROUS_S, SMALL, readable

_MOST_FDS = socket.CMSG_SPACE(64 * 4)


class RawReader:
    """A client of a publisher that says whatever it likes."""

    def __init__(self, path: Path, *, connect: bool = True) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._path = path
        if connect:
            self.connect()

    def connect(self) -> None:
        try:
            self.sock.connect(str(self._path))
        except OSError:
            self.sock.close()
            raise
        self.sock.settimeout(GENEROUS_S)

    def hello(self, policy: Policy = Policy.LATEST, leases: int = 4) -> Self:
        self.send(protocol.pack_hello(Hello(policy, leases, "raw", os.getpid())))
        return self

    def send(self, message: bytes) -> None:
        self.sock.send(message)

    def want(self, credits: int, returned: Iterable[tuple[int, int]] = ()) -> None:
        self.send(protocol.pack_want(credits, returned))

    def receive(self) -> tuple[int, bytes, list[int]]:
        """(type, message, descriptors); type 0 when the publisher has closed the connection."""
        message, fds, _, _ = socket.recv_fds(self.sock, 1 << 17, 8)
        return (message[0] if message else 0), message, fds

    def receive_item(self) -> tuple[protocol.ItemHeader, int | None]:
        """The next item, and the memory if a new one was announced before it; `SMALL` frames."""
        memory = None
        while True:
            kind, message, fds = self.receive()
            memory = fds[0] if fds else memory
            if kind == Type.ITEM:
                return protocol.unpack_item(message)[0], memory

    def refusal(self, meanwhile: Callable[[], object] = lambda: None) -> str:
        """What the publisher said before it closed the connection; `meanwhile` is done until then."""
        said = ""
        while True:
            while not readable(self.sock.fileno(), 0.001):
                meanwhile()
            kind, message, fds = self.receive()
            for fd in fds:
                os.close(fd)
            if kind == 0:
                return said
            if kind == Type.ERROR:
                said = protocol.unpack_body(message)["message"]

    def close(self) -> None:
        self.sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class RawPublisher:
    """A publisher that says whatever it likes to the reader that joins it."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        self._path = path
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.settimeout(GENEROUS_S)
        fresh = path.with_suffix(".raw")
        self._listener.bind(str(fresh))
        self._listener.listen(1)
        fresh.rename(path)
        self.sock: socket.socket | None = None

    def accept(self) -> None:
        if self.sock is not None:
            self.sock.close()
        self.sock, _ = self._listener.accept()
        self.sock.settimeout(GENEROUS_S)

    def send(self, message: bytes, fds: Iterable[int] = ()) -> None:
        assert self.sock
        socket.send_fds(self.sock, [message], list(fds))

    def welcome(self, kind: Kind = Kind.FRAMES, info: dict[str, Any] | None = None) -> None:
        self.send(protocol.pack_welcome(kind, info or {}))

    def epoch(self, fds: Iterable[int], size: int = mmap.PAGESIZE, number: int = 1, **options: Any) -> None:
        picture: PictureFormat | None = options.pop("picture", SMALL)
        body = options.pop("body", picture.to_json() if picture else {})
        self.send(protocol.pack_epoch(Kind.FRAMES, number, size, 4096, body, picture), fds)

    def item(self, **fields: int) -> None:
        self.send(item(**fields))

    def close(self) -> None:
        if self.sock is not None:
            self.sock.close()
        self._listener.close()
        self._path.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def item(*, tail: bytes = b"", **fields: int) -> bytes:
    """An ITEM message with the given fields, others fit for a `SMALL` frame at the start of the first memory."""
    names = "flags epoch block meta_bytes offset length seq".split()
    values = {
        "flags": 0,
        "epoch": 1,
        "block": 0,
        "meta_bytes": 0,
        "offset": 0,
        "length": SMALL.nbytes,
        "seq": 1,
    }
    fixed = [({**values, **fields})[name] for name in names]
    times = (0, 0, 0, time.monotonic_ns(), 0, 0)
    return protocol.ITEM.pack(Type.ITEM, fixed[0], 0, *fixed[1:], *times) + tail


def memory(size: int = mmap.PAGESIZE, seals: int = fcntl.F_SEAL_SHRINK) -> int:
    """A memfd, sealed against shrinking, as a publisher would pass it."""
    fd = os.memfd_create("raw", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd
