"""Files that a kill cut at any byte: what is whole stays and plays, the rest goes."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from frameloom.sinks.mp4 import Mp4
from frameloom.sinks.names import name_of
from frameloom.sinks.recorder import Limits, Recorder
from frameloom.sinks.repair import repair
from frameloom.sinks.segment import SegmentFile
from frameloom.testing.clock import UTC_START_NS, FakeClock
from tests.sinks.parts import FRAMES, GOP, camera, packets_of_film, played, probed


@pytest.fixture
def pieces(films: dict[str, Path]) -> list[bytes]:
    """A recording of four groups, piece by piece."""
    packets = camera(packets_of_film(films["h264"]))
    mp4 = Mp4(packets[0], {})
    return [piece for piece in [*map(mp4.add, packets), mp4.end()] if piece]


def test_cut_anywhere(pieces: list[bytes], tmp_path: Path) -> None:
    whole = b"".join(pieces)
    ends = [len(b"".join(pieces[:count])) for count in range(1, len(pieces))]
    dice = random.Random(1)
    for at in [*ends, *(end - 1 for end in ends), *(dice.randrange(ends[0], ends[-1]) for _ in range(30))]:
        path = tmp_path / "cut.mp4"
        path.write_bytes(whole[:at])
        groups = sum(end <= at for end in ends)
        assert repair(path) == at - ([0, *ends][groups])
        if groups:
            assert played(path).numbers == list(range(GOP * groups))
            assert probed(path) == ""
        else:
            assert not path.exists()


@pytest.mark.parametrize("data", [b"", b"\0\0\0", b"\0\0\0\0mdat", b"not an MP4 at all"])
def test_what_has_no_picture_goes(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "empty.mp4"
    path.write_bytes(data)
    assert repair(path) == len(data)
    assert not path.exists()


def test_a_whole_file_stays_as_it_is(pieces: list[bytes], tmp_path: Path) -> None:
    path = tmp_path / "whole.mp4"
    path.write_bytes(b"".join(pieces))
    assert repair(path) == 0
    assert path.read_bytes() == b"".join(pieces)
    assert played(path).numbers == list(range(FRAMES))


def test_a_recorder_repairs_what_the_one_before_has_left(
    pieces: list[bytes], tmp_path: Path, clock: FakeClock
) -> None:
    day = tmp_path / "hall" / "2026-01-01"
    day.mkdir(parents=True)
    left = day / name_of("hall", UTC_START_NS)
    left.write_bytes(pieces[0] + pieces[1] + pieces[2][:-100])
    stranger = day / "hall.mp4"
    stranger.write_bytes(b"mine")
    other = SegmentFile.create(tmp_path, "hall", UTC_START_NS + 1)
    other.append(pieces[0][:-100])
    Recorder("hall", tmp_path, Limits(), clock)
    assert left.read_bytes() == pieces[0] + pieces[1]
    assert (stranger.read_bytes(), other.path.stat().st_size) == (b"mine", len(pieces[0]) - 100)
    other.discard()
