"""The host of the index: it follows recorders and processors, and whatever its database does, they go on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from frameloom.bus.publisher import ResultPublisher
from frameloom.catalog import changes
from frameloom.catalog.database import Database, IndexUnavailable
from frameloom.catalog.index import Index
from frameloom.catalog.rows import EventRow
from frameloom.model.errors import CommandError
from frameloom.model.packet import Packet
from frameloom.model.result import Event
from frameloom.model.worker import State, WorkerSpec
from frameloom.sinks.recorder import Limits, Recorder
from frameloom.testing.clock import FakeClock
from frameloom.testing.films import counter, encode
from frameloom.workers.index import RETRY_S, IndexHost
from frameloom.workers.link import Link
from tests.sinks.parts import FPS, FRAMES, GOP, camera, packets_of_film
from tests.workers.test_recorder import PATIENCE_S, until

pytestmark = pytest.mark.usefixtures("runtime_dir")

AT_NS = 1_000_000_000_000


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> list[Packet]:
    path = tmp_path_factory.mktemp("films") / "counter.mp4"
    return camera(packets_of_film(encode(counter(fps=FPS, frames=FRAMES), path, gop=GOP)), laps=3)


class Indexing:
    """An IndexHost in a thread, and another look into its database."""

    def __init__(self, folder: Path, **config: Any) -> None:
        self.folder = folder / "recordings"
        self.file = folder / "index.sqlite"
        self.clock = FakeClock()
        database = f"sqlite:///{self.file}"
        self.index = Index(Database(database, "default"), "default")
        self.link, self._theirs = Link.pair()
        known = {"database": database, "folders": [str(self.folder)], "events": {"bell": "hall"}, **config}
        self.host = IndexHost(WorkerSpec("index", "index", "", known), self.link, self.clock)
        self._thread = threading.Thread(target=self.host.run)
        self._thread.start()

    @property
    def states(self) -> list[tuple[str, int]]:
        """Of all recordings; none while there is no index."""
        if not self.index.database.is_there:
            return []
        with suppress(IndexUnavailable):  # its tables are being made
            return [(row.state, row.frames) for row in self.index.segments("hall")[0]]
        return []

    @property
    def events(self) -> list[EventRow]:
        return self.index.events()[0]

    @property
    def state(self) -> tuple[State, str]:
        report = self.host.report()
        return report.state, report.detail

    def until_ready(self) -> None:
        until(lambda: self.host.report().info["compared"] > 0, lambda: str(self.host.report()))

    def close(self) -> None:
        self.link.stop()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        self.link.close()
        self._theirs.close()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Indexing]]:
    """An index; the one before has ended then."""
    made: list[Indexing] = []

    def new(**config: Any) -> Indexing:
        while made:
            made.pop().close()
        made.append(Indexing(tmp_path, **config))
        return made[-1]

    yield new
    while made:
        made.pop().close()


@pytest.fixture
def bell() -> Iterator[ResultPublisher]:
    with ResultPublisher("bell") as bell:
        yield bell


def recorder_in(folder: Path) -> Recorder:
    folder.mkdir(exist_ok=True)
    return Recorder("hall", folder, Limits(segment_s=3, reserve="0"), FakeClock())


def ring(bell: ResultPublisher, phase: str, pts_s: float, at_ns: int = 0, **values: Any) -> None:
    """An event that began at media time 1 s; frames have UTC `AT_NS` at media time 0."""
    pts_ns = round(pts_s * 1e9)
    event = Event("one", "ring", phase, pts_ns, at_ns, 1_000_000_000, values)
    bell.publish(
        {"events": [event.to_json()]},
        source="hall",
        frame_seq=1,
        pts_ns=pts_ns + 5,
        captured_ns=0,
        captured_at_ns=AT_NS + pts_ns + 5,
    )


def test_it_follows_a_recorder(make: Callable[..., Indexing], film: list[Packet]) -> None:
    """It hears of changes: its clock stands still, and it never looks by itself."""
    indexing = make()
    indexing.until_ready()
    recorder = recorder_in(indexing.folder)
    recorder.start()
    for packet in film[:35]:
        recorder.take(packet)
    until(lambda: indexing.states == [("writing", 30)], lambda: str(indexing.states))
    for packet in film[35:]:
        recorder.take(packet)
    recorder.stop()
    until(lambda: indexing.states == [("complete", 80), ("complete", 40)], lambda: str(indexing.states))
    path = indexing.index.segments("hall")[0][0].path
    assert path is not None
    path.unlink()
    until(lambda: indexing.states == [("complete", 40)], lambda: str(indexing.states))
    assert indexing.state == (State.RUNNING, "")


def test_what_was_there_before(make: Callable[..., Indexing], film: list[Packet], tmp_path: Path) -> None:
    recorder = recorder_in(tmp_path / "recordings")
    recorder.start()
    for packet in film:
        recorder.take(packet)
    recorder.stop()
    indexing = make()
    until(lambda: indexing.states == [("complete", 80), ("complete", 40)], lambda: str(indexing.states))


def test_events_of_processors(make: Callable[..., Indexing], bell: ResultPublisher) -> None:
    indexing = make()
    indexing.until_ready()
    until(lambda: bell.readers())
    ring(bell, "start", 1, loud=True)
    began = EventRow("hall", "bell", "one", AT_NS + 10**9, None, "ring", {"loud": True})
    until(lambda: indexing.events == [began], lambda: str(indexing.events))
    bell.publish(
        {"events": "nonsense"}, source="hall", frame_seq=1, pts_ns=0, captured_ns=0, captured_at_ns=0
    )
    bell.publish(
        {"events": [1, {"id": 5}]}, source="hall", frame_seq=1, pts_ns=0, captured_ns=0, captured_at_ns=0
    )
    ring(bell, "end", 3, AT_NS + 7, times=2)
    ended = EventRow("hall", "bell", "one", AT_NS + 10**9, AT_NS + 7, "ring", {"loud": True, "times": 2})
    until(lambda: indexing.events == [ended], lambda: str(indexing.events))
    assert (indexing.folder / "hall" / "events" / "1970-01-01.jsonl").read_text().count("\n") == 2
    assert indexing.host.report().info["events"] == 2


def test_an_event_that_outlives_its_index(make: Callable[..., Indexing], bell: ResultPublisher) -> None:
    """The end is told to another process than the beginning was."""
    indexing = make()
    indexing.until_ready()
    until(lambda: bell.readers())
    now_ns = indexing.clock.utc_ns()
    ring(bell, "start", 1, now_ns)
    until(lambda: len(indexing.events) == 1)
    indexing = make()
    indexing.until_ready()
    until(lambda: bell.readers())
    ring(bell, "end", 2, now_ns + 10)
    until(lambda: [row.end_ns for row in indexing.events] == [now_ns + 10], lambda: str(indexing.events))
    assert [row.at_ns for row in indexing.events] == [now_ns]


def test_a_database_that_is_away(
    make: Callable[..., Indexing], bell: ResultPublisher, film: list[Packet]
) -> None:
    """The worker says so; recordings and events go on, and are in the index as soon as there is one again."""
    indexing = make()
    indexing.until_ready()
    until(lambda: bell.readers())
    away = indexing.file.with_name("away")
    for rest in ("-wal", "-shm"):
        Path(f"{indexing.file}{rest}").unlink(missing_ok=True)
    indexing.file.rename(away)
    indexing.file.mkdir()
    recorder = recorder_in(indexing.folder)
    recorder.start()
    for packet in film:
        recorder.take(packet)
    ring(bell, "start", 1)
    until(lambda: indexing.state[0] is State.DEGRADED, lambda: str(indexing.state))
    assert "the index's database: " in indexing.state[1]
    assert "trying again every 5 s" in indexing.state[1]
    ring(bell, "end", 2)
    recorder.stop()
    assert recorder.counts.lost == 0
    file = indexing.folder / "hall" / "events" / "1970-01-01.jsonl"
    until(lambda: file.exists() and file.read_text().count("\n") == 2)
    indexing.file.rmdir()
    indexing.clock.advance(RETRY_S + 1)
    indexing.host._inbox.nudge()
    until(lambda: indexing.state == (State.RUNNING, ""), lambda: str(indexing.state))
    until(lambda: indexing.host.report().info["looked_at"] is None)
    assert indexing.states == [("complete", 80), ("complete", 40)]
    assert [row.end_ns for row in indexing.events] == [AT_NS + 2 * 10**9]


def test_a_database_that_is_lost(make: Callable[..., Indexing], film: list[Packet]) -> None:
    """It is made again, without a word, at the next change."""
    indexing = make()
    indexing.until_ready()
    for path in indexing.file.parent.glob("index.sqlite*"):
        path.unlink()
    recorder = recorder_in(indexing.folder)
    recorder.start()
    for packet in film:
        recorder.take(packet)
    recorder.stop()
    until(lambda: indexing.states == [("complete", 80), ("complete", 40)], lambda: str(indexing.states))


def test_a_folder_that_comes_later(
    make: Callable[..., Indexing], film: list[Packet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As that of a disk that is mounted: it is not made where its parent is missing, and found when it is there."""
    monkeypatch.setattr(changes, "_TICK_MS", 300)
    folder = tmp_path / "disk" / "tapes"
    indexing = make(folders=[str(folder)])
    until(lambda: indexing.host.report().info["compared"] >= 1)
    assert not folder.parent.exists()
    folder.parent.mkdir()
    recorder = recorder_in(folder)
    recorder.start()
    for packet in film:
        recorder.take(packet)
    recorder.stop()
    until(lambda: len(indexing.states) == 2, lambda: str(indexing.states))


def test_what_it_is_told(make: Callable[..., Indexing], film: list[Packet]) -> None:
    indexing = make()
    indexing.until_ready()
    recorder = recorder_in(indexing.folder)
    recorder.start()
    for packet in film:
        recorder.take(packet)
    recorder.stop()
    until(lambda: indexing.states == [("complete", 80), ("complete", 40)])
    command = indexing.host.command
    (hall,) = command("cameras", {})["cameras"]
    assert (hall["name"], hall["segments"], hall["seconds"]) == ("hall", 2, 4.8)
    told = command("segments", {"camera": "hall", "from_utc_ns": 0, "to_utc_ns": 1 << 62})
    assert [Path(one["path"]).exists() for one in told["segments"]] == [True, True]
    assert (told["camera"], told["truncated"]) == ("hall", False)
    before = command("rebuild", {})["compared"]
    until(lambda: indexing.host.report().info["compared"] > before)
    assert indexing.states == [("complete", 80), ("complete", 40)]
    with pytest.raises(CommandError, match="'index': read 'dance', allowed: rebuild, cameras, segments"):
        command("dance", {})
    with pytest.raises(CommandError, match="'index': segments wants camera, from_utc_ns, to_utc_ns"):
        command("segments", {"camera": "hall"})
