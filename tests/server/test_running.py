"""The server in a running site: what it costs, what it shows, and what it does when others fail."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import struct
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pytest
from websockets.asyncio.client import ClientConnection, connect

from frameloom.testing.films import read_counter
from tests.journey.running import PATIENCE_S, wait_until

from .sites import Watched, watched_site


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, module_runtime_dir: Path) -> Iterator[Watched]:
    with watched_site(tmp_path_factory.mktemp("watched"), module_runtime_dir) as watched:
        yield watched


def fetch(watched: Watched, path: str, method: str = "GET", body: Any = None) -> tuple[int, bytes]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{watched.site.url}{path}", data, method=method)
    request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def error_of(answer: tuple[int, bytes]) -> tuple[int, str, str]:
    status, body = answer
    error = json.loads(body)["error"]
    return status, error["code"], error["message"]


def refusal(watched: Watched, path: str, expected: tuple[int, str]) -> str:
    """The words of a refusal, which comes as soon as the server has heard of its reason."""
    answer = wait_until(lambda: (found := fetch(watched, path))[0] == expected[0] and found)
    assert error_of(answer)[:2] == expected
    return error_of(answer)[2]


def viewing(watched: Watched, camera: str) -> connect:
    return connect(
        f"ws://127.0.0.1:{watched.port}/streams/{camera}/live.ws", compression=None, max_queue=None
    )


async def picture(viewer: ClientConnection) -> tuple[dict[str, Any], Any]:
    """What is said of the next picture, and its pixels."""
    async with asyncio.timeout(PATIENCE_S):
        message = await viewer.recv()
    assert isinstance(message, bytes)
    (length,) = struct.unpack_from("<I", message)
    data = np.frombuffer(message, np.uint8, offset=4 + length)
    return json.loads(message[4 : 4 + length]), cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)


def decodes(watched: Watched, camera: str) -> bool:
    return bool(watched.site.worker(camera)["report"]["info"]["decoding"])


async def test_twenty_viewers_cost_one_encode_and_the_last_one_ends_it(running: Watched) -> None:
    site = running.site
    assert not decodes(running, "yard"), "nobody looks yet"
    async with contextlib.AsyncExitStack() as stack:
        viewers = [await stack.enter_async_context(viewing(running, "yard")) for _ in range(19)]
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(b"GET /streams/yard/live.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n")
        for _ in range(5):
            await asyncio.gather(*(picture(viewer) for viewer in viewers))
        site.wait_worker("server", lambda worker: worker["report"]["info"]["viewers"] == 20)
        before = await rates(running)
        seen = await asyncio.gather(*(several(viewer, 30) for viewer in viewers))
        after = await rates(running)
        camera, view = after[0] - before[0], after[1] - before[1]
        assert view <= camera + 25, f"{camera} pictures came, {view} were encoded for 20 viewers"
        assert all(count == 30 for count in seen)
        assert b"--frame" in await reader.read(4096)
        assert site.worker("yard.view")["report"]["streams"]["yard.view"]["readers"] == ["server"]
        writer.close()
        await writer.wait_closed()
    site.wait_worker("yard.view", lambda worker: worker["report"]["detail"] == "nobody is watching")
    site.wait_worker("yard", lambda worker: not worker["report"]["info"]["decoding"])
    encoded = site.worker("yard.view")["report"]["frames"]
    came = site.worker("yard")["report"]["frames"]
    site.wait_worker("yard", lambda worker: worker["report"]["frames"] > came + 25)
    assert site.worker("yard.view")["report"]["frames"] == encoded


async def rates(watched: Watched) -> tuple[int, int]:
    """Pictures that came from the camera, and that were encoded for viewers."""
    workers = (await asyncio.to_thread(watched.site.call, "status"))["workers"]
    return workers["yard"]["report"]["frames"], workers["yard.view"]["report"]["frames"]


async def several(viewer: ClientConnection, count: int) -> int:
    for _ in range(count):
        await picture(viewer)
    return count


async def test_boxes_are_of_the_frame_that_is_shown(running: Watched) -> None:
    """By the number that is stamped into the picture, and by what the film is known to show then, earlier and later."""
    gaps = dict.fromkeys((-3, 0, 3), 0.0)
    exact = 0
    async with viewing(running, "hall") as viewer:
        for _ in range(150):
            head, pixels = await picture(viewer)
            number = read_counter(pixels)
            assert number is not None
            for result in head["results"]:
                assert result["processor"] == "motion" and result["frame_seq"] <= head["frame_seq"]
                if result["frame_seq"] == head["frame_seq"] and result["values"]["boxes"]:
                    exact += 1
                    for shift in gaps:
                        gaps[shift] += gap_to_figures(running, number + shift, result["values"]["boxes"])
    assert exact > 10, "most results are of the frame that is shown"
    assert gaps[0] < 0.5 * min(gaps[-3], gaps[3]), gaps


def gap_to_figures(watched: Watched, number: int, boxes: list[list[float]]) -> float:
    """How far the nearest box is from each figure of a frame, left and right edges, in widths of the picture."""
    figures = [box.normalised for box in watched.film.truth(number).boxes]
    return sum(min(edges_apart(figure, box) for box in boxes) for figure in figures)


def edges_apart(figure: tuple[float, ...], box: list[float]) -> float:
    return abs(figure[0] - box[0]) + abs(figure[0] + figure[2] - box[0] - box[2])


async def test_a_camera_that_is_restarted_while_it_is_watched(running: Watched) -> None:
    """Frames count from 1 again; pictures come, and results belong to them."""
    async with viewing(running, "hall") as viewer:
        head, _ = await picture(viewer)
        while head["frame_seq"] < 50:
            head, _ = await picture(viewer)
        status, _ = await asyncio.to_thread(fetch, running, "/api/workers/hall/restart", "POST")
        assert status == 200
        while head["frame_seq"] >= 50:
            head, _ = await picture(viewer)
        async with asyncio.timeout(PATIENCE_S):
            while not any(result["frame_seq"] == head["frame_seq"] for result in head["results"]):
                head, _ = await picture(viewer)


async def test_a_camera_that_is_lost_says_so(running: Watched) -> None:
    cameras, site = running.cameras, running.site
    status, jpeg = await asyncio.to_thread(fetch, running, "/streams/yard/snapshot.jpg")
    assert status == 200 and jpeg[:2] == b"\xff\xd8"
    async with viewing(running, "yard") as viewer:
        await picture(viewer)
        cameras["yard"].refuse()
        cameras["yard"].drop()
        await asyncio.to_thread(site.wait_state, "yard", "degraded")
        message = await asyncio.to_thread(refusal, running, "/streams/yard/snapshot.jpg", (503, "no-picture"))
        assert (
            message.startswith("camera 'yard': ") and "trying again" in message and "rtsp://" not in message
        )
        async with viewing(running, "yard") as newcomer:
            cameras["yard"].accept()
            await asyncio.to_thread(site.wait_state, "yard", "running")
            for _ in range(10):
                await picture(newcomer)
                await picture(viewer)


def test_a_stopped_camera_and_one_without_a_view(running: Watched) -> None:
    assert fetch(running, "/api/workers/yard/stop", "POST")[0] == 200
    running.site.wait_state("yard", "idle")
    snapshot = "/streams/yard/snapshot.jpg"
    assert refusal(running, snapshot, (409, "not-running")) == "camera 'yard' is stopped"
    assert fetch(running, "/api/workers/yard/start", "POST")[0] == 200
    running.site.wait_state("yard", "running")
    running.site.wait_state("yard.view", "running")
    assert fetch(running, "/api/workers/yard.view/stop", "POST")[0] == 200
    wait_until(lambda: "switched off" in refusal(running, snapshot, (409, "not-running")))
    assert fetch(running, "/api/workers/yard.view/start", "POST")[0] == 200
    wait_until(lambda: fetch(running, snapshot)[0] == 200)


def test_a_value_is_changed_in_the_worker_and_in_the_file(running: Watched) -> None:
    status, body = fetch(running, "/api/workers/motion/parameters", "PATCH", {"threshold": 41})
    assert (status, json.loads(body)["values"]) == (200, {"threshold": 41})
    assert running.site.worker("motion")["values"]["threshold"] == 41
    text = running.file.read_text()
    assert "threshold: 41" in text and "# the stamps" in text
    answer = error_of(fetch(running, "/api/workers/motion/parameters", "PATCH", {"threshold": 900}))
    assert answer[:2] == (422, "refused") and "read 900" in answer[2]
    answer = error_of(fetch(running, "/api/workers/motion/parameters", "PATCH", {"treshold": 3}))
    assert answer[:2] == (422, "refused") and "no such parameter" in answer[2]


def test_the_last_error_can_be_cleared(running: Watched) -> None:
    pid = running.site.pids()["yard.view"]
    os.kill(pid, signal.SIGKILL)
    running.site.wait_worker(
        "yard.view", lambda worker: worker["last_error"] and worker["state"] == "running"
    )
    assert fetch(running, "/api/workers/yard.view/clear", "POST")[0] == 200
    assert running.site.worker("yard.view")["last_error"] is None


async def test_a_supervisor_that_hangs_hangs_nothing_else(running: Watched) -> None:
    """Pictures go on, its silence is said, commands are refused in words, and all is well when it is back."""
    supervisor = running.site.process
    async with viewing(running, "hall") as viewer, following(running) as follower:
        await picture(viewer)
        supervisor.send_signal(signal.SIGSTOP)
        try:
            status, code, _ = error_of(
                await asyncio.to_thread(fetch, running, "/api/workers/motion/stop", "POST")
            )
            assert (status, code) == (504, "timeout")
            await until_heard(follower, lambda site: site["silent_since_utc_ns"] is not None)
            status, code, message = error_of(
                await asyncio.to_thread(fetch, running, "/api/workers/motion/stop", "POST")
            )
            assert (status, code) == (503, "unreachable") and "has not answered for" in message
            assert (await asyncio.to_thread(fetch, running, "/api/streams"))[0] == 200
            assert (await asyncio.to_thread(fetch, running, "/streams/hall/snapshot.jpg"))[0] == 200
            for _ in range(25):
                await picture(viewer)
        finally:
            supervisor.send_signal(signal.SIGCONT)
        await until_heard(follower, lambda site: site["silent_since_utc_ns"] is None)
        for verb in ("stop", "start"):  # the first of them was said before, and has happened since
            assert (await asyncio.to_thread(fetch, running, f"/api/workers/motion/{verb}", "POST"))[0] == 200
        await asyncio.to_thread(running.site.wait_state, "motion", "running")


def following(watched: Watched) -> connect:
    return connect(f"ws://127.0.0.1:{watched.port}/api/watch", max_queue=None)


async def until_heard(follower: ClientConnection, condition: Any) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition(json.loads(await follower.recv())):
            pass


def test_a_killed_server_returns_to_the_same_port(running: Watched) -> None:
    """Where the port was not chosen by anybody, too: pages that are open must find it."""
    port, pid = running.port, running.site.pids()["server"]
    os.kill(pid, signal.SIGKILL)
    back = running.site.wait_worker("server", lambda w: w["state"] == "running" and w["pid"] != pid)
    assert back["report"]["info"]["url"] == f"http://127.0.0.1:{port}/"
    assert fetch(running, "/streams/hall/snapshot.jpg")[0] == 200


async def test_the_server_ends_by_itself_whoever_looks(running: Watched) -> None:
    """With viewers of all kinds, and with some that do not read; nobody has to kill it."""
    site = running.site
    pid = site.pids()["server"]
    site.call("set", name="hall.view", values={"quality": 95})
    paths = ("/streams/hall/live.mjpg", "/streams/hall/live.mjpg", "/api/site")
    with contextlib.ExitStack() as stack:
        stuck = [stack.enter_context(asks_and_does_not_read(running.port, path)) for path in paths]
        async with viewing(running, "hall") as viewer, following(running) as follower:
            await picture(viewer)
            encoded = site.worker("hall.view")["report"]["frames"]
            enough = lambda w: w["report"]["frames"] > encoded + 75  # noqa: E731
            await asyncio.to_thread(site.wait_worker, "hall.view", enough)  # more than fits into the network
            await asyncio.to_thread(site.call, "restart", names=["server"])
            for connection in (viewer, follower):
                async with asyncio.timeout(PATIENCE_S):
                    await connection.wait_closed()
                assert connection.close_code == 1012
        assert len(stuck) == 3
    await asyncio.to_thread(site.wait_worker, "server", lambda w: w["state"] == "running" and w["pid"] != pid)
    said = [line["text"] for line in site.call("logs", name="server", lines=50)["lines"]]
    assert any("process ended: exit code 0" in line for line in said)
    assert not any("ERROR" in line or "Traceback" in line for line in said), said
    assert not psutil.pid_exists(pid)


@contextlib.contextmanager
def asks_and_does_not_read(port: int, path: str) -> Iterator[socket.socket]:
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", port))
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        yield connection


def test_nothing_went_wrong_unseen(running: Watched) -> None:
    """Last: no task died, no exception was lost."""
    said = "\n".join(line["text"] for line in running.site.call("logs", name="server", lines=1000)["lines"])
    for word in ("Traceback", "never retrieved", "was destroyed", "ERROR asyncio", "never awaited"):
        assert word not in said, said
