"""The page of the protocol says what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

from frameloom.control import commands
from frameloom.control.supervisor import Difference

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "control-protocol.md").read_text()
SOURCES = [*ROOT.glob("src/frameloom/control/*.py"), *ROOT.glob("src/frameloom/workers/li*.py")]


def rows_of(heading: str) -> list[list[str]]:
    """The cells of the table under a heading."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def words(cell: str) -> set[str]:
    return set(re.findall(r"`([a-z_-]+)`", cell))


def test_every_command_is_there_with_its_fields() -> None:
    told = {words(row[0]).pop(): words(row[1]) for row in rows_of("Commands")}
    common = set(commands.Request.model_fields) | {"command"}
    models = {
        get_args(model.model_fields["command"].annotation)[0]: model for model in get_args(commands.Command)
    }
    assert told == {name: set(model.model_fields) - common for name, model in models.items()}


def test_every_error_code_is_there() -> None:
    told = set().union(*(words(row[0]) for row in rows_of("Errors")))
    used = set()
    for source in SOURCES:
        used |= set(re.findall(r'CommandError\(\s*"([a-z-]+)"', source.read_text()))
    assert told == used


def test_what_reload_answers_is_there() -> None:
    (row,) = (row for row in rows_of("Commands") if row[0] == "`reload`")
    assert set(re.findall(r'"([a-z]+)"', row[3])) == set(Difference.__dataclass_fields__)


def test_the_examples_are_what_they_say() -> None:
    examples: list[dict[str, Any]] = [
        json.loads(text) for text in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    ]
    assert commands.parse(examples[0]).command == "set"
    assert {example["id"] for example in examples[:3]} == {1}


async def test_the_snapshot_has_the_fields_of_the_page(site: Any, spec: Any) -> None:
    (told,) = (
        json.loads(text)
        for text in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
        if '"workers": {\n' in text
    )
    async with site(spec("Misconfigured")) as s:
        await s.until_state("failed")
        snapshot = s.supervisor.snapshot()
    assert snapshot.keys() == told.keys()
    assert snapshot["workers"]["w"].keys() == told["workers"]["hall"].keys()
    assert snapshot["workers"]["w"]["last_error"].keys() == told["workers"]["hall"]["last_error"].keys()
