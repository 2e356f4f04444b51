"""Hand-over of pictures from one process to 1, 2 and 4 others, by Frameloom and by its peers.

The publisher copies each picture once into the way and waits for slow readers, so that every reader gets every picture;
readers count them and look whether they are right. How a way is used is said in `benchmarks.peers`.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from . import peers, report
from .pictures import SIZES, STRIDES
from .report import Goal, Part
from .teams import Mode, Outcome, Team, Trial, scratch

READERS = (1, 2, 4)
US, PEER, QUEUE = "frameloom_bus", "iceoryx2_pubsub", "mp_queue"
_APART = ("ray_store",)  # its own daemons work all the time, and would disturb the others
_SLOW_ROUNDS = 2


@dataclass(frozen=True)
class Table:
    """One table of the results: ways by numbers of readers.

    fast_only   for those ways only that share memory
    apart       also for those ways that are measured apart
    """

    mode: Mode
    size: str
    touch: str
    rounds: int
    duration_s: float
    fast_only: bool = False
    apart: bool = False

    @property
    def title(self) -> str:
        if self.mode == "alone":
            return f"{self.size}, hand-over alone (nothing copied, nothing read), frames/s"
        what = "latency at 30 frames/s, p50 / p99 in us" if self.mode == "paced" else "frames/s, saturated"
        return f"{self.size}, {what}, readers read {self.touch}"

    def trial(self, readers: int) -> Trial:
        return Trial(self.mode, SIZES[self.size], readers, STRIDES[self.touch], self.duration_s)


PAGE, LINE, NOTHING = STRIDES
FULL = (
    Table("saturated", "1080p", PAGE, 5, 0.4, apart=True),
    Table("saturated", "1080p", LINE, 2, 0.4),
    Table("saturated", "4K", PAGE, 2, 0.4, apart=True),
    Table("saturated", "4K", LINE, 1, 0.4),
    Table("alone", "1080p", NOTHING, 3, 0.2, fast_only=True),
    Table("paced", "1080p", PAGE, 3, 2.7, apart=True),
    Table("paced", "4K", PAGE, 1, 1.5, fast_only=True),
)
QUICK = (
    Table("saturated", "320x180", PAGE, 1, 0.02, apart=False),
    Table("alone", "320x180", NOTHING, 1, 0.02, fast_only=True),
    Table("paced", "320x180", LINE, 1, 0.1),
)

Cell = tuple[str, int]  # way, readers


@dataclass
class Figures:
    """The outcomes of one table's trials, round by round."""

    outcomes: dict[Cell, list[Outcome]] = field(default_factory=dict)

    def add(self, cell: Cell, outcome: Outcome) -> None:
        self.outcomes.setdefault(cell, []).append(outcome)

    def good(self, cell: Cell) -> list[Outcome]:
        return [outcome for outcome in self.outcomes.get(cell, []) if outcome.complete]

    def rates(self, cell: Cell) -> list[float]:
        return [outcome.rate for outcome in self.good(cell)]

    def latencies_us(self, cell: Cell) -> list[float]:
        return [us for outcome in self.good(cell) for us in outcome.latencies_us]

    def ratios(self, one: Cell, other: Cell) -> list[float]:
        """Of the rates of two cells in the same round, which were measured one soon after the other."""
        rounds = zip(self.outcomes.get(one, []), self.outcomes.get(other, []), strict=False)
        return [a.rate / b.rate for a, b in rounds if a.complete and b.complete]


def run(quick: bool) -> Part:
    """Measure, and tell."""
    part = Part("Hand-over")
    ways, missing = peers.installed()
    readers = READERS[:2] if quick else READERS
    tables = QUICK if quick else FULL
    with scratch() as folder:
        results = _measure(tables, [way for way in ways if way not in _APART], readers, folder)
        if not quick:
            _measure_apart(results, [way for way in ways if way in _APART], readers, folder)
    _introduce(part, ways, missing)
    for each, figures in results.items():
        part.say(f"### {each.title}", "", _table(each, figures, ways, readers))
    part.troubles = [trouble for figures in results.values() for trouble in _troubles(figures)]
    part.say(_soundness(results, part.troubles))
    if not quick:
        part.goals = list(_goals(results))
    return part


def _measure(
    tables: Sequence[Table], ways: Sequence[str], readers: Sequence[int], folder: str
) -> dict[Table, Figures]:
    results = {}
    with ExitStack() as stack:
        teams = {way: stack.enter_context(Team(way, folder, max(readers))) for way in ways}
        for each in tables:
            print(f"handover: {each.title}", file=sys.stderr, flush=True)
            results[each] = figures = Figures()
            for number in readers:
                _take_turns(each, number, list(teams.values()), figures)
    return results


def _take_turns(each: Table, readers: int, teams: list[Team], figures: Figures) -> None:
    """Round by round, each time another way begins."""
    for round_ in range(each.rounds):
        first = round_ % len(teams)
        for team in [*teams[first:], *teams[:first]]:
            fast = peers.load(team.way).FAST
            if fast or not (each.fast_only or round_ >= _SLOW_ROUNDS):
                figures.add((team.way, readers), team.run(each.trial(readers)))


def _measure_apart(
    results: dict[Table, Figures], ways: Sequence[str], readers: Sequence[int], folder: str
) -> None:
    for way in ways:
        print(f"handover: {peers.load(way).NAME}, apart from the others", file=sys.stderr, flush=True)
        with Team(way, folder, max(readers)) as team:
            for each, figures in results.items():
                for number in readers if each.apart else ():
                    figures.add((way, number), team.run(each.trial(number)))


# --- telling ---------------------------------------------------------------------------------------------------------


