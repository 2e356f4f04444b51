"""Names of recordings: there and back, and nothing else is taken for one."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frameloom.model.clock import NS_PER_S
from frameloom.sinks.names import Segment, day_of, found_in, name_of, read_name, utc_text

MOMENT_NS = 1_795_267_800_123_456_789  # 2026-11-21T13:30:00.123456789Z


def test_a_name_tells_the_moment() -> None:
    assert name_of("hall", MOMENT_NS) == "hall-20261121T133000.123Z.mp4"
    assert name_of("hall", MOMENT_NS, 2) == "hall-20261121T133000.123Z-2.mp4"
    assert day_of(MOMENT_NS) == "2026-11-21"
    assert utc_text(MOMENT_NS) == "2026-11-21T13:30:00.123456789Z"


@given(
    st.integers(0, 253_402_300_799 * NS_PER_S),
    st.integers(1, 9999),
    st.from_regex(r"[a-z0-9][a-z0-9_-]{0,47}", fullmatch=True),
)
def test_there_and_back(utc_ns: int, number: int, camera: str) -> None:
    assert read_name(camera, name_of(camera, utc_ns, number)) == (utc_ns // 1_000_000, number)


@given(st.integers())
def test_whatever_a_clock_says_there_is_a_name(utc_ns: int) -> None:
    assert read_name("hall", name_of("hall", utc_ns)) is not None


@pytest.mark.parametrize(
    "name",
    [
        "hall.mp4", "hall-20261121T133000.123Z.mkv", "hall-20261121T133000.123.mp4", "hall-20261321T133000.123Z.mp4",
        "hall-2-20261121T133000.123Z.mp4", "hall-20261121T133000.123Z-0.mp4", "hall-20261121T133000.123Z-x.mp4",
        "yard-20261121T133000.123Z.mp4", "hall-20261121T133000.123Z.mp4.part", "hall-20261121T133000.1234Z.mp4",
        ".hall-20261121T133000.123Z.mp4", "hall-٢٠٢٦1121T133000.123Z.mp4",
    ],
)  # fmt: skip
def test_what_is_no_segment_of_this_camera(name: str) -> None:
    assert read_name("hall", name) is None


def test_only_segments_are_found(tmp_path: Path) -> None:
    day = tmp_path / "hall" / "2026-11-21"
    ours = day / name_of("hall", MOMENT_NS)
    strangers = [
        day / "notes.txt",
        day / name_of("hall-2", MOMENT_NS),
        tmp_path / "hall" / name_of("hall", MOMENT_NS),
        tmp_path / "hall" / "keep" / name_of("hall", MOMENT_NS),
        tmp_path / "yard" / "2026-11-21" / name_of("hall", MOMENT_NS),
    ]
    for path in [ours, *strangers]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")
    (day / name_of("hall", MOMENT_NS, 2)).symlink_to(ours)
    (day / name_of("hall", MOMENT_NS, 3)).mkdir()
    assert list(found_in(tmp_path, "hall")) == [Segment(MOMENT_NS // 1_000_000, 1, ours, 5)]
    assert list(found_in(tmp_path / "nowhere", "hall")) == []


def test_order_is_that_of_time_and_then_of_numbers() -> None:
    names = [name_of("hall", MOMENT_NS + later, number) for later in (0, NS_PER_S) for number in (1, 2, 10)]
    read = [read_name("hall", name) for name in names]
    assert read == sorted(read, key=lambda one: one or (0, 0))
