"""Recordings over HTTP: found, played in parts, exported and deleted, and nothing that was not asked for."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from frameloom.catalog.database import Database
from frameloom.catalog.index import Index
from frameloom.catalog.keeper import Keeper
from frameloom.catalog.rows import EventRow
from frameloom.model.worker import WorkerSpec
from frameloom.server import films
from frameloom.sinks.names import results_of
from frameloom.testing.films import counter, encode
from tests.catalog.parts import Recorded, record, recorder_of, utc_ns
from tests.sinks.parts import FPS, FRAMES, GOP, played

from .bench import HALL, SITE, YARD, Bench, serving, until

pytestmark = pytest.mark.usefixtures("runtime_dir")

RECORDER = WorkerSpec("hall-rec", "recorder", "nowhere:Nothing", streams=("hall.packets",), enabled=False)
IDS = ["hall-20260101T000000.000Z", "hall-20260101T000003.200Z"]
LATEST = (1 << 63) - 1


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    folder = tmp_path_factory.mktemp("recorded")
    film = encode(counter(fps=FPS, frames=FRAMES), folder / "film.mp4", gop=GOP, bframes=2)
    return record(film, folder / "recordings")


class Shelf:
    """Recordings of a test's own, and their index."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "recordings"
        self.url = f"sqlite:///{folder / 'index.sqlite'}"
        database = Database(self.url, SITE)
        database.prepare()
        self.keeper = Keeper(Index(database, SITE), [self.folder])

    def sync(self) -> None:
        for _ in self.keeper.sync():
            pass

    @asynccontextmanager
    async def served(self) -> AsyncIterator[Bench]:
        async with serving(HALL, YARD, RECORDER, database=self.url) as bench:
            yield bench


@pytest.fixture
def shelf(recorded: Recorded, tmp_path: Path) -> Shelf:
    """Two recordings of 3.2 s and 1.6 s, one after the other."""
    made = Shelf(tmp_path)
    shutil.copytree(recorded.folder, made.folder)
    made.sync()
    return made


async def get(bench: Bench, path: str, status: int = 200, **headers: str) -> Any:
    answer = await bench.http.get(path, headers=headers)
    assert answer.status_code == status, answer.text
    return answer.json()


async def test_the_cameras(shelf: Shelf) -> None:
    shutil.copytree(shelf.folder / "hall", shelf.folder / "attic")
    for path in (shelf.folder / "attic").rglob("*.mp4"):
        path.rename(path.with_name(path.name.replace("hall", "attic")))
    shelf.sync()
    async with shelf.served() as bench:
        hall, yard, attic = (await get(bench, "/api/recordings"))["cameras"]
    nbytes = sum(path.stat().st_size for path in shelf.folder.rglob("hall-*.mp4"))
    assert hall == {
        "name": "hall",
        "recorders": ["hall-rec"],
        "recording": False,
        "segments": 2,
        "bytes": nbytes,
        "seconds": 4.8,
        "first_utc_ns": utc_ns(0),
        "last_utc_ns": utc_ns(4.8),
    }
    assert (yard["name"], yard["segments"], yard["first_utc_ns"], yard["recorders"]) == ("yard", 0, None, [])
    assert (attic["name"], attic["segments"], attic["recorders"]) == ("attic", 2, [])


