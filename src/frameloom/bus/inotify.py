"""Waiting for a socket to appear in a folder: the little of inotify(7) that the bus needs, by descriptor."""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path

_IN_MOVED_TO, _IN_DELETE_SELF = 0x80, 0x400


class FolderWatch:
    """`fd` becomes readable when a file is moved into the folder, or the folder goes away.

    Without inotify (another system, or the user's limit of watches is reached) `fd` is None: look again from time to
    time instead.
    """

    def __init__(self, folder: Path) -> None:
        self.fd: int | None = None
        with contextlib.suppress(AttributeError, OSError):
            self.fd = _watch(os.fsencode(folder))

    def drain(self) -> None:
        """Take the news, so that `fd` sleeps again."""
        if self.fd is not None:
            with contextlib.suppress(BlockingIOError):
                while os.read(self.fd, 8192):
                    pass

    def close(self) -> None:
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None


def _watch(folder: bytes) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    fd = int(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
    if fd < 0:
        raise OSError(ctypes.get_errno(), "inotify_init1")
    if libc.inotify_add_watch(fd, folder, _IN_MOVED_TO | _IN_DELETE_SELF) < 0:
        os.close(fd)
        raise OSError(ctypes.get_errno(), "inotify_add_watch")
    return fd
