"""A process that cuts one film out of recordings, onto its standard output: `python -m frameloom.workers.export`.

It has little memory, little of the processor, and ends with who wants the film: what goes wrong here, or takes long, is
felt by nobody else. How the film is made is `frameloom.catalog.cut`'s business; who asks for one is the server or the
command line.

Standard input: one JSON object, `paths`, `from_utc_ns`, `to_utc_ns`. Standard output: one line of JSON, either
`{"error": "..."}` or `{"nbytes", "begin_utc_ns", "end_utc_ns", "pictures"}`, and then the film.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Mapping
from pathlib import Path

from frameloom.catalog.cut import CannotCut, Cut, cut

MEMORY_BYTES = 2 << 30
_NICER = 10


def main() -> int:
    """Take the order, say what comes, and write it; 1 if there is nothing."""
    _be_modest()
    order = json.load(sys.stdin.buffer)
    try:
        made = cut([Path(one) for one in order["paths"]], order["from_utc_ns"], order["to_utc_ns"])
    except (CannotCut, MemoryError) as error:
        _say({"error": str(error) or "it takes more memory than it may have: export less at a time"})
        return 1
    _say(_described(made))
    try:
        for bite in made.film.read():
            _write(bite)
    except BrokenPipeError:
        return 1  # nobody wants it any more
    return 0


def _be_modest() -> None:
    os.nice(_NICER)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def _described(made: Cut) -> dict[str, int]:
    return {
        "nbytes": made.film.nbytes,
        "begin_utc_ns": made.begin_utc_ns,
        "end_utc_ns": made.end_utc_ns,
        "pictures": made.pictures,
    }


def _say(told: Mapping[str, object]) -> None:
    _write(json.dumps(told).encode() + b"\n")


def _write(data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(1, rest) :]


if __name__ == "__main__":
    sys.exit(main())
