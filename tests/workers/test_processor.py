"""The host of processors: results of a film, late events, changes between frames. Real processes where it matters."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

import frameloom
from frameloom.bus.publisher import FramePublisher
from frameloom.bus.subscriber import Subscription
from frameloom.model.errors import ParameterError, StreamEnded
from frameloom.model.frame import PictureFormat, PixelFormat
from frameloom.model.worker import State, WorkerSpec
from frameloom.testing.films import encode, walking_figures
from frameloom.workers.link import Link
from frameloom.workers.processor import ProcessorHost

pytestmark = pytest.mark.usefixtures("runtime_dir")

FORMAT = PictureFormat(PixelFormat.GRAY, 64, 48)


class Host:
    """A ProcessorHost in a thread, and the stream that it reads."""

    def __init__(self, use: str, params: dict[str, object], can_wait: bool = True) -> None:
        self.link, self._theirs = Link.pair()
        self.frames = FramePublisher("hall", can_wait=can_wait)
        config = {"use": use, "policy": "every", "await_reader": True}  # or the first results may go unread
        spec = WorkerSpec("looks", "processor", "", config, params, ("hall",))
        self.host = ProcessorHost(spec, self.link)
        self.results = Subscription("looks", policy="every", leases=16)
        self._thread = threading.Thread(target=self.host.run)
        self._thread.start()
        assert self.frames.wait_wanted(30)

    def show(self, number: int, level: int = 0) -> None:
        self.frames.wait_ready(30)
        slot = self.frames.reserve(FORMAT)
        slot.data[:] = level
        self.frames.publish(slot, pts_ns=number * 40_000_000, captured_ns=number, captured_at_ns=number)

    def result(self) -> frameloom.Result:
        found = self.results.get(30)
        assert isinstance(found, frameloom.Result)
        return found

    def close(self) -> None:
        self.link.stop()
        self._thread.join(30)
        self.frames.close()
        self.results.close()
        self.link.close()
        self._theirs.close()
        assert not self._thread.is_alive()


def test_change_takes_effect_at_the_next_frame_and_loses_none() -> None:
    host = Host("tests.workers.test_processor:Level", {"plus": 1})
    try:
        for number in range(200):
            if number % 10 == 0:
                assert host.host.change({"plus": number}) == {"plus": number}
            host.show(number)
            result = host.result()
            assert (result.frame_seq, result["plus"]) == (number + 1, number - number % 10)
        with pytest.raises(ParameterError, match="plus: read -5"):
            host.host.change({"plus": -5})
        assert host.host.report().values == {"plus": 190}
    finally:
        host.close()


def test_changes_while_no_frame_comes() -> None:
    """A camera that stands still must not keep a command waiting."""
    host = Host("tests.workers.test_processor:Level", {})
    try:
        assert host.host.change({"plus": 7}) == {"plus": 7}
    finally:
        host.close()


def test_end_of_the_film_ends_results_after_the_late_one() -> None:
    host = Host("tests.workers.test_processor:Level", {})
    try:
        for number in range(5):
            host.show(number)
        host.frames.end()
        values = [host.result().values for _ in range(6)]
        assert values[-1] == {"late": True}
        assert values[4]["plus"] == 0
        with pytest.raises(StreamEnded):
            host.results.get(30)
    finally:
        host.close()


def test_result_names_its_frame() -> None:
    host = Host("tests.workers.test_processor:Level", {})
    try:
        host.show(3, level=9)
        result = host.result()
        assert (result.source, result.frame_seq, result.pts_ns) == ("hall", 1, 120_000_000)
        assert result["level"] == 9
        assert host.host.report().state is State.RUNNING
    finally:
        host.close()


def test_film_that_ends_in_motion_gets_its_end_event(tmp_path: Path) -> None:
    """Every start has an end, also where the film stops in mid-motion."""
    film = walking_figures(width=320, height=240, fps=25, frames=200)
    path = encode(film, tmp_path / "film.mp4", gop=25)
    moving = [n for n in range(200) if film.truth(n).moving]
    events = [event for result in frameloom.run(_motion(), path) for event in result["events"]]
    phases = [(event["phase"], event["id"]) for event in events]
    starts = [id for phase, id in phases if phase == "start"]
    assert moving
    assert starts
    assert sorted(starts) == sorted(id for phase, id in phases if phase == "end")


def _motion() -> type[frameloom.Processor]:
    from frameloom.processors.motion import Motion

    return Motion


class Level(frameloom.Processor):
    """Says the level of the first pixel and its parameter."""

    plus = frameloom.Integer(0, minimum=0, maximum=1000)

    def process(self, frame: frameloom.Frame) -> dict[str, int]:
        return {"level": int(frame.gray[0, 0]), "plus": self.plus}

    def stop(self) -> dict[str, bool]:
        return {"late": True}
