"""A film in which one can seek: the same pictures at the same times as in the recording, from any byte to any other."""

from __future__ import annotations

import io
import random
from pathlib import Path

import av
import pytest

from frameloom.catalog.boxes import BadFilm, boxes_in
from frameloom.catalog.player import whole_film
from frameloom.sinks.mp4 import TICKS_PER_S
from tests.sinks.parts import camera, packets_of_film, played, probed, recordings

from .parts import Recorded, recorder_of

KINDS = ("h264", "bframes", "vfr", "hevc", "mjpeg")


@pytest.mark.parametrize("kind", KINDS)
def test_it_plays_as_the_recording_does(recorded: dict[str, Recorded], tmp_path: Path, kind: str) -> None:
    for path in recorded[kind].files:
        film = whole_film(path)
        made = tmp_path / "film.mp4"
        made.write_bytes(b"".join(film.read()))
        assert made.stat().st_size == film.nbytes
        one, other = played(path), played(made)
        assert (other.numbers, other.pts) == (one.numbers, one.pts)
        assert (other.codec_tag, other.time_base, other.sizes) == (one.codec_tag, one.time_base, one.sizes)
        for tag in ("frameloom_utc", "frameloom_camera", "creation_time"):
            assert other.tags[tag] == one.tags[tag]
        assert probed(made) == ""


def test_a_camera_that_hangs_upside_down(recorded: dict[str, Recorded], tmp_path: Path) -> None:
    packets = packets_of_film(recorded["h264"].folder.parent / "h264.mp4", rotation_deg=180)
    recorder = recorder_of(tmp_path / "turned")
    recorder.start()
    for packet in camera(packets):
        recorder.take(packet)
    recorder.stop()
    (path,) = recordings(tmp_path / "turned")
    (tmp_path / "film.mp4").write_bytes(b"".join(whole_film(path).read()))
    assert played(tmp_path / "film.mp4").rotation_deg == played(path).rotation_deg != 0


def test_its_length_stands_at_its_beginning(recorded: dict[str, Recorded]) -> None:
    film = whole_film(recorded["vfr"].files[1])
    kinds = [box.kind for box in boxes_in(film.head[: len(film.head) - 16])]
    assert kinds == [b"ftyp", b"moov"], "and no fragments"
    with av.open(io.BytesIO(b"".join(film.read()))) as container:
        stream = container.streams.video[0]
        assert stream.frames == 40
        assert stream.duration is not None
        # The first picture is shown 0.093 s after the first decoding, and of the last it is said that it lasts 0.04 s.
        assert abs(stream.duration / TICKS_PER_S - (0.093 + 2.46 + 0.04)) < 0.0001


def test_a_picture_in_the_midst_is_found_by_its_time(recorded: dict[str, Recorded]) -> None:
    """As a browser seeks: to the key frame before, and no farther."""
    with av.open(io.BytesIO(b"".join(whole_film(recorded["bframes"].files[0]).read()))) as container:
        stream = container.streams.video[0]
        container.seek(round(1.7 * TICKS_PER_S), stream=stream)
        first = next(container.decode(stream))
        assert (first.key_frame, first.pts) == (True, round((1.6 + 0.08) * TICKS_PER_S))


def test_any_part_of_it(recorded: dict[str, Recorded]) -> None:
    film = whole_film(recorded["h264"].files[0])
    whole = b"".join(film.read())
    dice = random.Random(1)
    for _ in range(200):
        start = dice.randrange(film.nbytes)
        end = dice.randrange(start, film.nbytes + 1)
        assert b"".join(film.read(start, end)) == whole[start:end]
    assert b"".join(film.read(film.nbytes - 1)) == whole[-1:]


def test_the_beginning_of_a_file_that_grows(recorded: dict[str, Recorded], tmp_path: Path) -> None:
    """The film of so many bytes is the same whatever has come meanwhile."""
    data = recorded["h264"].files[0].read_bytes()
    (tmp_path / "grows.mp4").write_bytes(data[: len(data) // 2])
    early = whole_film(tmp_path / "grows.mp4")
    first = b"".join(early.read())
    (tmp_path / "grows.mp4").write_bytes(data)
    assert b"".join(whole_film(tmp_path / "grows.mp4", len(data) // 2).read()) == first
    assert b"".join(early.read()) == first
    (tmp_path / "part.mp4").write_bytes(first)
    assert played(tmp_path / "part.mp4").numbers == list(range(30))


def test_a_file_that_has_become_shorter(recorded: dict[str, Recorded], tmp_path: Path) -> None:
    path = tmp_path / "short.mp4"
    data = recorded["h264"].files[0].read_bytes()
    path.write_bytes(data)
    film = whole_film(path)
    path.write_bytes(data[:5000])
    with pytest.raises(OSError, match=r"short.mp4: the file has become shorter"):
        b"".join(film.read())


def test_no_picture_is_no_film(recorded: dict[str, Recorded], tmp_path: Path) -> None:
    (tmp_path / "head.mp4").write_bytes(recorded["h264"].files[0].read_bytes()[:1100])
    with pytest.raises(BadFilm, match="there is no picture in it"):
        whole_film(tmp_path / "head.mp4")
