"""Cameras that are not ours, through the whole product: decoded in a worker, over the bus, read here."""

from __future__ import annotations

import itertools

import pytest

import frameloom
from frameloom.testing.cameras import GstRtspCamera, HttpFileServer, MjpegHttpCamera, PipRtspCamera
from frameloom.testing.films import counter, encode, read_counter
from frameloom.testing.needs import required

FILM = counter(frames=50)
TAKEN = 25

pytestmark = pytest.mark.usefixtures("runtime_dir")


def numbers(source: str, **settings: object) -> list[int | None]:
    """What stands in the first pictures of a source, each frame in its turn; checks size, and times that grow."""
    with frameloom.open(source, policy="every", leases=32, **settings) as capture:
        frames = list(itertools.islice(capture, TAKEN))
        assert {(frame.width, frame.height) for frame in frames} == {(FILM.width, FILM.height)}
        assert all(
            b.pts_ns > a.pts_ns and b.captured_ns >= a.captured_ns for a, b in itertools.pairwise(frames)
        )
        return [read_counter(frame.gray) for frame in frames]


def in_a_row(found: list[int | None]) -> bool:
    """Every picture could be read, and each is the one after the last; the film is shown over and over."""
    return None not in found and all((b - a) % FILM.frames == 1 for a, b in itertools.pairwise(found))


@pytest.mark.parametrize("codec", ["h264", "hevc", "mjpeg"])
@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_gstreamer(codec: str, transport: str) -> None:
    with required(), GstRtspCamera(FILM, codec, transport) as camera:
        found = numbers(camera.url, transport=transport)
    assert None not in found  # never torn, not even where UDP lost something
    assert in_a_row(found[5:]) or transport == "udp"


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_the_pip_package(transport: str) -> None:
    with required(), PipRtspCamera(FILM) as camera:
        found = numbers(camera.url, transport=transport)
    assert None not in found
    assert in_a_row(found[5:]) or transport == "udp"


def test_motion_jpeg_over_http() -> None:
    with MjpegHttpCamera(FILM) as camera:
        assert in_a_row(numbers(camera.url)[5:])


def test_film_over_http(tmp_path) -> None:
    path = encode(FILM, tmp_path / "film.mp4", gop=10)
    with HttpFileServer(path) as server:
        assert numbers(server.url) == list(range(TAKEN))
