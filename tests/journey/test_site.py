"""A site as a user runs it: up, look, steer, change the file, break things, stop."""

from __future__ import annotations

import itertools
import json
import os
import signal
import urllib.request
from pathlib import Path

import psutil
import pytest

from frameloom.bus.subscriber import Subscription
from frameloom.control.client import call
from frameloom.model.errors import CommandError
from frameloom.testing.rtsp_server import RtspServer

from .running import RunningSite, running_site, wait_until

SITE = """\
# A comment at the top.
site: journey
server: {{port: 0}}
cameras:
  one: {one}   # the first camera
processors:
  motion:
    use: motion
    stream: one
    params:
      threshold: 25   # levels
"""


def site_file(folder: Path, cameras: RtspServer) -> Path:
    file = folder / "site.yaml"
    file.write_text(SITE.format(one=cameras.url("one")))
    return file


@pytest.fixture
def site(tmp_path: Path, runtime_dir: Path, cameras: RtspServer):
    with running_site(site_file(tmp_path, cameras), name="journey") as running:
        running.wait_worker(
            "motion", lambda worker: bool(worker["report"]) and worker["report"]["frames"] > 0
        )
        yield running


def _seen_by_motion(site: RunningSite) -> int:
    (stream,) = json.loads(get(f"{site.url}/api/streams"))
    frames: int = (stream["processors"]["motion"]["report"] or {}).get("frames", 0)
    return frames


def _ours_in_shm() -> set[str]:
    """What of ours stands in /dev/shm; other programs come and go there."""
    return {name for name in os.listdir("/dev/shm") if name.startswith(("fl", "psm_"))}


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=30) as answer:
        body: bytes = answer.read()
        return body


def test_picture_crosses_four_processes(site: RunningSite) -> None:
    """RTSP to JPEG: camera, processor, view and server are processes of their own, and all do their part."""
    jpeg = get(f"{site.url}/streams/one/snapshot.jpg")
    assert jpeg[:2] == b"\xff\xd8"
    assert jpeg[-2:] == b"\xff\xd9"
    (stream,) = json.loads(get(f"{site.url}/api/streams"))
    assert (stream["name"], stream["state"]) == ("one", "running")
    # The server's knowledge follows the supervisor's by a moment.
    wait_until(lambda: _seen_by_motion(site) > 0)
    pids = site.pids()
    assert set(pids) == {"one", "one.view", "motion", "server", "webrtc"}
    assert len(set(pids.values())) == 5


def test_results_belong_to_frames(site: RunningSite, runtime_dir: Path) -> None:
    with Subscription("motion", site="journey", policy="every") as results:
        seen = [results.get(30) for _ in range(10)]
    assert [result.seq for result in seen] == list(range(seen[0].seq, seen[0].seq + 10))
    assert all(result.source == "one" and 0 <= result["score"] <= 1 for result in seen)
    assert all(b.frame_seq > a.frame_seq for a, b in itertools.pairwise(seen))


def test_parameter_changes_between_two_frames(site: RunningSite, tmp_path: Path) -> None:
    """No frame is lost, no worker restarted, the file says it, comments kept."""
    before = site.worker("motion")
    answer = site.call("set", name="motion", values={"threshold": "40"})
    assert answer["values"] == {"threshold": 40}
    assert answer["live"]
    assert answer["stored"]
    after = site.worker("motion")
    assert after["values"]["threshold"] == 40
    assert (after["pid"], after["restarts"]) == (before["pid"], before["restarts"])
    text = (tmp_path / "site.yaml").read_text()
    assert "threshold: 40" in text
    assert "# levels" in text
    assert "# the first camera" in text


def test_wrong_value_is_refused_in_words(site: RunningSite) -> None:
    with pytest.raises(CommandError, match=r"threshold: read 900.*allowed.*255"):
        call("journey", "set", name="motion", values={"threshold": 900})


def test_edited_file_changes_only_what_it_says(
    site: RunningSite, tmp_path: Path, cameras: RtspServer
) -> None:
    pids = site.pids()
    file = tmp_path / "site.yaml"
    text = file.read_text().replace("threshold: 25", "threshold: 33")
    file.write_text(text.replace("processors:", f"  two: {cameras.url('two')}\nprocessors:"))
    site.wait_state("two", "running")
    site.wait_worker("motion", lambda worker: worker["values"]["threshold"] == 33)
    now = site.pids()
    assert {name: now[name] for name in pids} == pids


