"""A time range as one film: the right pictures at the right times, from several files, with gaps and twice recorded."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from frameloom.catalog.cut import CannotCut, Cut, cut
from frameloom.model.clock import NS_PER_S
from frameloom.sinks.mp4 import TICKS_PER_S
from tests.sinks.parts import FRAMES, Played, played, probed

from .parts import Recorded, utc_ns

SECOND = TICKS_PER_S


def film_of(made: Cut, folder: Path) -> Played:
    path = folder / "made.mp4"
    path.write_bytes(b"".join(made.film.read()))
    assert path.stat().st_size == made.film.nbytes
    return played(path)


@pytest.mark.parametrize("kind", ["h264", "bframes", "vfr", "hevc", "mjpeg"])
@pytest.mark.parametrize(("begin_s", "end_s"), [(1.1, 4.0), (-5, 100), (3.1, 3.3), (1.2, 1.21)])
def test_the_pictures_of_a_time(
    recorded: dict[str, Recorded], tmp_path: Path, kind: str, begin_s: float, end_s: float
) -> None:
    """From the one that is to be seen at the beginning up to the end, each for as long as it was there."""
    told = recorded[kind]
    made = cut(told.files[::-1], utc_ns(begin_s), utc_ns(end_s))
    film = film_of(made, tmp_path)
    shown = told.shown_ns
    first = max([n for n, at_ns in enumerate(shown) if at_ns <= utc_ns(begin_s)], default=0)
    last = max(n for n, at_ns in enumerate(shown) if at_ns < utc_ns(end_s))
    assert film.numbers == [n % FRAMES for n in range(first, last + 1)]
    steps = [(pts - film.pts[0]) / TICKS_PER_S for pts in film.pts]
    wanted = [(at_ns - shown[first]) / NS_PER_S for at_ns in shown[first : last + 1]]
    # Where a file ends, nobody knows how long its last picture was there: as long as the one before is assumed.
    loose = 0.06 if kind == "vfr" else 0.0001
    assert all(abs(a - b) < loose for a, b in zip(steps, wanted, strict=True)), (steps, wanted)
    assert abs(made.begin_utc_ns - shown[first]) < 20_000
    assert film.pts[0] == 0
    assert kind != "vfr" or probed(tmp_path / "made.mp4") == ""


def test_where_nothing_was_recorded_it_goes_on_at_once(recorded: dict[str, Recorded], tmp_path: Path) -> None:
    """The second of three files is missing: 2.5 s."""
    files = recorded["vfr"].files
    assert len(files) == 4
    film = film_of(cut([files[0], files[2]], utc_ns(0), utc_ns(100)), tmp_path)
    assert film.numbers == [*range(20), *range(20, 40), *range(20)]
    steps = [b - a for a, b in zip(film.pts, film.pts[1:], strict=False)]
    assert max(steps) < SECOND, "the longest pause is one that was recorded: 0.9 s"


def test_what_was_recorded_twice_is_there_once(recorded: dict[str, Recorded], tmp_path: Path) -> None:
    """Two recorders of one camera, in two folders."""
    told = recorded["h264"]
    other = told.copied(tmp_path / "other")
    film = film_of(cut([*told.files, *other.files], utc_ns(0), utc_ns(100)), tmp_path)
    assert film.numbers == list(range(FRAMES)) * 3


def test_files_whose_clocks_are_not_exact(recorded: dict[str, Recorded], tmp_path: Path) -> None:
    """A file that begins a little before the last one has ended follows it: no picture is lost."""
    folder = tmp_path / "jitter"
    shutil.copytree(recorded["h264"].folder, folder)
    second = recorded["h264"].copied(tmp_path / "copy").files[1]
    data = second.read_bytes()
    assert data.count(b"00:00:03.200000000Z") == 2
    second.write_bytes(data.replace(b"00:00:03.200000000Z", b"00:00:02.900000000Z"))
    film = film_of(cut([recorded["h264"].files[0], second], utc_ns(0), utc_ns(100)), tmp_path)
    assert film.numbers == list(range(FRAMES)) * 3


def test_what_cannot_be_one_film(recorded: dict[str, Recorded], tmp_path: Path) -> None:
    small, large = recorded["small"].files[1], recorded["h264"].files[0]
    with pytest.raises(
        CannotCut, match=r"the picture changes its size or codec at 2026-01-01T00:00:03Z: export up to there"
    ):
        cut([large, small], utc_ns(0), utc_ns(100))
    alone = film_of(cut([large, small], utc_ns(0), utc_ns(3)), tmp_path)
    assert alone.sizes == {(320, 240)}


def test_nothing_in_that_time(recorded: dict[str, Recorded]) -> None:
    for begin_s, end_s in ((-9, -1), (5, 9), (2, 2)):
        with pytest.raises(CannotCut, match="nothing was recorded in that time"):
            cut(recorded["h264"].files if begin_s != 2 else [], utc_ns(begin_s), utc_ns(end_s))


def test_a_file_that_is_none_is_passed_over(recorded: dict[str, Recorded], tmp_path: Path) -> None:
    (tmp_path / "none.mp4").write_bytes(b"nothing")
    files = [tmp_path / "none.mp4", tmp_path / "gone.mp4", *recorded["h264"].files]
    assert cut(files, utc_ns(0), utc_ns(1)).pictures == 25
