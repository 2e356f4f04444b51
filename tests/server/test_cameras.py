"""Cameras that are found, tried, added, changed and removed through the server of a running site."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pytest

from frameloom.server.cameras import Probes
from frameloom.testing.films import read_counter
from frameloom.testing.onvif import OnvifCamera, Profile
from tests.journey.running import wait_until

from .edited import PASSWORD, Edited, edited_site


@pytest.fixture(scope="module")
def edited(tmp_path_factory: pytest.TempPathFactory, module_runtime_dir: Path) -> Iterator[Edited]:
    with edited_site(tmp_path_factory.mktemp("cameras"), module_runtime_dir) as edited:
        yield edited


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """Listens, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def probes(edited: Edited) -> list[psutil.Process]:
    """The processes of this site that look at cameras."""
    found = []
    for process in psutil.Process(edited.site.process.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "frameloom.workers.probe" in process.cmdline():
                found.append(process)
    return found


def tried(edited: Edited, **settings: Any) -> dict[str, Any]:
    status, answer = edited.ask("POST", "/api/cameras/test", settings)
    assert status == 200, answer
    assert PASSWORD not in json.dumps(answer)
    return dict(answer)


def test_a_trial_gives_a_picture_of_the_camera(edited: Edited) -> None:
    answer = tried(edited, url=edited.cameras.url("spare"), username="viewer", password=PASSWORD)
    assert {key: answer[key] for key in ("ok", "codec", "width", "height", "fps")} == {
        "ok": True,
        "codec": "h264",
        "width": 320,
        "height": 240,
        "fps": 25.0,
    }
    kind, _, data = answer["picture"].partition(",")
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_GRAYSCALE)
    assert kind == "data:image/jpeg;base64"
    assert 0 <= read_counter(picture) < 100


def test_a_trial_of_a_camera_of_the_site_knows_its_secrets(edited: Edited) -> None:
    shown = edited.get()["text"]
    url = next(line.split()[1] for line in shown.splitlines() if line.startswith("  hall:"))
    assert "***" in url
    assert tried(edited, url=url.replace("/hall", "/spare"), camera="hall")["ok"]
    assert tried(edited, url=edited.cameras.url("spare"), password="***", username="viewer", camera="yard")[
        "ok"
    ]
    assert tried(edited, url=edited.cameras.url("spare"), camera="yard")["ok"]
    assert edited.refused("POST", "/api/cameras/test", {"url": url})[:2] == (422, "invalid")
    assert edited.refused("POST", "/api/cameras/test", {"url": url, "camera": "no"})[:2] == (
        404,
        "unknown-name",
    )


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("films/../walkers.mp4", None),
        ("nowhere.mp4", "no such file"),
        ("site.yaml", "not a video that can be read, or cut off"),
        (".", "a folder, not a video"),
        ("/dev/video99", "/dev/video99 has gone: is the camera plugged in?"),
    ],
)
def test_a_trial_of_a_path_begins_beside_the_file(edited: Edited, path: str, message: str | None) -> None:
    (edited.file.parent / "films").mkdir(exist_ok=True)
    assert tried(edited, url=path).get("message") == message


def test_a_trial_says_what_is_wrong_with_a_camera(edited: Edited, silent: socket.socket) -> None:
    url = edited.cameras.url("spare")
    wrong = tried(edited, url=url, username="viewer", password="not it")
    assert wrong == {
        "ok": False,
        "message": "it refused user name or password (401/403): correct username and password",
    }
    nowhere = tried(edited, url=edited.cameras.url("hall", "viewer").replace("/hall", "/nowhere"))
    assert nowhere["message"].startswith("there is nothing at this path (404)")
    port = silent.getsockname()[1]
    hanging = tried(edited, url=f"rtsp://u:{PASSWORD}@127.0.0.1:{port}/x", connect_s=1)
    assert hanging["message"] == "no answer for 1 s"
    silent.close()
    refused = tried(edited, url=f"rtsp://u:{PASSWORD}@127.0.0.1:{port}/x")
    assert refused["message"] == "the connection was refused: is it on, and is the port right?"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"url": "ftp://u:PASSWORD@h/x"}, "url: read a scheme that is not known"),
        ({"url": "rtsp://u:PASSWORD@h/x", "loop": True}, "loop: allowed only for"),
        ({"url": "rtsp://u:PASSWORD@h/x", "trasport": "udp"}, "trasport: "),
        ({"password": "PASSWORD"}, "url: "),
        ({"url": ["PASSWORD"]}, "url: "),
    ],
)
def test_a_trial_of_what_is_no_source_is_refused(edited: Edited, body: dict[str, Any], message: str) -> None:
    body = json.loads(json.dumps(body).replace("PASSWORD", PASSWORD))
    status, code, said = edited.refused("POST", "/api/cameras/test", body)
    assert (status, code) == (422, "invalid")
    assert said.startswith(message)


