"""Finding a stream's publisher, now or when it appears, without looking again and again."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import time
from pathlib import Path

from .alarm import Alarm
from .inotify import FolderWatch
from .paths import address, make_again

_LOOK_AGAIN_S = 0.2  # only where the system cannot tell us that it is worth it
_NOT_THERE = frozenset({errno.ENOENT, errno.ECONNREFUSED, errno.ENOTDIR})
_NOT_NOW = frozenset({errno.EAGAIN, errno.ECONNRESET, errno.EPIPE})


class Search:
    """Looks for the socket at `path`. Until it is found, the reader's `epoll` wakes when it is worth trying."""

    def __init__(self, path: Path, epoll: select.epoll, alarm: Alarm) -> None:
        self._path, self._epoll, self._alarm = path, epoll, alarm
        self._watch: FolderWatch | None = None
        self._not_before_s = 0.0

    def hold_off(self) -> None:
        """The publisher takes us and throws us out, or has no time: not again at once."""
        self._not_before_s = time.monotonic() + _LOOK_AGAIN_S
        self._alarm.set(_LOOK_AGAIN_S)

    def try_to_connect(self, greeting: bytes) -> socket.socket | None:
        """A socket over which `greeting` was sent, or None. Raises `OSError` for what waiting does not mend."""
        self._hear_news()
        if time.monotonic() < self._not_before_s:
            return None
        sock = self._attempt(greeting)
        if sock is None and self._watch is None:
            # Only now, since the kernel takes milliseconds to end a watch. It may just have appeared: look once more.
            self._watch_folder()
            sock = self._attempt(greeting)
        if sock is not None:
            self.stop()
        return sock

    def stop(self) -> None:
        self._not_before_s = 0.0
        self._drop_watch()

    def _attempt(self, greeting: bytes) -> socket.socket | None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            sock.setblocking(False)
            self._connect(sock)
            sock.send(greeting, socket.MSG_NOSIGNAL)
            return sock
        except OSError as error:
            sock.close()
            self._explain(error)
            return None

    def _hear_news(self) -> None:
        if self._watch is not None and self._watch.drain():
            self._drop_watch()  # the folder was removed, and may be back

    def _watch_folder(self) -> None:
        try:
            make_again(self._path.parent)
            self._watch = FolderWatch(self._path.parent)
            self._epoll.register(self._watch.fd, select.EPOLLIN)
        except OSError:
            self._alarm.set(_LOOK_AGAIN_S)

    def _drop_watch(self) -> None:
        if self._watch is not None:
            with contextlib.suppress(OSError, ValueError):
                self._epoll.unregister(self._watch.fd)
            self._watch.close()
            self._watch = None

    def _connect(self, sock: socket.socket) -> None:
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            sock.connect(address(self._path, folder))
        finally:
            os.close(folder)

    def _explain(self, error: OSError) -> None:
        if error.errno in _NOT_NOW:
            self.hold_off()
        elif error.errno not in _NOT_THERE:
            raise error
