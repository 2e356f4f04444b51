"""What is kept for readers: where newcomers begin, where slow ones go on, and that it is bounded."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from frameloom.model.clock import NS_PER_S
from frameloom.model.kept import Kept

STEP_NS = NS_PER_S // 25


@dataclass(frozen=True)
class Item:
    number: int
    is_key: bool
    nbytes: int = 1

    @property
    def captured_ns(self) -> int:
        return self.number * STEP_NS


def filled(keys: range, until: int, most_bytes: int = 1000) -> Kept[Item]:
    kept: Kept[Item] = Kept(most_bytes)
    for number in range(1, until + 1):
        kept.add(Item(number, number in keys))
    return kept


def number(item: Item | None) -> int | None:
    return None if item is None else item.number


def test_a_newcomer_begins_at_the_newest_key_item() -> None:
    kept = filled(range(1, 100, 10), 25)
    assert number(kept.first(25 * STEP_NS)) == 21
    assert kept.first(25 * STEP_NS + 11 * NS_PER_S) is None, "that is the past"
    assert number(kept.after(0)) == 21, "what it would miss is no loss"
    assert Kept[Item](10).first(0) is None


def test_who_keeps_up_gets_one_after_the_other() -> None:
    kept = filled(range(1, 100, 10), 25)
    assert [number(kept.after(n)) for n in range(20, 25)] == [21, 22, 23, 24, 25]
    assert kept.after(25) is None


def test_who_is_late_goes_on_at_a_newer_key_item() -> None:
    kept = filled(range(1, 100, 10), 30)
    assert number(kept.after(12)) == 21, "half a second behind"
    assert number(kept.after(22)) == 23, "no newer one: late, but without a loss"
    assert number(kept.after(3)) == 21, "it is not kept any more"


def test_the_first_key_after_one_item() -> None:
    kept = filled(range(1, 100, 10), 25)
    assert [number(kept.key_after(n)) for n in (10, 11, 21)] == [11, 21, None]


def test_what_was_lost_before_is_a_gap_in_the_numbers() -> None:
    kept: Kept[Item] = Kept(1000)
    for n in (1, 2, 3, 9, 10):
        kept.add(Item(n, n in (1, 9)))
    assert number(kept.after(3)) == 9
    assert number(kept.after(2)) == 3


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 400)), max_size=60), st.integers(1, 1000))
def test_it_holds_no_more_than_it_may_and_never_goes_back(items: list[tuple[bool, int]], most: int) -> None:
    kept: Kept[Item] = Kept(most)
    reader = 0
    for place, (is_key, nbytes) in enumerate(items):
        kept.add(Item(place + 1, is_key, nbytes))
        held = list(kept._items)
        assert sum(item.nbytes for item in held) <= max(most, held[-1].nbytes)
        assert sum(item.is_key for item in held) <= 2 or held[0].is_key
        if place % 3 == 0 and (item := kept.after(reader)) is not None:
            assert item.number > reader
            assert item.number == reader + 1 or item.is_key
            reader = item.number
