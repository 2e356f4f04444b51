"""docs/command-line.md says what the command line does: verbs, their words, exit codes."""

from __future__ import annotations

import re
from pathlib import Path

import typer

from frameloom.cli import output
from frameloom.cli.app import app

PAGE = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text()


def test_every_verb_stands_on_the_page_in_its_own_words() -> None:
    told = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", PAGE, re.MULTILINE))
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    words = {name: " ".join(str(command.help).split()) for name, command in commands.items()}
    assert {name: told.get(name) for name in words} == words


def test_exit_codes_stand_on_the_page() -> None:
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)}
    assert {0, output.REFUSED, 2, output.NOT_RUNNING, output.TOOK_TOO_LONG, 130} == codes
