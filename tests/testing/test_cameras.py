"""Cameras of others: each serves pictures to PyAV, and none outlives whom it belongs to."""

import itertools
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import av
import psutil
import pytest

from frameloom.testing import cameras
from frameloom.testing._children import Child, ChildFailed
from frameloom.testing.cameras import (
    GstRtspCamera,
    HttpFileServer,
    MjpegHttpCamera,
    PipRtspCamera,
    Unavailable,
)
from frameloom.testing.films import counter, encode
from frameloom.testing.needs import required
from tests.testing.pictures import counter_of, counters, steps

FILM = counter(frames=50)


def only_ours(url):
    """Every socket of a server that listens is on loopback."""
    port = int(url.split(":")[2].split("/")[0])
    found = [
        c.laddr.ip for c in psutil.net_connections("tcp") if c.status == "LISTEN" and c.laddr.port == port
    ]
    return set(found) == {"127.0.0.1"}


def in_order(found):
    """Every picture could be read and none came twice; a live camera leaves out what a busy machine was late for."""
    return None not in found and max(steps(found, 50)) < 10


def ends(frames):
    """Read what still comes, and say whether it ended (by an error or not) within a thousand frames."""
    try:
        return len(list(itertools.islice(frames, 1000))) < 1000
    except av.FFmpegError:
        return True


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_the_pip_package_serves_our_film(transport):
    with required(), PipRtspCamera(FILM) as camera:
        found = counters(camera.url, 20, transport)
        assert only_ours(camera.url)
    assert steps(found, 50) == {1} or transport == "udp"
    assert any(number is not None for number in found)


@pytest.mark.parametrize("codec", ["h264", "hevc", "mjpeg"])
@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_gstreamer_serves_our_film(codec, transport):
    with required(), GstRtspCamera(FILM, codec, transport) as camera:
        found = counters(camera.url, 20, transport)
        assert only_ours(camera.url)
    assert steps(found, 50) == {1} or transport == "udp"
    assert any(number is not None for number in found)


@pytest.mark.parametrize("codec", ["h264", "hevc", "mjpeg"])
def test_gstreamer_serves_a_picture_of_its_own(codec):
    with required(), GstRtspCamera(codec=codec) as camera:
        options = {"rtsp_transport": "tcp"}
        with av.open(camera.url, options=options, timeout=30) as container:
            frames = list(itertools.islice(container.decode(video=0), 5))
    assert {(frame.width, frame.height) for frame in frames} == {(320, 240)}
    assert len({frame.to_ndarray(format="gray").tobytes() for frame in frames}) > 1  # it moves


def test_gstreamer_serves_one_transport_only():
    with required(), GstRtspCamera(FILM, transport="tcp") as camera, pytest.raises(av.FFmpegError):
        counters(camera.url, 1, "udp", timeout_s=5)


def test_two_clients_share_gstreamer_s_film():
    with required(), GstRtspCamera(FILM) as camera:
        options = {"rtsp_transport": "tcp"}
        with av.open(camera.url, options=options, timeout=30) as one:
            frames = one.decode(video=0)
            next(frames)
            assert steps(counters(camera.url, 10), 50) == {1}
            assert steps([counter_of(frame) for frame in itertools.islice(frames, 10)], 50) == {1}


def test_what_is_not_installed_is_named_with_what_to_install(monkeypatch):
    monkeypatch.setattr(cameras, "SYSTEM_PYTHON", "/nowhere/python3")
    with pytest.raises(Unavailable, match="/nowhere/python3 is not installed: apt-get install python3"):
        GstRtspCamera().__enter__()


def test_gst_without_its_bindings_is_named_with_what_to_install(monkeypatch):
    monkeypatch.setattr(cameras, "SYSTEM_PYTHON", sys.executable)  # this one has no gi
    with pytest.raises(
        Unavailable, match=r"gst-rtsp-server .* is not installed: apt-get install gir1.2-gst-rtsp"
    ):
        GstRtspCamera().__enter__()


def test_a_camera_has_no_address_outside_of_its_block():
    with pytest.raises(RuntimeError, match="serves only inside its 'with' block"):
        print(PipRtspCamera(FILM).url)


# Children

PARENT = """
import sys, time
from frameloom.testing.cameras import PipRtspCamera
from frameloom.testing.films import counter
with PipRtspCamera(counter(frames=2)) as camera:
    print(camera.pid, flush=True)
    sys.stdin.read()
"""


def test_a_child_dies_with_a_parent_that_is_killed():
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child = psutil.Process(int(parent.stdout.readline()))
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    _, alive = psutil.wait_procs([child], timeout=30)
    assert not alive


def test_a_killed_camera_is_a_lost_connection_and_no_trouble_at_the_end():
    with required(), PipRtspCamera(FILM) as camera:
        options = {"rtsp_transport": "tcp"}
        with av.open(camera.url, options=options, timeout=30) as container:
            frames = container.decode(video=0)
            next(frames)
            os.kill(camera.pid, signal.SIGKILL)
            assert ends(frames)