def test_a_trial_ends_with_the_one_who_asked(edited: Edited, silent: socket.socket) -> None:
    """And two at a time are enough."""
    port = int(edited.site.url.rsplit(":", 1)[1])
    body = json.dumps({"url": f"rtsp://127.0.0.1:{silent.getsockname()[1]}/x"})
    clients = [http.client.HTTPConnection("127.0.0.1", port) for _ in range(2)]
    for client in clients:
        client.request("POST", "/api/cameras/test", body, {"Content-Type": "application/json"})
    wait_until(lambda: len(probes(edited)) == 2, lambda: str(probes(edited)))
    assert edited.refused("POST", "/api/cameras/test", {"url": "x.mp4"})[:2] == (503, "busy")
    arguments = [argument for process in probes(edited) for argument in process.cmdline()]
    assert not any("rtsp" in argument for argument in arguments)
    for client in clients:
        client.close()
    wait_until(lambda: not probes(edited), lambda: str(probes(edited)))
    assert tried(edited, url="nowhere.mp4")["message"] == "no such file"


async def test_places_are_given_back() -> None:
    places = Probes(at_once=1)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            async with places.place():
                raise ZeroDivisionError


def test_cameras_are_found(edited: Edited) -> None:
    with OnvifCamera(multicast=True, name="By the gate") as camera:
        found = edited.get("/api/cameras/found")
        assert {"address": f"http://{camera.address}/onvif/device_service", "name": "By the gate"} in found[
            "onvif"
        ]
    assert isinstance(found["webcams"], list)


def test_an_onvif_camera_is_asked_and_added(edited: Edited) -> None:
    said = f"rtsp://someone:else@192.0.2.9:{edited.cameras.port}/spare"
    with OnvifCamera([Profile("main", said)], user="viewer", password=PASSWORD) as camera:
        login = {"address": camera.address, "user": "viewer", "password": PASSWORD}
        status, answer = edited.ask("POST", "/api/cameras/onvif", login)
        assert status == 200
        url = edited.cameras.url("spare")
        assert answer == {
            "ok": True,
            "streams": [
                {"name": "main", "url": url, "codec": "h264", "width": 320, "height": 240, "fps": 25.0}
            ],
        }
        wrong = edited.ask("POST", "/api/cameras/onvif", {**login, "password": "no"})[1]
        assert wrong == {"ok": False, "message": "it refused user name or password: correct them"}
    new = {"name": "gate", "url": url, "username": "viewer", "password": PASSWORD}
    before = edited.file.read_text()
    assert edited.changed("POST", "/api/cameras", new, 201) == {"gate": "starts"}
    edited.site.wait_state("gate", "running")
    assert edited.changed("DELETE", "/api/cameras/gate") == {"gate": "ends"}
    assert edited.file.read_text() == before


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            {"name": "hall"},
            (409, "name-taken", "'hall' is taken by cameras.hall, allowed: a name of its own"),
        ),
        ({"name": "motion"}, (409, "name-taken", "'motion' is taken by processors.motion")),
        ({"name": "server"}, (422, "invalid", "cameras.server: the name is taken by the web server")),
        ({"name": "Back Door"}, (422, "invalid", "camera name: read 'Back Door', allowed: 1 to 48 of a-z")),
        ({"name": "new", "url": "ftp://u:PASSWORD@h/x"}, (422, "invalid", "cameras.new.url: ")),
        (
            {"name": "new", "url": "rtsp://u:***@h/x"},
            (422, "invalid", "camera 'new': *** stands for no secret"),
        ),
        ({"name": "new", "url": "rtsp://h/x", "view": 3}, (422, "invalid", "cameras.new.view: ")),
    ],
)
def test_what_cannot_be_added_is_refused(
    edited: Edited, body: dict[str, Any], expected: tuple[int, str, str]
) -> None:
    before = edited.file.read_bytes()
    body = json.loads(json.dumps({"url": "rtsp://h/x", **body}).replace("PASSWORD", PASSWORD))
    status, code, message = edited.refused("POST", "/api/cameras", body)
    assert (status, code) == expected[:2]
    assert message.startswith(expected[2])
    assert edited.file.read_bytes() == before


