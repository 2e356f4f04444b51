"""Recorders for tests of the catalog, and what is true of what they record."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from frameloom.catalog.database import Database
from frameloom.model.packet import Packet
from frameloom.sinks.recorder import Limits, Recorder
from frameloom.testing.clock import UTC_START_NS, FakeClock
from tests.sinks.parts import camera, packets_of_film, recordings

LAPS = 3
SEGMENT_S = 3


@dataclass(frozen=True)
class Recorded:
    """A folder of recordings, and the packets that were recorded; UTC of each picture is its `captured_at_ns`."""

    folder: Path
    packets: list[Packet]

    @property
    def files(self) -> list[Path]:
        return recordings(self.folder)

    @property
    def shown_ns(self) -> list[int]:
        """UTC of all pictures, in order."""
        return sorted(packet.captured_at_ns for packet in self.packets)

    def copied(self, folder: Path) -> Recorded:
        """The same in a folder of the test's own."""
        shutil.copytree(self.folder, folder)
        return Recorded(folder, self.packets)


def record(film: Path, folder: Path, laps: int = LAPS, segment_s: float = SEGMENT_S) -> Recorded:
    """Record a film, again and again, as a camera 'hall'."""
    packets = camera(packets_of_film(film), laps=laps)
    recorder = recorder_of(folder, segment_s)
    recorder.start()
    for packet in packets:
        recorder.take(packet)
    recorder.stop()
    return Recorded(folder, packets)


def recorder_of(folder: Path, segment_s: float = SEGMENT_S) -> Recorder:
    return Recorder("hall", folder, Limits(segment_s=segment_s, reserve="0"), FakeClock())


def utc_ns(seconds: float) -> int:
    """So long after the first picture."""
    return UTC_START_NS + round(seconds * 1e9)


_opened: list[Database] = []


def database_at(url: str | None, site: str = "demo") -> Database:
    """A database whose connections are closed at the end of the test."""
    _opened.append(Database(url, site))
    return _opened[-1]


def close_databases() -> None:
    while _opened:
        _opened.pop().close()
