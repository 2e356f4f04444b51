"""The site's RTSP server: standard players take every camera by `rtsp://.../NAME`, over TCP and UDP, with a login."""

from __future__ import annotations

import contextlib
import itertools
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import av.error
import cv2
import pytest

from frameloom.testing.cameras import GstRtspCamera
from frameloom.testing.films import encode, read_counter, walking_figures
from frameloom.testing.needs import require_program, required
from frameloom.testing.rtsp_server import RtspServer
from tests.testing.rtsp_client import Rtp, RtspClient, SenderReport

from .running import RunningSite, running_site, wait_until

FRAMES = 150
FRAME_TICKS = 3600
USER = "ann:geheim@"
SITE = """\
site: outlet
server: {{enabled: false}}
rtsp: {{enabled: true, port: 0, users: {{ann: geheim}}}}
cameras:
  hall: {hall}
  deep: {deep}
  drawn: {{url: 'synthetic:walking_figures?width=320&height=240&fps=25&stamp=1&frames=60000'}}
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, module_runtime_dir: Path) -> Iterator[RunningSite]:
    """A camera of H.264, one of H.265, and one of raw pictures."""
    folder = tmp_path_factory.mktemp("outlet")
    film = walking_figures(width=320, height=240, fps=25, frames=FRAMES, stamp=True)
    hall = encode(film, folder / "hall.mp4", gop=25)
    deep = encode(film, folder / "deep.mp4", gop=25, codec="hevc")
    with (
        pytest.MonkeyPatch.context() as patch,
        RtspServer({"hall": hall, "deep": deep}) as cameras,
    ):
        patch.setenv("FRAMELOOM_RUNTIME_DIR", str(module_runtime_dir))
        file = folder / "site.yaml"
        file.write_text(SITE.format(hall=cameras.url("hall"), deep=cameras.url("deep")))
        with running_site(file, name="outlet") as running:
            for name in ("rtsp", "hall", "deep", "drawn"):
                running.wait_state(name, "running")
            yield running


def url(site: RunningSite, name: str, login: str = USER) -> str:
    address = str(site.worker("rtsp")["report"]["info"]["url"])
    return address.replace("rtsp://", f"rtsp://{login}") + name


def shown(address: str, count: int, transport: str = "tcp") -> list[int | None]:
    """The numbers on the first pictures that FFmpeg gets."""
    with av.open(address, options={"rtsp_transport": transport}, timeout=60.0) as camera:
        pictures = itertools.islice(camera.decode(video=0), count)
        return [read_counter(picture.to_ndarray(format="gray")) for picture in pictures]


def goes_on(numbers: list[int | None]) -> bool:
    """Each picture is the one after the last."""
    return all(
        a is not None and b is not None and (b - a) % FRAMES == 1 for a, b in itertools.pairwise(numbers)
    )


@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize("name", ["hall", "deep"])
def test_every_picture_comes_as_the_camera_sent_it(site: RunningSite, name: str, transport: str) -> None:
    assert goes_on(shown(url(site, name), 50, transport))
    streams = site.worker(name)["report"]["streams"]
    assert streams[name]["readers"] == [], "nothing is decoded for it"


def test_raw_pictures_are_encoded_once_while_somebody_looks(site: RunningSite) -> None:
    with contextlib.ExitStack() as stack:
        players = [stack.enter_context(av.open(url(site, "drawn"), timeout=60.0)) for _ in range(2)]
        for player in players:
            pictures = itertools.islice(player.decode(video=0), 20)
            numbers = [read_counter(picture.to_ndarray(format="gray")) for picture in pictures]
            found = [number for number in numbers if number is not None]
            assert len(found) > 15 and found == sorted(found)
        streams = site.worker("drawn.view")["report"]["streams"]
        assert streams["drawn.live"]["readers"] == ["rtsp"]
    site.wait_worker("drawn.view", lambda worker: worker["detail"] == "nobody is watching")


def test_ffprobe_and_opencv_read_it(site: RunningSite) -> None:
    program = require_program("ffprobe", "ffmpeg")
    command = [
        program,
        "-v",
        "error",
        "-rtsp_transport",
        "tcp",
        "-show_streams",
        "-of",
        "json",
        url(site, "hall"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    (stream,) = json.loads(done.stdout)["streams"]
    assert (stream["codec_name"], stream["width"], stream["height"]) == ("h264", 320, 240)
    capture = cv2.VideoCapture(url(site, "hall"), cv2.CAP_FFMPEG)
    pictures = [capture.read() for _ in range(10)]
    capture.release()
    numbers = [read_counter(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)) for good, picture in pictures if good]
    assert len(numbers) == 10 and goes_on(numbers)


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_gstreamer_reads_it(site: RunningSite, transport: str) -> None:
    script = Path(__file__).parents[1] / "testing" / "gst_client.py"
    decoder = "rtph264depay ! h264parse ! avdec_h264"
    command = ["/usr/bin/python3", str(script), url(site, "hall"), transport, decoder, "20"]
    with required(), GstRtspCamera():
        pass  # GStreamer and its bindings are there
    done = subprocess.run(command, capture_output=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert len(done.stdout) == 20 * 320 * 240


@pytest.mark.parametrize("login", ["", "ann:wrong@", "eve:geheim@"])
def test_who_is_not_known_sees_nothing(site: RunningSite, login: str) -> None:
    with pytest.raises(av.error.HTTPUnauthorizedError):
        av.open(url(site, "hall", login), timeout=60.0)


def test_a_password_is_never_sent_in_the_clear_and_never_told(site: RunningSite) -> None:
    with RtspClient(url(site, "hall", "")) as client:
        answer = client.ask("DESCRIBE")
        assert answer.status == 401
        assert answer.headers["www-authenticate"].startswith("Digest ")
    assert "geheim" not in json.dumps(site.call("status"))
    assert "geheim" not in json.dumps(site.call("logs", name="rtsp", lines=1000))
    assert "geheim" not in site.output


@pytest.mark.parametrize(
    "name", ["attic", "hall.packets", "..%2Fhall", "", "hall?annotated=perhaps", "control"]
)
def test_what_is_not_there_is_not_found(site: RunningSite, name: str) -> None:
    with pytest.raises(av.error.HTTPNotFoundError):
        av.open(url(site, name), timeout=60.0)


def test_clients_that_go_cost_nothing(site: RunningSite) -> None:
    with av.open(url(site, "hall"), timeout=60.0) as camera:
        next(camera.decode(video=0))
        told = site.wait_worker(
            "rtsp", lambda worker: any(each["playing"] for each in worker["report"]["info"]["clients"])
        )
        assert told["report"]["info"]["clients"][0]["address"] == "127.0.0.1"
    site.wait_worker("rtsp", lambda worker: not worker["report"]["info"]["clients"])
    site.wait_worker("hall", lambda worker: not worker["report"]["streams"]["hall.packets"]["readers"])


def test_a_slow_client_loses_pictures_and_costs_the_others_none(tmp_path: Path, runtime_dir: Path) -> None:
    """It goes on later, by count; the camera's worker drops nothing for it. Of a camera that sends JPEG."""
    film = walking_figures(width=320, height=240, fps=25, frames=FRAMES, stamp=True)
    path = encode(film, tmp_path / "hall.mp4", codec="mjpeg", crf=1)
    with one_camera(tmp_path, path) as site:
        with RtspClient(url(site, "hall", ""), timeout_s=60, receive_buffer_bytes=4096) as sleeper:
            assert sleeper.ask("DESCRIBE").status == 200
            assert sleeper.play().status == 200
            assert goes_on(shown(url(site, "hall", ""), 150))
            assert longest_jump(sleeper) > 2 * FRAME_TICKS
            wait_until(lambda: site.worker("rtsp")["report"]["dropped"] > 0)
        assert site.worker("hall")["report"]["dropped"] == 0
        site.wait_worker("rtsp", lambda worker: not worker["report"]["info"]["clients"])


