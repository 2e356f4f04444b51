"""Verbs about cameras that are no part of a site yet: find, try."""

from __future__ import annotations

import asyncio
import base64
import os
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.status import Status

from frameloom.model.errors import NeedsPerson
from frameloom.site import probe
from frameloom.sources.settings import SourceSettings

from .output import REFUSED, JsonOption, out, print_json, problems

_SEARCH_S = 3.0
_SPARE_S = 7.0


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    app.command()(find)
    app.command("try")(try_source)


def find(as_json: JsonOption = False) -> None:
    """Find cameras: those that are plugged in, and those in the network that speak ONVIF."""
    with Status("looking for cameras", console=problems):
        question = {"ask": "found", "wait_s": _SEARCH_S}
        found = asyncio.run(probe.ask(question, _SEARCH_S + _SPARE_S))
    if as_json:
        print_json(found)
        return
    for webcam in found["webcams"]:
        sizes = "  ".join(f"{size['width']}x{size['height']}" for size in webcam["sizes"][:5])
        out.print(f"{webcam['url']}  {webcam['name']}  {webcam['problem'] or sizes}", markup=False)
    for camera in found["onvif"]:
        out.print(f"{camera['address']}  {camera['name']}", markup=False)
    if not (found["webcams"] or found["onvif"]):
        out.print("No camera is plugged in, and none in the network has answered.")


def try_source(
    url: Annotated[
        str, typer.Argument(envvar="FRAMELOOM_SOURCE", help="A URL, path or device, as in site.yaml.")
    ],
    picture: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the picture there, as JPEG.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Open a camera or film, take one picture, and say what it sends. Needs no site."""
    answer = _tried(url)
    if answer["ok"] and picture is not None:
        picture.write_bytes(base64.b64decode(answer["picture"].partition(",")[2]))
    if as_json:
        print_json(answer)
    elif answer["ok"]:
        rate = f", {answer['fps']:g} pictures a second" if answer["fps"] else ""
        out.print(f"{answer['codec']}, {answer['width']}x{answer['height']}{rate}", markup=False)
    else:
        problems.print(f"frameloom: {answer['message']}", markup=False)
    if not answer["ok"]:
        raise typer.Exit(REFUSED)


def _tried(url: str) -> dict[str, Any]:
    try:
        SourceSettings(url=url)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise NeedsPerson(first["msg"].removeprefix("Value error, ")) from None
    question = {"ask": "picture", "settings": {"url": url}, "base_dir": os.getcwd()}
    with Status("opening it", console=problems):
        return asyncio.run(probe.ask(question))
