"""What a processor saw: a result per frame, and events with a start and an end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Event:
    """Something with a start and an end. The same `id` goes through both messages.

    `phase` is 'start' or 'end'; `pts_ns` the media time and `at_ns` the UTC time (ns since 1970) of that moment;
    an end repeats the start's `started_pts_ns`.
    """

    id: str
    name: str
    phase: str
    pts_ns: int
    at_ns: int
    started_pts_ns: int
    values: Values = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "name": self.name,
            "phase": self.phase,
            "pts_ns": self.pts_ns,
            "at_ns": self.at_ns,
            "started_pts_ns": self.started_pts_ns,
            **({"values": dict(self.values)} if self.values else {}),
        }


@dataclass(frozen=True, slots=True)
class Result:
    """What a processor said of one frame, keyed by that frame's stream, number and times.

    stream       name of the result stream (the processor's)
    source       name of the stream that the frame came from; `frame_seq` its number there
    values       JSON values: numbers, texts, lists, mappings. By convention `boxes` is a list of
                 [x, y, width, height], normalised to 0..1 of the picture, and `events` a list of `Event.to_json()`
    """

    stream: str
    seq: int
    source: str
    frame_seq: int
    pts_ns: int
    captured_ns: int
    captured_at_ns: int
    values: Values

    def __getitem__(self, key: str) -> Any:
        return self.values[key]
