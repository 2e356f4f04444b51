"""Memory that is shared as a file descriptor and has no name: when the last process goes, the kernel frees it.

Linux: a sealed memfd that nobody else can ever map for writing. Elsewhere: POSIX shared memory, unlinked at once and
shared by a descriptor that was opened read-only. Who may use which part when belongs to `frameloom.bus.pool`.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import secrets
from typing import Any

import numpy as np

from frameloom.model.errors import OutOfMemory, PeerError
from frameloom.model.frame import Array

_F_SEAL_FUTURE_WRITE = 0x0010  # linux/fcntl.h; Python 3.11 has no name for it
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
        self._taken = bytearray(self.size // _PAGE)
        try:
            self._writable, self.fd = _create(self.size, name, backend or default_backend())
            self._map = self._map_and_seal()
        except OSError as error:
            raise OutOfMemory(f"shared memory of {self.size} bytes for {name}: {error.strerror}") from error
        self.array: Array = np.frombuffer(self._map, np.uint8)

    def _map_and_seal(self) -> mmap.mmap:
        try:
            found = mmap.mmap(self._writable, self.size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
            if self._writable == self.fd:
                fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, _SEALS | fcntl.F_SEAL_SEAL)
            return found
        except OSError:
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
        """Close the descriptors. The mapping goes with the last array that views it."""
        for fd in {self.fd, self._writable}:
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
    return os.environ.get("FRAMELOOM_MEMORY") or ("memfd" if hasattr(os, "memfd_create") else "shm")


def _create(size: int, name: str, backend: str) -> tuple[int, int]:
    fd, shared = _memfd(name) if backend == "memfd" else _shm()
    try:
        os.ftruncate(fd, size)
    except OSError:
        for each in {fd, shared}:
            os.close(each)
        raise
    return fd, shared


def _memfd(name: str) -> tuple[int, int]:
    fd = os.memfd_create(f"frameloom:{name}"[:200], os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    return fd, fd


def _shm() -> tuple[int, int]:
    shm: Any = __import__("_posixshmem")  # what multiprocessing.shared_memory stands on
    name = f"/fl{secrets.token_hex(6)}"
    fd = shm.shm_open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        return fd, shm.shm_open(name, os.O_RDONLY, 0)
    finally:
        shm.shm_unlink(name)
