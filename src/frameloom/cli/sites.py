"""Verbs for a site as a whole: init, up, down, check."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from frameloom.accounts.store import Accounts, first_admin
from frameloom.control.client import shut_down
from frameloom.control.logs import LogLine
from frameloom.control.supervisor import Supervisor
from frameloom.model.errors import NeedsPerson, SiteError
from frameloom.model.worker import WorkerSpec
from frameloom.site.describe import check_processors, describe_site
from frameloom.site.exposure import is_loopback, needs_login
from frameloom.site.load import load
from frameloom.site.model import Site
from frameloom.site.ports import busy_port
from frameloom.site.run import run_file
from frameloom.site.save import SiteFile
from frameloom.site.template import SITE_TEMPLATE

from . import demo
from .certificate import check_tls
from .output import JsonOption, SiteOption, chosen_site, out, print_json, problems, say_problem

File = Annotated[Path, typer.Argument(metavar="[site.yaml]", help="The site's file.")]
_HERE = Path("site.yaml")
_WELCOME = """\
Nobody could log in yet, so there is a user now:
    user admin, one-time password {password}
It is shown this once, and has to be changed at the first login. Another one: frameloom user passwd admin"""
_CHATTER = ("INFO ", "DEBUG ")  # `frameloom logs` has it all


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    for verb in (up, down, check, init):
        app.command()(verb)


def up(
    file: File = _HERE,
    demo_site: Annotated[
        bool, typer.Option("--demo", help="Run the demo: rendered films as RTSP cameras, and your webcams.")
    ] = False,
    source: Annotated[
        str | None,
        typer.Option(
            "--source",
            envvar="FRAMELOOM_SOURCE",
            help="Run one camera or film, without a file: a URL, path or device.",
        ),
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", min=0, max=65535, help="Port of the page; 0: any.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Do not print what workers write.")] = False,
) -> None:
    """Run a site until Ctrl-C: its cameras, processors and the page."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    extra: list[WorkerSpec] = []
    if source:
        file = demo.source_site(source)
    elif demo_site:
        file, extra = demo.prepare()
    site = SiteFile(_existing(file))
    first = _adapted(site.load(), port)
    _check_port(first)
    check_tls(first)
    with suppress(KeyboardInterrupt):
        asyncio.run(_run(site, port, extra, quiet))


def down(site: SiteOption = None) -> None:
    """Stop the running site and wait until it has stopped."""
    name = chosen_site(site)
    shut_down(name)
    out.print(f"site {name} has stopped", markup=False)


def check(file: File = _HERE, as_json: JsonOption = False) -> None:
    """Check a site's file, the parameters of its processors included. Changes and starts nothing."""
    site = load(_existing(file))
    check_processors(site, describe_site(site))
    certificate = check_tls(site)
    if as_json:
        found = {"cameras": list(site.cameras), "processors": list(site.processors)}
        print_json({"file": str(file), "site": site.name, **found})
        return
    counts = f"{_count(len(site.cameras), 'camera')}, {_count(len(site.processors), 'processor')}"
    out.print(f"{file}: good; site {site.name}, {counts}", markup=False)
    if certificate and (warning := certificate.warning(datetime.now(UTC))):
        say_problem(warning)


def init(file: File = _HERE) -> None:
    """Write a commented site file to start from; an existing one is not touched."""
    try:
        with file.open("x", encoding="utf-8") as new:
            new.write(SITE_TEMPLATE)
    except FileExistsError:
        raise SiteError(f"{file}: it exists already, and is not touched") from None
    except OSError as error:
        raise SiteError(f"{file}: cannot be written: {error.strerror}") from error
    out.print(f"{file}: written; edit it, then: frameloom up {file}", markup=False)


async def _run(site: SiteFile, port: int | None, extra: list[WorkerSpec], quiet: bool) -> None:
    announcing: list[asyncio.Task[None]] = []

    def ready(supervisor: Supervisor) -> None:
        announcing.append(asyncio.create_task(_announce(supervisor)))

    def say(name: str, line: LogLine) -> None:
        if not quiet and not line.text.startswith(_CHATTER):
            problems.print(
                f"{name}: {line.text}", markup=False, style="dim" if problems.is_terminal else None
            )

    await run_file(
        site,
        adapt=lambda found: _with_somebody_to_log_in(_adapted(found, port)),
        extra=extra,
        on_ready=ready,
        on_stopping=lambda: out.print("stopping"),
        on_log=say,
    )


async def _announce(supervisor: Supervisor) -> None:
    """Print the page's address as soon as it answers."""
    subscription = supervisor.subscribe()
    try:
        while (url := _url(supervisor.snapshot())) is None:
            if await subscription.changes() is None:
                return
    finally:
        subscription.close()
    out.print(f"Frameloom: site {supervisor.site} is at {url}   (Ctrl-C stops it)", markup=False)


def _url(snapshot: dict[str, Any]) -> str | None:
    server = snapshot["workers"].get("server") or {}
    found: str | None = ((server.get("report") or {}).get("info") or {}).get("url")
    return found if server.get("state") == "running" else None


def _adapted(site: Site, port: int | None) -> Site:
    if port is None:
        return site
    changed = site.model_copy(update={"server": site.server.model_copy(update={"port": port})})
    return changed.at(site._origin)


def _with_somebody_to_log_in(site: Site) -> Site:
    """Where one has to log in and there is no user yet, make one, and tell its password: here, and nowhere else."""
    server = site.server
    if not server.enabled:
        return site
    if needs_login(server.host, server.login):
        if password := first_admin(Accounts(site.name)):
            out.print(_WELCOME.format(password=password), markup=False)
    elif not is_loopback(server.host):
        say_problem(
            f"WARNING: whoever reaches {server.host} sees and controls everything (server.login: false)"
        )
    return site


def _check_port(site: Site) -> None:
    """Say at once that the port is taken, and by whom, instead of starting everything around a server that fails."""
    if not (site.server.enabled and site.server.port):
        return
    address = (site.server.host, site.server.port)
    with socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            raise NeedsPerson(busy_port(*address, error)) from error


def _existing(file: Path) -> Path:
    if not file.exists() and file == _HERE:
        advice = "write one with: frameloom init; or see the demo: frameloom up --demo"
        raise SiteError(f"no site.yaml in {os.getcwd()}; {advice}")
    return file


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
