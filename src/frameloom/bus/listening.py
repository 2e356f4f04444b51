"""The name under which a stream can be joined: a listening socket that one living process owns.

Who may come in and what is said to them belongs to `frameloom.bus.serving`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from pathlib import Path

from frameloom.model.errors import StreamBusy

from .paths import address, stream_path

_BACKLOG = 64


class Listener:
    """`sock` accepts readers of a stream, without blocking, from the moment this is built.

    Beside the socket lies a lock, which the kernel lets go when its owner dies: a name that a killed publisher left
    behind stops nobody.
    """

    def __init__(self, site: str, stream: str) -> None:
        """Raises `StreamBusy` if a living process has the name."""
        self.path = stream_path(site, stream)
        self._lock_fd = _lock(self.path, stream)
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self.sock.setblocking(False)
            _appear(self.sock, self.path)
        except BaseException:
            self.close()
            raise

    def withdraw(self) -> None:
        """Nobody finds the stream any more."""
        with contextlib.suppress(OSError):
            self.path.unlink()

    def close(self) -> None:
        """Let go of the name. In a forked child: of the copies only."""
        self.sock.close()
        if self._lock_fd >= 0:
            fd, self._lock_fd = self._lock_fd, -1
            os.close(fd)


def _lock(path: Path, stream: str) -> int:
    fd = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(fd, 0)
        os.write(fd, str(os.getpid()).encode())
    except BlockingIOError:
        owner = os.read(fd, 20).decode(errors="replace")
        os.close(fd)
        raise StreamBusy(f"stream {stream!r} is already published by process {owner or '?'}") from None
    except OSError:
        os.close(fd)
        raise
    return fd


def _appear(sock: socket.socket, path: Path) -> None:
    # Bound under another name and moved into place once it listens: whoever sees the name can connect, and a socket
    # that a killed publisher left behind is replaced in one step. The lock makes the other name ours alone.
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sock.bind(address(fresh, folder))
        sock.listen(_BACKLOG)
        fresh.rename(path)
    finally:
        os.close(folder)
