"""The index is as the files are: after a look at what changed as after reading all of them anew."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from frameloom.catalog import event_files
from frameloom.catalog.index import Index
from frameloom.catalog.keeper import Keeper
from frameloom.catalog.rows import EventRow, SegmentRow, Summary
from frameloom.sinks.names import results_of
from tests.sinks.parts import recordings

from .parts import Recorded, database_at, recorder_of, utc_ns

STARTED = EventRow("hall", "bell", "1", utc_ns(1), None, "ring", {"loud": True})
ENDED = EventRow("hall", "bell", "1", utc_ns(1), utc_ns(2), "ring", {"loud": True, "times": 3})


@pytest.fixture
def keeper(url: str, tmp_path: Path) -> Keeper:
    return keeper_of(url, tmp_path / "tapes")


def keeper_of(url: str, *folders: Path, site: str = "demo") -> Keeper:
    database = database_at(url, site)
    database.prepare()
    return Keeper(Index(database, site), folders)


def all_of(keeper: Keeper) -> tuple[list[SegmentRow], list[EventRow]]:
    """All that is in the index."""
    index = keeper.index
    rows = [row for one in index.summaries() for row in index.segments(one.camera)[0]]
    return sorted(rows, key=lambda row: (row.id, row.folder)), index.events()[0]


def synced(keeper: Keeper) -> tuple[list[SegmentRow], list[EventRow]]:
    for _ in keeper.sync():
        pass
    return all_of(keeper)


def rebuilt(keeper: Keeper) -> tuple[list[SegmentRow], list[EventRow]]:
    for _ in keeper.rebuild():
        pass
    return all_of(keeper)


def put(told: Recorded, keeper: Keeper) -> list[Path]:
    """These recordings, in the keeper's folder."""
    shutil.copytree(told.folder, keeper.folders[0], dirs_exist_ok=True)
    return recordings(keeper.folders[0])


def test_what_is_found_in_the_files(keeper: Keeper, recorded: dict[str, Recorded]) -> None:
    one, two = put(recorded["bframes"], keeper)
    rows, events = synced(keeper)
    folder = str(keeper.folders[0])
    common = {"codec": "h264", "mime": 'video/mp4; codecs="avc1.4d400d"', "width": 320, "height": 240}
    ends = {"camera": "hall", "folder": folder, "state": "complete", "has_results": False, **common}
    assert rows == [
        SegmentRow(
            id="hall-20260101T000000.000Z",
            begin_ns=utc_ns(0),
            end_ns=utc_ns(3.2),
            bytes=one.stat().st_size,
            frames=80,
            **ends,  # type: ignore[arg-type]
        ),
        SegmentRow(
            id="hall-20260101T000003.200Z",
            begin_ns=utc_ns(3.2),
            end_ns=utc_ns(4.8),
            bytes=two.stat().st_size,
            frames=40,
            **ends,  # type: ignore[arg-type]
        ),
    ]
    assert [row.path for row in rows] == [one, two]
    assert events == []
    nbytes = one.stat().st_size + two.stat().st_size
    assert keeper.index.summaries() == [Summary("hall", 2, nbytes, 4_800_000_000, utc_ns(0), utc_ns(4.8))]
    assert list(keeper.sync()) == [], "nothing has changed, and nothing is read"


def test_while_a_recorder_writes(keeper: Keeper, recorded: dict[str, Recorded]) -> None:
    """What the index says by looking at each change is what it says when it is made anew, at every moment."""
    recorder = recorder_of(keeper.folders[0])
    recorder.start()
    states = []
    for number, packet in enumerate(recorded["h264"].packets, 1):
        recorder.take(packet)
        if number % 17 == 0:
            paths = recordings(keeper.folders[0])
            keeper.look(paths)
            live = all_of(keeper)
            states.append([(row.state, row.frames) for row in live[0]])
            assert live == rebuilt(keeper) == rebuilt(keeper)
    recorder.stop()
    keeper.look_at_writing()
    assert all_of(keeper) == rebuilt(keeper)
    assert [(row.state, row.frames) for row in all_of(keeper)[0]] == [("complete", 80), ("complete", 40)]
    assert states[0] == [("writing", 10)]
    assert states[-1] == [("complete", 80), ("writing", 30)]
    assert keeper.writing == set()