def test_what_comes_over_the_network_does_not_read_the_environment(edited: Edited) -> None:
    new = {"name": "thief", "url": "rtsp://127.0.0.1:1/${HOME}", "enabled": False}
    assert edited.changed("POST", "/api/cameras", new, 201) == {}
    assert "rtsp://127.0.0.1:1/$${HOME}" in edited.file.read_text()
    edited.changed("DELETE", "/api/cameras/thief")


def test_a_camera_is_changed_and_its_secrets_and_comments_stay(edited: Edited) -> None:
    before = edited.file.read_text()
    pids = edited.site.pids()
    shown = next(line.split()[1] for line in edited.get()["text"].splitlines() if line.startswith("  hall:"))
    done = edited.changed(
        "PATCH", "/api/cameras/hall", {"url": shown.replace("/hall", "/spare"), "silence_s": 8}
    )
    assert done == {"hall": "restarts"}
    after = edited.file.read_text()
    hall = edited.cameras.url("spare", "viewer")
    assert after == before.replace(
        f"  hall: {edited.cameras.url('hall', 'viewer')}   # by the door\n",
        f"  hall:\n    url: {hall}   # by the door\n    silence_s: 8\n",
    )
    assert (
        edited.changed("PATCH", "/api/cameras/yard", {"url": edited.cameras.url("yard"), "password": "***"})
        == {}
    )
    assert edited.file.read_text() == after
    edited.site.wait_state("hall", "running")
    assert {**edited.site.pids(), "hall": 0} == {**pids, "hall": 0}
    refused = edited.refused("PATCH", "/api/cameras/hall", {"trasport": "udp"})
    assert refused[:2] == (422, "invalid") and "did you mean 'transport'" in refused[2]
    assert edited.refused("PATCH", "/api/cameras/hal", {"loop": True})[:2] == (404, "unknown-name")
    edited.file.write_text(before)
    edited.site.call("reload")


def test_what_reads_a_camera_is_named_and_removed_with_it(edited: Edited) -> None:
    before = edited.file.read_text()
    said = edited.get("/api/settings")["version"]
    status, answer = edited.ask("DELETE", "/api/cameras/hall?dry_run=true")
    assert (status, answer) == (200, {"removed": ["motion", "hall-rec"], "deleted": False})
    assert edited.get("/api/settings")["version"] == said
    status, answer = edited.ask("DELETE", "/api/cameras/hall")
    assert (status, answer["removed"], answer["deleted"]) == (200, ["motion", "hall-rec"], True)
    gone = {one["worker"] for one in answer["changes"] if one["does"] == "ends"}
    assert gone >= {"hall", "hall.view", "motion", "hall-rec"}
    after = edited.file.read_text()
    assert "hall" not in after.replace("gate house", "")
    assert after.startswith("# The gate house.") and "# asked for by the maker" in after
    assert "hall" not in edited.site.call("status")["workers"]
    assert edited.refused("DELETE", "/api/cameras/hall")[:2] == (404, "unknown-name")
    edited.file.write_text(before)
    edited.site.call("reload")


def test_many_orders_at_once_are_all_carried_out(edited: Edited) -> None:
    before = edited.file.read_text()
    answers: list[int] = []

    def add(name: str) -> None:
        body = {"name": name, "url": "rtsp://127.0.0.1:1/x", "enabled": False}
        answers.append(edited.ask("POST", "/api/cameras", body)[0])

    threads = [threading.Thread(target=add, args=(f"cam{number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [201] * 6
    assert {f"cam{number}" for number in range(6)} <= edited.site.call("status")["workers"].keys()
    edited.file.write_text(before)
    edited.site.call("reload")


def test_the_server_loads_no_codec(edited: Edited) -> None:
    pid = edited.site.pids()["server"]
    assert not any(
        "/av/" in line or "cv2" in line for line in Path(f"/proc/{pid}/maps").read_text().splitlines()
    )
