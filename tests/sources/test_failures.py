"""Cameras in trouble, over real connections: what is said of it, how soon, and that no URL gets out."""

from __future__ import annotations

import errno
import itertools
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
import pytest

from frameloom.model.errors import FrameloomError, SourceLost, SourceMisconfigured
from frameloom.model.packet import Packet
from frameloom.model.stages import Source
from frameloom.sources import SourceSettings, errors, libav_log
from frameloom.sources.decode import Decoder
from frameloom.testing.cameras import HttpFileServer, MjpegHttpCamera
from frameloom.testing.rtsp_server import RtspServer
from tests.sources.films import FRAMES, STEP_NS, Films, Opener, decoded, film

PATIENCE_S = 30.0
USER, PASSWORD = "bob", "hunt/er:2@é"


def read_on(source: Source) -> list[Packet]:
    """Everything until the error, in a thread of the test's own patience."""
    return list(source.packets())


def assert_discreet(error: FrameloomError, *secrets: str) -> None:
    """The message names the camera; neither it nor the traceback kept for a user holds a secret."""
    assert "'yard'" in str(error)
    said = [entry for entry in traceback.format_exception(error) if not entry.startswith("  File")]
    told = "".join(said + libav_log.recent_lines())
    for secret in ("rtsp://", "http://", *secrets):
        assert secret not in told


@pytest.fixture(scope="module")
def server(films: Films) -> Iterator[RtspServer]:
    with RtspServer({"live": films("h264.mp4")}) as running:
        yield running


@pytest.fixture
def camera(server: RtspServer) -> Iterator[RtspServer]:
    yield server
    server["live"].resume()
    server["live"].accept()


# --- nobody lets us in ---


@pytest.mark.parametrize("auth", ["digest", "basic"])
def test_credentials_open_the_camera_wherever_they_are_written(
    films: Films, source: Opener, auth: Any
) -> None:
    with RtspServer({"live": films("h264.mp4")}, users={USER: PASSWORD}, auth=auth) as server:
        assert source(server.url("live"), username=USER, password=PASSWORD).open().codec == "h264"
        assert source(server.url("live", USER)).open().codec == "h264"


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_wrong_password_is_for_a_person(films: Films, source: Opener, transport: str) -> None:
    with RtspServer({"live": films("h264.mp4")}, users={USER: PASSWORD}) as server:
        with pytest.raises(SourceMisconfigured, match="refused user name or password") as caught:
            source(server.url("live"), username=USER, password="wr0ng", transport=transport).open()
        assert_discreet(caught.value, "wr0ng", str(server.port))
        with pytest.raises(SourceMisconfigured, match="refused user name or password"):
            source(server.url("live"), transport=transport).open()


def test_a_wrong_path_is_for_a_person(camera: RtspServer, source: Opener) -> None:
    with pytest.raises(SourceMisconfigured, match="nothing at this path") as caught:
        source(camera.url("n0where")).open()
    assert_discreet(caught.value, "n0where")


def test_a_wrong_path_over_http(films: Films, source: Opener) -> None:
    with HttpFileServer(films("h264.mp4")) as server:
        with pytest.raises(SourceMisconfigured, match="nothing at this path") as caught:
            source(server.url + "n0where").open()
        assert_discreet(caught.value, "n0where")


def test_a_transport_that_is_not_offered_is_for_a_person(films: Films, source: Opener) -> None:
    with (
        RtspServer({"live": films("h264.mp4")}, transports=["tcp"]) as server,
        pytest.raises(SourceMisconfigured, match="does not offer RTSP over udp: change transport"),
    ):
        source(server.url("live"), transport="udp").open()


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        port: int = listening.getsockname()[1]
    return port


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_nobody_listens(source: Opener, scheme: str) -> None:
    with pytest.raises(SourceLost, match="connection was refused") as caught:
        source(f"{scheme}://bob:hunter2@127.0.0.1:{free_port()}/tok3n").open()
    assert_discreet(caught.value, "hunter2", "tok3n")


def test_a_host_that_does_not_exist(source: Opener) -> None:
    with pytest.raises(SourceLost) as caught:
        source("rtsp://bob:hunter2@camera.invalid/tok3n", connect_s=5).open()
    assert_discreet(caught.value, "hunter2", "tok3n")


@contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A TCP server on loopback that lets `answer` deal with each connection; gives its port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        connections: list[socket.socket] = []

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                connections.append(connection)
                try:
                    answer(connection)
                except OSError:
                    connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(PATIENCE_S)
        for connection in connections:
            connection.close()


def hang(connection: socket.socket) -> None:
    """Take the connection and say nothing."""


def hang_up(connection: socket.socket) -> None:
    connection.close()