def test_a_child_that_fails_says_what_it_wrote():
    code = "import sys; sys.exit('no film today')"
    with pytest.raises(ChildFailed, match="no film today"):
        Child([sys.executable, "-c", code])


def test_a_child_that_says_nothing_is_ended():
    code = "import time; time.sleep(1000)"
    with pytest.raises(ChildFailed, match=r"said nothing for 0\.3 s"):
        Child([sys.executable, "-c", code], timeout_s=0.3)


# HTTP


def http_counters(url, count, timeout_s=30.0):
    with av.open(url, timeout=timeout_s) as camera:
        return [counter_of(frame) for frame in itertools.islice(camera.decode(video=0), count)]


@pytest.mark.parametrize("quirk", ["none", "no_boundary", "dashed_boundary", "no_length"])
def test_motion_jpeg_over_http(quirk):
    with MjpegHttpCamera(FILM, quirk=quirk) as camera:
        assert in_order(http_counters(camera.url, 20))
        assert only_ours(camera.url)


def test_motion_jpeg_stalls_resumes_and_drops():
    with MjpegHttpCamera(FILM) as camera:
        camera.stall()
        with pytest.raises((TimeoutError, av.error.ExitError)):
            http_counters(camera.url, 20, timeout_s=0.5)
        camera.resume()
        assert in_order(http_counters(camera.url, 5))
        with av.open(camera.url, timeout=30) as container:
            frames = container.decode(video=0)
            next(frames)
            camera.drop()
            assert ends(frames)


def test_motion_jpeg_refuses_and_serves_again():
    with MjpegHttpCamera(FILM) as camera:
        camera.refuse()
        with pytest.raises(av.FFmpegError):
            http_counters(camera.url, 1)
        with pytest.raises(urllib.error.HTTPError, match="503"):
            urllib.request.urlopen(camera.url, timeout=30)
        camera.accept()
        assert in_order(http_counters(camera.url, 5))


def test_motion_jpeg_sends_garbage_until_it_ends():
    with MjpegHttpCamera(FILM) as camera, urllib.request.urlopen(camera.url, timeout=30) as stream:
        assert picture_of(stream).startswith(b"\xff\xd8")
        camera.garbage()
        assert any(not picture_of(stream).startswith(b"\xff\xd8") for _ in range(50))
        camera.resume()
        assert any(picture_of(stream).startswith(b"\xff\xd8") for _ in range(50))


def picture_of(stream):
    """The next part of a multipart stream."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += stream.read(1)
    return stream.read(int(head.lower().partition(b"content-length:")[2].split()[0]))


@pytest.mark.parametrize("path", ["nothing", "video.mjpg/"])
def test_other_addresses_are_not_found(path):
    with MjpegHttpCamera(FILM) as camera, pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(camera.url.replace("video.mjpg", path), timeout=30)


@pytest.fixture(scope="module")
def film_file(tmp_path_factory):
    return encode(counter(frames=30), tmp_path_factory.mktemp("files") / "film.mp4")


def test_a_file_over_http_is_read_and_sought(film_file):
    with HttpFileServer(film_file) as server, av.open(server.url, timeout=30) as container:
        assert [counter_of(frame) for frame in container.decode(video=0)] == list(range(30))
        container.seek(0)
        assert counter_of(next(container.decode(video=0))) == 0


@pytest.mark.parametrize(
    ("asked", "first", "end"),
    [
        ("bytes=0-9", 0, 10),
        ("bytes=100-", 100, None),
        ("bytes=-20", -20, None),
        ("bytes=5-99999999", 5, None),
    ],
)
def test_ranges_are_answered_exactly(film_file, asked, first, end):
    data = film_file.read_bytes()
    with HttpFileServer(film_file) as server:
        request = urllib.request.Request(server.url, headers={"Range": asked})
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert answer.status == 206
            assert answer.read() == data[first:end]
            begins = first % len(data)
            ends = begins + len(data[first:end]) - 1
            assert answer.headers["Content-Range"] == f"bytes {begins}-{ends}/{len(data)}"


def test_a_range_beyond_the_end_is_refused(film_file):
    with HttpFileServer(film_file) as server:
        request = urllib.request.Request(server.url, headers={"Range": "bytes=99999999-"})
        with pytest.raises(urllib.error.HTTPError, match="416"):
            urllib.request.urlopen(request, timeout=30)


def test_a_server_without_ranges_sends_the_whole_file(film_file):
    with HttpFileServer(film_file, ranges=False) as server:
        request = urllib.request.Request(server.url, headers={"Range": "bytes=5-9"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert answer.status == 200
            assert answer.headers["Accept-Ranges"] is None
            assert answer.read() == film_file.read_bytes()


def test_head_tells_the_size_and_another_name_is_not_found(film_file):
    with HttpFileServer(film_file) as server:
        request = urllib.request.Request(server.url, method="HEAD")
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert int(answer.headers["Content-Length"]) == film_file.stat().st_size
            assert answer.read() == b""
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(server.url + "x", timeout=30)
