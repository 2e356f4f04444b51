"""Figures are never rounded towards their goal."""

from __future__ import annotations

from benchmarks.report import Goal, at_least, at_most, goals_table, median_and_range, percentile


def test_what_should_be_large_is_rounded_down() -> None:
    assert at_least(0.9999, 2) == "0.99"
    assert at_least(1.0, 2) == "1.00"
    assert at_least(49.99, 1) == "49.9"
    assert at_least(12_345.6, 0) == "12,345"


def test_what_should_be_small_is_rounded_up() -> None:
    assert at_most(1.0001, 2) == "1.01"
    assert at_most(1.15, 2) == "1.15"
    assert at_most(9.91, 1) == "10.0"


def test_a_percentile_is_a_value_that_was_measured() -> None:
    values = [float(n) for n in range(1, 101)]
    assert percentile(values, 50) == 50
    assert percentile(values, 99) == 99
    assert percentile([3.0, 1.0, 2.0], 99) == 3.0
    assert percentile([5.0], 50) == 5.0


def test_rounds_are_told_as_median_and_range() -> None:
    assert median_and_range([3.0, 1.0, 10.0]) == "3 (1-10)"
    assert median_and_range([2.0], 1) == "2.0"
    assert median_and_range([]) == "-"


def test_a_goal_that_was_missed_says_so_and_why() -> None:
    text = goals_table([Goal("a", "1", "2", True), Goal("b", "1", "0.99", False, "it is slow")])
    assert "| a | 1 | 2 | reached |" in text
    assert "| b | 1 | 0.99 | **not reached**: it is slow |" in text
