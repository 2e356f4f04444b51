"""Who may use which part of a publisher's memory: allocation, and counting of leases.

Pure bookkeeping in the publisher's own process: no locks, no shared counters, nothing that another process could
spoil. The caller serialises access.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Protocol

_LAST_BLOCK = 0xFFFFFFFF  # a block's number has 32 bits on the wire


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
        self._offset_of: dict[int, int] = {}
        # Of all blocks in use, in the order of the memory; they do not overlap, so both lists are sorted.
        self._offsets: list[int] = []
        self._ends: list[int] = []

    def allocate(self, nbytes: int) -> tuple[int, int] | None:
        nbytes = max(1, nbytes)
        offset = self._fit(self._cursor, nbytes)
        if offset is None and self._cursor:
            offset = self._fit(0, nbytes)
        if offset is None:
            return None
        return self._take(offset, nbytes), offset

    def free(self, block: int) -> None:
        place = bisect_left(self._offsets, self._offset_of.pop(block))
        del self._offsets[place], self._ends[place]

    @property
    def used_bytes(self) -> int:
        return sum(self._ends) - sum(self._offsets)

    def _fit(self, start: int, nbytes: int) -> int | None:
        place = bisect_right(self._ends, start)
        while place < len(self._ends) and self._offsets[place] - start < nbytes:
            start = self._ends[place]
            place += 1
        return start if self.size - start >= nbytes else None

    def _take(self, offset: int, nbytes: int) -> int:
        block = self._unused_number()
        place = bisect_left(self._offsets, offset)
        self._offsets.insert(place, offset)
        self._ends.insert(place, offset + nbytes)
        self._offset_of[block] = offset
        self._cursor = offset + nbytes
        return block

    def _unused_number(self) -> int:
        # After four thousand million blocks the numbers begin anew, and a patient reader may still hold an old one.
        while (block := self._next_block) in self._offset_of:
            self._next_block = (block + 1) & _LAST_BLOCK
        self._next_block = (block + 1) & _LAST_BLOCK
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
