"""Verbs for what was recorded: list it, export a time range, have the index made again."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Annotated, Any

import typer
from rich.table import Table

from frameloom.catalog.orders import EXPORT, environment
from frameloom.control.client import ControlClient, call
from frameloom.model.clock import NS_PER_S
from frameloom.model.errors import CommandError, NeedsPerson
from frameloom.sinks.sizes import in_words
from frameloom.site.specs import INDEX

from .output import JsonOption, SiteOption, chosen_site, out, print_json

_TIMES_ALLOWED = "a time such as 2026-11-21T13:30 (of this machine) or 2026-11-21T13:30:00Z"
_BITE_BYTES = 1 << 20

From = Annotated[str, typer.Option("--from", metavar="TIME", help=f"Where it begins: {_TIMES_ALLOWED}.")]
To = Annotated[str | None, typer.Option("--to", metavar="TIME", help="Where it ends; now, if left out.")]


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    for verb in (recordings, export):
        app.command()(verb)


def recordings(
    camera: Annotated[str | None, typer.Argument(help="Only this camera: each of its recordings.")] = None,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Make the index of recordings again from the files first.")
    ] = False,
    site: SiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """List recordings: how many of each camera, or all of one."""
    name = chosen_site(site)
    if rebuild:
        asyncio.run(_rebuild(name))
    if camera is None:
        told = _ask(name, "cameras")
        table = _cameras(told["cameras"])
    else:
        told = _ask(name, "segments", camera=camera, from_utc_ns=0, to_utc_ns=(1 << 63) - 1)
        table = _segments(told["segments"])
    if as_json:
        print_json(told)
    else:
        out.print(table)


def export(
    camera: Annotated[str, typer.Argument(help="The camera.")],
    begin: From,
    end: To = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The film; without it, one named after camera and time."),
    ] = None,
    site: SiteOption = None,
) -> None:
    """Write what was recorded in a time as one film, without encoding it again."""
    from_ns, to_ns = _utc_ns(begin), _utc_ns(end) if end else time.time_ns()
    found = _ask(chosen_site(site), "segments", camera=camera, from_utc_ns=from_ns, to_utc_ns=to_ns)
    if found["truncated"]:
        raise NeedsPerson(f"export: more than {len(found['segments'])} recordings: export less at a time")
    paths = [each["path"] for each in found["segments"]]
    order = {"paths": paths, "from_utc_ns": from_ns, "to_utc_ns": to_ns}
    path, told = _export(order, output, camera)
    seconds = (told["end_utc_ns"] - told["begin_utc_ns"]) / NS_PER_S
    out.print(
        f"{path}: {seconds:.1f} s from {_local(told['begin_utc_ns'])} on, {in_words(told['nbytes'])}",
        markup=False,
    )


def _ask(site: str, question: str, **args: Any) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = call(site, "tell", name=INDEX, tell=question, args=args, timeout_s=30)
    except CommandError as error:
        if error.code == "unknown-worker":
            raise NeedsPerson("the site records nothing: it has no sink of kind record") from None
        raise
    return answer


async def _rebuild(site: str) -> None:
    """Done when the index has compared all files once more."""
    async with await ControlClient.connect(site) as client:
        before = await client.command("tell", name=INDEX, tell="rebuild", args={}, timeout_s=30)
    async with await ControlClient.connect(site) as client:
        async for snapshot in client.watch():
            report = (snapshot["workers"].get(INDEX) or {}).get("report") or {}
            if report.get("info", {}).get("compared", 0) > before["compared"]:
                return


def _export(order: dict[str, Any], output: Path | None, camera: str) -> tuple[Path, dict[str, Any]]:
    """The film under its name, whole or not at all."""
    with subprocess.Popen(EXPORT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(json.dumps(order).encode())
        child.stdin.close()
        line = child.stdout.readline()
        told: dict[str, Any] = json.loads(line) if line else {"error": "the process that exports has failed"}
        if "error" in told:
            raise NeedsPerson(f"export: camera {camera!r}: {told['error']}")
        path = output or Path(f"{camera}-{_name_of(told['begin_utc_ns'])}-{_name_of(told['end_utc_ns'])}.mp4")
        _write(child.stdout, path, told["nbytes"])
    return path, told


def _write(film: IO[bytes], path: Path, nbytes: int) -> None:
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            while bite := film.read(_BITE_BYTES):
                file.write(bite)
            if file.tell() != nbytes:
                raise NeedsPerson("export: the film is not whole: a recording was deleted meanwhile")
        part.replace(path)
    except OSError as error:
        raise NeedsPerson(f"export: {path}: {error.strerror}") from None
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _utc_ns(text: str) -> int:
    try:
        return round(datetime.fromisoformat(text).astimezone(UTC).timestamp() * 1000) * 1_000_000
    except (ValueError, OverflowError):
        raise NeedsPerson(f"read {text!r}, allowed: {_TIMES_ALLOWED}") from None


def _name_of(utc_ns: int) -> str:
    return datetime.fromtimestamp(utc_ns // NS_PER_S, UTC).strftime("%Y%m%dT%H%M%SZ")


def _cameras(cameras: list[dict[str, Any]]) -> Table:
    table = _table(("CAMERA",), ("RECORDINGS", "LENGTH", "SIZE"), ("FIRST", "LAST"))
    for each in cameras:
        counts = (str(each["segments"]), _length(each["seconds"]), in_words(each["bytes"]))
        table.add_row(each["name"], *counts, _local(each["first_utc_ns"]), _local(each["last_utc_ns"]))
    return table


def _segments(segments: list[dict[str, Any]]) -> Table:
    table = _table(("BEGIN",), ("LENGTH", "SIZE"), ("PICTURE", "STATE", "FILE"))
    for each in segments:
        length = _length((each["end_utc_ns"] - each["begin_utc_ns"]) / NS_PER_S)
        picture = f"{each['codec']} {each['width']}x{each['height']}"
        table.add_row(
            _local(each["begin_utc_ns"]),
            length,
            in_words(each["bytes"]),
            picture,
            each["state"],
            each["path"],
        )
    return table


def _table(left: tuple[str, ...], right: tuple[str, ...], rest: tuple[str, ...]) -> Table:
    table = Table(box=None, pad_edge=False)
    for columns, justify in ((left, "left"), (right, "right"), (rest, "left")):
        for column in columns:
            table.add_column(column, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    return table


def _length(seconds: float) -> str:
    """'0:01:30'."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def _local(utc_ns: int) -> str:
    return datetime.fromtimestamp(utc_ns / NS_PER_S, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
