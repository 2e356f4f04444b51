"""Waiting for a socket to appear in a folder: the little of inotify(7) that the bus needs, by descriptor."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from pathlib import Path

_IN_MOVED_TO, _IN_DELETE_SELF, _IN_MOVE_SELF, _IN_IGNORED = 0x80, 0x400, 0x800, 0x8000
_GONE = _IN_DELETE_SELF | _IN_MOVE_SELF | _IN_IGNORED
_EVENT = struct.Struct("iIII")  # watch, mask, cookie, length of the name that follows


class FolderWatch:
    """`fd` becomes readable when a file is moved into the folder, or the folder goes away.

    Raises `OSError` if the folder is not there, or the user's limit of watches is reached.
    """

    def __init__(self, folder: Path) -> None:
        self.fd = _watch(os.fsencode(folder))

    def drain(self) -> bool:
        """Take the news, so that `fd` sleeps again. True if the folder is no longer under its name."""
        gone = False
        with contextlib.suppress(BlockingIOError):
            while news := os.read(self.fd, 8192):
                gone = gone or any(mask & _GONE for mask in _masks(news))
        return gone

    def close(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


def _masks(news: bytes) -> list[int]:
    masks, place = [], 0
    while place < len(news):
        _, mask, _, length = _EVENT.unpack_from(news, place)
        masks.append(mask)
        place += _EVENT.size + length
    return masks


def _watch(folder: bytes) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    fd = int(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
    if fd < 0:
        raise OSError(ctypes.get_errno(), "inotify_init1")
    if libc.inotify_add_watch(fd, folder, _IN_MOVED_TO | _IN_DELETE_SELF | _IN_MOVE_SELF) < 0:
        error = ctypes.get_errno()
        os.close(fd)
        raise OSError(error, "inotify_add_watch")
    return fd
