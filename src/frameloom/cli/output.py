"""What the verbs have in common: printing, JSON, exit codes, finding the site."""

from __future__ import annotations

import json
import os
import sys
from typing import Annotated, Any

import typer
from rich.console import Console

from frameloom.control.client import SiteNotRunning, running_sites
from frameloom.model.errors import CommandError, FrameloomError, NeedsPerson

REFUSED, NOT_RUNNING, TOOK_TOO_LONG = 1, 3, 4

# A pipe has no width: what a program reads is not folded.
out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 200)
problems = Console(stderr=True, highlight=False, soft_wrap=True)

SiteOption = Annotated[
    str | None, typer.Option("--site", "-S", help="The site's name; the only one that runs, if left out.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


class NoSiteRunning(NeedsPerson):
    """There is no site to give a command to."""


def say_problem(text: str) -> None:
    """A problem, for people, on standard error."""
    problems.print(f"frameloom: {text}", markup=False, style="red" if problems.is_terminal else None)


def print_json(value: Any) -> None:
    """A value, for programs, on standard output."""
    json.dump(value, sys.stdout, indent=2, default=str)
    sys.stdout.write("\n")


def exit_code(error: FrameloomError) -> int:
    """The exit code that belongs to an error."""
    if isinstance(error, SiteNotRunning | NoSiteRunning):
        return NOT_RUNNING
    if isinstance(error, CommandError) and error.code == "timeout":
        return TOOK_TOO_LONG
    return REFUSED


def chosen_site(name: str | None) -> str:
    """The site that a command is for: the one named, $FRAMELOOM_SITE, or the only one that runs."""
    if name or (name := os.environ.get("FRAMELOOM_SITE")):
        return name
    sites = running_sites()
    if len(sites) == 1:
        return sites[0]
    if sites:
        raise NeedsPerson(f"several sites are running: {', '.join(sites)}; choose one with --site")
    raise NoSiteRunning("no site is running; start one with: frameloom up")


def age(ns: int | None, now_ns: int) -> str:
    """'12 s', '5 min', '3 h', '2 d' from a UTC time in ns to another."""
    if not ns:
        return ""
    seconds = max(0, (now_ns - ns) // 1_000_000_000)
    for unit, size, most in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172800)):
        if seconds < most:
            return f"{seconds // size} {unit}"
    return f"{seconds // 86400} d"
