"""A camera that is sent on to another server: FFmpeg listens in its place, by RTSP and by RTMP."""

from __future__ import annotations

import itertools
import socket
import subprocess
from pathlib import Path

import av
import pytest

from frameloom.testing.films import encode, read_counter, walking_figures
from frameloom.testing.needs import require_program
from frameloom.testing.rtsp_server import RtspServer

from .running import RunningSite, running_site, wait_until

FRAMES = 150
SITE = """\
site: pushing
server: {{enabled: false}}
cameras: {{hall: {{url: '{hall}', view: false}}}}
sinks: {{out: {{kind: push, stream: hall, url: '{url}'}}}}
"""


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def receive(url: str, out: Path) -> subprocess.Popen[bytes]:
    """FFmpeg as the server that takes the stream, for three seconds of pictures."""
    # FFmpeg would wait 90 s for a sound track to appear in FLV.
    listen = (
        ["-rtsp_flags", "listen"]
        if url.startswith("rtsp")
        else ["-analyzeduration", "1000000", "-listen", "1"]
    )
    command = [require_program("ffmpeg", "ffmpeg"), "-v", "error", *listen, "-i", url]
    return subprocess.Popen([*command, "-c", "copy", "-frames:v", "75", "-y", str(out)])


def numbers(path: Path) -> list[int | None]:
    with av.open(str(path)) as film:
        return [read_counter(frame.to_ndarray(format="gray")) for frame in film.decode(video=0)]


def wait_detail(site: RunningSite, text: str) -> None:
    wait_until(lambda: text in site.worker("out")["detail"], lambda: str(site.worker("out")))


@pytest.mark.parametrize("scheme", ["rtsp", "rtmp"])
def test_every_picture_arrives_and_a_server_that_was_lost_is_found_again(
    tmp_path: Path, runtime_dir: Path, walkers_film: Path, scheme: str
) -> None:
    url = f"{scheme}://127.0.0.1:{free_port()}/live/hall"
    with RtspServer({"hall": walkers_film}) as cameras:
        file = tmp_path / "site.yaml"
        file.write_text(SITE.format(hall=cameras.url("hall"), url=url))
        with running_site(file, name="pushing") as site:
            wait_detail(site, "nobody listens there; trying again in")
            for name in ("first", "second"):
                out = tmp_path / f"{name}.mkv"
                receiver = receive(url, out)
                assert receiver.wait(100) == 0
                found = numbers(out)
                assert len(found) >= 70
                steps = {
                    (b - a) % FRAMES for a, b in itertools.pairwise(found) if a is not None and b is not None
                }
                assert steps == {1}
            wait_detail(site, "trying again in")
            assert site.worker("hall")["report"]["dropped"] == 0
            assert not site.worker("hall")["report"]["streams"]["hall"]["readers"], (
                "nothing is decoded for it"
            )


def test_a_password_is_not_told(tmp_path: Path, runtime_dir: Path, walkers_film: Path) -> None:
    url = f"rtsp://ann:geheim@127.0.0.1:{free_port()}/live/hall"
    with RtspServer({"hall": walkers_film}) as cameras:
        file = tmp_path / "site.yaml"
        file.write_text(SITE.format(hall=cameras.url("hall"), url=url))
        with running_site(file, name="pushing") as site:
            wait_detail(site, "nobody listens there")
            told = f"{site.call('status')} {site.call('logs', name='out', lines=1000)} {site.output}"
            assert "geheim" not in told and "rtsp://" not in told


def test_what_rtmp_does_not_carry_is_encoded_once(tmp_path: Path, runtime_dir: Path) -> None:
    """A camera of H.265, whose view then makes H.264."""
    film = walking_figures(width=320, height=240, fps=25, frames=FRAMES, stamp=True)
    path = encode(film, tmp_path / "deep.mp4", gop=25, codec="hevc")
    url = f"rtmp://127.0.0.1:{free_port()}/live/hall"
    with RtspServer({"hall": path}) as cameras:
        file = tmp_path / "site.yaml"
        file.write_text(SITE.format(hall=cameras.url("hall"), url=url).replace("view: false", "view: true"))
        receiver = receive(url, tmp_path / "out.mkv")
        with running_site(file, name="pushing"):
            assert receiver.wait(100) == 0
        with av.open(str(tmp_path / "out.mkv")) as found:
            assert found.streams.video[0].codec_context.name == "h264"