def _introduce(part: Part, ways: Sequence[str], missing: dict[str, str]) -> None:
    part.say(
        "One publisher and its readers, each a process of its own. At most two pictures wait for a reader beside the "
        "one it works on. Medians of the rounds, in brackets the lowest and the highest round; the rate is that of the "
        "slowest reader. Latency: from the moment before the copy to the moment a reader holds the array "
        "(CLOCK_MONOTONIC), all readers and rounds together. Ways take turns; Ray, whose daemons never rest, comes "
        "after the others."
    )
    rows = [(peers.load(way).NAME, _package(way), peers.load(way).HOW) for way in ways]
    rows += [(way, "not installed", reason) for way, reason in missing.items()]
    part.say(report.table(("way", "version", "how it is used"), rows).replace("---:", "---"))


def _package(way: str) -> str:
    return peers.version(peers.load(way).PACKAGE) or "Python's own"


def _table(each: Table, figures: Figures, ways: Sequence[str], readers: Sequence[int]) -> str:
    cell = _latency_cell if each.mode == "paced" else _rate_cell
    shown = [way for way in ways if any((way, number) in figures.outcomes for number in readers)]
    rows = [[peers.load(way).NAME, *(cell(figures, (way, number)) for number in readers)] for way in shown]
    if each.mode != "paced" and PEER in shown:
        ratios = [figures.ratios((US, number), (PEER, number)) for number in readers]
        rows.append(
            ["Frameloom / iceoryx2, round by round", *(report.median_and_range(r, 2) for r in ratios)]
        )
    return report.table(["", *(_readers(number) for number in readers)], rows)


def _readers(number: int) -> str:
    return "1 reader" if number == 1 else f"{number} readers"


def _rate_cell(figures: Figures, cell: Cell) -> str:
    return report.median_and_range(figures.rates(cell)) if figures.good(cell) else "failed"


def _latency_cell(figures: Figures, cell: Cell) -> str:
    latencies_us = figures.latencies_us(cell)
    if not latencies_us:
        return "failed"
    return f"{report.percentile(latencies_us, 50):,.0f} / {report.percentile(latencies_us, 99):,.0f}"


def _troubles(figures: Figures) -> Iterator[str]:
    for (way, readers), outcomes in figures.outcomes.items():
        for outcome in outcomes:
            if not outcome.complete:
                counts = [(taken.count, taken.wrong) for taken in outcome.taken]
                problem = outcome.problem or f"{outcome.sent} sent; got, wrong: {counts}"
                yield f"{peers.load(way).NAME}, {_readers(readers)}: {problem}"


def _soundness(results: dict[Table, Figures], troubles: Sequence[str]) -> str:
    outcomes = [o for figures in results.values() for many in figures.outcomes.values() for o in many]
    pictures = sum(taken.count for outcome in outcomes for taken in outcome.taken)
    told = f"{len(outcomes)} trials, {pictures:,} pictures taken"
    if not troubles:
        return f"{told}: every reader got every picture, and each was right."
    return "\n".join([f"{told}. Left out of the figures:", "", *(f"- {trouble}" for trouble in troubles)])


# --- goals -----------------------------------------------------------------------------------------------------------


def _goals(results: dict[Table, Figures]) -> Iterator[Goal]:
    for each, figures in results.items():
        if each.touch != PAGE or each.mode == "alone":
            continue
        for readers in READERS:
            if each.mode == "saturated":
                yield _rate_goal(each, figures, readers)
            else:
                yield from _latency_goals(each, figures, readers)
    yield from _queue_goals(results)


def _rate_goal(each: Table, figures: Figures, readers: int) -> Goal:
    ratios = figures.ratios((US, readers), (PEER, readers))
    what = f"{each.size} to {_readers(readers)}, frames/s beside iceoryx2"
    if not ratios:
        return Goal(what, "at least 1.00 times", "not measured", False)
    ratio = statistics.median(ratios)
    spread = f"rounds from {report.at_least(min(ratios), 2)} to {report.at_least(max(ratios), 2)}"
    why = _SLOWER if ratio < 1 else ""
    return Goal(what, "at least 1.00 times", f"{report.at_least(ratio, 2)} times ({spread})", ratio >= 1, why)


def _latency_goals(each: Table, figures: Figures, readers: int) -> Iterator[Goal]:
    ours, theirs = (figures.latencies_us((way, readers)) for way in (US, PEER))
    for percent in (50, 99):
        what = f"{each.size} to {_readers(readers)} at 30 frames/s, p{percent} beside iceoryx2"
        if not (ours and theirs):
            yield Goal(what, "at most 1.00 times", "not measured", False)
            continue
        us, them = report.percentile(ours, percent), report.percentile(theirs, percent)
        reached = f"{report.at_most(us / them, 2)} times ({us:,.0f} and {them:,.0f} us)"
        yield Goal(what, "at most 1.00 times", reached, us <= them, _LATER if us > them else "")


def _queue_goals(results: dict[Table, Figures]) -> Iterable[Goal]:
    for each, figures in results.items():
        if (each.mode, each.size, each.touch) != ("saturated", "1080p", PAGE):
            continue
        for readers in READERS:
            ratios = figures.ratios((US, readers), (QUEUE, readers))
            ratio = statistics.median(ratios) if ratios else 0.0
            what = f"1080p to {_readers(readers)}, frames/s beside multiprocessing.Queue"
            yield Goal(what, "at least 50 times", f"{report.at_least(ratio, 1)} times", ratio >= 50)


_SLOWER = "after the copy, cold caches make Python's bookkeeping the dearer one; see the hand-over alone"
_LATER = "the wake-up over the socket and Python's bookkeeping come after the same copy"
