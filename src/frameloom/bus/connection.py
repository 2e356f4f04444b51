"""One connection of a reader to a publisher: mapped memories, leases, and their way back.

A lease lives as long as the array that views its block: when that array and everything made from it is gone, the block
goes back to the publisher. The connection outlives its `Subscription` until the last lease is back, since the publisher
reuses a dead reader's blocks at once.
"""

from __future__ import annotations

import contextlib
import os
import socket
import weakref
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np

from frameloom.model.errors import PeerError
from frameloom.model.frame import Array, PictureFormat
from frameloom.model.packet import PacketFormat

from . import forks, protocol
from .memory import MappedMemory
from .protocol import Kind

_NOSIGNAL = int(socket.MSG_NOSIGNAL)  # an enumeration costs more than the call
_DEFERRED = 1  # leases that may wait for the next WANT instead of a message of their own
_BYTE = np.dtype(np.uint8)
Key = tuple[int, int]
# Left by their subscriptions, kept alive by the frames that somebody still holds.
_lingering: set[Any] = set()


class _Lease(weakref.ref[Array]):
    """Notices when nobody looks at a block any more."""

    __slots__ = ("connection", "key")
    connection: Connection
    key: Key


def _over(lease: Any) -> None:
    # Called from the garbage collector, at any moment, in any thread: it must not lock, wait or raise.
    lease.connection.give_back(lease.key)


@dataclass(frozen=True, slots=True)
class Epoch:
    """A geometry and the memory that holds its blocks."""

    number: int
    memory: MappedMemory
    picture: PictureFormat | None
    packets: PacketFormat | None


class Connection:
    """The socket, what came with it, and what has to go back over it."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.kind: Kind | None = None
        self.info: dict[str, Any] = {}
        self.epoch: Epoch | None = None
        self._epoch_used = False
        self.leases: dict[Key, _Lease] = {}
        self._returned: deque[Key] = deque()
        self._leaving = False
        forks.close_in_child(self, self._close_descriptors)

    def take_welcome(self, message: bytes) -> None:
        """The publisher has taken us. Raises `PeerError` if it does so twice."""
        if self.kind is not None:
            raise PeerError("WELCOME: read a second one")
        self.kind, self.info = protocol.unpack_welcome(message)

    def take_epoch(self, message: bytes, fd: int) -> None:
        """A new geometry: later items live in this memory. Arrays in the old one stay valid. Takes over `fd`."""
        try:
            number, size, body = protocol.unpack_epoch(message)
            if self.epoch and (number <= self.epoch.number or not self._epoch_used):
                raise PeerError(f"EPOCH: {number} does not follow {self.epoch.number}, or that had no item")
            picture, packets = self._format(body)
        except PeerError:
            os.close(fd)
            raise
        self.epoch = Epoch(number, MappedMemory(fd, size), picture, packets)
        self._epoch_used = False

    def _format(self, body: dict[str, Any]) -> tuple[PictureFormat | None, PacketFormat | None]:
        try:
            if self.kind is Kind.FRAMES:
                return PictureFormat.from_json(body), None
            return None, PacketFormat.from_json(body) if self.kind is Kind.PACKETS else None
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise PeerError(f"EPOCH: not understood: {error!r}") from None

    def lease(self, header: protocol.ItemHeader) -> Array:
        """A read-only 1-D view of the item's block, whose life is the lease. Raises `PeerError` if it lies outside."""
        epoch = self.epoch
        if epoch is None or header.epoch != epoch.number:
            raise PeerError(f"ITEM: epoch {header.epoch} was not announced")
        if header.offset + header.length > len(epoch.memory.map):
            raise PeerError(f"ITEM: {header.length} bytes at {header.offset} lie outside the memory")
        self._epoch_used = True
        array: Array = np.ndarray((header.length,), _BYTE, epoch.memory.map, header.offset)
        key = (header.epoch, header.block)
        lease = _Lease(array, _over)
        lease.connection, lease.key = self, key
        self.leases[key] = lease
        return array

    def give_back(self, key: Key) -> None:
        """The block is no longer looked at. Safe at any moment in any thread: appends, and sends without waiting."""
        self.leases.pop(key, None)
        self._returned.append(key)
        if self._leaving or len(self._returned) > _DEFERRED:
            self.want(0)
        if self._leaving and not self.leases:
            self._close_descriptors()

    def want(self, credits: int) -> bool:
        """Ask for more items and return what is over; False if the publisher did not take the message now."""
        returned = []
        try:
            while self._returned:
                returned.append(self._returned.popleft())
        except IndexError:  # another thread was quicker
            pass
        if not (credits or returned):
            return True
        try:
            self.sock.send(protocol.pack_want(credits, returned), _NOSIGNAL)
            return True
        except BlockingIOError:
            self._returned.extendleft(returned)
            return False
        except OSError:
            return True  # the publisher is gone: reading will say so, and leases no longer matter

    def leave(self) -> None:
        """No more items. Closes now, or when the last lease has come back."""
        self._leaving = True
        self._return_the_dead()
        if self.leases:
            _lingering.add(self)
            with contextlib.suppress(OSError):
                self.sock.send(protocol.pack_bye(), socket.MSG_NOSIGNAL)
            self.want(0)
        if not self.leases:
            self._close_descriptors()

    def _return_the_dead(self) -> None:
        # Where frames and their subscription die together, in a cycle, Python calls no `_over` for the frames.
        for key in list(self.leases):
            lease = self.leases.get(key)
            if lease is not None and lease() is None:
                self.give_back(key)

    def _close_descriptors(self) -> None:
        self.sock.close()
        _lingering.discard(self)
