"""What a publisher keeps: the memory it fills, the one it filled before, and the newest items in them.

Items are kept for readers that come later or are a little late. How many, and who gets which, belongs to
`frameloom.bus.publisher`; the caller serialises access.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from frameloom.model.errors import OutOfMemory
from frameloom.model.frame import PictureFormat

from . import protocol
from .memory import OwnedMemory, whole_pages
from .pool import Allocator, Leases
from .protocol import Kind


@dataclass(slots=True, eq=False)
class Epoch:
    """A geometry and its memory. Replaced, never changed. `message` announces it to a reader."""

    number: int
    memory: OwnedMemory
    allocator: Allocator
    leases: Leases
    message: bytes
    retained: int = 0


@dataclass(slots=True, eq=False)
class Item:
    """One published item: its message is built once and sent to every reader as it is. No epoch: it is inline."""

    seq: int
    is_key: bool
    message: bytes
    length: int
    epoch: Epoch | None = None
    block: int = 0
    lease: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        if self.epoch is not None:
            self.lease = (self.epoch.number, self.block)


class Retention:
    """The present epoch, and the retained items by number, without gaps.

    A replaced epoch stays until none of its items is retained, so that a change of format loses nothing; readers
    that look at it longer have a mapping of their own.
    """

    def __init__(self, kind: Kind, name: str, backend: str) -> None:
        self._kind, self._name, self._backend = kind, name, backend
        self._live: dict[int, Epoch] = {}
        self._number = 0
        self.items: deque[Item] = deque()
        self.nbytes = 0
        self.epoch: Epoch | None = None

    def begin(
        self,
        size: int,
        allocator: Allocator,
        block_bytes: int = 0,
        body: Mapping[str, Any] | None = None,
        picture: PictureFormat | None = None,
    ) -> Epoch:
        """Take new memory for what comes next. Raises `OutOfMemory`, and then nothing has changed."""
        number = self._number + 1
        message = protocol.pack_epoch(self._kind, number, whole_pages(size), block_bytes, body or {}, picture)
        memory = OwnedMemory(size, self._name, self._backend)
        old, self._number = self.epoch, number
        self.epoch = self._live[number] = Epoch(number, memory, allocator, Leases(allocator), message)
        if old is not None:
            self._retire(old)
        return self.epoch

    def allocate(self, nbytes: int) -> tuple[int, int] | None:
        """(block, offset) in the present epoch, with pages behind it, or None. Raises `OutOfMemory`."""
        assert self.epoch
        placed = self.epoch.allocator.allocate(max(1, nbytes))
        if placed is not None:
            self._back(self.epoch, placed, max(1, nbytes))
        return placed

    def write(self, offset: int, data: bytes | memoryview) -> None:
        assert self.epoch
        self.epoch.memory.array[offset : offset + len(data)] = np.frombuffer(data, np.uint8)

    def append(self, item: Item) -> None:
        """Retain an item. The hold that its writer has on the block is the retention's from now on."""
        self.items.append(item)
        self.nbytes += item.length
        if item.epoch is not None:
            item.epoch.retained += 1

    def drop_oldest(self) -> None:
        item = self.items.popleft()
        self.nbytes -= item.length
        if item.epoch is not None:
            item.epoch.leases.drop(item.block)
            item.epoch.retained -= 1
            if item.epoch is not self.epoch:
                self._retire(item.epoch)

    def clear(self) -> None:
        while self.items:
            self.drop_oldest()

    def return_lease(self, lease: tuple[int, int]) -> None:
        """A reader's lease (epoch, block) is back. In an epoch that is over nobody waits for it."""
        if (epoch := self._live.get(lease[0])) is not None:
            epoch.leases.drop(lease[1])

    def close(self) -> None:
        self.clear()
        if self.epoch is not None:
            old, self.epoch = self.epoch, None
            self._retire(old)

    # --- looking items up; `seq` is the number of the item that the reader had last --------------------------------

    def oldest_after(self, seq: int) -> Item | None:
        if not self.items or self.items[-1].seq <= seq:
            return None
        return self.items[max(0, seq + 1 - self.items[0].seq)]

    def newest_after(self, seq: int) -> Item | None:
        return self.items[-1] if self.items and self.items[-1].seq > seq else None

    def newest_key_after(self, seq: int) -> Item | None:
        return next((item for item in reversed(self.items) if item.is_key and item.seq > seq), None)

    def _back(self, epoch: Epoch, placed: tuple[int, int], nbytes: int) -> None:
        try:
            epoch.memory.reserve(placed[1], nbytes)
        except OutOfMemory:
            epoch.allocator.free(placed[0])
            raise

    def _retire(self, epoch: Epoch) -> None:
        if epoch is not self.epoch and not epoch.retained:
            del self._live[epoch.number]
            epoch.memory.close()
