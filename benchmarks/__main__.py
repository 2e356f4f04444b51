"""`python -m benchmarks [PART ...] [--quick] [--output FILE]`, with the parts that stand in `PARTS`."""

from __future__ import annotations

import argparse
import importlib
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from . import machine, report
from .report import Part

PARTS = ("handover", "wakeup", "readers", "camera", "live", "recording", "catalog", "audience", "leftovers")
RESULTS = Path(__file__).with_name("RESULTS.md")


def main(arguments: Sequence[str]) -> int:
    """Measure, and write the results; 1 if pictures were lost or wrong, or a way failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)}; all of them by default"
    )
    parser.add_argument("--quick", action="store_true", help="a trial run: its figures mean nothing")
    parser.add_argument(
        "--output", type=Path, help="where to write; default: RESULTS.md for all parts, else the screen"
    )
    options = parser.parse_args(arguments)
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"unknown part: {', '.join(sorted(unknown))}; known: {', '.join(PARTS)}")
    names = [name for name in PARTS if name in options.parts or not options.parts]
    text, sound = _measured(names, options.quick, shlex.join(["python", "-m", "benchmarks", *arguments]))
    _write(text, options.output or (None if options.parts or options.quick else RESULTS))
    return 0 if sound else 1


def _measured(names: Sequence[str], quick: bool, command: str) -> tuple[str, bool]:
    began_s, load = time.monotonic(), machine.load()
    parts = [_run(name, quick) for name in names]
    facts = [*machine.describe(), ("load before", f"{load} (1 minute; a quiet machine is near 0)")]
    facts.append(("took", f"{time.monotonic() - began_s:.0f} s"))
    return _document(command, facts, parts, quick), not any(part.troubles for part in parts)


def _run(name: str, quick: bool) -> Part:
    print(f"--- {name}", file=sys.stderr, flush=True)
    part: Part = importlib.import_module(f"benchmarks.{name}").run(quick)
    return part


def _document(command: str, facts: Sequence[tuple[str, str]], parts: Sequence[Part], quick: bool) -> str:
    lines = ["# Results", "", "Written by `make bench`; do not edit.", ""]
    if quick:
        lines += ["**A trial run (`--quick`): these figures mean nothing.**", ""]
    lines += [report.table(("command", f"`{command}`"), facts).replace("---:", "---"), ""]
    goals = [goal for part in parts for goal in part.goals]
    if goals:
        lines += ["## Goals", "", "Ratios are rounded against us.", "", report.goals_table(goals), ""]
    return "\n".join([*lines, *(part.markdown() for part in parts)])


def _write(text: str, path: Path | None) -> None:
    if path is None:
        print(text)
        return
    path.write_text(text)
    print(f"written to {path}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
