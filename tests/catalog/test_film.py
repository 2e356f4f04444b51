"""Reading a recording: every picture with its time, whatever happened to the file."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from frameloom.catalog.boxes import BadFilm
from frameloom.catalog.film import Film, Survey
from frameloom.model.clock import NS_PER_S
from frameloom.sinks.mp4 import TICKS_PER_S
from tests.sinks.parts import camera, packets_of_film, played

from .parts import Recorded, recorder_of, utc_ns

KINDS = ("h264", "bframes", "vfr", "hevc", "mjpeg")


@pytest.mark.parametrize("kind", KINDS)
def test_every_picture_is_found_where_a_player_finds_it(recorded: dict[str, Recorded], kind: str) -> None:
    at_ns: list[int] = []
    for path in recorded[kind].files:
        with Film(path) as film:
            samples = film.samples()
            assert sorted(samples.pts.tolist()) == played(path).pts
            assert film.is_complete
            data = path.read_bytes()
            pieces = [data[at : at + size] for at, size in zip(samples.offset, samples.size, strict=True)]
            assert samples.key[0]
            assert all(pieces)
            at_ns += [film.head.utc_ns(int(pts)) for pts in samples.pts]
    # Ticks are coarser than what was told, and rounded.
    told = recorded[kind].shown_ns
    assert len(at_ns) == len(told)
    assert all(abs(a - b) <= NS_PER_S // TICKS_PER_S for a, b in zip(sorted(at_ns), told, strict=True))


@pytest.mark.parametrize(
    ("kind", "codec", "mime"),
    [
        ("h264", "h264", 'video/mp4; codecs="avc1.42c00d"'),
        ("bframes", "h264", 'video/mp4; codecs="avc1.4d400d"'),
        ("hevc", "hevc", 'video/mp4; codecs="hvc1.1.6.L60.90"'),
        ("mjpeg", "mjpeg", 'video/mp4; codecs="mp4v"'),
    ],
)
def test_what_it_says_of_itself(recorded: dict[str, Recorded], kind: str, codec: str, mime: str) -> None:
    with Film(recorded[kind].files[0]) as film:
        head = film.head
    assert (head.codec, head.mime, head.width, head.height) == (codec, mime, 320, 240)
    assert (head.camera, head.timescale) == ("hall", TICKS_PER_S)


def test_a_survey_of_a_file_that_grows(recorded: dict[str, Recorded], tmp_path: Path) -> None:
    """What it says while the file grows is what another says of the whole, and it reads nothing twice."""
    data = recorded["h264"].files[0].read_bytes()
    path = tmp_path / "growing.mp4"
    survey = Survey(path)
    frames = []
    for part in (0.3, 0.31, 0.6, 1.0):
        path.write_bytes(data[: round(part * len(data))])
        facts = survey.look()
        assert facts == Survey(path).look()
        frames.append(facts.frames)
    assert frames == [20, 20, 40, 80]
    assert (facts.begin_utc_ns, facts.end_utc_ns) == (utc_ns(0), utc_ns(3.2))
    assert (facts.nbytes, facts.is_complete) == (len(data), True)


def test_a_file_that_is_cut_anywhere(recorded: dict[str, Recorded], tmp_path: Path) -> None:
    """Whole fragments are there, and nothing else; a file without one is no film."""
    data = recorded["h264"].files[0].read_bytes()
    path = tmp_path / "cut.mp4"
    dice = random.Random(5)
    found = set()
    for cut in [len(data) - 1, *(dice.randrange(1, len(data)) for _ in range(60))]:
        path.write_bytes(data[:cut])
        try:
            facts = Survey(path).look()
        except BadFilm:
            found.add(0)
            continue
        assert not facts.is_complete
        assert facts.end_utc_ns == utc_ns(facts.frames / 25)
        found.add(facts.frames)
    assert found == {0, 10, 20, 30, 40, 50, 60, 70, 80}


def test_a_file_that_is_damaged_anywhere(recorded: dict[str, Recorded], tmp_path: Path) -> None:
    """It is read, or refused in words: nothing else happens."""
    data = bytearray(recorded["bframes"].files[0].read_bytes())
    path = tmp_path / "damaged.mp4"
    dice = random.Random(7)
    refused = 0
    for _ in range(300):
        damaged = bytearray(data)
        for _ in range(dice.randrange(1, 9)):
            damaged[dice.randrange(3000)] = dice.randrange(256)
        path.write_bytes(damaged)
        try:
            with Film(path) as film:
                assert len(film.samples().size) > 0
        except BadFilm:
            refused += 1
    assert 20 < refused < 300


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "there is no head at its beginning"),
        (b"not a film at all", "there is no head at its beginning"),
        (b"\0\0\0\x08moov", "there is no trak/mdia in it"),
        (b"\0\0\0\x10moov\0\0\0\x60trak", "a box is cut short"),
    ],
)
def test_what_is_no_film(tmp_path: Path, text: bytes, words: str) -> None:
    (tmp_path / "no.mp4").write_bytes(text)
    with pytest.raises(BadFilm, match=words):
        Film(tmp_path / "no.mp4")


def test_a_link_is_not_followed(recorded: dict[str, Recorded], tmp_path: Path) -> None:
    (tmp_path / "link.mp4").symlink_to(recorded["h264"].files[0])
    with pytest.raises(OSError, match="symbolic links"):
        Film(tmp_path / "link.mp4")


def test_while_it_is_recorded(recorded: dict[str, Recorded], tmp_path: Path) -> None:
    """Each whole group is there as soon as the next one has begun."""
    recorder = recorder_of(tmp_path / "live", segment_s=60)
    recorder.start()
    for number, packet in enumerate(recorded["h264"].packets[:35], 1):
        recorder.take(packet)
        if recorder.file is not None:
            assert Survey(recorder.file).look().frames == (number - 2) // 10 * 10
    recorder.stop()


def test_no_film_is_taken_for_another_codec(tmp_path: Path, recorded: dict[str, Recorded]) -> None:
    data = recorded["h264"].files[0].read_bytes().replace(b"avc1", b"vp09")
    (tmp_path / "vp9.mp4").write_bytes(data)
    with pytest.raises(BadFilm, match="its codec 'vp09' is unknown here"):
        Film(tmp_path / "vp9.mp4")


def test_packets_are_those_of_the_film(recorded: dict[str, Recorded]) -> None:
    """The truth that the tests here lean on."""
    packets = recorded["h264"].packets
    assert len(packets) == 120
    assert packets == camera(packets_of_film(recorded["h264"].folder.parent / "h264.mp4"), laps=3)
