"""TCP of a running site: players that people have, senders that come and go, and one Frameloom behind another."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import frameloom
from frameloom.testing.films import read_counter
from frameloom.testing.needs import missing
from frameloom.testing.rtsp_server import RtspServer
from tests.sources.tcp_films import TS, free_port, sender

from .running import RunningSite, running_site, wait_until

FILM_FRAMES = 150
PLAYER_S = 60
VLC = "vlc-bin vlc-plugin-base"

SITE = """\
site: {name}
server: {{enabled: false}}
limits: {{backoff_s: [0.05], failures: 1000}}
cameras:
  hall: {camera}
sinks:
  ts: {{kind: tcp, stream: hall, port: {ts}}}
  jpeg: {{kind: tcp, stream: hall, port: {jpeg}, format: mjpeg}}
"""


def site_file(folder: Path, camera: str, name: str = "tcp") -> tuple[Path, int, int]:
    """A site with one camera, that is sent as MPEG-TS and as JPEG; its file, and the two ports."""
    ts, jpeg = free_port(), free_port()
    file = folder / f"{name}.yaml"
    file.write_text(SITE.format(name=name, camera=camera, ts=ts, jpeg=jpeg))
    return file, ts, jpeg


@contextmanager
def sending_site(folder: Path, camera: str) -> Iterator[tuple[RunningSite, int, int]]:
    file, ts, jpeg = site_file(folder, camera)
    with running_site(file, "--quiet", name="tcp") as site:
        site.wait_state("hall", "running")
        site.wait_state("ts", "running")
        site.wait_state("jpeg", "running")
        yield site, ts, jpeg


def needed(program: str, packages: str) -> str:
    found = shutil.which(program)
    if found is None:
        missing(f"{program} is not installed: apt-get install {packages}")
        raise AssertionError("it was skipped")
    return found


def check_follow(numbers: Iterable[int | None]) -> None:
    """Every picture follows the one before."""
    for before, after in itertools.pairwise(numbers):
        assert before is not None
        assert after == (before + 1) % FILM_FRAMES


def info(site: RunningSite, name: str) -> dict[str, Any]:
    report = site.worker(name)["report"]
    found: dict[str, Any] = report["info"] if report else {}
    return found


def test_players_that_people_have(tmp_path: Path, cameras: RtspServer, runtime_dir: Path) -> None:
    """Without an option: ffprobe, ffplay, OpenCV and VLC; and when all have gone, nothing is read any more."""
    with sending_site(tmp_path, cameras.url("one")) as (site, ts, jpeg):
        assert _probed(ts) == "h264,320,240"
        assert _probed(jpeg) == "mjpeg,320,240"
        for port in (ts, jpeg):
            _check_opencv(port)
            assert _ffplay_s(port) > 0.5
            _check_vlc(port)
        for name in ("ts", "jpeg"):
            site.wait_worker(name, lambda worker: worker["detail"] == "nobody is connected")
            assert (info(site, name)["clients"], info(site, name)["refused"]) == ([], 0)
        streams = site.worker("hall")["report"]["streams"]
        assert streams["hall.packets"]["readers"] == []
        assert site.stop() == 0


def _probed(port: int) -> str:
    entries = ["-show_entries", "stream=codec_name,width,height", "-of", "csv=p=0"]
    command = [needed("ffprobe", "ffmpeg"), "-v", "error", *entries, f"tcp://127.0.0.1:{port}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PLAYER_S, check=True)
    return done.stdout.split()[0]


def _check_opencv(port: int) -> None:
    video = cv2.VideoCapture(f"tcp://127.0.0.1:{port}")
    try:
        assert video.isOpened()
        numbers = []
        for _ in range(30):
            has_come, picture = video.read()
            assert has_come
            numbers.append(read_counter(np.ascontiguousarray(picture[:, :, 1])))
        check_follow(numbers)
    finally:
        video.release()


def _ffplay_s(port: int) -> float:
    """How far ffplay comes in a while: seconds of media time between the first and the last picture it shows."""
    command = [needed("ffplay", "ffmpeg"), "-hide_banner", "-stats", f"tcp://127.0.0.1:{port}"]
    environment = {**os.environ, "SDL_VIDEODRIVER": "dummy", "SDL_AUDIODRIVER": "dummy"}
    times: list[float] = []
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as process:
        assert process.stderr
        try:
            for line in _lines(process.stderr.fileno()):
                if found := re.match(r" *(\d+\.\d+) M-V:", line):
                    times.append(float(found[1]))
                if times and times[-1] - times[0] > 0.6:
                    break
        finally:
            process.kill()
    return times[-1] - times[0] if times else 0.0


def _lines(fd: int) -> Iterator[str]:
    """What is written to a terminal that is overwritten again and again."""
    text = ""
    while data := os.read(fd, 4096):
        *lines, text = re.split(r"[\r\n]", text + data.decode(errors="replace"))
        yield from lines


def _check_vlc(port: int) -> None:
    """What it shows are the film's pictures in their order; it leaves out some where the machine is slow."""
    # Not in pytest's own folder: nobody but its owner may enter that.
    with tempfile.TemporaryDirectory(prefix="fl-vlc-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        numbers = _seen_by_vlc(port, Path(folder))
    assert len(set(numbers)) > 5, "the first one is shown until the next is due"
    for before, after in itertools.pairwise(numbers):
        assert before is not None
        assert after is not None
        assert 0 <= (after - before) % FILM_FRAMES <= 50, numbers


def _seen_by_vlc(port: int, folder: Path) -> list[int | None]:
    """The numbers in pictures that VLC has shown. It refuses to run as root."""
    folder.chmod(0o777)
    shot = ["--video-filter=scene", "--scene-format=png", "--scene-ratio=1", f"--scene-path={folder}"]
    quiet = [
        "-I",
        "dummy",
        "--vout=dummy",
        "--no-audio",
        "--no-media-library",
        "--no-metadata-network-access",
    ]
    command = [needed("vlc", VLC), *quiet, *shot, "--scene-prefix=n", f"tcp://127.0.0.1:{port}"]
    if os.geteuid() == 0:
        drop = [needed("setpriv", "util-linux"), "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
        command = [*drop, *command]
    environment = {**os.environ, "HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as vlc:
        try:
            wait_until(lambda: len(list(folder.glob("n*.png"))) > 60, lambda: "VLC shows nothing")
        finally:
            vlc.kill()
    shots = sorted(folder.glob("n*.png"))[:-1]  # the last one may be cut off
    return [read_counter(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)) for path in shots]  # type: ignore[arg-type]


VICTIM = """\
import socket, sys, time

sock = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
print(sock.recv(9), flush=True)
time.sleep(1000)
"""


def test_clients_that_hang_and_die_cost_nothing(
    tmp_path: Path, cameras: RtspServer, runtime_dir: Path
) -> None:
    """Fifty that take nothing, one that is killed; commands are answered, and who reads loses nothing."""
    with sending_site(tmp_path, cameras.url("one")) as (site, ts, _):
        idle = [socket.create_connection(("127.0.0.1", ts)) for _ in range(50)]
        with subprocess.Popen([sys.executable, "-c", VICTIM, str(ts)], stdout=subprocess.PIPE) as victim:
            assert victim.stdout
            assert victim.stdout.readline()
            wait_until(lambda: len(info(site, "ts")["clients"]) == 51)
            victim.send_signal(signal.SIGKILL)
        wait_until(lambda: len(info(site, "ts")["clients"]) == 50)
        assert site.call("set", name="ts", values={"patience_s": 1})["live"]
        _check_opencv(ts)
        for sock in idle:
            sock.close()
        site.wait_worker("ts", lambda worker: worker["detail"] == "nobody is connected")
        assert info(site, "hall")["losses"] == 0
        assert "patience_s: 1" in (tmp_path / "tcp.yaml").read_text()
        assert site.stop() == 0


def test_a_sender_becomes_a_camera(tmp_path: Path, walkers_film: Path, runtime_dir: Path) -> None:
    """ffmpeg sends, is killed, comes again; a second one is turned away. What it sends can be seen, and goes out."""
    port = free_port()
    file, ts, _ = site_file(tmp_path, f"tcp://127.0.0.1:{port}?listen")
    with running_site(file, "--quiet", name="tcp") as site:
        site.wait_worker(
            "hall", lambda worker: worker["detail"] == f"waiting for a sender on 127.0.0.1:{port}"
        )
        assert site.worker("hall")["state"] == "degraded"
        for lap in range(2):
            with sender(port, walkers_film, *TS) as process:
                site.wait_state("hall", "running")
                _check_frames()
                _check_opencv(ts)
                with sender(port, walkers_film, *TS) as second:
                    assert second.wait(PLAYER_S) != 0
                wait_until(lambda: info(site, "hall")["refused"] > 0)
                assert "sends already" in info(site, "hall")["last_refused"]
                process.kill()
                worker = site.wait_state("hall", "degraded")
            site.wait_worker("hall", lambda worker: "no sender since" in worker["detail"])
            assert info(site, "hall")["losses"] == lap + 1
            assert worker["pid"] == site.worker("hall")["pid"], "nothing has died of it"
        assert site.stop() == 0


def _check_frames() -> None:
    """Twenty pictures of the camera, for whoever joins its stream."""
    numbers = []
    with frameloom.attach("hall", site="tcp", policy="every") as stream:
        for frame in itertools.islice(stream, 20):
            numbers.append(read_counter(frame.gray))
    check_follow(numbers)


RAW_SENDER = """\
import socket, sys, time
import numpy as np
from frameloom.testing.films import counter

film = counter(width=640, height=480, frames=150, fps=25)
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as sock:
    for number in range(10_000):
        sock.sendall(np.ascontiguousarray(film.render(number % 150)).tobytes())
        time.sleep(0.04)
"""


def test_the_original_sender_of_plain_pictures(tmp_path: Path, runtime_dir: Path) -> None:
    port = free_port()
    file, ts, _ = site_file(tmp_path, f"{{url: 'tcp://127.0.0.1:{port}?listen', format: raw}}")
    with running_site(file, "--quiet", name="tcp") as site:
        site.wait_worker("hall", lambda worker: worker["detail"].startswith("waiting for a sender"))
        with subprocess.Popen([sys.executable, "-c", RAW_SENDER, str(port)]) as process:
            site.wait_state("hall", "running")
            assert (info(site, "hall")["width"], info(site, "hall")["height"]) == (640, 480)
            with frameloom.attach("hall", site="tcp") as stream:
                frame = stream.get(timeout_s=PLAYER_S)
                assert frame is not None
                assert frame.bgr.shape == (480, 640, 3)
                assert read_counter(frame.gray) is not None
            assert _probed(ts) == "h264,640,480", "encoded once for those who want a stream"
            process.kill()
        assert site.stop() == 0


def test_one_frameloom_behind_another(tmp_path: Path, cameras: RtspServer, runtime_dir: Path) -> None:
    """The second one fetches what the first one sends, and sends it on."""
    with sending_site(tmp_path, cameras.url("one")) as (_, ts, _):
        file, again_ts, _ = site_file(tmp_path, f"tcp://127.0.0.1:{ts}", name="behind")
        with running_site(file, "--quiet", name="behind") as behind:
            behind.wait_state("hall", "running")
            _check_opencv(again_ts)
            assert behind.stop() == 0
