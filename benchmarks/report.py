"""Figures as text: tables, and goals beside what was reached. Nothing is ever rounded towards the goal."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Goal:
    """A goal and what was reached. `why` says what is known of the reason where it was not."""

    what: str
    aim: str
    reached: str
    met: bool
    why: str = ""


@dataclass
class Part:
    """One part of the results. `sound` is False if something was lost, wrong or failed on the way."""

    title: str
    text: list[str] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)

    def say(self, *lines: str) -> None:
        """Paragraphs or tables."""
        self.text += [*lines, ""]

    def markdown(self) -> str:
        return "\n".join([f"## {self.title}", "", *self.text]).rstrip() + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def goals_table(goals: Iterable[Goal]) -> str:
    rows = [(goal.what, goal.aim, goal.reached, _verdict(goal)) for goal in goals]
    return table(("goal", "aim", "reached", ""), rows)


def _verdict(goal: Goal) -> str:
    if goal.met:
        return "reached"
    return f"**not reached**{': ' if goal.why else ''}{goal.why}"


def at_least(value: float, digits: int) -> str:
    """Rounded down: for what should be large."""
    return f"{math.floor(value * 10**digits) / 10**digits:,.{digits}f}"


def at_most(value: float, digits: int) -> str:
    """Rounded up: for what should be small."""
    return f"{math.ceil(value * 10**digits) / 10**digits:,.{digits}f}"


def median_and_range(values: Sequence[float], digits: int = 0) -> str:
    """Median, and in brackets the smallest and the largest of the rounds."""
    if not values:
        return "-"
    text = f"{statistics.median(values):,.{digits}f}"
    return text if len(values) == 1 else f"{text} ({min(values):,.{digits}f}-{max(values):,.{digits}f})"


def percentile(values: Iterable[float], percent: float) -> float:
    """The smallest value that is not exceeded by `percent` of them: never between two, never too small."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
