"""site.yaml through the server: what is shown, what a change would do, and that it does just that."""

from __future__ import annotations

import json
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from frameloom.server.envelope import BODY_BYTES, TEXT_BYTES
from frameloom.site.words import root_schema
from tests.journey.running import running_site, wait_until

from .edited import PASSWORD, Edited, did, edited_site


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, module_runtime_dir: Path) -> Iterator[Edited]:
    with edited_site(tmp_path_factory.mktemp("edited"), module_runtime_dir) as edited:
        for name in ("hall", "yard", "motion"):
            edited.site.wait_state(name, "running")
        yield edited


@pytest.fixture
def edited(running: Edited) -> Iterator[Edited]:
    """Everything is as it was, before and after."""
    before = running.file.read_bytes()
    yield running
    if running.file.read_bytes() != before:
        running.file.write_bytes(before)
        running.site.call("reload")
    for name in ("hall", "yard", "motion"):
        running.site.wait_state(name, "running")


def pids_but(edited: Edited, *names: str) -> dict[str, int]:
    return {name: pid for name, pid in edited.site.pids().items() if name not in names}


def test_the_text_is_shown_as_it_is_but_for_its_secrets(edited: Edited) -> None:
    shown = edited.get()
    text = edited.file.read_text()
    quoted = text.split("viewer:")[1].split("@")[0]
    assert shown["text"] == text.replace(f"'{PASSWORD}'", "'***'").replace(quoted, "***").replace(
        PASSWORD, "***"
    )
    assert shown["text"].count("***") == 3
    assert (shown["file"], shown["writable"]) == (str(edited.file), True)
    assert shown["schema"] == json.loads(json.dumps(root_schema()))
    assert shown["version"] == edited.get()["version"]
    assert PASSWORD not in json.dumps(shown) and quoted not in json.dumps(shown)


def test_a_preview_tells_everything_and_changes_nothing(edited: Edited) -> None:
    shown, pids = edited.get(), edited.site.pids()
    text = shown["text"].replace("threshold: 25", "threshold: 31").replace("quality: 60", "quality: 61")
    text = text.replace("mode: command", "mode: command, enabled: false")
    text = text.replace("/yard", "/spare") + "limits: {failures: 7}\n"
    status, answer = edited.ask("POST", "/api/settings/preview", {"text": text})
    assert (status, answer["problems"]) == (200, [])
    assert did(answer) == {
        "yard": "restarts",
        "motion": "changes",
        "hall-rec": "ends",
    }
    assert {one["worker"]: one["does"] for one in answer["changes"]}["yard.view"] == "changes"
    why = {one["worker"]: one["why"] for one in answer["changes"]}
    assert why["yard"] == "changed: url"
    assert why["motion"] == "changed: threshold; while it runs, and no frame is lost"
    assert why["hall"] == "nothing of it is changed"
    assert answer["notes"] == ["limits: takes effect at the next start of the site"]
    assert edited.get() == shown
    assert edited.site.pids() == pids


def test_what_is_wrong_is_told_with_its_place_in_the_text_that_is_shown(edited: Edited) -> None:
    shown = (
        edited.get()["text"]
        .replace("password: '***'", "password: '***', trasport: udp}")
        .replace("  yard:\n    url: ", "  yard: {url: ")
    )
    shown = re.sub(r"\n    (username|password)", r", \1", shown)
    shown = shown.replace("    view: {quality: 60}\n", "").replace("threshold: 25", "threshold: 2500")
    status, answer = edited.ask("POST", "/api/settings/preview", {"text": shown})
    assert status == 200 and answer["changes"] == []
    line = next(at for at, text in enumerate(shown.splitlines(), 1) if "trasport" in text)
    (found,) = answer["problems"]
    assert (found["line"], found["path"]) == (line, "cameras.yard.trasport")
    assert shown.splitlines()[line - 1][found["column"] - 1 :].startswith("trasport")
    assert "did you mean 'transport'" in found["message"]


