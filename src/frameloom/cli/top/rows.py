"""What the tables say: a snapshot of the site as rows of words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from frameloom.cli.output import age

WORKER_COLUMNS = (
    "NAME",
    "KIND",
    "STATE",
    "FOR",
    "FPS",
    "DROPPED",
    "LATENCY",
    "CPU",
    "MEMORY",
    "RESTARTS",
    "DETAIL",
)
STREAM_COLUMNS = ("STREAM", "OF", "FPS", "READERS")
FIGURES = {"FOR", "FPS", "DROPPED", "LATENCY", "CPU", "MEMORY", "RESTARTS"}  # right-aligned

_STYLES = {
    "running": "green",
    "degraded": "yellow",
    "backoff": "yellow",
    "starting": "yellow",
    "stopping": "yellow",
    "failed": "bold red",
    "idle": "dim",
}
_MIB = 1 << 20


class Row(NamedTuple):
    """A line of a table: its key, the texts of its cells, and the style of its state."""

    key: str
    cells: tuple[str, ...]
    style: str = ""


def workers(snapshot: Mapping[str, Any], now_utc_ns: int) -> Iterator[Row]:
    """One row for each worker, in the order of the site."""
    for name, worker in snapshot["workers"].items():
        yield Row(name, _worker(name, worker, now_utc_ns), _STYLES.get(worker["state"], ""))


def streams(snapshot: Mapping[str, Any]) -> Iterator[Row]:
    """One row for each stream that is published, with who reads it."""
    for name, worker in snapshot["workers"].items():
        for stream, told in ((worker.get("report") or {}).get("streams") or {}).items():
            readers = ", ".join(map(str, told.get("readers") or [])) or "nobody"
            yield Row(stream, (stream, name, _rate(told.get("fps")), readers))


def headline(snapshot: Mapping[str, Any], now_utc_ns: int) -> str:
    """The site in one line."""
    found = snapshot["workers"].values()
    up = [worker for worker in found if worker["state"] == "running"]
    trouble = [name for name, worker in snapshot["workers"].items() if worker["state"] in _IN_TROUBLE]
    cpu = sum(worker.get("cpu_percent") or 0 for worker in found)
    memory = sum(worker.get("memory_bytes") or 0 for worker in found)
    words = [
        f"site {snapshot['site']}",
        f"up {age(snapshot['started_utc_ns'], now_utc_ns)}",
        f"{len(up)} of {len(found)} running",
        f"CPU {cpu:.0f} % of a core",
        f"{memory // _MIB} MiB",
    ]
    return "   ".join([*words, f"in trouble: {', '.join(trouble)}"] if trouble else words)


def last_error(worker: Mapping[str, Any]) -> str:
    """Why a worker ended last, with its traceback; empty if it never did."""
    error = worker.get("last_error")
    return f"{error['message']} ({error['exit']})\n{error.get('traceback') or ''}".strip() if error else ""


_IN_TROUBLE = ("degraded", "backoff", "failed")


def _worker(name: str, worker: Mapping[str, Any], now_utc_ns: int) -> tuple[str, ...]:
    report = worker.get("report") or {}
    latency_ms, cpu = report.get("latency_ms"), worker.get("cpu_percent")
    memory = worker.get("memory_bytes")
    return (
        name,
        worker["kind"],
        _state(worker, report),
        age(worker.get("since_utc_ns"), now_utc_ns),
        _rate(report.get("fps")),
        str(report.get("dropped") or ""),
        "" if latency_ms is None else f"{latency_ms:.0f} ms",
        "" if cpu is None else f"{cpu:.0f} %",
        "" if memory is None else f"{memory // _MIB} MiB",
        str(worker["restarts"] or ""),
        _detail(worker, report),
    )


def _state(worker: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    is_recording = report.get("info", {}).get("recording") and worker["state"] == "running"
    return "recording" if is_recording else str(worker["state"])


def _rate(fps: float | None) -> str:
    return f"{fps:.1f}" if fps else ""


def _detail(worker: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    info = report.get("info", {})
    detail = worker.get("detail") or report.get("detail") or info.get("url") or info.get("file") or ""
    error = worker.get("last_error")
    if error and worker["state"] in ("failed", "backoff") and error["message"] not in detail:
        return f"{detail}; {error['message']}" if detail else str(error["message"])
    return str(detail)
