"""Verbs about this machine: devices, doctor."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import typer

from frameloom.sources import v4l2

from .doctor import examine
from .output import REFUSED, JsonOption, out, print_json


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    app.command()(devices)
    app.command()(doctor)


def devices(as_json: JsonOption = False) -> None:
    """List the cameras that are plugged in, with formats, sizes and rates."""
    found = [device for device in v4l2.list_devices() if device.capture or device.problem]
    if as_json:
        print_json([asdict(device) for device in found])
        return
    if not found:
        out.print("No camera is plugged in (no /dev/video* that gives pictures).")
    for device in found:
        out.print(f"{device.path}  {device.name}", markup=False)
        if device.problem:
            out.print(f"    {device.problem}", markup=False)
        for format in device.formats:
            out.print(f"    {format.fourcc:5} {_sizes(format)}", markup=False)


def doctor(as_json: JsonOption = False) -> None:
    """Check what Frameloom needs of this machine, and say what to do where something is missing."""
    findings = examine()
    if as_json:
        print_json([asdict(finding) for finding in findings])
    for finding in [] if as_json else findings:
        mark = {"good": "ok  ", "note": "note", "bad": "BAD "}[finding.verdict]
        out.print(f"{mark}  {finding.what}: {finding.found}", markup=False)
        if finding.advice:
            out.print(f"      → {finding.advice}", markup=False)
    if any(finding.verdict == "bad" for finding in findings):
        raise typer.Exit(REFUSED)


def _sizes(format: Any) -> str:
    if format.size_range:
        small, large = format.size_range.smallest, format.size_range.largest
        return f"{small.width}x{small.height} to {large.width}x{large.height}"
    shown = [f"{s.width}x{s.height}@{'/'.join(f'{r:g}' for r in s.rates_fps[:3])}" for s in format.sizes]
    return "  ".join(shown)
