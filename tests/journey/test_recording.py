"""Recordings of a running site: killed at any moment, commanded and tuned while they go on, played by others."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from frameloom.model.errors import CommandError
from frameloom.testing.films import encode, walking_figures
from frameloom.testing.rtsp_server import RtspServer
from tests.sinks.parts import played, probed, recordings

from .running import RunningSite, running_site, wait_until

KILLS = 10
FILM_FRAMES = 150
GOP = 25


@pytest.fixture(scope="module")
def hevc_film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("films") / "hevc.mp4"
    film = walking_figures(width=320, height=240, fps=25, frames=FILM_FRAMES, stamp=True)
    return encode(film, path, gop=GOP, codec="hevc")


def site_text(url: str, **sink: Any) -> str:
    """A site that records one camera."""
    settings = {"kind": "record", "stream": "hall", "reserve": 0, **sink}
    lines = [f"    {key}: {value}" for key, value in settings.items()]
    head = [
        "site: rec",
        "server: {enabled: false}",
        "limits: {backoff_s: [0.05], failures: 1000}",
        "cameras:",
    ]
    return "\n".join([*head, f"  hall: {{url: '{url}', view: false}}", "sinks:", "  hall-rec:", *lines, ""])


def info(site: RunningSite) -> dict[str, Any]:
    report = site.worker("hall-rec")["report"]
    found: dict[str, Any] = report["info"] if report else {}
    return found


def wait_packets(site: RunningSite, least: int) -> dict[str, Any]:
    """Wait until so many packets are in files, since the recorder was started."""
    wait_until(lambda: info(site).get("packets", 0) >= least, lambda: str(site.worker("hall-rec")))
    return info(site)


def said_by(*arguments: str) -> str:
    """What a verb prints; it has to end well."""
    command = [sys.executable, "-m", "frameloom", *arguments, "--site", "rec"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def check_follow(numbers: list[int | None]) -> None:
    """Every picture follows the one before."""
    assert numbers
    for before, after in itertools.pairwise(numbers):
        assert before is not None
        assert after == (before + 1) % FILM_FRAMES, numbers


def test_killed_ten_times(tmp_path: Path, cameras: RtspServer, runtime_dir: Path) -> None:
    """Every file plays in two players; nothing but the group of pictures under way is missing from any."""
    file = tmp_path / "site.yaml"
    file.write_text(site_text(cameras.url("one"), segment_s=2))
    dice = random.Random(3)
    with running_site(file, "--quiet", name="rec") as site:
        for _ in range(KILLS):
            wait_packets(site, dice.randrange(20, 90))
            _kill(site)
        wait_packets(site, 60)
        assert site.stop(signal.SIGTERM) == 0
    files = recordings(tmp_path / "recordings")
    assert len(files) > KILLS
    for path in files:
        numbers = played(path).numbers
        check_follow(numbers)
        assert numbers[0] is not None
        assert numbers[0] % GOP == 0
        assert len(numbers) % GOP == 0 or path == files[-1], "the group under way, and nothing else"
        assert probed(path) == ""


def _kill(site: RunningSite) -> None:
    pid = site.pids()["hall-rec"]
    os.kill(pid, signal.SIGKILL)
    site.wait_worker("hall-rec", lambda worker: bool(worker["pid"]) and worker["pid"] != pid)


def test_by_command_and_tuned(tmp_path: Path, cameras: RtspServer, runtime_dir: Path) -> None:
    file = tmp_path / "site.yaml"
    file.write_text(site_text(cameras.url("one"), mode="command") + "    # the end\n")
    with running_site(file, "--quiet", name="rec") as site:
        site.wait_worker("hall-rec", lambda worker: worker["detail"] == "not recording")
        assert not (tmp_path / "recordings" / "hall").exists()
        assert "hall-rec: recording into" in said_by("record", "hall-rec")
        wait_packets(site, GOP)
        done = site.call("set", name="hall-rec", values={"segment_s": 1, "keep_bytes": "1GB"})
        assert (done["live"], done["stored"]) == (True, True)
        wait_until(lambda: info(site)["segments"] >= 2)
        _kill(site)
        wait_packets(site, GOP)  # it goes on without a word
        stopped = json.loads(said_by("record", "hall-rec", "--stop", "--json"))
        assert (stopped["recording"], stopped["file"]) == (False, None)
        assert "hall-rec: not recording;" in said_by("record", "hall-rec", "--stop")
        with pytest.raises(CommandError, match="segment_s: read 0, allowed: a number from 1 to 3600 s"):
            site.call("set", name="hall-rec", values={"segment_s": 0})
        for path in recordings(tmp_path / "recordings"):
            check_follow(played(path).numbers)
        assert site.stop() == 0
    text = file.read_text()
    assert "segment_s: 1" in text
    assert 'keep_bytes: "1GB"' in text
    assert "# the end" in text


def test_a_camera_that_is_lost_and_changes(
    tmp_path: Path, hevc_film: Path, walkers_film: Path, runtime_dir: Path
) -> None:
    """H.265; then it is gone for a while; then it is another camera, with H.264."""
    file = tmp_path / "site.yaml"
    with RtspServer({"hall": hevc_film}) as server:
        file.write_text(site_text(server.url("hall"), segment_s=3600))
        with running_site(file, "--quiet", name="rec") as site:
            wait_packets(site, 2 * GOP)
            server["hall"].refuse()
            server["hall"].drop()
            site.wait_state("hall", "degraded")
            server["hall"].change(walkers_film)
            server["hall"].accept()
            had = info(site)["packets"]
            wait_packets(site, had + 3 * GOP)
            assert site.stop() == 0
    found = [played(path) for path in recordings(tmp_path / "recordings")]
    assert [one.codec_tag for one in found] == ["hvc1", "avc1"]
    for one in found:
        check_follow(one.numbers)


BELL = """\
from frameloom import Processor
from frameloom.model.result import Event
from frameloom.testing.films import read_counter


class Bell(Processor):
    \"\"\"Rings from picture 60 to picture 90.\"\"\"

    began = None

    def process(self, frame):
        number = read_counter(frame.gray)
        if number == 60:
            self.began = Event(f"ring {frame.pts_ns}", "ring", "start", frame.pts_ns, 0, frame.pts_ns)
            return {"events": [self.began.to_json()]}
        if number == 90 and self.began:
            end = Event(self.began.id, "ring", "end", frame.pts_ns, 0, self.began.pts_ns)
            return {"events": [end.to_json()]}
        return {"events": []}
"""


def test_on_event(tmp_path: Path, cameras: RtspServer, runtime_dir: Path) -> None:
    """A second before the bell rings and a second after: pictures 35 and 115, from key frame to key frame."""
    file = tmp_path / "site.yaml"
    (tmp_path / "bell.py").write_text(BELL)
    sink = site_text(cameras.url("one"), mode="event", on="bell", pre_roll_s=1, post_roll_s=1)
    file.write_text(sink + "processors:\n  bell: {use: 'bell.py:Bell', stream: hall, policy: every}\n")
    with running_site(file, "--quiet", name="rec") as site:
        wait_until(lambda: info(site)["segments"] >= 2, lambda: str(site.worker("hall-rec")))
        assert info(site)["events"] >= 2
        site.wait_worker("hall-rec", lambda worker: worker["detail"] == "waiting for an event")
        assert site.stop() == 0
    files = [played(path).numbers for path in recordings(tmp_path / "recordings")]
    assert files[1] == list(range(25, 125))
    check_follow(files[0])
    assert files[0][-1] == 124
