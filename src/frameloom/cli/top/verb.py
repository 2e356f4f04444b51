"""The verb."""

from __future__ import annotations

import sys

import typer

from frameloom.cli.output import SiteOption, chosen_site, out
from frameloom.control.client import call
from frameloom.model.errors import NeedsPerson


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command("top")(top)


def top(site: SiteOption = None) -> None:
    """Watch and steer a site: space starts, s stops, r records, e restarts, q shuts down."""
    name = chosen_site(site)
    call(name, "ping")
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise NeedsPerson("top: it wants a terminal; for scripts there is: frameloom status --json")
    from .screen import Top  # Textual takes a moment to load, which the other verbs need not wait for

    screen = Top(name)
    if said := screen.run():
        out.print(said, markup=False)
    raise typer.Exit(screen.return_code or 0)
