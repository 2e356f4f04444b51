"""What the supervisor and its workers say to each other: the order to run something, and the state that comes back.

Everything here is plain JSON when it travels, so that a worker may one day run on another machine.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any, Self


class State(StrEnum):
    """The state of a worker, as people and programs see it."""

    IDLE = "idle"  # stopped on purpose
    STARTING = "starting"  # process started, not yet doing its work
    RUNNING = "running"
    DEGRADED = "degraded"  # the process is well, its work is not: camera lost, slow, waiting
    STOPPING = "stopping"
    BACKOFF = "backoff"  # died, will be started again
    FAILED = "failed"  # will not be started again until a person changes something or says start


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """One worker to run.

    name    unique in the site; also the name of the stream it publishes
    kind    'camera', 'processor', 'view', 'server', ...: what it is for people and for diagrams
    host    'module:Class' of the code that runs in the child (see `frameloom.workers.host`)
    config  what only a restart can change
    params  declared parameters, changed live
    streams the streams it reads
    site    the site it belongs to; the supervisor fills it in
    """

    name: str
    kind: str
    host: str
    config: dict[str, Any] = field(default_factory=dict, repr=False)  # holds passwords
    params: dict[str, Any] = field(default_factory=dict, repr=False)
    streams: tuple[str, ...] = ()
    enabled: bool = True
    site: str = "default"

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "streams": list(self.streams)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        return cls(**{**data, "streams": tuple(data.get("streams", ()))})


@dataclass(slots=True)
class WorkerReport:
    """What a worker says of itself, twice a second and at every change.

    state        RUNNING or DEGRADED, or STARTING until it does its work
    detail       in words, what it is doing about a trouble: "no frame for 5 s; trying again in 2 s"
    fps          items per second it published or looked at, over the last seconds
    frames       items since the process started; dropped: of those offered to it, how many it did not take
    latency_ms   from the capture of a picture to this worker's being done with it, median of the last seconds
    busy_s       how long the present piece of work has been running; 0 while waiting
    values       present parameter values; declared: their declarations
    streams      what it publishes: name -> {kind, subscribers, ...} for diagrams
    """

    state: State = State.STARTING
    detail: str = ""
    fps: float = 0.0
    frames: int = 0
    dropped: int = 0
    latency_ms: float | None = None
    busy_s: float = 0.0
    values: dict[str, Any] = field(default_factory=dict)
    declared: list[dict[str, Any]] = field(default_factory=list)
    streams: dict[str, dict[str, Any]] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        known = {f.name for f in fields(cls)}
        return cls(**{k: v for k, v in data.items() if k in known} | {"state": State(data["state"])})
