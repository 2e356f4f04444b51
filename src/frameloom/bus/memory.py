"""Memory that is shared as a file descriptor and has no name: when the last process goes, the kernel frees it.

Linux: a sealed memfd that nobody else can ever map for writing. Elsewhere: POSIX shared memory, unlinked at once and
shared by a descriptor that was opened read-only. Who may use which part when belongs to `frameloom.bus.pool`.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import secrets
from collections.abc import Callable
from typing import Any

import numpy as np

from frameloom.model.errors import NeedsPerson, OutOfMemory, PeerError
from frameloom.model.frame import Array

_F_SEAL_FUTURE_WRITE = 0x0010  # linux/fcntl.h; Python 3.11 has no name for it
_MFD_NOEXEC_SEAL = 0x0008  # linux/memfd.h; hardened systems want it
_SEALS = getattr(fcntl, "F_SEAL_SHRINK", 0) | getattr(fcntl, "F_SEAL_GROW", 0) | _F_SEAL_FUTURE_WRITE
_PAGE = mmap.PAGESIZE


def whole_pages(size: int) -> int:
    """`size` bytes rounded up to the system's pages."""
    return -(-size // _PAGE) * _PAGE


class OwnedMemory:
    """The publisher's side: mapped for writing here, read-only for everyone that is given `fd`.

    Pages are taken from the system when a part is first `reserve`d, so a large pool costs only what it uses.
    """

    def __init__(self, size: int, name: str, backend: str = "") -> None:
        """`size` bytes, rounded up to pages; `name` is for people who read /proc. Raises `OutOfMemory`."""
        self.size = whole_pages(size)
        try:
            self._writable, self.fd = _create(self.size, name, backend or default_backend())
            self.array: Array = np.frombuffer(self._map_and_seal(), np.uint8)
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or error
            raise OutOfMemory(f"shared memory of {self.size} bytes for {name}: {why}") from error
        self._taken = bytearray(self.size // _PAGE)  # one for each page that is there

    def _map_and_seal(self) -> mmap.mmap:
        try:
            found = mmap.mmap(self._writable, self.size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
            if self._writable == self.fd:
                fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, _SEALS | fcntl.F_SEAL_SEAL)
            return found
        except BaseException:
            self.close()
            raise

    def reserve(self, offset: int, length: int) -> None:
        """Make sure that pages are behind this part. Raises `OutOfMemory` instead of the SIGBUS of a late write."""
        first, last = offset // _PAGE, -(-(offset + length) // _PAGE)
        if 0 not in self._taken[first:last]:
            return
        try:
            os.posix_fallocate(self._writable, first * _PAGE, (last - first) * _PAGE)
        except OSError as error:
            raise OutOfMemory(f"shared memory: {length} bytes more: {error.strerror}") from error
        self._taken[first:last] = b"\1" * (last - first)

    @property
    def taken_bytes(self) -> int:
        """Bytes that the system has really been asked for."""
        return self._taken.count(1) * _PAGE

    def close(self) -> None:
        """Close the descriptors. The mapping goes with the last array that views it. May be called twice."""
        fds = {self.fd, self._writable} - {-1}
        self.fd = self._writable = -1
        self.array = np.empty(0, np.uint8)
        for fd in fds:
            os.close(fd)


class MappedMemory:
    """The reader's side: a read-only mapping of a descriptor that came over the socket."""

    def __init__(self, fd: int, size: int) -> None:
        """Takes over `fd`. Raises `PeerError` if it is smaller than promised or could shrink under our feet."""
        try:
            _check(fd, size)
            self.map = mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ)
        except (OSError, ValueError, OverflowError) as error:
            raise PeerError(f"EPOCH: the memory cannot be mapped: {error}") from error
        finally:
            os.close(fd)


def _check(fd: int, size: int) -> None:
    found = os.fstat(fd).st_size
    if found < size or size <= 0:
        raise PeerError(f"EPOCH: the memory has {found} bytes, {size} were promised")
    # Memory that shrinks kills whoever reads it (SIGBUS). Where there are seals, we rely on nobody's good manners.
    if default_backend() == "memfd" and not fcntl.fcntl(fd, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK:
        raise PeerError("EPOCH: the memory is not sealed against shrinking")


def default_backend() -> str:
    """'memfd' where the system has it, 'shm' elsewhere, or what `$FRAMELOOM_MEMORY` says, on both sides of the bus."""
    chosen = os.environ.get("FRAMELOOM_MEMORY") or ("memfd" if hasattr(os, "memfd_create") else "shm")
    if chosen not in _BACKENDS:
        raise NeedsPerson(f"FRAMELOOM_MEMORY: read {chosen!r}, allowed: {', '.join(_BACKENDS)}")
    return chosen


def _create(size: int, name: str, backend: str) -> tuple[int, int]:
    fd, shared = _BACKENDS[backend](name)
    try:
        os.ftruncate(fd, size)
    except BaseException:
        for each in {fd, shared}:
            os.close(each)
        raise
    return fd, shared


def _memfd(name: str) -> tuple[int, int]:
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        fd = os.memfd_create(f"frameloom:{name}"[:200], flags | _MFD_NOEXEC_SEAL)
    except OSError:
        fd = os.memfd_create(f"frameloom:{name}"[:200], flags)  # Linux before 6.3
    return fd, fd


def _shm(_: str) -> tuple[int, int]:
    shm: Any = __import__("_posixshmem")  # what multiprocessing.shared_memory stands on
    name = f"/frameloom-{secrets.token_hex(6)}"
    fd = shm.shm_open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        return fd, shm.shm_open(name, os.O_RDONLY, 0)
    except OSError:
        os.close(fd)
        raise
    finally:
        shm.shm_unlink(name)


_BACKENDS: dict[str, Callable[[str], tuple[int, int]]] = {"memfd": _memfd, "shm": _shm}