def longest_jump(client: RtspClient) -> int:
    """Between the time stamps of pictures that come one after the other, once there is any."""
    last, jump = None, 0
    for channel, packet in client.packets():
        ticks = Rtp.parse(packet).ticks if channel == 0 else last
        if last is not None and ticks is not None:
            jump = max(jump, (ticks - last) & 0xFFFFFFFF)
        last = ticks
        if jump > 2 * FRAME_TICKS:
            break
    return jump


@contextlib.contextmanager
def one_camera(folder: Path, film: Path) -> Iterator[RunningSite]:
    """A site with the camera 'hall' and an RTSP server without a login."""
    with RtspServer({"hall": film}) as cameras:
        file = folder / "site.yaml"
        hall = cameras.url("hall")
        file.write_text(
            f"site: single\nserver: {{enabled: false}}\nrtsp: {{enabled: true, port: 0}}\ncameras: {{hall: '{hall}'}}\n"
        )
        with running_site(file, name="single") as site:
            site.wait_state("rtsp", "running")
            site.wait_state("hall", "running")
            yield site


def test_the_first_report_tells_the_utc_of_the_first_picture(
    tmp_path: Path, runtime_dir: Path, walkers_film: Path
) -> None:
    """It maps the first time stamp to the moment of capture; and the answer to PLAY had told that one."""
    with one_camera(tmp_path, walkers_film) as site:
        with RtspClient(url(site, "hall", ""), timeout_s=60) as client:
            assert client.ask("DESCRIBE").status == 200
            began_s = time.time()
            info = client.play().headers["rtp-info"]
            (_, report), (_, packet) = itertools.islice(client.packets(), 2)
        told: dict[str, Any] = dict(part.partition("=")[::2] for part in info.split(";"))
        first, sent = Rtp.parse(packet), SenderReport.parse(report[:28])
        assert (first.sequence, first.ticks) == (int(told["seq"]), int(told["rtptime"]))
        assert (sent.ticks, sent.ssrc) == (first.ticks, first.ssrc)
        assert -2.0 < sent.unix_s - began_s <= 0.0, "the newest key frame is not older than a second"
