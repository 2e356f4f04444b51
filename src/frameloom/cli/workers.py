"""Verbs for the workers of a running site: status, start, stop, restart, set, record, logs."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.live import Live
from rich.table import Table

from frameloom.control.client import ControlClient, call
from frameloom.model.errors import NeedsPerson

from .output import JsonOption, SiteOption, age, chosen_site, out, print_json

Names = Annotated[list[str], typer.Argument(metavar="NAME...", help="Workers, by name; 'all' for every one.")]
_STYLES = {"degraded": "yellow", "backoff": "yellow", "starting": "yellow", "failed": "red", "idle": "dim"}


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    for verb in (status, start, stop, restart, set_values, record, logs):
        name = "set" if verb is set_values else verb.__name__
        app.command(name)(verb)


def status(
    site: SiteOption = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Keep on showing, until Ctrl-C.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show every worker: state, rate, drops, latency, restarts, last error."""
    name = chosen_site(site)
    snapshot = call(name, "status")
    if as_json:
        print_json(snapshot)
    elif watch:
        asyncio.run(_watch(name))
    else:
        out.print(_table(snapshot))


def start(names: Names, site: SiteOption = None, as_json: JsonOption = False) -> None:
    """Start workers; starting one that runs is fine."""
    _order("start", names, site, as_json)


def stop(names: Names, site: SiteOption = None, as_json: JsonOption = False) -> None:
    """Stop workers; they stay stopped, also after a restart of the site."""
    _order("stop", names, site, as_json)


def restart(names: Names, site: SiteOption = None, as_json: JsonOption = False) -> None:
    """Stop and start workers; also the way out of 'failed'."""
    _order("restart", names, site, as_json)


def set_values(
    name: Annotated[str, typer.Argument(help="The worker.")],
    values: Annotated[list[str], typer.Argument(metavar="PARAM=VALUE...", help="As in: threshold=30")],
    site: SiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change parameters between two frames, and in site.yaml; no frame is lost."""
    answer = call(chosen_site(site), "set", name=name, values=dict(_pair(each) for each in values))
    if as_json:
        print_json(answer)
        return
    taken = ", ".join(f"{k} = {v}" for k, v in answer["values"].items())
    how = "in effect" if answer.get("live") else "from its next start on"
    kept = (
        ", kept in site.yaml"
        if answer.get("stored")
        else f", not kept: {answer.get('store_error', 'no file')}"
    )
    out.print(f"{name}: {taken}; {how}{kept}", markup=False)


def record(
    name: Annotated[str, typer.Argument(help="The recorder, whose mode is `command`.")],
    end: Annotated[bool, typer.Option("--stop", help="End the recording instead.")] = False,
    site: SiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Begin a recording at the next key frame, or end it."""
    verb = "stop" if end else "start"
    answer = call(chosen_site(site), "tell", name=name, tell=verb, args={}, timeout_s=10)
    if as_json:
        print_json(answer)
        return
    done = f"recording into {answer['folder']}" if answer["recording"] else _recorded(answer)
    out.print(f"{name}: {done}", markup=False)


def _recorded(answer: dict[str, Any]) -> str:
    return (
        f"not recording; {answer['seconds']:.1f} s in {answer['segments']} segments, {answer['bytes']} bytes"
    )


def logs(
    name: Annotated[str, typer.Argument(help="The worker.")],
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=1, max=1000, help="How many of the last lines.")
    ] = 50,
    site: SiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the last lines that a worker wrote, tracebacks included."""
    answer = call(chosen_site(site), "logs", name=name, lines=lines)
    if as_json:
        print_json(answer)
        return
    for line in answer["lines"]:
        when = datetime.fromtimestamp(line["at_utc_ns"] / 1e9, UTC).astimezone().strftime("%H:%M:%S")
        out.print(f"{when} {line['text']}", markup=False)


def _order(verb: str, names: list[str], site: str | None, as_json: bool) -> None:
    chosen = chosen_site(site)
    if names == ["all"]:
        names = list(call(chosen, "status")["workers"])
    answer = call(chosen, verb, names=names, timeout_s=10)
    if as_json:
        print_json(answer)
        return
    for name, told in answer["workers"].items():
        out.print(f"{name}: {told['did']}", markup=False)


def _pair(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise NeedsPerson(f"set: read {text!r}, allowed: PARAM=VALUE, as in threshold=30")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


async def _watch(site: str) -> None:
    """Follow the site until Ctrl-C or its end."""
    async with await ControlClient.connect(site) as client:
        with Live(console=out, auto_refresh=False, screen=False) as live:
            async for snapshot in client.watch():
                live.update(_table(snapshot), refresh=True)


def _table(snapshot: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, title=f"site {snapshot['site']}", title_justify="left")
    for column in ("NAME", "KIND", "STATE", "FOR"):
        table.add_column(column, no_wrap=True)
    for column in ("FPS", "DROPPED", "LATENCY", "RESTARTS"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("DETAIL", overflow="fold")
    now_ns = time.time_ns()
    for name, worker in snapshot["workers"].items():
        table.add_row(*_row(name, worker, now_ns))
    return table


def _row(name: str, worker: dict[str, Any], now_ns: int) -> list[str]:
    report = worker.get("report") or {}
    state = worker["state"]
    style = _STYLES.get(state, "")
    latency = report.get("latency_ms")
    return [
        name,
        worker["kind"],
        f"[{style}]{state}[/{style}]" if style else state,
        age(worker.get("since_utc_ns"), now_ns),
        f"{report['fps']:.1f}" if report.get("fps") else "",
        str(report.get("dropped") or ""),
        f"{latency:.0f} ms" if latency is not None else "",
        str(worker["restarts"] or ""),
        _detail(worker, report).replace("[", "\\["),
    ]


def _detail(worker: dict[str, Any], report: dict[str, Any]) -> str:
    detail: str = worker.get("detail") or report.get("detail") or report.get("info", {}).get("url", "")
    last = worker.get("last_error")
    if last and worker["state"] in ("failed", "backoff"):
        return f"{detail}; {last['message']}" if detail and last["message"] not in detail else last["message"]
    return detail
