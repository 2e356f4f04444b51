"""Results stand beside the film that shows their frame, at its very time, whenever they come and whatever happens."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from frameloom.model.clock import NS_PER_S
from frameloom.model.packet import Packet
from frameloom.model.result import Event, Result
from frameloom.sinks import results as module
from frameloom.sinks.events import EventRecorder, Rolls
from frameloom.sinks.mp4 import TICKS_PER_S
from frameloom.sinks.names import found_in, results_of
from frameloom.sinks.recorder import RETRY_S, Limits, Recorder
from frameloom.sinks.repair import repair_newest
from frameloom.sinks.results import LATE_S, Results
from frameloom.testing.clock import FakeClock
from tests.sinks.parts import FPS, FRAMES, GOP, STEP_NS, camera, packets_of_film, played, recordings, timed
from tests.sinks.test_segment import no_file_larger_than

KINDS = ["h264", "h264 with B frames", "hevc", "mjpeg", "vfr"]
LAP = list(range(FRAMES))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "recordings"


@pytest.fixture
def film(films: dict[str, Path]) -> list[Packet]:
    return packets_of_film(films["h264"])


@pytest.fixture
def make(folder: Path, clock: FakeClock) -> Callable[..., Recorder]:
    def made(**limits: Any) -> Recorder:
        recorder = Recorder("hall", folder, Limits(**{"reserve": "0", **limits}), clock)
        recorder.start()
        return recorder

    return made


def said_of(packet: Packet, processor: str = "finder", **values: Any) -> Result:
    return Result(
        processor, 0, "hall", packet.seq, packet.pts_ns, packet.captured_ns, packet.captured_at_ns, values
    )


def numbers_of(packets: list[Packet]) -> dict[int, int]:
    """Which picture of the film is shown at which media time."""
    return {pts_ns: n % FRAMES for n, pts_ns in enumerate(sorted(packet.pts_ns for packet in packets))}


def beside(path: Path) -> list[dict[str, Any]]:
    found = results_of(path)
    return [json.loads(line) for line in found.read_text().splitlines()] if found.exists() else []


def check(path: Path, processor: str = "finder") -> list[int]:
    """Each result says what its picture shows, at the time at which the picture stands; returns what they say."""
    film = played(path)
    shown = {ticks / TICKS_PER_S: number for ticks, number in zip(film.pts, film.numbers, strict=True)}
    results = [result for result in beside(path) if result["processor"] == processor]
    for result in results:
        assert shown[result["film_s"]] == result["values"]["number"]
    return [result["values"]["number"] for result in results]


@pytest.mark.parametrize("kind", KINDS)
def test_every_result_is_at_its_picture_in_every_segment(
    make: Callable[..., Recorder], folder: Path, films: dict[str, Path], kind: str
) -> None:
    packets = camera(packets_of_film(films[kind]), laps=3)
    numbers, recorder = numbers_of(packets), make(segment_s=1)
    for packet in packets:
        recorder.take(packet)
        recorder.hear(said_of(packet, number=numbers[packet.pts_ns]))
    recorder.stop()
    recorder.close()
    paths = recordings(folder)
    assert len(paths) > 2
    said = [number for path in paths for number in check(path)]
    assert sorted(said) == sorted(LAP * 3)
    assert recorder.results.written == len(packets)


def test_what_a_line_holds(make: Callable[..., Recorder], folder: Path, film: list[Packet]) -> None:
    packets, recorder = camera(film), make()
    for packet in packets:
        recorder.take(packet)
    recorder.hear(said_of(packets[7], boxes=[[0.1, 0.2, 0.3, 0.4]], text="ä\n"))
    recorder.stop()
    recorder.close()
    (path,) = recordings(folder)
    assert beside(path) == [
        {
            "processor": "finder",
            "frame_seq": 8,
            "pts_ns": 7 * STEP_NS,
            "captured_at_ns": packets[7].captured_at_ns,
            "film_s": 7 / FPS,
            "values": {"boxes": [[0.1, 0.2, 0.3, 0.4]], "text": "ä\n"},
        }
    ]


def test_late_ones_and_early_ones(make: Callable[..., Recorder], folder: Path, film: list[Packet]) -> None:
    """A result comes after the next segment has begun, or before its own packet has been taken."""
    packets, recorder = camera(film, laps=3), make(segment_s=1)
    numbers = numbers_of(packets)
    for n, packet in enumerate(packets):
        if n + 2 < len(packets):
            early = packets[n + 2]
            recorder.hear(said_of(early, "early", number=numbers[early.pts_ns]))
        recorder.take(packet)
        if n >= 35:
            late = packets[n - 35]
            recorder.hear(said_of(late, "late", number=numbers[late.pts_ns]))
    recorder.stop()
    for packet in packets[-35:]:  # and after the recording has ended
        recorder.hear(said_of(packet, "late", number=numbers[packet.pts_ns]))
    recorder.close()
    paths = recordings(folder)
    assert [len(check(path, "late")) for path in paths] == [30, 30, 30, 30]
    assert [len(check(path, "early")) for path in paths] == [28, 30, 30, 30]


def test_of_pictures_that_are_not_recorded_nothing_is_written(
    make: Callable[..., Recorder], folder: Path, film: list[Packet]
) -> None:
    """Nor of the same media time in another life of the camera."""
    packets, recorder = camera(film), make()
    for packet in packets[3:]:  # it begins at the next key frame
        recorder.take(packet)
        recorder.hear(said_of(packet, number=packet.seq - 1))
    former = Result("finder", 0, "hall", 16, packets[15].pts_ns, -60 * NS_PER_S, 0, {"number": -1})
    recorder.hear(former)
    recorder.hear(said_of(packets[1], number=1))
    recorder.stop()
    recorder.close()
    (path,) = recordings(folder)
    assert check(path) == LAP[GOP:]


def test_no_result_no_file(make: Callable[..., Recorder], folder: Path, film: list[Packet]) -> None:
    recorder = make()
    for packet in camera(film):
        recorder.take(packet)
    recorder.stop()
    recorder.close()
    assert len(list((folder / "hall").rglob("*.*"))) == 1


def test_before_an_event_too(film: list[Packet], folder: Path, clock: FakeClock) -> None:
    recorder = Recorder("hall", folder, Limits(reserve="0"), clock)
    events = EventRecorder(recorder, Rolls(pre_roll_s=1, post_roll_s=0.5))
    packets = camera(film, laps=5)
    numbers = numbers_of(packets)
    for n, packet in enumerate(packets):
        events.take(packet)
        recorder.hear(said_of(packet, number=numbers[packet.pts_ns]))
        if n in (100, 120):
            phase, at_ns = "start" if n == 100 else "end", packets[n].pts_ns
            event = Event("a", "motion", phase, at_ns, 0, at_ns)
            events.hear(Result("motion", 1, "hall", 1, 0, 0, 0, {"events": [event.to_json()]}))
    recorder.stop()
    recorder.close()
    (path,) = recordings(folder)
    assert check(path) == played(path).numbers
    assert len(check(path)) >= 25 + 20 + 12


def test_it_can_be_read_while_it_grows(
    make: Callable[..., Recorder], folder: Path, film: list[Packet]
) -> None:
    packets, recorder = camera(film, laps=2), make()
    for packet in packets:
        recorder.take(packet)
        recorder.hear(said_of(packet, number=(packet.seq - 1) % FRAMES))
        paths = recordings(folder)
        assert [len(beside(path)) for path in paths] == ([packet.seq] if paths else [])


def test_files_are_closed_when_nothing_can_come_any_more(
    make: Callable[..., Recorder], folder: Path, film: list[Packet], clock: FakeClock
) -> None:
    packets, recorder = camera(film), make()
    for packet in packets:
        recorder.take(packet)
    recorder.hear(said_of(packets[0], number=0))
    recorder.pause()
    assert recorder.results.is_open
    clock.advance(LATE_S + 1)
    recorder.tick()
    assert not recorder.results.is_open
    recorder.hear(said_of(packets[1], number=1))  # too late
    (path,) = recordings(folder)
    assert check(path) == [0]


# --- disks ---


def test_a_full_disk(
    make: Callable[..., Recorder], folder: Path, film: list[Packet], clock: FakeClock
) -> None:
    """It is said, no line is cut, the films play, and it goes on by itself."""
    packets, recorder = camera(film, laps=8), make()
    ballast = "x" * 4000
    with no_file_larger_than(150_000):
        for packet in packets[:80]:
            clock.advance(1 / FPS)
            recorder.take(packet)
            recorder.hear(said_of(packet, number=(packet.seq - 1) % FRAMES, ballast=ballast))
    assert recorder.trouble == f"{folder}: File too large; trying again every {RETRY_S:g} s"
    assert recorder.file is None, "nothing is recorded that cannot be recorded in whole"
    (path,) = recordings(folder)
    assert len(check(path)) >= 30
    clock.advance(RETRY_S)
    for packet in packets[80:]:
        recorder.take(packet)
        recorder.hear(said_of(packet, number=(packet.seq - 1) % FRAMES))
    recorder.stop()
    recorder.close()
    assert recorder.trouble == ""
    later = recordings(folder)[-1]
    assert later != path and check(later) == played(later).numbers


def test_a_film_that_somebody_deletes(
    make: Callable[..., Recorder], folder: Path, film: list[Packet], clock: FakeClock
) -> None:
    packets, recorder = camera(film, laps=4), make()
    for packet in packets:
        clock.advance(1 / FPS)
        if packet.seq == 60:
            recordings(folder)[0].unlink()
        recorder.take(packet)
        recorder.hear(said_of(packet, number=(packet.seq - 1) % FRAMES))
    recorder.stop()
    recorder.close()
    (path,) = recordings(folder)
    assert check(path) == played(path).numbers
    assert len(list((folder / "hall").rglob("*.jsonl"))) == 1


def test_they_go_with_their_film_and_count_with_it(
    make: Callable[..., Recorder], folder: Path, film: list[Packet], clock: FakeClock
) -> None:
    packets, recorder = camera(film, laps=6), make(segment_s=1)
    for packet in packets:
        recorder.take(packet)
        recorder.hear(said_of(packet, number=(packet.seq - 1) % FRAMES, ballast="x" * 10_000))
    recorder.stop()
    recorder.close()
    before = sorted(found_in(folder, "hall"))
    assert all(segment.results_bytes > 300_000 > segment.nbytes for segment in before)
    again = Recorder("hall", folder, Limits(reserve="0", keep_bytes="1MB"), clock)
    again.prune()
    left = sorted(found_in(folder, "hall"))
    assert left == before[-len(left) :]
    assert sum(segment.nbytes + segment.results_bytes for segment in left) <= 1_000_000
    assert len(list((folder / "hall").rglob("*.jsonl"))) == len(left) == 2 == len(before) - again.deleted


@pytest.mark.parametrize("cut_bytes", [1, 5, 100])
def test_a_kill_costs_no_more_than_the_last_line(
    make: Callable[..., Recorder], folder: Path, film: list[Packet], cut_bytes: int
) -> None:
    packets, recorder = camera(film), make()
    for packet in packets:
        recorder.take(packet)
        recorder.hear(said_of(packet, number=packet.seq - 1, ballast="x" * 100))
    recorder.stop()
    recorder.close()
    (path,) = recordings(folder)
    file = results_of(path)
    file.write_bytes(file.read_bytes()[:-cut_bytes])
    repair_newest(folder, "hall")
    assert check(path) == LAP[:-1]
    repair_newest(folder, "hall")
    assert check(path) == LAP[:-1]
    path.write_bytes(b"")
    repair_newest(folder, "hall")
    assert not file.exists(), "of a film that has no picture"


# --- memory ---


def test_what_waits_is_bounded_by_time_number_and_bytes(
    film: list[Packet], clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    packets = (timed(film[0], seq, seq * STEP_NS) for seq in itertools.count(1))
    waiting = Results(clock)
    for packet in itertools.islice(packets, 5000):
        waiting.hear(said_of(packet, number=0))
    assert len(waiting._order) <= LATE_S * FPS + 1
    monkeypatch.setattr(module, "_MOST_WAITING", 50)
    for packet in itertools.islice(packets, 100):
        waiting.hear(said_of(packet, number=0))
    assert len(waiting._order) == len(waiting._waiting) == 50
    monkeypatch.setattr(module, "MOST_BYTES", 10_000)
    for packet in itertools.islice(packets, 100):
        waiting.hear(said_of(packet, ballast="x" * 1000))
    assert waiting._waiting_bytes == sum(line.nbytes for each in waiting._waiting.values() for line in each)
    assert 5000 < waiting._waiting_bytes <= 10_000


def test_what_is_known_of_pictures_is_bounded(
    make: Callable[..., Recorder], folder: Path, film: list[Packet], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_SHOWN", 20)
    packets, recorder = camera(film), make()
    for packet in packets:
        recorder.take(packet)
    for packet in packets:
        recorder.hear(said_of(packet, number=packet.seq - 1))
    recorder.stop()
    recorder.close()
    assert check(recordings(folder)[0]) == LAP[20:]
