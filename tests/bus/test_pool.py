"""Allocation and counting, against models that only know what was given out."""

from __future__ import annotations

import itertools

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from frameloom.bus.pool import ByteRing, Leases, SlotPool

RING_BYTES = 1000


class RingMachine(RuleBasedStateMachine):
    """No two blocks of a ring ever overlap, whatever the order in which they are given out and come back."""

    blocks = Bundle("blocks")

    def __init__(self) -> None:
        super().__init__()
        self.ring = ByteRing(RING_BYTES)
        self.used: dict[int, tuple[int, int]] = {}

    @rule(target=blocks, nbytes=st.integers(1, 400))
    def allocate(self, nbytes: int) -> int:
        placed = self.ring.allocate(nbytes)
        if placed is None:
            assert not self.fits(nbytes)
            return -1
        block, offset = placed
        assert block not in self.used
        self.used[block] = (offset, offset + nbytes)
        return block

    @rule(block=consumes(blocks))
    def free(self, block: int) -> None:
        if block >= 0:
            self.ring.free(block)
            del self.used[block]

    @invariant()
    def nothing_overlaps(self) -> None:
        places = sorted(self.used.values())
        assert all(0 <= start < end <= RING_BYTES for start, end in places)
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(places))
        assert self.ring.used_bytes == sum(end - start for start, end in places)

    def fits(self, nbytes: int) -> bool:
        """Whether there is a gap at all, found the slow way."""
        edges = [(0, 0), *sorted(self.used.values()), (RING_BYTES, RING_BYTES)]
        return any(start - end >= nbytes for (_, end), (start, _) in itertools.pairwise(edges))


class SlotMachine(RuleBasedStateMachine):
    """Leases on slots: a slot is given out again only when its last holder has let go."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = SlotPool(4, 4096)
        self.leases = Leases(self.pool)
        self.holders: dict[int, int] = {}

    @rule(nbytes=st.sampled_from([1, 4096]))
    def take(self, nbytes: int) -> None:
        placed = self.pool.allocate(nbytes)
        if placed is None:
            assert len(self.holders) == 4
            return
        block, offset = placed
        assert block not in self.holders
        assert offset == block * 4096
        self.leases.hold(block)
        self.holders[block] = 1

    @precondition(lambda self: self.holders)
    @rule(data=st.data())
    def hold(self, data: st.DataObject) -> None:
        block = data.draw(st.sampled_from(sorted(self.holders)))
        self.leases.hold(block)
        self.holders[block] += 1

    @precondition(lambda self: self.holders)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        block = data.draw(st.sampled_from(sorted(self.holders)))
        self.leases.drop(block)
        self.holders[block] -= 1
        if not self.holders[block]:
            del self.holders[block]

    @invariant()
    def every_slot_is_free_or_held(self) -> None:
        assert self.pool.free_slots + len(self.leases) == 4
        assert all(self.leases.holders(block) == count for block, count in self.holders.items())
        assert len(self.leases) == len(self.holders)


TestRing = RingMachine.TestCase
TestRing.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
TestSlots = SlotMachine.TestCase
TestSlots.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)


def test_a_picture_larger_than_a_slot_is_not_given_one() -> None:
    assert SlotPool(4, 4096).allocate(4097) is None


def test_the_slot_freed_last_is_given_out_first() -> None:
    pool = SlotPool(3, 10)
    first, second = pool.allocate(1), pool.allocate(1)
    assert first
    assert second
    pool.free(first[0])
    assert pool.allocate(1) == first


def test_nobody_gives_back_what_nobody_holds() -> None:
    leases = Leases(SlotPool(1, 10))
    with pytest.raises(KeyError):
        leases.drop(0)


def test_the_ring_goes_round_so_that_an_old_block_lives_as_long_as_can_be() -> None:
    ring = ByteRing(100)
    blocks = [ring.allocate(30) for _ in range(3)]
    for placed in blocks:
        assert placed
        ring.free(placed[0])
    offsets = [placed[1] for placed in (ring.allocate(30), ring.allocate(30)) if placed]
    assert offsets == [0, 30]


def test_the_ring_steps_over_a_block_that_somebody_keeps() -> None:
    ring = ByteRing(100)
    kept, other = ring.allocate(10), ring.allocate(80)
    assert kept
    assert other
    ring.free(other[0])
    for _ in range(10):
        placed = ring.allocate(45)
        assert placed
        assert placed[1] >= 10
        ring.free(placed[0])


def test_numbers_of_blocks_begin_anew_without_meeting_an_old_one() -> None:
    ring = ByteRing(100)
    kept = ring.allocate(1)
    assert kept == (0, 0)
    ring._next_block = 0xFFFFFFFF
    numbers = [placed[0] for placed in (ring.allocate(1), ring.allocate(1)) if placed]
    assert numbers == [0xFFFFFFFF, 1]
