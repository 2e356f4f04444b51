"""How an export is ordered: a process is started and told. What it does is `frameloom.workers.export`'s business."""

from __future__ import annotations

import os
import sys

EXPORT = (sys.executable, "-P", "-m", "frameloom.workers.export")
"""The command. Its standard input gets a JSON object: `paths`, `from_utc_ns`, `to_utc_ns`."""


def environment() -> dict[str, str]:
    """That of the process: NumPy would set aside memory for a thread of each core, of which it has little."""
    return {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
