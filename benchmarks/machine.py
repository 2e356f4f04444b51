"""What the figures were measured on: machine, system and versions."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

import psutil

_PACKAGES = ("frameloom", "numpy", "av", "iceoryx2", "pyzmq", "ray")


def describe() -> list[tuple[str, str]]:
    """(what, value) for the head of the results."""
    return [
        ("date", datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")),
        ("cores", f"{os.cpu_count()} ({_cpu_model()})"),
        ("memory", f"{psutil.virtual_memory().total / 2**30:.0f} GiB"),
        ("system", f"{_distribution()}, kernel {platform.release()}, {platform.machine()}"),
        ("Python", f"{platform.python_version()} ({platform.python_implementation()})"),
        ("packages", ", ".join(f"{name} {_version(name)}" for name in _PACKAGES)),
        ("FFmpeg", _ffmpeg()),
    ]


def load() -> str:
    """How busy the machine was in the last minute: figures of a busy one say little."""
    return f"{os.getloadavg()[0]:.2f}"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _cpu_model() -> str:
    for line in _lines("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown model"


def _distribution() -> str:
    for line in _lines("/etc/os-release"):
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return platform.system()


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def _ffmpeg() -> str:
    try:
        said = subprocess.run(["ffmpeg", "-version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return "not installed"
    return " ".join(said.split()[:3]).removeprefix("ffmpeg version ")
