"""A supervisor in a process of its own, for tests: `python site_process.py SITE JSON`.

JSON: `workers` (list of WorkerSpec), `limits`, `file` (workers to read at a reload).
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from frameloom.control.lifecycle import Limits
from frameloom.control.local import LocalPlacement
from frameloom.control.runner import run_site
from frameloom.control.supervisor import Supervisor
from frameloom.model.errors import NeedsPerson, SiteError
from frameloom.model.worker import WorkerSpec


def specs_from(text: str) -> list[WorkerSpec]:
    try:
        return [WorkerSpec.from_json(data) for data in json.loads(text)]
    except ValueError as error:
        raise SiteError(f"site file: {error}") from error


def say(word: str) -> None:
    print(word, flush=True)


async def main(site: str, options: dict[str, Any]) -> None:
    supervisor = Supervisor(
        site,
        [WorkerSpec.from_json(data) for data in options["workers"]],
        limits=Limits(**options.get("limits", {})),
        placement=LocalPlacement(python_path=[str(Path(__file__).parents[1] / "workers")]),
    )
    file = options.get("file")
    await run_site(
        supervisor,
        reload=(lambda: specs_from(Path(file).read_text())) if file else None,
        on_ready=lambda: say("ready"),
        on_stopping=lambda: say("stopping"),
    )
    say("stopped")


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))
    except NeedsPerson as error:
        say(f"{type(error).__name__}: {error}")
        sys.exit(3)
