"""What Frameloom needs of a machine, looked at one by one. Finds; does not change anything."""

from __future__ import annotations

import fcntl
import os
import platform
import resource
import shutil
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from frameloom.bus.memory import OwnedMemory
from frameloom.bus.paths import runtime_root
from frameloom.model.errors import FrameloomError
from frameloom.site.ports import holder_of
from frameloom.sources import v4l2

_PACKAGES = ("frameloom", "av", "numpy", "opencv-python-headless", "pydantic", "fastapi", "uvicorn")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `verdict`: 'good', 'note' (works, but know it) or 'bad'."""

    what: str
    verdict: str
    found: str
    advice: str = ""


def examine() -> list[Finding]:
    """Look at everything; never raises."""
    looks: tuple[Callable[[], Finding], ...] = (
        _python,
        _packages,
        _kernel,
        _memory,
        _runtime_folder,
        _descriptors,
        _port,
        _cameras,
        _disk,
    )
    return [look() for look in looks]


def _python() -> Finding:
    good = sys.version_info >= (3, 11)
    advice = "" if good else "install Python 3.11 or newer"
    return Finding(
        "Python", "good" if good else "bad", f"{platform.python_version()} on {platform.machine()}", advice
    )


def _packages() -> Finding:
    found, missing = [], []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    advice = f"not installed: {', '.join(missing)}; run: pip install {' '.join(missing)}" if missing else ""
    return Finding("packages", "bad" if missing else "good", ", ".join(found), advice)


def _kernel() -> Finding:
    found = f"{platform.system()} {platform.release()}"
    if hasattr(os, "memfd_create") and hasattr(fcntl, "F_ADD_SEALS"):
        return Finding("kernel", "good", found)
    return Finding("kernel", "note", found, "no memfd here: POSIX shared memory is used instead")


def _memory() -> Finding:
    try:
        memory = OwnedMemory(4096, "doctor")
        memory.reserve(0, 4096)
        memory.close()
    except (FrameloomError, OSError) as error:
        return Finding(
            "shared memory", "bad", str(error), "the kernel must be 5.1 or newer; raise the memory limit"
        )
    return Finding("shared memory", "good", "sealed memory can be made")


def _runtime_folder() -> Finding:
    try:
        return Finding("runtime folder", "good", str(runtime_root()))
    except FrameloomError as error:
        return Finding("runtime folder", "bad", "not usable", str(error))


def _descriptors() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= 1024:
        return Finding("open files", "good", f"limit {soft}")
    return Finding(
        "open files", "note", f"limit {soft}", f"raise it for many cameras: ulimit -n {min(hard, 4096)}"
    )


def _port(port: int = 8080) -> Finding:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return Finding(f"port {port}", "note", f"in use{holder_of(port)}", "choose another with --port")
    return Finding(f"port {port}", "good", "free")


def _cameras() -> Finding:
    found = v4l2.list_devices()
    broken = [device for device in found if device.problem]
    if broken:
        advice = "; ".join(f"{device.path}: {device.problem}" for device in broken)
        return Finding("webcams", "note", f"{len(broken)} cannot be used", advice)
    names = [f"{device.path} ({device.name})" for device in found if device.capture]
    return Finding("webcams", "good", ", ".join(names) or "none plugged in")


def _disk() -> Finding:
    free_gb = shutil.disk_usage(Path.home()).free / 1e9
    low = free_gb < 2
    return Finding(
        "disk", "note" if low else "good", f"{free_gb:.0f} GB free", "recordings need room" if low else ""
    )
