"""Recording around events: from so long before to so long after, no picture twice, whoever goes away meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from frameloom.model.clock import NS_PER_S
from frameloom.model.packet import Packet
from frameloom.model.result import Event, Result
from frameloom.sinks import events as module
from frameloom.sinks.events import LATE_S, EventRecorder, PreRoll, Rolls
from frameloom.sinks.recorder import RETRY_S, Limits, Recorder
from frameloom.testing.clock import FakeClock
from tests.sinks.parts import FRAMES, GOP, STEP_NS, camera, packets_of_film, played, recordings


class Scene:
    """A camera of many laps, an EventRecorder, and what it has recorded: the numbers of packets."""

    def __init__(self, film: list[Packet], folder: Path, clock: FakeClock, **rolls: float) -> None:
        self.folder = folder
        self.packets = camera(film, laps=20)
        self.recorder = Recorder("hall", folder, Limits(reserve="0"), clock)
        self.events = EventRecorder(self.recorder, Rolls(**{"pre_roll_s": 1, "post_roll_s": 1, **rolls}))
        self._at = 0

    def until(self, number: int) -> None:
        """Let the camera go on up to a packet, exclusive; counted from 0."""
        for packet in self.packets[self._at : number]:
            self.events.take(packet)
        self._at = number

    def say(self, phase: str, number: int, id: str = "a") -> None:
        """The processor says that an event began or ended with that picture."""
        event = Event(id, "motion", phase, number * STEP_NS, 0, number * STEP_NS)
        self.say_values({"events": [event.to_json()]})

    def say_values(self, values: dict[str, Any]) -> None:
        self.events.hear(Result("motion", 1, "hall", 1, 0, 0, 0, values))

    def recorded(self) -> list[list[int | None]]:
        self.recorder.stop()
        return [played(path).numbers for path in recordings(self.folder)]


@pytest.fixture
def film(films: dict[str, Path]) -> list[Packet]:
    return packets_of_film(films["h264"])


@pytest.fixture
def scene(film: list[Packet], tmp_path: Path, clock: FakeClock) -> Scene:
    return Scene(film, tmp_path / "recordings", clock)


def counted(first: int, last: int) -> list[int]:
    """What the pictures from one packet to another show."""
    return [number % FRAMES for number in range(first, last + 1)]


def test_before_and_after(scene: Scene) -> None:
    """25 pictures before, from the key frame on; 25 after, to the next key frame."""
    scene.until(206)
    assert not scene.recorder.recording
    scene.say("start", 200)
    scene.until(231)
    scene.say("end", 225)
    scene.until(400)
    assert not scene.recorder.recording
    assert scene.recorded() == [counted(170, 259)]
    assert (scene.events.events, scene.recorder.counts.lost, scene.recorder.counts.packets) == (1, 0, 90)


def test_an_event_soon_after_goes_on_without_a_gap_or_a_picture_twice(scene: Scene) -> None:
    scene.until(206)
    scene.say("start", 200)
    scene.say("end", 205)
    scene.until(245)
    assert not scene.recorder.recording
    scene.say("start", 242, "b")
    scene.say("end", 243, "b")
    scene.until(400)
    assert scene.recorded() == [counted(170, 239), counted(240, 269)]
    assert scene.events.events == 2


def test_events_that_overlap_are_one_recording(scene: Scene) -> None:
    scene.until(206)
    scene.say("start", 200)
    scene.until(230)
    scene.say("start", 228, "b")
    scene.say("end", 229)
    scene.until(300)
    assert scene.recorder.recording, "the other one goes on"
    scene.say("end", 290, "b")
    scene.until(310)
    scene.say("start", 305, "c")
    scene.say("end", 306, "c")
    scene.until(400)
    assert scene.recorded() == [counted(170, 339)]


def test_an_event_at_the_very_beginning(scene: Scene) -> None:
    scene.until(3)
    scene.say("start", 1)
    scene.until(20)
    scene.say("end", 12)
    scene.until(100)
    assert scene.recorded() == [counted(0, 39)]


def test_an_event_that_is_told_late(scene: Scene) -> None:
    late = 200 + round(LATE_S - 1) * 25
    scene.until(late)
    scene.say("start", 200)
    scene.say("end", 210)
    scene.until(late + 60)
    assert scene.recorded()[0][:40] == counted(170, 209)


def test_no_pre_roll_no_post_roll(film: list[Packet], tmp_path: Path, clock: FakeClock) -> None:
    scene = Scene(film, tmp_path, clock, pre_roll_s=0, post_roll_s=0)
    scene.until(206)
    scene.say("start", 203)
    scene.say("end", 205)
    scene.until(300)
    assert scene.recorded() == [counted(200, 209)]


def test_a_processor_that_dies_in_the_midst(scene: Scene) -> None:
    scene.until(206)
    scene.say("start", 200)
    scene.until(240)
    scene.events.lost_processor()
    scene.until(400)
    assert scene.recorded() == [counted(170, 269)]


def test_a_camera_that_dies_in_the_midst(scene: Scene) -> None:
    scene.until(206)
    scene.say("start", 200)
    scene.until(233)
    scene.events.lost_camera()
    scene.until(300)
    assert scene.recorded() == [counted(170, 232)]


def test_what_was_kept_of_a_camera_that_died_is_not_recorded(scene: Scene) -> None:
    scene.until(205)
    scene.events.lost_camera()
    scene.until(215)
    scene.say("start", 212)
    scene.say("end", 214)
    scene.until(300)
    assert scene.recorded() == [counted(210, 239)]


def test_what_is_no_event_is_passed_over(scene: Scene) -> None:
    scene.until(206)
    for events in (None, 5, [5], [{}], [{"phase": "start"}], [{"phase": "start", "id": "a", "pts_ns": "x"}]):
        scene.say_values({"events": events})
    scene.say_values({})
    scene.say("end", 200, "never begun")
    scene.until(250)
    assert scene.recorded() == []


def test_memory_is_bounded(film: list[Packet], monkeypatch: pytest.MonkeyPatch) -> None:
    most = 3 * sum(len(packet.data) for packet in film[:GOP])
    monkeypatch.setattr(module, "MOST_BYTES", most)
    kept = PreRoll()
    for packet in camera(film, laps=5):
        kept.add(packet, 3600)
        assert kept.nbytes <= most
    taken = kept.take_from(0)
    assert taken[0].is_key
    assert taken[-1].seq == 5 * FRAMES
    assert [packet.seq for packet in taken] == list(range(taken[0].seq, 5 * FRAMES + 1))


def test_a_group_that_is_larger_than_memory_is_not_kept(
    film: list[Packet], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", len(film[0].data) + len(film[1].data))
    kept = PreRoll()
    for packet in film[:9]:
        kept.add(packet, NS_PER_S)
    assert (kept.nbytes, kept.take_from(0)) == (0, [])


def test_a_full_disk_is_told_before_the_event(scene: Scene, clock: FakeClock) -> None:
    scene.recorder.limits.reserve = "900PB"
    scene.until(206)
    scene.recorder.tick(on_standby=True)
    assert "900 PB are to stay free" in scene.recorder.trouble
    scene.recorder.limits.reserve = "0"
    clock.advance(RETRY_S)
    scene.recorder.tick(on_standby=True)
    assert scene.recorder.trouble == ""
    scene.say("start", 200)
    scene.until(231)
    assert scene.recorded() == [counted(170, 230)]
