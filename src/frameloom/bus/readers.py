"""One connected reader, as its publisher sees it: what it asked for, what it holds, what it missed.

What is done about it belongs to `frameloom.bus.delivery`; the reader's own side is `frameloom.bus.subscriber`.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from dataclasses import dataclass, field

from . import protocol
from .protocol import Policy

_MOST_UNREAD = 1024  # messages that are thrown away before a close; more cannot wait in a socket


@dataclass(slots=True, eq=False)
class Reader:
    """A connection and its counts. `hello` is None until the reader has introduced itself.

    credit    items that it wants and has not been sent
    last_seq  number of the item that it was sent, or passed over, last
    leased    (epoch, block) of every block it may be looking at, at most `limit`
    is_every  it wants every item
    leaving   it wants no more items, and stays only until its leases are back
    watched   the socket's thread wakes up for what it says; `attended`: another thread waits for that instead
    """

    sock: socket.socket
    fd: int
    deadline_s: float
    hello: protocol.Hello | None = None
    policy: Policy = Policy.LATEST
    is_every: bool = False
    limit: int = 0
    credit: int = 0
    last_seq: int = 0
    epoch: int = 0
    leased: set[tuple[int, int]] = field(default_factory=set)
    sent: int = 0
    dropped: int = 0
    leaving: bool = False
    watched: bool = True
    attended: bool = False
    needs_key: bool = True
    told_end: bool = False

    @property
    def name(self) -> str:
        return repr(self.hello.client) if self.hello else "a connection without HELLO"

    def introduce(self, hello: protocol.Hello, last_seq: int) -> None:
        self.hello, self.last_seq = hello, last_seq
        self.policy, self.limit = hello.policy, hello.leases
        self.is_every = hello.policy is Policy.EVERY

    def leave(self) -> None:
        self.leaving, self.credit, self.policy, self.is_every = True, 0, Policy.LATEST, False

    def send(self, message: bytes, fd: int | None = None) -> None:
        """Without waiting; raises `OSError`, `BlockingIOError` if the reader does not read."""
        if fd is None:
            self.sock.send(message, socket.MSG_NOSIGNAL)
        else:
            socket.send_fds(self.sock, [message], [fd], socket.MSG_NOSIGNAL)

    def close(self) -> None:
        """Close the socket such that the reader can still read what was sent to it.

        Closing with unread messages would be reported to the reader as a reset, ahead of all that waits for it.
        """
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RD)
            for _ in range(_MOST_UNREAD):
                if not self.sock.recv(1):
                    break
        self.sock.close()


@dataclass(frozen=True, slots=True)
class ReaderInfo:
    """What the publisher knows of a reader, for diagrams and counters."""

    client: str
    pid: int
    policy: str
    sent: int
    dropped: int
    leases: int

    @classmethod
    def of(cls, reader: Reader, hello: protocol.Hello) -> ReaderInfo:
        counts = (reader.sent, reader.dropped, len(reader.leased))
        return cls(hello.client, hello.pid, reader.policy, *counts)


def stranger(sock: socket.socket) -> str:
    """Why this peer may not read, or nothing. A second lock: the folder's mode keeps strangers out already."""
    if not hasattr(socket, "SO_PEERCRED"):
        return ""
    _, uid, _ = struct.unpack("iII", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return "" if uid in (os.getuid(), 0) else f"user {uid} may not join this site"