def test_parameters_that_a_processor_does_not_take_are_found(edited: Edited) -> None:
    text = edited.get()["text"].replace("threshold: 25", "threshold: 2500")
    _, answer = edited.ask("POST", "/api/settings/preview", {"text": text})
    (found,) = answer["problems"]
    assert found["path"] == "processors.motion.params.threshold"
    assert "read 2500, allowed: " in found["message"]


def test_a_change_of_a_parameter_keeps_every_process_and_every_byte(edited: Edited) -> None:
    before, pids = edited.file.read_bytes(), edited.site.pids()
    status, answer = edited.put("threshold: 25   # levels", "threshold: 33   # levels, by night")
    assert (status, did(answer), answer["refused"]) == (200, {"motion": "changes"}, {})
    wanted = before.replace(b"threshold: 25   # levels", b"threshold: 33   # levels, by night")
    assert edited.file.read_bytes() == wanted
    assert edited.site.pids() == pids
    edited.site.wait_worker("motion", lambda worker: worker["values"]["threshold"] == 33)
    assert answer["version"] == edited.get()["version"]


def test_a_change_of_an_address_restarts_one_camera_which_keeps_its_password(edited: Edited) -> None:
    pids = pids_but(edited, "yard")
    old = edited.site.pids()["yard"]
    status, answer = edited.put("/yard\n", "/spare\n")
    assert (status, did(answer)) == (200, {"yard": "restarts"})
    assert f"password: '{PASSWORD}'   # asked" in edited.file.read_text()
    edited.site.wait_worker("yard", lambda worker: worker["state"] == "running" and worker["pid"] != old)
    assert pids_but(edited, "yard") == pids


def test_what_the_answer_says_is_what_a_preview_said(edited: Edited) -> None:
    shown = edited.get()
    text = (
        shown["text"]
        .replace("  motion:   # who comes\n", "  presence-of-mind:\n")
        .replace("  hall-rec: {kind: record,", "  other: {kind: view,")
        .replace(", mode: command", "")
        .replace("/yard", "/spare")
    )
    text = re.sub(r', folder: "[^"]*"', "", text)
    _, preview = edited.ask("POST", "/api/settings/preview", {"text": text})
    status, answer = edited.ask("PUT", "/api/settings", {"text": text, "version": shown["version"]})
    assert (status, preview["problems"]) == (200, [])
    assert answer["changes"] == preview["changes"]
    assert did(answer) == {
        "motion": "ends",
        "hall-rec": "ends",
        "yard": "restarts",
        "presence-of-mind": "starts",
    }
    edited.site.wait_state("presence-of-mind", "running")
    assert "motion" not in edited.site.call("status")["workers"]


def test_who_read_an_older_text_is_told(edited: Edited) -> None:
    shown = edited.get()
    edited.file.write_text(edited.file.read_text() + "# by hand\n")
    body = {"text": shown["text"], "version": shown["version"]}
    assert edited.refused("PUT", "/api/settings", body)[:2] == (409, "changed-meanwhile")
    assert edited.file.read_text().endswith("# by hand\n")


def test_a_command_is_a_change_too(edited: Edited) -> None:
    shown = edited.get()
    edited.site.call("set", name="motion", values={"threshold": 40})
    body = {"text": shown["text"], "version": shown["version"]}
    assert edited.refused("PUT", "/api/settings", body)[:2] == (409, "changed-meanwhile")
    assert "threshold: 40" in edited.get()["text"]


def test_what_is_not_valid_is_refused_with_every_problem(edited: Edited) -> None:
    before = edited.file.read_bytes()
    shown = edited.get()
    text = shown["text"].replace("stream: hall\n", "stream: hal\n").replace("quality: 60", "quality: 600")
    status, answer = edited.ask("PUT", "/api/settings", {"text": text, "version": shown["version"]})
    assert (status, answer["error"]["code"]) == (422, "invalid")
    assert [one["path"] for one in answer["problems"]] == [
        "cameras.yard.view.quality",
        "processors.motion.stream",
    ]
    assert answer["error"]["message"].startswith(
        f"line {answer['problems'][0]['line']}: cameras.yard.view.quality"
    )
    assert edited.file.read_bytes() == before


