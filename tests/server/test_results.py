"""Which result belongs to a picture, and which processor is worth waiting for."""

from __future__ import annotations

from typing import Any

from frameloom.model.clock import NS_PER_S
from frameloom.model.result import Result
from frameloom.server.results import FrameId, Results

FRAME_NS = NS_PER_S // 25
LATER_NS = 3600 * NS_PER_S


def frame(seq: int, began_ns: int = 0) -> FrameId:
    return FrameId(seq, began_ns + seq * FRAME_NS)


def result(of: FrameId, **values: Any) -> Result:
    return Result("motion", 0, "hall", of.seq, 0, of.captured_ns, 0, values or {"seq": of.seq})


def seq_of(results: Results, at: FrameId) -> int | None:
    found = results.of(at)
    return found.frame_seq if found else None


async def test_the_result_of_the_frame_itself_comes_first() -> None:
    results = Results()
    for seq in (1, 2, 3, 5):
        results.add(result(frame(seq)))
    assert [seq_of(results, frame(seq)) for seq in range(7)] == [None, 1, 2, 3, 3, 5, 5]


async def test_what_is_old_is_of_something_else() -> None:
    """A processor that was stopped must not leave its boxes on the picture."""
    results = Results()
    results.add(result(frame(1)))
    assert seq_of(results, frame(40)) == 1
    assert seq_of(results, frame(60)) is None


async def test_numbers_that_begin_anew() -> None:
    results = Results()
    for seq in range(1, 51):
        results.add(result(frame(seq), life=1))
    assert results.of(frame(30, LATER_NS)) is None, "the same number, of another life"
    results.add(result(frame(1, LATER_NS), life=2))
    for seq in (1, 2, 30):
        found = results.of(frame(seq, LATER_NS))
        assert found is not None and found["life"] == 2
    assert results.of(frame(50)) is None


async def test_pictures_that_are_not_in_the_order_of_their_packets() -> None:
    """With B frames a picture that is shown later may have come earlier."""
    results = Results()
    shown = [FrameId(1, 0), FrameId(2, 2 * FRAME_NS), FrameId(3, 3 * FRAME_NS), FrameId(4, FRAME_NS)]
    for each in shown:
        results.add(result(each))
        assert not results.is_worth_waiting(each)
        assert seq_of(results, each) == each.seq


async def test_only_so_many_are_kept() -> None:
    results = Results()
    for seq in range(1, 1000):
        results.add(result(frame(seq)))
    assert len(results._kept) <= 64
    assert seq_of(results, frame(999)) == 999


async def test_one_that_is_in_time_is_waited_for() -> None:
    results = Results()
    for seq in range(1, 20):
        results.expect(frame(seq))
        assert results.is_worth_waiting(frame(seq))
        results.add(result(frame(seq)))
        assert not results.is_worth_waiting(frame(seq)), "it is there"


async def test_one_that_is_late_is_not_waited_for_until_it_is_in_time_again() -> None:
    results = Results()
    for seq in range(1, 10):
        results.expect(frame(seq))
    assert not results.keeps_up and not results.is_worth_waiting(frame(9))
    for seq in range(10, 20):
        results.expect(frame(seq))
        results.add(result(frame(seq)))
    assert results.keeps_up and results.is_worth_waiting(frame(20))


async def test_one_late_result_is_forgiven() -> None:
    results = Results()
    for seq in range(1, 30):
        results.expect(frame(seq))
        if seq % 10:
            results.add(result(frame(seq)))
        assert results.keeps_up


async def test_one_that_looks_at_every_other_frame_is_not_waited_for() -> None:
    """It would halve the pace of the pictures."""
    results = Results()
    for seq in range(1, 40):
        results.expect(frame(seq))
        if seq % 2:
            results.add(result(frame(seq)))
    assert not results.keeps_up


async def test_a_frame_that_was_left_out_is_not_waited_for() -> None:
    results = Results()
    results.add(result(frame(7)))
    assert not results.is_worth_waiting(frame(6))
    assert results.is_worth_waiting(frame(8))
    assert results.is_worth_waiting(frame(3, LATER_NS)), "what has a greater number is of another life"