def say(text: bytes) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(text)
        connection.close()

    return answer


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_a_host_that_takes_the_call_and_is_silent(source: Opener, scheme: str) -> None:
    with answering(hang) as port:
        with pytest.raises(SourceLost, match=r"no answer for 0\.5 s") as caught:
            source(f"{scheme}://bob:hunter2@127.0.0.1:{port}/x", connect_s=0.5).open()
        assert_discreet(caught.value, "hunter2")


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
@pytest.mark.parametrize("answer", [hang_up, say(b"SSH-2.0-OpenSSH_9.2\r\n"), say(b"\xff\x00\x13" * 300)])
def test_something_else_answers(source: Opener, scheme: str, answer: Callable[[socket.socket], None]) -> None:
    with (
        answering(answer) as port,
        pytest.raises(SourceLost, match=r"what answers does not|closed the connection"),
    ):
        source(f"{scheme}://127.0.0.1:{port}/x").open()


@pytest.mark.parametrize(
    ("status", "kind", "complaint"),
    [
        ("401 Unauthorized", SourceMisconfigured, "user name or password"),
        ("403 Forbidden", SourceMisconfigured, "user name or password"),
        ("404 Not Found", SourceMisconfigured, "nothing at this path"),
        ("400 Bad Request", SourceMisconfigured, "refused the request"),
        ("418 Teapot", SourceMisconfigured, "refused the request"),
        ("429 Too Many Requests", SourceLost, "busy"),
        ("500 Internal Server Error", SourceLost, "in trouble"),
        ("503 Service Unavailable", SourceLost, "busy"),
    ],
)
@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_every_refusal_is_sorted_by_who_must_act(
    source: Opener, scheme: str, status: str, kind: type[FrameloomError], complaint: str
) -> None:
    version = {"rtsp": "RTSP/1.0", "http": "HTTP/1.1"}[scheme]
    text = f"{version} {status}\r\nCSeq: 1\r\nContent-Length: 0\r\n\r\n".encode()
    with answering(say(text)) as port, pytest.raises(kind, match=complaint) as caught:
        source(f"{scheme}://bob:hunter2@127.0.0.1:{port}/tok3n").open()
    assert_discreet(caught.value, "hunter2", "tok3n")


def test_a_web_page_is_no_camera(source: Opener) -> None:
    page = b"<html><body>Login</body></html>"
    text = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%s" % (len(page), page)
    with answering(say(text)) as port, pytest.raises(SourceLost, match="does not send video") as caught:
        source(f"http://127.0.0.1:{port}/").open()
    assert_discreet(caught.value)


# --- it stops ---


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_camera_that_falls_silent_is_lost(camera: RtspServer, source: Opener, transport: str) -> None:
    made = source(camera.url("live"), transport=transport, silence_s=0.5)
    made.open()
    packets = made.packets()
    next(packets)
    camera["live"].stall()
    last_ns = [time.monotonic_ns()]
    with pytest.raises(SourceLost, match=r"'yard': no picture for 0\.5 s"):
        last_ns.extend(packet.captured_ns for packet in packets)
    # FFmpeg's parser holds one more, and gives it when the time is up: it would be late by all that time.
    assert all(b - a < 500_000_000 for a, b in itertools.pairwise(last_ns))