def test_stars_that_stand_for_nothing_are_refused(edited: Edited) -> None:
    shown = edited.get()
    text = shown["text"].replace("\nprocessors:", '  new: {url: "rtsp://a:***@10.0.0.9/x"}\n\nprocessors:')
    status, answer = edited.ask("PUT", "/api/settings", {"text": text, "version": shown["version"]})
    (found,) = answer["problems"]
    assert (status, found["path"]) == (422, "cameras.new.url")
    assert "write the secret itself" in found["message"]


def test_a_site_file_may_be_larger_than_other_bodies(edited: Edited) -> None:
    long = edited.get()["text"] + "# much\n" * (BODY_BYTES // 6)
    assert edited.ask("POST", "/api/settings/preview", {"text": long})[1]["problems"] == []
    too_long = {"text": "#" * TEXT_BYTES}
    assert edited.refused("POST", "/api/settings/preview", too_long)[:2] == (413, "too-large")


@pytest.mark.parametrize("body", [{}, {"text": 3}, {"text": "", "more": 1}, []])
def test_a_body_that_is_none_is_refused(edited: Edited, body: Any) -> None:
    assert edited.refused("POST", "/api/settings/preview", body)[:2] == (422, "invalid")


def test_a_change_of_the_server_itself_is_answered_and_made(
    tmp_path: Path, runtime_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    file = tmp_path / "real.yaml"
    file.write_text("site: alone\nserver: {port: 0}   # any\r\n", newline="")
    file.chmod(0o640)
    link = tmp_path / "site.yaml"
    link.symlink_to(file)
    with running_site(link, name="alone") as site:
        edited = Edited(site, file, None, Path())  # type: ignore[arg-type]
        status, answer = edited.put("port: 0", f"port: {port}")
        assert (status, did(answer)) == (200, {"server": "restarts"})
        site.wait_worker(
            "server", lambda one: f":{port}/" in ((one["report"] or {}).get("info") or {}).get("url", "")
        )
    assert file.read_bytes() == f"site: alone\nserver: {{port: {port}}}   # any\r\n".encode()
    assert link.is_symlink()
    assert file.stat().st_mode & 0o777 == 0o640


def test_a_file_that_is_not_valid_is_shown_and_can_be_mended(tmp_path: Path, runtime_dir: Path) -> None:
    file = tmp_path / "site.yaml"
    good = f"site: mend\nserver: {{port: 0}}\n# password: {PASSWORD}\n"
    file.write_text(good)
    with running_site(file, name="mend") as site:
        edited = Edited(site, file, None, Path())  # type: ignore[arg-type]
        edited.get()
        file.write_text(good + "cameras: [\n")
        shown = wait_until(lambda: (found := edited.get())["text"].endswith("[\n") and found)
        assert PASSWORD not in shown["text"]
        status, answer = edited.put("cameras: [\n", "cameras:\n")
        assert (status, answer["changes"][0]["does"]) == (200, "stays")
        assert file.read_text() == good + "cameras:\n"


def test_a_file_that_has_gone_is_told(tmp_path: Path, runtime_dir: Path) -> None:
    file = tmp_path / "site.yaml"
    file.write_text("site: gone\nserver: {port: 0}\n")
    with running_site(file, name="gone") as site:
        edited = Edited(site, file, None, Path())  # type: ignore[arg-type]
        edited.get()
        shutil.move(file, tmp_path / "elsewhere.yaml")
        assert edited.refused("GET", "/api/settings") == (422, "site-error", f"{file}: no such file")


async def test_a_site_without_a_file_says_so(server: Any) -> None:
    async with server() as bench:
        answer = await bench.http.get("/api/settings")
        assert answer.status_code == 200
        assert answer.json() == {"file": None, "text": "", "version": "", "writable": False, "schema": None}
        refused = await bench.http.post("/api/settings/preview", json={"text": "site: x"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "unsupported")
