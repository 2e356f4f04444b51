"""`frameloom`: the verbs put together, and errors turned into words and exit codes."""

from __future__ import annotations

import sys

import typer

from frameloom.model.errors import FrameloomError

from . import cameras, certificate, machine, recordings, sites, users, workers
from .output import exit_code, say_problem
from .top import verb as top

app = typer.Typer(
    name="frameloom",
    help="The video application server: every camera and every video is a stream that any process can join.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog="Exit codes: 0 done; 1 refused or failed; 2 wrong usage; 3 the site is not running; 4 it took too long.",
)
for group in (sites, workers, recordings, users, machine, cameras, top, certificate):
    group.add_to(app)


def main() -> None:
    """Entry point of the `frameloom` command."""
    try:
        app()
    except FrameloomError as error:
        say_problem(str(error))
        sys.exit(exit_code(error))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()  # `frameloom status | head`: the reader has seen enough
        sys.exit(0)