def test_a_file_that_was_cut_and_is_repaired(keeper: Keeper, recorded: dict[str, Recorded]) -> None:
    path = put(recorded["h264"], keeper)[0]
    data = path.read_bytes()
    path.write_bytes(data[:100_000])
    (row, _), _ = synced(keeper)
    assert (row.state, row.frames, row.bytes) == ("cut", 40, 100_000)
    recorder_of(keeper.folders[0])  # which looks after the newest files when it is made
    (row, _), _ = synced(keeper)
    assert (row.state, row.frames, row.bytes) == ("cut", 40, path.stat().st_size)
    assert row.bytes < 100_000


Change = Callable[[random.Random, Keeper, dict[str, Recorded]], list[Path]]


def add(dice: random.Random, keeper: Keeper, recorded: dict[str, Recorded]) -> list[Path]:
    kind = dice.choice(["h264", "vfr", "mjpeg"])
    source = dice.choice(recorded[kind].files)
    target = keeper.folders[0] / source.relative_to(recorded[kind].folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(source.read_bytes())
    return [target]


def cut(dice: random.Random, keeper: Keeper, recorded: dict[str, Recorded]) -> list[Path]:
    paths = [dice.choice(found)] if (found := recordings(keeper.folders[0])) else []
    for path in paths:
        path.write_bytes(path.read_bytes()[: dice.randrange(1, path.stat().st_size + 1)])
    return paths


def remove(dice: random.Random, keeper: Keeper, recorded: dict[str, Recorded]) -> list[Path]:
    paths = [dice.choice(found)] if (found := recordings(keeper.folders[0])) else []
    for path in paths:
        path.unlink()
    return paths


def say(dice: random.Random, keeper: Keeper, recorded: dict[str, Recorded]) -> list[Path]:
    paths = [results_of(dice.choice(found))] if (found := recordings(keeper.folders[0])) else []
    for path in paths:
        path.unlink() if path.exists() else path.write_text("{}\n")
    return paths


def happen(dice: random.Random, keeper: Keeper, recorded: dict[str, Recorded]) -> list[Path]:
    at_ns = utc_ns(dice.randrange(-100_000, 100_000))
    for end_ns in (None, at_ns + 1)[: dice.randrange(1, 3)]:
        row = EventRow("hall", "bell", str(dice.randrange(5)), at_ns, end_ns, "ring", {"n": dice.random()})
        keeper.store_event(keeper.write_event(row))
    return []


def forget_events(dice: random.Random, keeper: Keeper, recorded: dict[str, Recorded]) -> list[Path]:
    paths = sorted(keeper.folders[0].glob("hall/events/*.jsonl"))[:1]
    for path in paths:
        path.unlink()
    return paths


def leave_rubbish(dice: random.Random, keeper: Keeper, recorded: dict[str, Recorded]) -> list[Path]:
    name = dice.choice(["hall-20260101T000009.000Z.mp4", "other.mp4", "hall-2026.mp4", "x.results.jsonl"])
    path = keeper.folders[0] / dice.choice(["hall/2026-01-01", "hall/x", "HALL!"]) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(dice.randbytes(dice.randrange(100)))
    return [path, path.parent, path.parent.parent]


@pytest.mark.parametrize("seed", range(2))
def test_whatever_happens_to_the_files(keeper: Keeper, recorded: dict[str, Recorded], seed: int) -> None:
    """Live, compared, and made anew twice: always the same."""
    keeper.folders[0].mkdir()
    dice = random.Random(seed)
    changes: list[Change] = [add, add, cut, remove, say, happen, happen, forget_events, leave_rubbish]
    most = 0
    for step in range(24):
        keeper.look(dice.choice(changes)(dice, keeper, recorded))
        if step % 8 == 7:
            live = all_of(keeper)
            assert live == synced(keeper) == rebuilt(keeper) == rebuilt(keeper)
            most = max(most, len(live[0]) + len(live[1]))
    assert most > 1


def test_a_folder_of_a_day_that_was_not_watched_yet(keeper: Keeper, recorded: dict[str, Recorded]) -> None:
    day = put(recorded["h264"], keeper)[0].parent
    keeper.look([day])
    assert len(all_of(keeper)[0]) == 2
    shutil.rmtree(day.parent)
    for _ in keeper.sync():
        pass
    assert all_of(keeper) == ([], [])


def test_events_are_written_down_and_found_again(keeper: Keeper) -> None:
    keeper.folders[0].mkdir()
    for row in (STARTED, ENDED):
        keeper.store_event(keeper.write_event(row))
        assert keeper.index.events() == ([row], False)
    file = event_files.path_of(keeper.folders[0], "hall", "2026-01-01")
    assert len(file.read_text().splitlines()) == 2
    assert rebuilt(keeper) == ([], [ENDED])
    with file.open("a") as more:
        more.write('not json\n{"processor": 1}\n[]\n')
    assert rebuilt(keeper) == ([], [ENDED])


def test_events_that_are_still_open(keeper: Keeper) -> None:
    keeper.folders[0].mkdir()
    other = EventRow("hall", "bell", "2", utc_ns(9), None, "ring", {})
    for row in (STARTED, other, ENDED):
        keeper.store_event(keeper.write_event(row))
    assert keeper.index.open_events(0) == [other]
    assert keeper.index.open_events(utc_ns(10)) == []


def test_an_event_that_says_too_much() -> None:
    told = {"id": "x" * 1000, "name": "n" * 1000, "values": {"text": "y" * 9000}}
    row = event_files.event_of("hall", "bell", told, 1, None)
    assert (len(row.id), len(row.name), row.values) == (200, 200, {})


def test_which_are_found_by_time(keeper: Keeper, recorded: dict[str, Recorded]) -> None:
    put(recorded["vfr"], keeper)
    rows, _ = synced(keeper)
    index = keeper.index

    def begins(begin_s: float, end_s: float, most: int = 100) -> list[int]:
        found, more = index.segments("hall", utc_ns(begin_s), utc_ns(end_s), most)
        assert more is (most < 4)
        return [rows.index(row) for row in found]

    assert begins(-9, 100) == [0, 1, 2, 3]
    assert begins(2, 4.3) == [1, 2]
    assert begins(rows[1].end_ns / 1e9 - utc_ns(0) / 1e9 + 0.001, 5) == [2]
    assert begins(-9, 0) == []
    assert begins(-9, 100, most=3) == [1, 2, 3], "the newest"
    assert index.segments("yard") == ([], False)


def test_events_by_camera_and_time(keeper: Keeper) -> None:
    keeper.folders[0].mkdir()
    rows = [
        EventRow(camera, "bell", "1", utc_ns(n), None, "", {})
        for n, camera in enumerate(["hall", "yard"] * 3)
    ]
    for row in rows:
        keeper.store_event(keeper.write_event(row))
    index = keeper.index
    assert index.events() == (rows[::-1], False)
    assert index.events("yard") == ([rows[5], rows[3], rows[1]], False)
    assert index.events(None, utc_ns(1), utc_ns(3)) == ([rows[2], rows[1]], False)
    assert index.events("hall", most=2) == ([rows[4], rows[2]], True)


def test_two_recorders_of_one_camera(url: str, recorded: dict[str, Recorded], tmp_path: Path) -> None:
    """In two folders, with files of the same names."""
    told = recorded["h264"]
    folders = [told.copied(tmp_path / name).folder for name in ("left", "right")]
    keeper = keeper_of(url, *folders)
    rows, _ = synced(keeper)
    assert [row.folder for row in rows] == [str(folder) for folder in folders] * 2
    one = keeper.index.segment("hall", rows[0].id)
    assert one in rows[:2]
    shutil.rmtree(folders[0])
    assert {row.folder for row in synced(keeper)[0]} == {str(folders[1])}


def test_sites_that_share_a_database(url: str, recorded: dict[str, Recorded], tmp_path: Path) -> None:
    one = keeper_of(url, recorded["h264"].folder, site="one")
    other = keeper_of(url, recorded["vfr"].folder, site="other")
    before = synced(one)
    assert len(synced(other)[0]) == 4
    assert rebuilt(one) == before
    one.index.clear()
    assert all_of(one) == ([], [])
    assert len(all_of(other)[0]) == 4


def test_a_folder_that_the_site_has_no_more(url: str, recorded: dict[str, Recorded], tmp_path: Path) -> None:
    assert len(synced(keeper_of(url, recorded["h264"].folder, recorded["vfr"].folder))[0]) == 6
    assert len(synced(keeper_of(url, recorded["vfr"].folder))[0]) == 4


def test_a_path_from_a_database_is_made_of_names_only(recorded: dict[str, Recorded]) -> None:
    row = SegmentRow("hall", "../../etc/passwd", "/tapes", 0, 0, 0, 0, "", "", 0, 0, "", False)
    assert row.path is None
