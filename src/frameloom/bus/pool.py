"""Who may use which part of a publisher's memory: allocation, and counting of leases.

Pure bookkeeping in the publisher's own process: no locks, no shared counters, nothing that another process could
spoil. The caller serialises access.
"""

from __future__ import annotations

from typing import Protocol


class Allocator(Protocol):
    """Gives parts of a memory as numbered blocks."""

    def allocate(self, nbytes: int) -> tuple[int, int] | None:
        """(block, offset in bytes) of a free part of at least `nbytes`, or None if there is none now."""

    def free(self, block: int) -> None:
        """The block may be given out again."""


class SlotPool:
    """Equal slots. The one freed last is given out first: it is warm in the cache, and its pages are there."""

    def __init__(self, slots: int, slot_bytes: int) -> None:
        self.slots, self.slot_bytes = slots, slot_bytes
        self._free = list(range(slots - 1, -1, -1))

    def allocate(self, nbytes: int) -> tuple[int, int] | None:
        if nbytes > self.slot_bytes or not self._free:
            return None
        block = self._free.pop()
        return block, block * self.slot_bytes

    def free(self, block: int) -> None:
        self._free.append(block)

    @property
    def free_slots(self) -> int:
        return len(self._free)


class ByteRing:
    """Blocks of any size, given out round and round; a block that is still in use is stepped over."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._cursor = 0
        self._next_block = 0
        self._used: dict[int, tuple[int, int]] = {}  # block -> offset, end
        self._order: list[int] = []  # blocks by offset

    def allocate(self, nbytes: int) -> tuple[int, int] | None:
        offset = self._fit(self._cursor, nbytes)
        if offset is None and self._cursor:
            offset = self._fit(0, nbytes)
        if offset is None:
            return None
        return self._take(offset, nbytes), offset

    def free(self, block: int) -> None:
        del self._used[block]
        self._order.remove(block)

    @property
    def used_bytes(self) -> int:
        return sum(end - offset for offset, end in self._used.values())

    def _fit(self, start: int, nbytes: int) -> int | None:
        for block in self._order:
            offset, end = self._used[block]
            if end <= start:
                continue
            if offset - start >= nbytes:
                break
            start = end
        return start if self.size - start >= nbytes else None

    def _take(self, offset: int, nbytes: int) -> int:
        block = self._next_block
        self._next_block = (block + 1) & 0xFFFFFFFF
        self._used[block] = (offset, offset + nbytes)
        self._cursor = offset + nbytes
        place = 0
        while place < len(self._order) and self._used[self._order[place]][0] < offset:
            place += 1
        self._order.insert(place, block)
        return block


class Leases:
    """How many hold each block: the publisher's retention counts as one, each reader's lease as one."""

    def __init__(self, allocator: Allocator) -> None:
        self._allocator = allocator
        self._holders: dict[int, int] = {}

    def hold(self, block: int) -> None:
        self._holders[block] = self._holders.get(block, 0) + 1

    def drop(self, block: int) -> None:
        """One holder less; the last one frees the block. Raises `KeyError` if nobody held it."""
        left = self._holders[block] - 1
        if left:
            self._holders[block] = left
        else:
            del self._holders[block]
            self._allocator.free(block)

    def holders(self, block: int) -> int:
        return self._holders.get(block, 0)

    def __len__(self) -> int:
        return len(self._holders)