async def test_what_was_recorded_of_one(shelf: Shelf) -> None:
    rows = [EventRow("hall", "bell", str(n), utc_ns(n), utc_ns(n) + 1, "ring", {"n": n}) for n in (1, 4)]
    for row in rows:
        shelf.keeper.store_event(shelf.keeper.write_event(row))
    async with shelf.served() as bench:
        found = await get(bench, "/api/recordings/hall")
        assert [one["id"] for one in found["segments"]] == IDS
        assert found["segments"][1] == {
            "id": IDS[1],
            "begin_utc_ns": utc_ns(3.2),
            "end_utc_ns": utc_ns(4.8),
            "bytes": next(shelf.folder.rglob(f"{IDS[1]}.mp4")).stat().st_size,
            "codec": "h264",
            "mime": 'video/mp4; codecs="avc1.4d400d"',
            "width": 320,
            "height": 240,
            "frames": 40,
            "state": "complete",
            "has_results": False,
        }
        told = {"id": "4", "camera": "hall", "processor": "bell", "name": "ring", "values": {"n": 4}}
        assert found["events"][1] == {**told, "at_utc_ns": utc_ns(4), "end_utc_ns": utc_ns(4) + 1}
        assert [one["id"] for one in found["events"]] == ["1", "4"]
        part = await get(bench, f"/api/recordings/hall?from_utc_ns={utc_ns(3.3)}&to_utc_ns={utc_ns(4)}")
        assert ([one["id"] for one in part["segments"]], part["events"]) == (IDS[1:], [])
        assert await get(bench, "/api/recordings/yard") == {
            "camera": "yard",
            "segments": [],
            "events": [],
            "truncated": False,
        }
        newest = await get(bench, "/api/events?limit=1&camera=hall")
        assert ([one["id"] for one in newest["events"]], newest["truncated"]) == (["4"], True)
        assert (await get(bench, f"/api/events?to_utc_ns={utc_ns(2)}"))["events"] == found["events"][:1]