def test_a_link_that_is_set_anew_is_followed(tmp_path: Path, runtime_dir: Path, cameras: RtspServer) -> None:
    """As configuration is rolled out: whole folders, and a link to the present one."""
    text = SITE.format(one=cameras.url("one")).replace(
        "processors:", "  off: {url: x.mp4, enabled: false}\nprocessors:"
    )
    for folder, threshold in (("old", 25), ("new", 33)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "site.yaml").write_text(text.replace("25", str(threshold)))
    link = tmp_path / "site.yaml"
    link.symlink_to("old/site.yaml")
    with running_site(link, name="journey") as site:
        site.wait_worker("motion", lambda worker: worker["values"].get("threshold") == 25)
        (tmp_path / "next").symlink_to("new/site.yaml")
        os.replace(tmp_path / "next", link)
        site.wait_worker("motion", lambda worker: worker["values"]["threshold"] == 33)
        (tmp_path / "new" / "site.yaml").write_text(text.replace("25", "44"))
        site.wait_worker("motion", lambda worker: worker["values"]["threshold"] == 44)


def test_a_view_outlives_the_stop_of_its_camera(site: RunningSite) -> None:
    before = site.worker("one.view")
    site.call("stop", names=["one"])
    site.call("reload")
    assert site.worker("one.view")["pid"] == before["pid"]
    site.call("start", names=["one"])
    assert get(f"{site.url}/streams/one/snapshot.jpg")[:2] == b"\xff\xd8"


def test_invalid_file_changes_nothing(site: RunningSite, tmp_path: Path) -> None:
    pids = site.pids()
    (tmp_path / "site.yaml").write_text("site: journey\ncameras: {one: {url: x, trasport: udp}}\n")
    site.wait_line(r"site\.yaml:2.*trasport.*transport")
    assert site.pids() == pids


def test_lost_camera_is_told_and_comes_back(site: RunningSite, cameras: RtspServer) -> None:
    cameras.refuse()
    cameras["one"].drop()
    lost = site.wait_state("one", "degraded")
    told = lost["detail"] or lost["report"]["detail"]
    assert "trying again in" in told
    assert "rtsp://" not in told
    cameras.accept()
    site.wait_state("one", "running")
    frames = site.worker("motion")["report"]["frames"]
    site.wait_worker("motion", lambda worker: worker["report"]["frames"] > frames)


def test_killed_worker_returns(site: RunningSite) -> None:
    pids = site.pids()
    os.kill(pids["motion"], signal.SIGKILL)
    site.wait_worker("motion", lambda w: w["state"] == "running" and w["pid"] != pids["motion"])
    assert site.worker("motion")["last_error"]["exit"] == "SIGKILL"
    assert site.pids()["one"] == pids["one"]


def test_stops_clean_on_ctrl_c(site: RunningSite, runtime_dir: Path) -> None:
    children = psutil.Process(site.process.pid).children(recursive=True)
    assert site.stop(signal.SIGINT) == 0
    assert psutil.wait_procs(children, timeout=10)[1] == []
    assert not list((runtime_dir / "journey").glob("*.sock"))


def test_killed_supervisor_leaves_nothing_that_stops_the_next_start(
    site: RunningSite, tmp_path: Path, cameras: RtspServer
) -> None:
    children = psutil.Process(site.process.pid).children(recursive=True)
    shared = _ours_in_shm()
    site.stop(signal.SIGKILL)
    assert psutil.wait_procs(children, timeout=10)[1] == []
    assert _ours_in_shm() <= shared
    with running_site(tmp_path / "site.yaml", name="journey") as again:
        again.wait_state("motion", "running")


def test_second_up_says_who_runs_it(site: RunningSite, tmp_path: Path) -> None:
    with running_site(tmp_path / "site.yaml", name="journey") as second:
        second.wait_line(rf"site 'journey' is already running \(process {site.process.pid}\)")
        assert second.process.wait(30) == 1


def test_busy_port_is_said_with_its_holder(site: RunningSite, tmp_path: Path) -> None:
    port = site.url.rsplit(":", 1)[1]
    other = tmp_path / "other.yaml"
    other.write_text("site: other\n")
    with running_site(other, "--port", port, name="other") as second:
        second.wait_line(rf"port {port} is in use by process {site.pids()['server']}")
        assert second.process.wait(30) == 1


def test_nobody_looks_nothing_is_decoded(tmp_path: Path, runtime_dir: Path, cameras: RtspServer) -> None:
    """Without a reader of frames the camera worker only passes packets on."""
    file = tmp_path / "site.yaml"
    file.write_text(f"site: still\nserver: {{port: 0}}\ncameras:\n  one: {cameras.url('one')}\n")
    with running_site(file, name="still") as site:
        site.wait_worker("one", lambda w: w["state"] == "running" and w["report"]["frames"] > 50)
        assert site.worker("one")["report"]["info"]["decoded"] == 0
        with Subscription("one", site="still") as frames:
            assert frames.get(30) is not None
            site.wait_worker("one", lambda w: w["report"]["info"]["decoding"])
        site.wait_worker("one", lambda w: not w["report"]["info"]["decoding"])


def test_down_waits_for_the_end(site: RunningSite) -> None:
    from frameloom.control.client import shut_down

    shut_down("journey", 30)
    assert site.process.wait(30) == 0
    assert wait_until(lambda: not psutil.pid_exists(site.process.pid) or site.process.poll() is not None)
