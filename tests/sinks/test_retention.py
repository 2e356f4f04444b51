"""The oldest finished segments of one camera go, as far as the limits say, and nothing else ever."""

from __future__ import annotations

from pathlib import Path

import pytest

from frameloom.model.clock import NS_PER_S
from frameloom.sinks.names import Segment, day_of, found_in, name_of
from frameloom.sinks.retention import LOOK_AGAIN_S, Retention
from frameloom.sinks.segment import SegmentFile
from frameloom.testing.clock import UTC_START_NS, FakeClock

HOUR_NS = 3600 * NS_PER_S
KB = 1000


def made(folder: Path, hours_ago: float, camera: str = "hall", nbytes: int = KB) -> Path:
    """A segment that began so long ago."""
    utc_ns = UTC_START_NS - round(hours_ago * HOUR_NS)
    path = folder / camera / day_of(utc_ns) / name_of(camera, utc_ns)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * nbytes)
    return path


def left(folder: Path, camera: str = "hall") -> list[float]:
    """How many hours ago each of those began that are left, the oldest first."""
    return [
        (UTC_START_NS // 1_000_000 - found.utc_ms) / 3_600_000 for found in sorted(found_in(folder, camera))
    ]


@pytest.fixture
def retention(tmp_path: Path, clock: FakeClock) -> Retention:
    return Retention(tmp_path, "hall", clock)


@pytest.mark.parametrize(
    ("keep_days", "keep_bytes", "kept"),
    [
        (0, 0, [72, 48, 23, 1]),
        (1, 0, [23, 1]),
        (2.5, 0, [48, 23, 1]),
        (0, 4 * KB, [72, 48, 23, 1]),
        (0, 4 * KB - 1, [48, 23, 1]),
        (0, 1, []),
        (1, 1 * KB, [1]),
        (1, 100 * KB, [23, 1]),
    ],
)
def test_limits(
    retention: Retention, tmp_path: Path, keep_days: float, keep_bytes: int, kept: list[float]
) -> None:
    for hours_ago in (48, 1, 72, 23):
        made(tmp_path, hours_ago)
    assert retention.prune(keep_days, keep_bytes) == 4 - len(kept) == retention.deleted
    assert left(tmp_path) == kept
    assert retention.prune(keep_days, keep_bytes) == 0


def test_what_is_not_ours_stays(retention: Retention, tmp_path: Path) -> None:
    old = made(tmp_path, 100)
    others = [
        old.with_name("notes.txt"),
        old.with_name("hall-2026.mp4"),
        made(tmp_path, 100, "hall-2"),
        made(tmp_path, 100, "yard"),
    ]
    for path in others:
        path.write_bytes(b"x" * KB)
    retention.prune(1, 1)
    assert not old.exists()
    assert all(path.exists() for path in others)


def test_empty_days_go_too(retention: Retention, tmp_path: Path) -> None:
    made(tmp_path, 100)
    made(tmp_path, 1)
    retention.prune(1, 0)
    assert [path.name for path in (tmp_path / "hall").iterdir()] == ["2025-12-31"]


def test_the_file_that_is_written_counts_and_stays(retention: Retention, tmp_path: Path) -> None:
    made(tmp_path, 1)
    growing = made(tmp_path, 100, nbytes=5 * KB)
    segment = next(one for one in found_in(tmp_path, "hall") if one.path == growing)
    assert retention.prune(1, 5 * KB, segment) == 1
    assert growing.exists()


def test_files_that_another_recorder_writes_stay(retention: Retention, tmp_path: Path) -> None:
    other = SegmentFile.create(tmp_path, "hall", UTC_START_NS - 100 * HOUR_NS)
    other.append(b"x" * KB)
    assert retention.prune(1, 1) == 0
    assert other.path.exists()
    other.finish().join()
    assert retention.prune(1, 1) == 1
    assert not other.path.exists()


def test_finished_segments_are_counted_without_looking_again(
    retention: Retention, tmp_path: Path, clock: FakeClock
) -> None:
    made(tmp_path, 3)
    retention.prune(0, 10 * KB)
    path = made(tmp_path, 2, nbytes=20 * KB)
    retention.add(Segment((UTC_START_NS - 2 * HOUR_NS) // 1_000_000, 1, path, 20 * KB))
    assert retention.prune(0, 20 * KB) == 1
    assert left(tmp_path) == [2]
    made(tmp_path, 5)  # by a person, who is seen when the folder is read again
    assert retention.prune(0, 20 * KB) == 0
    clock.advance(LOOK_AGAIN_S + 1)
    assert retention.prune(0, 20 * KB) == 1
    assert left(tmp_path) == [2]


def test_what_a_person_has_deleted_is_no_longer_counted(retention: Retention, tmp_path: Path) -> None:
    old, new = made(tmp_path, 5), made(tmp_path, 1)
    retention.prune(0, 2 * KB)
    old.unlink()
    assert retention.prune(0, KB) == 0
    assert new.exists()


def test_time_passes(retention: Retention, tmp_path: Path, clock: FakeClock) -> None:
    made(tmp_path, 20)
    assert retention.prune(1, 0) == 0
    clock.advance(5 * 3600)
    assert retention.prune(1, 0) == 1


def test_many_go_in_several_turns(retention: Retention, tmp_path: Path) -> None:
    for n in range(120):
        made(tmp_path, 100 + n)
    assert [retention.prune(1, 0) for _ in range(4)] == [50, 50, 20, 0]
