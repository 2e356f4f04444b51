"""What the JSON resources give, as models, for /openapi.json. Nothing is filtered by them: a snapshot goes out as the
supervisor gave it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from frameloom.model.worker import State


class LastError(BaseModel):
    """The last end of a worker that nobody wanted."""

    message: str
    traceback: str | None
    at_utc_ns: int = Field(description="ns since 1970, UTC")
    exit: str = Field(description="How the process ended, as 'exit code 1' or 'SIGKILL'")


class Report(BaseModel):
    """What a worker says of itself, twice a second."""

    state: State
    detail: str = Field(description="In words, what it is doing about a trouble")
    fps: float = Field(description="Pictures per second over the last seconds")
    frames: int = Field(description="Pictures since the process started")
    dropped: int = Field(description="Of the pictures offered to it, how many it did not take")
    latency_ms: float | None = Field(description="From the capture of a picture to its being done, median")
    streams: dict[str, Any] = Field(description="What it publishes, and who reads it")
    info: dict[str, Any] = Field(description="What is particular to its kind")


class Worker(BaseModel):
    """A worker: a process with one piece of work."""

    kind: str = Field(description="'camera', 'processor', 'view', 'server', ...")
    streams: list[str] = Field(description="The streams that it reads")
    enabled: bool = Field(description="Whether it is to run")
    state: State
    detail: str
    pid: int | None
    restarts: int
    since_utc_ns: int = Field(description="Since when it is in this state, ns since 1970, UTC")
    uptime_s: float | None
    next_start_s: float | None = Field(description="Seconds until it is started again")
    last_error: LastError | None
    cpu_percent: float | None = Field(description="Of one core")
    memory_bytes: int | None
    declared: list[dict[str, Any]] = Field(
        description="Its parameters: type, range, unit, default, description; empty before it has first run"
    )
    values: dict[str, Any] = Field(description="Values of its parameters, also while it does not run")
    report: Report | None = Field(description="None while it has no process")


class Site(BaseModel):
    """The whole site."""

    site: str
    pid: int = Field(description="The supervisor's process")
    version: str
    started_utc_ns: int
    silent_since_utc_ns: int | None = Field(
        description="Since when the supervisor has not been heard; else null"
    )
    workers: dict[str, Worker]


class Camera(Worker):
    """A camera with its view and the processors that look at it."""

    name: str
    view: Worker | None = Field(description="The worker that makes pictures for viewers")
    processors: dict[str, Worker]


class Done(BaseModel):
    """What an order did to a worker, by name."""

    workers: dict[str, dict[str, Any]]
    stored: bool = Field(False, description="Whether site.yaml says it now")
    store_error: str | None = None


class Ending(BaseModel):
    """The site ends."""

    site: str = Field(description="Its name")


class Changed(BaseModel):
    """What a change of parameters did."""

    name: str
    values: dict[str, Any] = Field(description="The values as they were taken")
    live: bool = Field(description="Whether a running worker has taken them")
    stored: bool = Field(description="Whether site.yaml says so now")
    store_error: str | None = None


class LogLine(BaseModel):
    """One line that a worker wrote."""

    seq: int
    at_utc_ns: int
    text: str


class Logs(BaseModel):
    """The last lines of a worker."""

    name: str
    lines: list[LogLine]


Verb = Literal["start", "stop", "restart", "clear"]
