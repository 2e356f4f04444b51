"""The host of recorders: what the camera sent is in files, as commands and parameters say, and the report tells all."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from frameloom.bus.paths import site_dir
from frameloom.bus.publisher import PacketPublisher, ResultPublisher
from frameloom.model.clock import Clock
from frameloom.model.errors import CommandError, ParameterError
from frameloom.model.packet import Packet
from frameloom.model.result import Event
from frameloom.model.worker import State, WorkerSpec
from frameloom.sinks.recorder import RETRY_S
from frameloom.testing.clock import FakeClock
from frameloom.testing.films import counter, encode
from frameloom.workers.link import Link
from frameloom.workers.recorder import RecorderHost
from tests.sinks.parts import FPS, FRAMES, GOP, camera, numbers_in, packets_of_film, played, recordings

pytestmark = pytest.mark.usefixtures("runtime_dir")

PATIENCE_S = 60
LAP = list(range(FRAMES))


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> list[Packet]:
    path = tmp_path_factory.mktemp("films") / "counter.mp4"
    return packets_of_film(encode(counter(fps=FPS, frames=FRAMES), path, gop=GOP))


class Recording:
    """A RecorderHost in a thread, and the camera that it records."""

    def __init__(
        self,
        folder: Path,
        mode: str = "continuous",
        clock: Clock | None = None,
        on: str | None = None,
        instead: str | None = None,
        **params: Any,
    ) -> None:
        self.folder = folder
        self._closed = False
        self.link, self._theirs = Link.pair()
        self.packets = PacketPublisher("hall.packets")
        config = {"camera": "hall", "folder": str(folder), "mode": mode, "on": on, "instead": instead}
        spec = WorkerSpec("rec", "recorder", "", config, {"reserve": "0", **params}, ("hall.packets",))
        self.host = RecorderHost(spec, self.link, clock)
        self._thread = threading.Thread(target=self.host.run)
        self._thread.start()

    @property
    def info(self) -> dict[str, Any]:
        return self.host.report().info

    def send(self, packets: list[Packet]) -> None:
        """Publish, once the recorder has joined, and wait until it has had all of them."""
        assert self.packets.wait_wanted(PATIENCE_S)
        had = self.host.report().frames
        for packet in packets:
            self.packets.publish(packet)
            if packet is packets[0]:  # a newcomer begins at the newest key frame when it first asks
                self._wait_frames(had + 1)
        self._wait_frames(had + len(packets))

    def _wait_frames(self, least: int) -> None:
        until(lambda: self.host.report().frames >= least, lambda: f"{self.info} {self.packets.readers()}")

    def stop(self) -> None:
        self.link.stop()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self.stop()
        self.packets.close()
        self.link.close()
        self._theirs.close()


Make = Callable[..., Recording]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """A recorder; the one before has ended then."""
    made: list[Recording] = []

    def new(**options: Any) -> Recording:
        for one in made:
            one.close()
        made.append(Recording(tmp_path / "recordings", **options))
        return made[-1]

    yield new
    for one in made:
        one.close()


def until(condition: Callable[[], object], what: Callable[[], str] = str) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, what()
        time.sleep(0.002)


def test_all_that_is_published_is_in_files(make: Make, film: list[Packet]) -> None:
    recording = make(segment_s=1)
    recording.send(camera(film, laps=3))
    recording.stop()
    assert [len(played(path).numbers) for path in recordings(recording.folder)] == [30, 30, 30, 30]
    assert numbers_in(recording.folder) == 3 * LAP


def test_the_report(make: Make, film: list[Packet]) -> None:
    recording = make()
    packets = camera(film)
    recording.send(packets)
    report = recording.host.report()
    (path,) = recordings(recording.folder)
    assert (report.state, report.detail, report.dropped) == (State.RUNNING, "", 0)
    assert report.values == {
        "segment_s": 60.0,
        "keep_days": 0.0,
        "keep_bytes": "0",
        "reserve": "0",
        "pre_roll_s": 20.0,
        "post_roll_s": 10.0,
    }
    assert [one["name"] for one in report.declared] == [
        "segment_s",
        "keep_days",
        "keep_bytes",
        "reserve",
        "pre_roll_s",
        "post_roll_s",
    ]
    assert report.info == {
        "mode": "continuous",
        "recording": True,
        "folder": str(recording.folder),
        "file": str(path.relative_to(recording.folder)),
        "since_utc_ns": packets[0].captured_at_ns,
        "seconds": 39 / 25,
        "bytes": path.stat().st_size,
        "packets": 30,
        "segments": 0,
        "lost": 0,
        "gaps": 0,
        "deleted": 0,
        "results": 0,
    }
    assert [reader.client for reader in recording.packets.readers()] == ["rec"]


def test_a_camera_that_says_nothing_is_waited_for(make: Make, film: list[Packet]) -> None:
    clock = FakeClock()
    recording = make(clock=clock)
    assert recording.packets.wait_wanted(PATIENCE_S)
    clock.advance(5)
    until(lambda: recording.host.report().detail == "waiting for packets of 'hall.packets'")
    assert recording.host.report().state is State.RUNNING, "it is not the recorder that is in trouble"
    recording.send(camera(film))
    assert recording.host.report().detail == ""


def test_by_command(make: Make, film: list[Packet]) -> None:
    recording = make(mode="command")
    until(lambda: recording.host.report().detail == "not recording")
    assert not recording.packets.wanted, "nothing is read that nobody wants"
    packets = camera(film, laps=4)
    for _ in range(2):  # idempotent
        assert recording.host.command("start", {})["recording"]
    recording.send(packets[:40])
    done = recording.host.command("stop", {})
    assert (done["recording"], done["file"], done["segments"], done["packets"]) == (False, None, 1, 40)
    assert done["seconds"] == 39 / 25
    assert numbers_in(recording.folder) == LAP, "it is in the file when the answer comes"
    until(lambda: not recording.packets.wanted)
    assert recording.host.command("stop", {})["segments"] == 1
    recording.packets.forget()
    recording.host.command("start", {})
    recording.send(packets[80:120])
    assert recording.host.command("stop", {})["packets"] == 40
    assert numbers_in(recording.folder) == 2 * LAP


def test_commands_that_are_refused(make: Make) -> None:
    with pytest.raises(
        CommandError, match="records by itself; `mode: command` in the site file changes that"
    ):
        make().host.command("stop", {})
    told = make(mode="command")
    with pytest.raises(CommandError, match="read 'pause', allowed: start, stop"):
        told.host.command("pause", {})
    with pytest.raises(CommandError, match="start takes no arguments, read: now"):
        told.host.command("start", {"now": True})


def test_a_command_outlives_the_process_and_not_the_site(make: Make, film: list[Packet]) -> None:
    first = make(mode="command")
    first.host.command("start", {})
    first.close()
    again = make(mode="command")
    again.send(camera(film))
    again.host.command("stop", {})
    stopped = make(mode="command")
    until(lambda: stopped.host.report().detail == "not recording")
    (site_dir("default") / "rec.recording").write_text(str(os.getpid()))  # that of another supervisor
    other = make(mode="command")
    until(lambda: other.host.report().detail == "not recording")
    assert numbers_in(again.folder) == LAP


def test_parameters_change_while_it_records(make: Make, film: list[Packet]) -> None:
    recording = make()
    packets = camera(film, laps=5)
    recording.send(packets[:60])
    assert recording.host.change({"segment_s": "1", "keep_days": 9999}) == {
        "segment_s": 1.0,
        "keep_days": 9999.0,
    }
    recording.send(packets[60:])
    assert recording.info["segments"] == 5
    assert len(recordings(recording.folder)) == 6
    recording.host.change({"keep_bytes": 1, "keep_days": 0})
    assert recording.info["deleted"] == 5
    (path,) = recordings(recording.folder)
    assert str(path.relative_to(recording.folder)) == recording.info["file"]
    with pytest.raises(ParameterError, match="keep_bytes: read 'much', allowed: a size such as"):
        recording.host.change({"keep_bytes": "much"})
    with pytest.raises(ParameterError, match="folder: no such parameter"):
        recording.host.change({"folder": "/"})
    assert recording.host.report().values["keep_bytes"] == "1"


def test_a_full_disk_is_a_state_of_its_own(make: Make, film: list[Packet]) -> None:
    clock = FakeClock()
    recording = make(clock=clock, reserve="900PB")
    packets = camera(film, laps=3)
    recording.send(packets[:40])
    report = recording.host.report()
    assert report.state is State.DEGRADED
    assert report.detail.startswith(f"{recording.folder}: ")
    assert "900 PB are to stay free (reserve); trying again every 5 s" in report.detail
    assert (report.dropped, report.info["recording"]) == (40, True)
    recording.host.change({"reserve": "0"})
    clock.advance(RETRY_S)
    recording.send(packets[40:])
    assert recording.host.report().state is State.RUNNING
    recording.stop()
    assert numbers_in(recording.folder) == 2 * LAP


def test_a_camera_that_dies_and_returns(make: Make, film: list[Packet]) -> None:
    recording = make()
    packets = camera(film)
    recording.send(packets[:15])
    recording.packets.close()
    recording.packets = PacketPublisher("hall.packets")
    recording.send(packets[10:])
    recording.stop()
    assert [played(path).numbers for path in recordings(recording.folder)] == [LAP[:15], LAP[10:]]
    assert (recording.info["gaps"], recording.info["lost"]) == (1, 0)


def test_a_film_that_ends_is_waited_for_again(make: Make, film: list[Packet]) -> None:
    recording = make()
    recording.send(camera(film))
    recording.packets.end()
    until(lambda: recording.info["segments"] == 1)
    assert numbers_in(recording.folder) == LAP
    recording.packets.close()
    recording.packets = PacketPublisher("hall.packets")
    recording.send(camera(film))
    recording.stop()
    assert numbers_in(recording.folder) == 2 * LAP


def test_stop_in_every_state(make: Make, film: list[Packet]) -> None:
    make().stop()
    make(mode="command").stop()
    recording = make()
    recording.send(camera(film)[:3])
    recording.stop()
    assert numbers_in(recording.folder) == LAP[:3]
    with pytest.raises(CommandError, match="the worker ended"):
        recording.host.change({"segment_s": 5})


def ring(results: ResultPublisher, phase: str, packet: Packet, id: str = "a") -> None:
    """A processor says that an event begins or ends with this picture."""
    event = Event(id, "ring", phase, packet.pts_ns, 0, packet.pts_ns)
    times = {"pts_ns": packet.pts_ns, "captured_ns": time.monotonic_ns(), "captured_at_ns": 0}
    results.publish({"events": [event.to_json()]}, source="hall", frame_seq=packet.seq, **times)


def test_on_event(make: Make, film: list[Packet]) -> None:
    recording = make(mode="event", on="bell", pre_roll_s=0, post_roll_s=0)
    packets = camera(film, laps=4)
    recording.send(packets[:25])
    assert recording.host.report().detail == "waiting for an event"
    with ResultPublisher("bell") as results:
        assert results.wait_wanted(PATIENCE_S)
        ring(results, "start", packets[22])
        until(lambda: recording.info["recording"])
        recording.send(packets[25:32])
        ring(results, "end", packets[30])
        recording.send(packets[32:65])
        until(lambda: not recording.info["recording"])
        ring(results, "start", packets[62], "b")
        until(lambda: recording.info["recording"])
    recording.send(packets[65:67])  # the processor has died
    recording.send(packets[67:100])
    until(lambda: not recording.info["recording"])
    assert [played(path).numbers for path in recordings(recording.folder)] == [LAP[20:], LAP[20:30]]
    assert (recording.info["events"], recording.info["on"], recording.info["lost"]) == (2, "bell", 0)


def test_a_processor_that_returns_is_heard_again(make: Make, film: list[Packet]) -> None:
    recording = make(mode="event", on="bell", pre_roll_s=0, post_roll_s=0)
    packets = camera(film, laps=4)
    recording.send(packets[:15])
    for lap, ending in enumerate(("end", "close", "close")):
        results = ResultPublisher("bell")
        assert results.wait_wanted(PATIENCE_S)
        ring(results, "start", packets[40 * lap + 12])
        until(lambda lap=lap: recording.info["events"] == lap + 1)
        if ending == "end":
            results.end()
        results.close()
        recording.send(packets[40 * lap + 15 : 40 * lap + 55])
        until(lambda: not recording.info["recording"])
    assert len(recordings(recording.folder)) == 3
