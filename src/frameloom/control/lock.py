"""One supervisor per site: the lock that says so, and the place of its socket.

The lock is the kernel's and ends with the process that holds it, so that nothing has to be cleaned up after
`kill -9`; the file itself stays, and means nothing.
"""

from __future__ import annotations

import fcntl
import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from frameloom.bus import paths
from frameloom.model.errors import StreamBusy
from frameloom.model.names import check_name

LOCK_NAME = "site.lock"
SOCKET_NAME = "control.sock"


class SiteLock:
    """Held while a site runs; a context manager."""

    def __init__(self, site: str) -> None:
        self._site = site
        self._fd: int | None = None
        self._folder_fd = -1

    def acquire(self) -> None:
        """Take the lock; raises `StreamBusy`, with the number of the process that has it."""
        fd = os.open(paths.site_dir(self._site) / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(fd)
            raise StreamBusy(f"site {self._site!r} is already running (process {holder})") from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._fd = fd
        self._folder_fd = _guarded(paths.site_dir(self._site))
        stays_with_this_process(self)

    def release(self) -> None:
        """Let go, for copies of the descriptor too; may be called twice."""
        if self._fd is not None:
            fcntl.flock(self._fd, fcntl.LOCK_UN)
            self.abandon()

    def abandon(self) -> None:
        """In a forked child: close the copy, which leaves the lock to its owner."""
        if self._fd is not None:
            os.close(self._fd)
            os.close(self._folder_fd)
            self._fd = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


def _guarded(folder: Path) -> int:
    """Systemd's cleaning of /tmp leaves a folder alone, however old, while somebody holds a lock on it."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    fcntl.flock(fd, fcntl.LOCK_SH)
    return fd


def socket_path(site: str) -> Path:
    """Where the control socket of `site` is while it runs; creates no folder of the site."""
    return paths.runtime_root() / check_name(site, "site") / SOCKET_NAME


@contextmanager
def socket_address(path: Path) -> Iterator[str]:
    """What to give to bind() or connect(), valid inside the context, however long the path is.

    Raises FileNotFoundError if the folder is not there.
    """
    folder_fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield paths.address(path, folder_fd)
    finally:
        os.close(folder_fd)


class Abandons(Protocol):
    """Holds a descriptor that a forked child must not keep."""

    def abandon(self) -> None:
        """Close the descriptor and do nothing else: everything else is the parent's."""


_held: weakref.WeakSet[Abandons] = weakref.WeakSet()


def stays_with_this_process(holder: Abandons) -> None:
    """Have `holder` let go in children that the embedding program forks: a copy would outlive the supervisor."""
    _held.add(holder)


def _abandon_all() -> None:
    for holder in list(_held):
        holder.abandon()


os.register_at_fork(after_in_child=_abandon_all)
