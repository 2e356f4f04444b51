"""What is known of a recording and of an event: the rows of the index, without the database that keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frameloom.sinks.names import SUFFIX, day_of, read_name

MOST_SEGMENTS = 2000
MOST_EVENTS = 2000
LATEST_NS = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """One recording. Times are UTC, ns since 1970. `state`: 'writing', 'complete', or 'cut' (a kill, a full disk)."""

    camera: str
    id: str
    folder: str
    begin_ns: int
    end_ns: int
    bytes: int
    frames: int
    codec: str
    mime: str
    width: int
    height: int
    state: str
    has_results: bool

    @property
    def path(self) -> Path | None:
        """Where the file is, made of nothing but the name's own parts; None for a name that is none."""
        read = read_name(self.camera, self.id + SUFFIX)
        if read is None:
            return None
        return Path(self.folder) / self.camera / day_of(read[0] * 1_000_000) / (self.id + SUFFIX)


@dataclass(frozen=True, slots=True)
class EventRow:
    """Something that a processor saw; `end_ns` is None while it goes on, and where nobody told its end."""

    camera: str
    processor: str
    id: str
    at_ns: int
    end_ns: int | None
    name: str
    values: Mapping[str, Any]

    @property
    def day(self) -> str:
        """The day that it began, as in the names of folders."""
        return day_of(self.at_ns)


@dataclass(frozen=True, slots=True)
class Summary:
    """All recordings of one camera. `length_ns` is the sum of their lengths."""

    camera: str
    segments: int
    bytes: int
    length_ns: int
    first_ns: int
    last_ns: int