async def test_a_film_in_parts(shelf: Shelf, tmp_path: Path) -> None:
    """As players ask for it: with the same bytes in whatever order."""
    path = f"/api/recordings/hall/{IDS[0]}/film.mp4"
    dice = random.Random(2)
    async with shelf.served() as bench:
        whole = await bench.http.get(path)
        data = whole.content
        assert (whole.status_code, whole.headers["accept-ranges"]) == (200, "bytes")
        assert whole.headers["content-type"] == "video/mp4"
        assert len(data) == int(whole.headers["content-length"])
        for _ in range(30):
            start = dice.randrange(len(data))
            end = dice.randrange(start, len(data))
            part = await bench.http.get(path, headers={"Range": f"bytes={start}-{end}"})
            assert (part.status_code, part.content) == (206, data[start : end + 1])
            assert part.headers["content-range"] == f"bytes {start}-{end}/{len(data)}"
        head = await bench.http.head(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == str(len(data))
    (tmp_path / "film.mp4").write_bytes(data)
    assert played(tmp_path / "film.mp4").numbers == [*range(FRAMES), *range(FRAMES)]


@pytest.mark.parametrize(
    ("asked", "status", "slice_"),
    [
        ("bytes=10-", 206, slice(10, None)),
        ("bytes=-10", 206, slice(-10, None)),
        ("bytes=0-99999999999", 206, slice(None)),
        ("bytes=99999999999-", 416, slice(0)),
        ("bytes=-0", 416, slice(0)),
        ("bytes=5-4", 416, slice(0)),
        ("bytes=-", 200, slice(None)),
        ("bytes=0-1,3-4", 200, slice(None)),
        ("bytes=0-" + "9" * 30, 200, slice(None)),
        ("lines=1-2", 200, slice(None)),
    ],
)
async def test_a_part_that_is_odd(shelf: Shelf, asked: str, status: int, slice_: slice) -> None:
    path = f"/api/recordings/hall/{IDS[1]}/film.mp4"
    async with shelf.served() as bench:
        data = (await bench.http.get(path)).content
        part = await bench.http.get(path, headers={"Range": asked})
    assert (part.status_code, part.content) == (status, data[slice_])
    if status == 416:
        assert part.headers["content-range"] == f"bytes */{len(data)}"


async def test_a_part_of_what_it_was(shelf: Shelf) -> None:
    """If-Range: the whole film, where it is another one."""
    path = f"/api/recordings/hall/{IDS[1]}/film.mp4"
    async with shelf.served() as bench:
        tag = (await bench.http.get(path)).headers["etag"]
        for known, status in ((tag, 206), ('"other"', 200)):
            part = await bench.http.get(path, headers={"Range": "bytes=0-3", "If-Range": known})
            assert part.status_code == status


async def test_one_that_grows(shelf: Shelf, recorded: Recorded) -> None:
    """It is shown as far as it is written, under an address that means just that."""
    shutil.rmtree(shelf.folder)
    recorder = recorder_of(shelf.folder, segment_s=60)
    recorder.start()
    for packet in recorded.packets[:35]:
        recorder.take(packet)
    shelf.sync()
    path = f"/api/recordings/hall/{IDS[0]}/film.mp4"
    async with shelf.served() as bench:
        moved = await bench.http.get(path)
        assert moved.status_code == 307
        now = moved.headers["location"]
        first = await bench.http.get(f"/api/recordings/hall/{IDS[0]}/{now}")
        for packet in recorded.packets[35:55]:
            recorder.take(packet)
        assert (await bench.http.get(path)).headers["location"] != now
        again = await bench.http.get(f"/api/recordings/hall/{IDS[0]}/{now}")
        assert (again.content, again.headers["etag"]) == (first.content, first.headers["etag"])
        recorder.stop()
        assert len((await bench.http.get(path)).content) > len(first.content)


async def test_results(shelf: Shelf) -> None:
    film = next(shelf.folder.rglob(f"{IDS[0]}.mp4"))
    results_of(film).write_text('{"processor": "motion"}\n')
    async with shelf.served() as bench:
        answer = await bench.http.get(f"/api/recordings/hall/{IDS[0]}/results.jsonl")
        assert (answer.text, answer.status_code) == ('{"processor": "motion"}\n', 200)
        missing = await get(bench, f"/api/recordings/hall/{IDS[1]}/results.jsonl", 404)
        assert missing["error"]["code"] == "unknown-name"


async def test_results_that_grow_while_they_are_read(shelf: Shelf) -> None:
    """As of a film that is being recorded: whole lines, as many as there were when it was asked."""
    lines = [f'{{"processor": "motion", "frame_seq": {n}, "values": "{"x" * 500}"}}\n' for n in range(4000)]
    path = results_of(next(shelf.folder.rglob(f"{IDS[0]}.mp4")))
    path.write_text("".join(lines) + '{"processor": "mot')
    async with shelf.served() as bench:
        url = f"/api/recordings/hall/{IDS[0]}/results.jsonl"
        async with bench.http.stream("GET", url) as answer:
            with path.open("a") as file:
                file.write('ion"}\n' + "".join(lines))
            got = b"".join([bite async for bite in answer.aiter_bytes()]).decode()
        assert got == "".join(lines)
        assert int(answer.headers["content-length"]) == len(got)
        assert (await bench.http.head(url)).headers["content-length"] == str(path.stat().st_size)


@pytest.mark.parametrize(
    "path",
    [
        "/api/recordings/nowhere",
        "/api/recordings/..%2F..",
        "/api/recordings/hall/..%2F..%2Findex.sqlite/film.mp4",
        "/api/recordings/hall/%2Fetc%2Fpasswd/film.mp4",
        f"/api/recordings/yard/{IDS[0]}/film.mp4",
        f"/api/recordings/hall/{IDS[0]}.mp4/film.mp4",
        f"/api/recordings/hall/{IDS[0]}-2/results.jsonl",
        "/api/recordings/hall-rec",
        "/api/recordings/nowhere/export.mp4?from_utc_ns=0&to_utc_ns=1",
    ],
)
async def test_what_is_not_there(shelf: Shelf, path: str) -> None:
    async with shelf.served() as bench:
        assert (await get(bench, path, 404))["error"]["code"] in ("unknown-name", "not-found")


@pytest.mark.parametrize("query", ["from_utc_ns=-1", "to_utc_ns=soon", f"to_utc_ns={LATEST + 1}"])
async def test_times_that_are_none(shelf: Shelf, query: str) -> None:
    async with shelf.served() as bench:
        assert (await get(bench, f"/api/recordings/hall?{query}", 422))["error"]["code"] == "invalid"


async def test_a_file_that_is_gone_or_no_film(shelf: Shelf) -> None:
    one, two = sorted(shelf.folder.rglob("*.mp4"))
    one.unlink()
    two.write_bytes(b"nothing")
    async with shelf.served() as bench:
        assert (await get(bench, f"/api/recordings/hall/{IDS[0]}/film.mp4", 404))["error"][
            "code"
        ] == "unknown-name"
        refused = (await get(bench, f"/api/recordings/hall/{IDS[1]}/film.mp4", 422))["error"]
        assert refused == {
            "code": "refused",
            "message": f"recording '{IDS[1]}': there is no head at its beginning",
        }


async def test_an_export(shelf: Shelf, tmp_path: Path) -> None:
    async with shelf.served() as bench:
        times = f"from_utc_ns={utc_ns(2.1)}&to_utc_ns={utc_ns(4)}"
        answer = await bench.http.get(f"/api/recordings/hall/export.mp4?{times}")
        assert answer.status_code == 200, answer.text
        head = await bench.http.head(f"/api/recordings/hall/export.mp4?{times}")
        assert head.headers["content-length"] == answer.headers["content-length"] == str(len(answer.content))
        name = "hall-20260101T000002Z-20260101T000004Z.mp4"
        assert answer.headers["content-disposition"] == f'attachment; filename="{name}"'
        nothing = await get(bench, "/api/recordings/hall/export.mp4?from_utc_ns=0&to_utc_ns=1", 404)
        assert nothing["error"]["message"] == "camera 'hall': nothing was recorded in that time"
        await get(bench, "/api/recordings/hall/export.mp4", 422)
    (tmp_path / "export.mp4").write_bytes(answer.content)
    assert played(tmp_path / "export.mp4").numbers == [n % FRAMES for n in range(52, 100)]


async def test_exports_are_few_and_end_with_who_wants_them(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two at once; a third is told to come again; whoever goes away leaves no process behind."""
    # One that says it has much to give, and then gives a little of it.
    slow = 'import sys,time;print(\'{"nbytes": 99999999, "begin_utc_ns": 0, "end_utc_ns": 0}\', flush=True)'
    slow += ";sys.stdout.write('x' * 5000);sys.stdout.flush();time.sleep(600)"
    pids: list[int] = []
    original = asyncio.create_subprocess_exec

    async def noted(*arguments: str, **options: Any) -> asyncio.subprocess.Process:
        child = await original(*arguments, **options)
        pids.append(child.pid)
        return child

    monkeypatch.setattr(asyncio, "create_subprocess_exec", noted)
    monkeypatch.setattr(films, "EXPORT", (films.EXPORT[0], "-c", slow))
    path = f"/api/recordings/hall/export.mp4?from_utc_ns=0&to_utc_ns={LATEST}"
    async with shelf.served() as bench:
        asking = [bench.http.stream("GET", path) for _ in range(films.MOST_EXPORTS)]
        answers = [await one.__aenter__() for one in asking]
        assert [one.status_code for one in answers] == [200, 200]
        assert (await get(bench, path, 503))["error"]["code"] == "busy"
        for one in asking:
            await one.__aexit__(None, None, None)
        await until(lambda: not any(_runs(pid) for pid in pids))
        assert len(pids) == films.MOST_EXPORTS
        monkeypatch.setattr(films, "EXPORT", (films.EXPORT[0], "-c", "raise SystemExit(1)"))
        assert (await get(bench, path, 500))["error"]["code"] == "internal"


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_deleting(shelf: Shelf, recorded: Recorded) -> None:
    """What lies wholly in the time; what is being written stays; a dry run deletes nothing."""
    film = next(shelf.folder.rglob(f"{IDS[0]}.mp4"))
    results_of(film).write_text("{}\n")
    nbytes = film.stat().st_size
    told = {
        "segments": 1,
        "bytes": nbytes,
        "seconds": 3.2,
        "begin_utc_ns": utc_ns(0),
        "end_utc_ns": utc_ns(3.2),
    }
    async with shelf.served() as bench:

        async def delete(begin_s: float, end_s: float, more: str = "") -> Any:
            times = f"from_utc_ns={utc_ns(begin_s)}&to_utc_ns={utc_ns(end_s)}{more}"
            answer = await bench.http.delete(f"/api/recordings/hall?{times}")
            assert answer.status_code == 200, answer.text
            return answer.json()

        nothing = {"segments": 0, "bytes": 0, "seconds": 0.0, "begin_utc_ns": None, "end_utc_ns": None}
        assert await delete(0.001, 4.79) == {**nothing, "deleted": False}
        assert await delete(0, 4, "&dry_run=true") == {**told, "deleted": False}
        assert film.exists()
        assert await delete(0, 4) == {**told, "deleted": True}
        assert not film.exists()
        assert not results_of(film).exists()
        assert [one["id"] for one in (await get(bench, "/api/recordings/hall"))["segments"]] == IDS[1:]
        assert (await bench.http.delete("/api/recordings/hall")).status_code == 422, "never all by mistake"
        assert (await bench.http.delete("/api/recordings/x?from_utc_ns=0&to_utc_ns=1")).status_code == 404
        await delete(0, 100)
        assert not film.parent.exists(), "nor is an empty folder left"
        recorder = recorder_of(shelf.folder, segment_s=60)
        recorder.start()
        for packet in recorded.packets[:35]:
            recorder.take(packet)
        shelf.sync()
        assert (await delete(0, 100))["segments"] == 0
        assert recorder.file is not None
        assert recorder.file.exists()
        recorder.stop()


async def test_without_an_index(tmp_path: Path) -> None:
    """Where nothing was ever recorded, there is nothing; a database that cannot be used is said."""
    async with serving(HALL, database=f"sqlite:///{tmp_path / 'none.sqlite'}") as bench:
        (hall,) = (await get(bench, "/api/recordings"))["cameras"]
        assert (hall["segments"], hall["seconds"]) == (0, 0.0)
        assert await get(bench, "/api/events") == {"events": [], "truncated": False}
        assert (await get(bench, "/api/recordings/hall"))["segments"] == []
        assert not (tmp_path / "none.sqlite").exists()
        (tmp_path / "none.sqlite").write_bytes(b"no database" * 1000)
        trouble = (await get(bench, "/api/recordings", 503))["error"]
        assert trouble == {"code": "no-index", "message": "the index's database: file is not a database"}
    async with serving(HALL, database="postgresql://me:s3cret@127.0.0.1:1/x") as bench:
        trouble = (await get(bench, "/api/recordings", 503))["error"]
        assert trouble["code"] == "no-index"
        assert "s3cret" not in trouble["message"]


async def test_orders_that_cannot_be_followed(shelf: Shelf) -> None:
    async with shelf.served() as bench:
        for name, body, status in (
            ("nowhere", {"on": True}, 404),
            ("hall-rec", {"on": True}, 404),
            ("hall", {"on": "perhaps"}, 422),
            ("hall", {}, 422),
            ("hall", {"on": True, "more": 1}, 422),
            ("yard", {"on": True}, 409),
        ):
            answer = await bench.http.post(f"/api/streams/{name}/record", json=body)
            assert answer.status_code == status, answer.text
        off = await bench.http.post("/api/streams/yard/record", json={"on": False})
        assert off.json() == {"camera": "yard", "recording": False, "recorders": []}
