"""The benchmarks' own check of pictures: what is torn, stale or lost must not pass for right."""

from __future__ import annotations

import time

import pytest

from benchmarks.pictures import END, LINE, PAGE, SIZES, WARM, Source, Taker, Touch
from benchmarks.teams import Outcome

NBYTES = SIZES["320x180"]


@pytest.mark.parametrize("stride", [PAGE, LINE])
def test_a_picture_is_right_under_its_own_number_only(stride: int) -> None:
    touch, picture = Touch(NBYTES, stride), Source(NBYTES).numbered(7)
    assert touch.is_right(picture, 7)
    assert not touch.is_right(picture, 8)


@pytest.mark.parametrize("stride", [PAGE, LINE])
def test_a_picture_of_two_halves_is_wrong(stride: int) -> None:
    torn = Source(NBYTES).numbered(7).copy()
    torn[NBYTES // 2 :] = Source(NBYTES).numbered(8)[NBYTES // 2 :]
    assert not Touch(NBYTES, stride).is_right(torn, 7)
    assert not Touch(NBYTES, stride).is_right(torn, 8)


def test_a_byte_that_is_touched_and_differs_makes_it_wrong() -> None:
    picture = Source(NBYTES).numbered(0).copy()
    picture[5 * PAGE] ^= 1
    assert not Touch(NBYTES, PAGE).is_right(picture, 0)


def test_what_is_taken_is_counted_from_the_first_measured_picture() -> None:
    source, taker = Source(NBYTES), Taker(NBYTES, PAGE, with_latency=True)
    assert taker.take(source.numbered(0), WARM)
    sent_ns = time.monotonic_ns()
    assert taker.take(source.numbered(1), sent_ns)
    assert taker.take(source.numbered(1), sent_ns)  # the third one never came
    assert not taker.take(source.numbered(3), END)
    taken = taker.taken
    assert (taken.count, taken.wrong, len(taken.latencies_ns)) == (2, 1, 2)
    assert 0 <= taken.latencies_ns[0] <= taken.latencies_ns[1]
    assert taken.first_ns <= taken.last_ns


def test_an_outcome_is_complete_only_if_every_reader_has_every_picture_right() -> None:
    def outcome(sent: int, wrong: int = 0) -> Outcome:
        source, taker = Source(NBYTES), Taker(NBYTES, PAGE, with_latency=False)
        for number in range(3):
            taker.take(source.numbered(number + wrong), 2)
        return Outcome(sent, [taker.taken])

    assert outcome(3).complete
    assert not outcome(4).complete
    assert not outcome(3, wrong=1).complete
    assert not Outcome(3, [outcome(3).taken[0], outcome(4, wrong=1).taken[0]]).complete
    assert not Outcome(problem="it did not start").complete