def test_sound_does_not_keep_dead_pictures_alive(source: Opener, tmp_path: Path) -> None:
    path = tmp_path / "dying.ts"
    with av.open(str(path), "w") as container:
        pictures = container.add_stream(
            "libx264", rate=25, options={"preset": "ultrafast", "tune": "zerolatency"}
        )
        sound = container.add_stream("aac", rate=48000)
        pictures.width, pictures.height, pictures.pix_fmt = 320, 240, "yuv420p"
        for n in range(25):
            container.mux(pictures.encode(av.VideoFrame.from_ndarray(film().render(n), format="bgr24")))
        container.mux(pictures.encode(None))
        for n in range(4000):
            silence = av.AudioFrame.from_ndarray(
                np.zeros((2, 1024), np.float32), format="fltp", layout="stereo"
            )
            silence.sample_rate, silence.pts = 48000, n * 1024
            container.mux(sound.encode(silence))
    over = threading.Event()

    def broadcast(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\n\r\n")
        data = path.read_bytes()
        for at in range(0, len(data), 188 * 20):
            connection.sendall(data[at : at + 188 * 20])
            if at > len(data) // 2 and over.wait(0.02):
                return

    with answering(broadcast) as port:
        made = source(f"http://127.0.0.1:{port}/live.ts", silence_s=0.5)
        made.open()
        with pytest.raises(SourceLost, match=r"no picture for 0\.5 s"):
            list(made.packets())
        over.set()


def test_a_camera_that_hangs_up_is_lost(camera: RtspServer, source: Opener) -> None:
    made = source(camera.url("live"))
    made.open()
    packets = made.packets()
    next(packets)
    camera["live"].drop()
    with pytest.raises(SourceLost, match="'yard': it closed the connection"):
        list(packets)


def test_after_a_loss_the_same_source_opens_again(camera: RtspServer, source: Opener) -> None:
    made = source(camera.url("live"))
    for _ in range(3):
        made.open()
        packets = made.packets()
        next(packets)
        camera["live"].drop()
        with pytest.raises(SourceLost):
            list(packets)


def test_a_jpeg_camera_that_falls_silent_hangs_up_or_sends_garbage(source: Opener) -> None:
    with MjpegHttpCamera(film()) as camera:
        made = source(camera.url, silence_s=0.5)
        for trouble in (camera.stall, camera.drop):
            made.open()
            packets = made.packets()
            next(packets)
            trouble()
            with pytest.raises(SourceLost):
                list(packets)
            camera.resume()


def test_closing_while_a_camera_hangs_does_not_wait_for_it(camera: RtspServer, source: Opener) -> None:
    made = source(camera.url("live"), silence_s=3600)
    made.open()
    packets = made.packets()
    next(packets)
    camera["live"].stall()
    ended = threading.Event()
    reader = threading.Thread(target=lambda: (list(packets), ended.set()), daemon=True)
    reader.start()
    made.close()
    assert ended.wait(PATIENCE_S)
    camera["live"].drop()  # lets the thread go that waits in FFmpeg


def test_closing_while_connecting(source: Opener) -> None:
    connected = threading.Event()

    def answer(connection: socket.socket) -> None:
        connection.recv(10)
        connected.set()

    with answering(answer) as port:
        made = source(f"rtsp://127.0.0.1:{port}/x", connect_s=3600)
        failed: list[Exception] = []

        def open_it() -> None:
            try:
                made.open()
            except SourceLost as error:
                failed.append(error)

        opener = threading.Thread(target=open_it, daemon=True)
        opener.start()
        assert connected.wait(PATIENCE_S)
        made.close()
        opener.join(PATIENCE_S)
        assert not opener.is_alive()
        assert len(failed) == 1


# --- it goes on, but how ---


@pytest.mark.parametrize("name", ["h264.mp4", "hevc.mkv"])
@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_lost_parts_of_pictures_smear_nothing(
    films: Films, source: Opener, transport: str, name: str
) -> None:
    """Every picture that comes out bears a number that can be read. Over TCP, it is the camera that leaves out."""
    codec = {"h264.mp4": "h264", "hevc.mkv": "hevc"}[name]
    with RtspServer({"live": films(name, codec=codec)}) as server:
        made = source(server.url("live"), transport=transport)
        decoder = Decoder(made.open())
        packets = made.packets()
        got = list(itertools.islice(packets, 5))
        server["live"].lose(0.1)
        got += itertools.islice(packets, 30)
        seen = decoded(got, decoder)
        assert all(number is not None for number in seen.numbers)
        assert 5 <= len(seen.numbers) < len(got)
        assert any(packet.metadata.get("damaged") for packet in got)


@pytest.mark.parametrize("name", ["h264.mp4", "hevc.mkv"])
def test_parts_lost_while_the_stream_is_opened_smear_nothing(films: Films, source: Opener, name: str) -> None:
    """FFmpeg reads ahead to open a stream, and tells of what it misses there before anybody reads."""
    codec = {"h264.mp4": "h264", "hevc.mkv": "hevc"}[name]
    doubted = 0
    with RtspServer({"live": films(name, codec=codec)}, seed=2) as server:
        server["live"].lose(0.2)
        for _ in range(10):
            made = source(server.url("live"), transport="udp")
            decoder = Decoder(made.open())
            got = list(itertools.islice(made.packets(), 8))
            made.close()
            assert all(number is not None for number in decoded(got, decoder).numbers)
            doubted += bool(got[0].metadata.get("damaged"))
    assert doubted


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_garbage_is_survived_or_lost_but_never_shown(
    camera: RtspServer, source: Opener, transport: str
) -> None:
    made = source(camera.url("live"), transport=transport, silence_s=1)
    decoder = Decoder(made.open())
    packets = made.packets()
    first = list(itertools.islice(packets, 5))
    camera["live"].garbage()
    got = list(first)
    with suppress(SourceLost):
        got.extend(itertools.islice(packets, 30))
    seen = decoded(got, decoder)
    assert seen.numbers[:1] != [None]
    assert all(number is not None for number in seen.numbers)


def test_a_jump_of_the_cameras_clock_does_not_jump_media_time(camera: RtspServer, source: Opener) -> None:
    made = source(camera.url("live"))
    made.open()
    packets = made.packets()
    got = list(itertools.islice(packets, 10))
    camera["live"].clock_jump(3600, "media")
    got += itertools.islice(packets, 20)
    camera["live"].clock_jump(-7200, "media")
    got += itertools.islice(packets, 20)
    steps = [b.pts_ns - a.pts_ns for a, b in itertools.pairwise(got)]
    assert all(0 < step < 5_000_000_000 for step in steps)


def test_another_film_on_the_camera_is_another_format(films: Films, source: Opener) -> None:
    with RtspServer({"live": films("h264.mp4")}) as server:
        made = source(server.url("live"))
        assert made.open().codec == "h264"
        packets = made.packets()
        next(packets)
        server["live"].change(films("small-hevc.mkv", film(160, 128), codec="hevc"))
        with pytest.raises(SourceLost):
            list(packets)
        format = made.open()
        assert (format.codec, format.width, format.height) == ("hevc", 160, 128)


def test_a_change_of_size_in_band_is_seen_by_the_decoder(films: Films, source: Opener) -> None:
    with RtspServer({"live": films("h264.mp4")}) as server:
        made = source(server.url("live"))
        decoder = Decoder(made.open())
        packets = made.packets()
        got = list(itertools.islice(packets, 5))
        server["live"].change(films("small.mp4", film(160, 128)), in_band=True)
        got += itertools.islice(packets, 30)
        seen = decoded(got, decoder)
        assert {(f.width, f.height) for f in seen.formats} == {(320, 240), (160, 128)}
        assert all(number is not None for number in seen.numbers)


def test_the_cameras_own_time_comes_with_its_pictures(films: Films, source: Opener) -> None:
    with RtspServer({"live": films("h264.mp4")}, report_interval_s=0.2) as server:
        made = source(server.url("live"))
        made.open()
        packets = list(itertools.islice(made.packets(), FRAMES))
        told = [packet for packet in packets if "camera_utc_ns" in packet.metadata]
        assert len(told) >= FRAMES // 2
        for packet in told:
            age_ns = packet.captured_at_ns - packet.metadata["camera_utc_ns"]
            assert -2_000_000 <= age_ns <= 1_000_000_000
            assert packet.metadata["camera_utc_error_ns"] > 0
        offsets = [packet.metadata["camera_utc_ns"] - packet.pts_ns for packet in told]
        assert (
            max(offsets) - min(offsets) < STEP_NS // 2
        )  # each picture has its own time, not its neighbour's


# --- what cannot be had here: devices, and errors of the system ---


@pytest.mark.parametrize(
    ("number", "kind", "complaint"),
    [
        (errno.ENOENT, SourceLost, "/dev/video7 has gone: is the camera plugged in"),
        (errno.ENODEV, SourceLost, "has gone"),
        (errno.EBUSY, SourceLost, "in use by another program"),
        (errno.EACCES, SourceMisconfigured, "/dev/video7"),
        (errno.EINVAL, SourceMisconfigured, "does not offer this format, size and rate"),
        (errno.ENOTTY, SourceMisconfigured, "is not a video device"),
    ],
)
def test_errors_of_devices(number: int, kind: type[FrameloomError], complaint: str) -> None:
    settings = SourceSettings(url="device:7")
    error = av.error.classes[number](number, "said", "/dev/video7")  # type: ignore[attr-defined]
    assert isinstance(errors.on_open("yard", settings, error, 0.0), kind)
    assert complaint in str(errors.on_open("yard", settings, error, 0.0))


def test_a_device_that_is_not_there(source: Opener) -> None:
    with pytest.raises(SourceLost, match="/dev/video998 has gone: is the camera plugged in"):
        source("/dev/video998").open()


def test_a_file_that_may_not_be_read() -> None:
    settings = SourceSettings(url="/secret/film.mp4")
    error = errors.on_open("yard", settings, av.error.PermissionError(errno.EACCES, "denied", "x"), 0.0)
    assert isinstance(error, SourceMisconfigured)
    assert "no permission to read /secret/film.mp4" in str(error)


def test_a_log_line_in_an_error_is_scrubbed() -> None:
    settings = SourceSettings(url="rtsp://bob:hunter2@cam/tok3n")
    log = (16, "tcp", "rtsp://bob:hunter2@cam/tok3n said /tok3n\n")
    error = av.error.UndefinedError(999, "strange", "rtsp://bob:hunter2@cam/tok3n", log)
    told = errors.on_open("yard", settings, error, 0.0)
    assert isinstance(told, SourceLost)
    assert "strange" in str(told)
    assert "hunter2" not in str(told)
    assert "tok3n" not in str(told)
