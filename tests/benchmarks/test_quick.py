"""Every part of the benchmarks runs, loses no picture and writes what a person can read. Never how fast."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import PARTS
from frameloom.testing.needs import require_program

_ROOT = Path(__file__).parents[2]
_SAYS = {
    "handover": "every reader got every picture, and each was right.",
    "wakeup": "| Frameloom, frame without pixels | ",
    "readers": "One more reader: ",
    "camera": "| camera worker, one reader of packets | ",
    "live": "| access units (WebCodecs) | ",
    "audience": "| viewers | pictures/s each, median |",
    "catalog": "| all cameras |",
    "recording": "| cameras | a recorder, % |",
    "leftovers": "| goes on |",
}

Table = list[list[str]]


def _run(part: str, output: Path) -> str:
    command = [sys.executable, "-m", "benchmarks", part, "--quick", "--output", str(output)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(_ROOT / "src"), str(_ROOT)))}
    ended = subprocess.run(
        command, cwd=_ROOT, env=environment, capture_output=True, text=True, timeout=110, check=False
    )
    # It ends with 0 only if every reader got every picture, each with the right pattern, and no way failed.
    assert ended.returncode == 0, ended.stderr + (output.read_text() if output.exists() else "")
    return output.read_text()


def _tables(text: str) -> list[Table]:
    """Tables as rows of cells, the head among them."""
    tables: list[Table] = [[]]
    for line in text.splitlines():
        if not line.startswith("|"):
            tables.append([])
        elif not line.startswith("| ---"):
            tables[-1].append([cell.strip() for cell in line.strip("|").split("|")])
    return [table for table in tables if table]


@pytest.mark.parametrize("part", PARTS)
def test_a_part_runs_alone_and_writes_its_results(part: str, tmp_path: Path) -> None:
    if part == "camera":
        require_program("ffmpeg", "ffmpeg")
    text = _run(part, tmp_path / "results.md")
    assert text.startswith("# Results\n")
    assert "figures mean nothing" in text
    assert _SAYS[part] in text
    facts, *tables = _tables(text)
    assert facts[0][1].startswith(f"`python -m benchmarks {part} --quick --output")
    assert {"date", "cores", "memory", "system", "Python", "packages"} <= dict(facts).keys()
    assert all(value for _, value in facts)
    assert tables
    for table in tables:
        assert len(table) > 1
        assert {len(row) for row in table} == {len(table[0])}
        assert all(row[0] for row in table[1:])
