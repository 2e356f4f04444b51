"""Events from what is seen frame by frame."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frameloom.model.clock import NS_PER_S
from frameloom.model.frame import Frame
from frameloom.model.result import Event
from frameloom.processors.presence import Presence
from frameloom.testing.clock import UTC_START_NS
from frameloom.testing.processors import frame_from

PIXEL = np.zeros((1, 1), np.uint8)


def at(seconds: float | Fraction) -> Frame:
    return frame_from(PIXEL, seconds)


def presence() -> Presence:
    numbers = itertools.count(1)
    return Presence("thing", new_id=lambda: f"id{next(numbers)}")


def events_of(
    scores: dict[float, float], start_after_s: float = 0.0, end_after_s: float = 0.0
) -> list[Event]:
    watched = presence()
    return [
        e for s, score in scores.items() for e in watched.update(at(s), score, start_after_s, end_after_s)
    ]


def in_short(events: list[Event]) -> list[tuple[str, str, float]]:
    return [(event.id, event.phase, event.pts_ns / NS_PER_S) for event in events]


def test_start_and_end_carry_the_times_of_the_first_and_last_frame_that_showed_it():
    events = events_of({0: 0, 1: 0.1, 2: 0.4, 3: 0.2, 4: 0, 5: 0}, start_after_s=1, end_after_s=2)
    start, end = events
    assert in_short(events) == [("id1", "start", 1.0), ("id1", "end", 3.0)]
    assert (start.name, start.started_pts_ns, start.at_ns) == ("thing", NS_PER_S, UTC_START_NS + NS_PER_S)
    assert (end.started_pts_ns, end.at_ns) == (NS_PER_S, UTC_START_NS + 3 * NS_PER_S)
    assert end.to_json()["values"] == {"peak_score": 0.4}
    assert "values" not in start.to_json()


def test_nothing_starts_before_it_was_held_for_long_enough():
    assert events_of({0: 1, 0.5: 1, 0.9: 1}, start_after_s=1) == []
    assert in_short(events_of({0: 1, 0.5: 1, 1.0: 1}, start_after_s=1)) == [("id1", "start", 0.0)]


def test_one_frame_without_it_begins_the_holding_anew():
    scores = {0: 1, 0.5: 1, 0.6: 0, 0.7: 1, 1.2: 1, 1.7: 1}
    assert in_short(events_of(scores, start_after_s=1, end_after_s=5)) == [("id1", "start", 0.7)]


def test_it_starts_at_once_where_no_holding_is_asked_for():
    assert in_short(events_of({3: 0.01})) == [("id1", "start", 3.0)]


def test_a_pause_shorter_than_the_end_is_part_of_the_event():
    watched, seen = presence(), {0: 1, 1: 0, 2: 0, 2.5: 1, 3: 0, 5.4: 0, 5.5: 0}
    told = [(s, in_short(watched.update(at(s), score, 0, 3))) for s, score in seen.items()]
    assert [each for each in told if each[1]] == [(0, [("id1", "start", 0.0)]), (5.5, [("id1", "end", 2.5)])]


def test_each_event_has_an_id_of_its_own_for_both_its_messages():
    events = events_of({0: 1, 1: 0, 2: 1, 3: 0})
    assert in_short(events) == [
        ("id1", "start", 0.0), ("id1", "end", 0.0), ("id2", "start", 2.0), ("id2", "end", 2.0),
    ]  # fmt: skip


def test_ids_are_unique_when_nobody_gives_them():
    watched = [Presence("thing") for _ in range(100)]
    ids = {each.update(at(0), 1, 0, 0)[0].id for each in watched}
    assert len(ids) == 100


def test_rare_frames_that_all_show_it_are_one_event():
    assert in_short(events_of({0: 1, 60: 1, 120: 1}, end_after_s=2)) == [("id1", "start", 0.0)]


def test_a_stream_that_begins_again_ends_the_event_with_its_old_times():
    watched = presence()
    told = [watched.update(at(s), 1, 0, 10) for s in (100, 101, 0, 1)]
    assert [in_short(events) for events in told] == [
        [("id1", "start", 100.0)],
        [],
        [("id1", "end", 101.0), ("id2", "start", 0.0)],
        [],
    ]


def test_what_was_held_before_a_new_beginning_does_not_count_after_it():
    assert events_of({10: 1, 10.9: 1, 0: 1, 0.5: 1}, start_after_s=1) == []


def test_present_from_start_to_end():
    watched = presence()
    seen = []
    for second, score in enumerate((0, 1, 1, 0, 0, 0)):
        watched.update(at(second), score, 1, 2)
        seen.append(watched.present)
    assert seen == [False, False, True, True, False, False]


@pytest.mark.parametrize("fps", [5, 10, 25, 60])
def test_any_frame_rate_gives_the_same_times(fps):
    """It is there from 2 s to 5 s; frames fall on both at every rate here."""
    frames = [Fraction(n, fps) for n in range(10 * fps)]
    events = events_of({s: float(2 <= s <= 5) for s in frames}, start_after_s=0.4, end_after_s=1)
    assert in_short(events) == [("id1", "start", 2.0), ("id1", "end", 5.0)]


@given(
    st.lists(st.tuples(st.floats(-5, 5), st.booleans()), max_size=60),
    st.floats(0, 3),
    st.floats(0, 3),
)
def test_starts_and_ends_alternate_whatever_the_stream_does(steps, start_after_s, end_after_s):
    watched, events, time_s = presence(), [], 100.0
    for step_s, seen in steps:
        time_s += step_s
        events += watched.update(at(time_s), float(seen), start_after_s, end_after_s)
        assert watched.present == (len(events) % 2 == 1)
    assert [event.phase for event in events] == (["start", "end"] * len(events))[: len(events)]
    for start, end in zip(events[::2], events[1::2], strict=False):
        assert (start.id, start.pts_ns) == (end.id, end.started_pts_ns)
        assert start.pts_ns <= end.pts_ns
