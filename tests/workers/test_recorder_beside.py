"""The host of recorders hears processors, and takes what is encoded for it where a camera sends nothing to record."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from frameloom.bus.publisher import PacketPublisher, ResultPublisher
from frameloom.model.clock import NS_PER_S
from frameloom.model.errors import ParameterError
from frameloom.model.packet import Packet, PacketFormat
from frameloom.sinks.names import results_of
from frameloom.testing.films import counter, encode
from tests.sinks.parts import (
    FPS,
    FRAMES,
    GOP,
    STEP_NS,
    camera,
    numbers_in,
    packets_of_film,
    played,
    recordings,
)
from tests.workers.test_recorder import PATIENCE_S, Make, Recording, make, until

__all__ = ["make"]
pytestmark = pytest.mark.usefixtures("runtime_dir")

RAW = PacketFormat("rawvideo", 320, 240, pixel="gray")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> list[Packet]:
    path = tmp_path_factory.mktemp("films") / "counter.mp4"
    return packets_of_film(encode(counter(fps=FPS, frames=FRAMES), path, gop=GOP))


@pytest.fixture
def finder() -> Iterator[ResultPublisher]:
    publisher = ResultPublisher("finder")
    yield publisher
    publisher.close()


def say(publisher: ResultPublisher, packet: Packet, source: str = "hall", **values: Any) -> None:
    publisher.publish(
        values,
        source=source,
        frame_seq=packet.seq,
        pts_ns=packet.pts_ns,
        captured_ns=packet.captured_ns,
        captured_at_ns=packet.captured_at_ns,
    )


def written(recording: Recording) -> list[dict[str, Any]]:
    files = [results_of(path) for path in recordings(recording.folder)]
    return [json.loads(line) for file in files if file.exists() for line in file.read_text().splitlines()]


def test_what_is_said_is_beside_the_film(make: Make, film: list[Packet], finder: ResultPublisher) -> None:
    recording = make(results=["finder"])
    packets = camera(film)
    assert finder.wait_wanted(PATIENCE_S)
    for packet in packets[:20]:
        say(finder, packet, number=packet.seq - 1, where=np.array([packet.seq, 2]))
    recording.send(packets)
    say(finder, packets[5], source="yard", number=-1)
    for packet in packets[20:]:
        say(finder, packet, number=packet.seq - 1, where=np.array([packet.seq, 2]))
    until(lambda: recording.info["results"] == FRAMES)
    recording.stop()
    (path,) = recordings(recording.folder)
    film_s = [ticks / 90_000 for ticks in played(path).pts]
    results = sorted(written(recording), key=lambda result: int(result["pts_ns"]))
    assert [result["film_s"] for result in results] == film_s
    assert [result["values"] for result in results] == [
        {"number": n, "where": [n + 1, 2]} for n in range(FRAMES)
    ]


def test_by_command_nobody_is_heard_before_and_what_is_late_after(
    make: Make, film: list[Packet], finder: ResultPublisher
) -> None:
    recording = make(mode="command", results=["finder"])
    until(lambda: recording.host.report().detail == "not recording")
    assert not finder.readers()
    recording.host.command("start", {})
    assert finder.wait_wanted(PATIENCE_S)
    packets = camera(film)
    recording.send(packets)
    recording.host.command("stop", {})
    for packet in packets:
        say(finder, packet, number=packet.seq - 1)
    until(lambda: recording.info["results"] == FRAMES)
    assert len(written(recording)) == FRAMES


def test_whose_results_are_written_changes_with_the_site(
    make: Make, film: list[Packet], finder: ResultPublisher
) -> None:
    recording = make(results=[])
    until(lambda: recording.host.report().info["recording"])
    assert not finder.readers()
    assert recording.host.change({"results": ["finder"], "segment_s": 5}) == {
        "results": ["finder"],
        "segment_s": 5,
    }
    assert finder.wait_wanted(PATIENCE_S)
    recording.host.change({"results": []})
    until(lambda: not finder.wanted)
    assert "results" not in recording.host.report().values, "it is no parameter that people set"
    with pytest.raises(ParameterError, match="results: read 'finder', allowed: a list of names"):
        recording.host.change({"results": "finder"})


def test_a_processor_that_ends_and_returns_is_heard_again(
    make: Make, film: list[Packet], finder: ResultPublisher
) -> None:
    recording = make(results=["finder"])
    packets = camera(film)
    recording.send(packets)
    finder.end()
    assert finder.wait_ended(PATIENCE_S)
    finder.close()
    again = ResultPublisher("finder")
    try:
        assert again.wait_wanted(PATIENCE_S)
        say(again, packets[3], number=3)
        until(lambda: recording.info["results"] == 1)
    finally:
        again.close()


# --- cameras that send what is not recorded as it comes ---


class Encoded:
    """A camera that sends raw pictures, and what its view makes of them."""

    def __init__(self, recording: Recording, film: list[Packet]) -> None:
        self.recording = recording
        self.film = camera(film, laps=8)
        self.view = PacketPublisher("hall.live")

    def send_raw(self) -> None:
        """Raw pictures until the recorder has turned to the view."""
        for number in range(1000):
            if self.view.wanted:
                break
            self.recording.packets.wait_wanted(0.05)
            times = (number * STEP_NS, number * STEP_NS)
            data = bytes(RAW.width * RAW.height)
            self.recording.packets.publish(Packet(data, RAW, number * STEP_NS, True, *times, dts_ns=times[0]))
        assert self.view.wait_wanted(PATIENCE_S)
        until(lambda: not self.recording.packets.wanted)
        self.recording.packets.forget()  # as a camera does with pictures that nobody reads

    def send(self, begin: int, end: int, later_ns: int = 0) -> None:
        """What the view has encoded of so many pictures."""
        had = self.recording.host.report().frames
        for number, packet in enumerate(self.film[begin:end], 1):
            pts_ns = packet.pts_ns + later_ns
            self.view.publish(
                replace(packet, pts_ns=pts_ns, dts_ns=pts_ns, metadata={"frame_seq": packet.seq})
            )
            if number == 1:
                until(lambda: self.recording.host.report().frames > had)
        until(lambda: self.recording.host.report().frames >= had + end - begin)


@pytest.fixture
def encoded(make: Make, film: list[Packet]) -> Iterator[Encoded]:
    found = Encoded(make(instead="hall.live"), film)
    yield found
    found.view.close()


def test_raw_is_recorded_as_its_view_encodes_it(encoded: Encoded) -> None:
    encoded.send_raw()
    encoded.send(0, 40)
    assert not encoded.recording.packets.wanted, "what is not recorded is not read"
    encoded.recording.stop()
    assert numbers_in(encoded.recording.folder) == list(range(FRAMES))
    assert encoded.recording.info["lost"] == 0


def test_a_view_that_gives_nothing_is_said(encoded: Encoded) -> None:
    encoded.send_raw()
    until(
        lambda: encoded.recording.host.report().detail.startswith(
            "waiting for packets of 'hall.live': camera 'hall'"
        )
    )
    assert encoded.recording.host.report().detail.endswith(
        "sends neither H.264 nor H.265, and its view, which encodes it, gives nothing"
    )


def test_another_camera_that_sends_h264(encoded: Encoded, film: list[Packet]) -> None:
    """After each hole the camera itself is asked again."""
    encoded.send_raw()
    encoded.send(0, 40)
    encoded.view.publish(replace(encoded.film[40], pts_ns=60 * NS_PER_S, dts_ns=60 * NS_PER_S))
    assert encoded.recording.packets.wait_wanted(PATIENCE_S)
    encoded.recording.send(camera(film))
    assert not encoded.view.wanted
    encoded.recording.stop()
    assert numbers_in(encoded.recording.folder) == list(range(FRAMES)) * 2


def test_a_slow_camera_is_not_asked_at_every_picture(encoded: Encoded) -> None:
    """A picture in five seconds is its way, and no hole."""
    encoded.send_raw()
    asked = 0
    for number, packet in enumerate(encoded.film[:8]):
        had = encoded.recording.host.report().frames
        pts_ns = (number + 1) * 5 * NS_PER_S
        key = encoded.film[0]
        encoded.view.publish(replace(key, pts_ns=pts_ns, dts_ns=pts_ns, seq=packet.seq))
        until(lambda had=had: encoded.recording.host.report().frames > had or not encoded.view.wanted)  # type: ignore[misc]
        if not encoded.view.wanted:
            asked += 1
            encoded.send_raw()
    assert asked == 1
