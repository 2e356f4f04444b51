"""All kinds of sources against the suite of `conformance.py`, with real servers of three makes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import pytest

from frameloom.model.frame import PixelFormat
from frameloom.sources.synthetic import read_counter
from frameloom.testing.cameras import GstRtspCamera, HttpFileServer, MjpegHttpCamera, PipRtspCamera
from frameloom.testing.needs import Unavailable, missing
from frameloom.testing.rtsp_server import RtspServer
from tests.sources.conformance import Bench, Case, FilmConformance, SourceConformance
from tests.sources.films import Films, film
from tests.sources.tcp_films import JPEG, RAW, TS, free_port, server, stubborn_sender

Serve = Callable[[Films], AbstractContextManager[str]]


def in_file(name: str, **options: Any) -> Serve:
    @contextmanager
    def serve(films: Films) -> Iterator[str]:
        yield str(films(name, **options))

    return serve


def over_rtsp(name: str, **options: Any) -> Serve:
    @contextmanager
    def serve(films: Films) -> Iterator[str]:
        with RtspServer({"live": films(name, **options)}) as server:
            yield server.url("live")

    return serve


@contextmanager
def over_http(films: Films) -> Iterator[str]:
    with HttpFileServer(films("h264.mp4")) as server:
        yield server.url


@contextmanager
def motion_jpeg(films: Films) -> Iterator[str]:
    with MjpegHttpCamera(film()) as camera:
        yield camera.url


def gstreamer(codec: Any, transport: Any) -> Serve:
    @contextmanager
    def serve(films: Films) -> Iterator[str]:
        with GstRtspCamera(film(), codec=codec, transport=transport) as camera:
            yield camera.url

    return serve


@contextmanager
def pip_package(films: Films) -> Iterator[str]:
    with PipRtspCamera(film()) as camera:
        yield camera.url


def pushed(name: str, *options: str, **film_options: Any) -> Serve:
    @contextmanager
    def serve(films: Films) -> Iterator[str]:
        port = free_port()
        with stubborn_sender(port, films(name, **film_options), *options):
            yield f"tcp://127.0.0.1:{port}?listen"

    return serve


@contextmanager
def over_tcp(films: Films) -> Iterator[str]:
    with server(films("h264.mp4"), *TS) as port:
        yield f"tcp://127.0.0.1:{port}"


@contextmanager
def generated(films: Films) -> Iterator[str]:
    yield f"synthetic:counter?width=320&height=240&fps=50&frames={film().frames}"


@contextmanager
def film_itself(films: Films) -> Iterator[str]:
    yield f"synthetic:rotating-tank?width=320&height=240&fps=50&stamp=1&frames={film().frames}"


AS_FAST = {"pace": "unpaced"}
UDP = {"transport": "udp"}
RAW_SMALL = {"format": "raw", "width": 320, "height": 240, "fps": 50}
COUNTER: dict[str, Any] = {"pixel": PixelFormat.GRAY, "read": read_counter}

CASES = [
    Case("file-mp4-h264", in_file("h264.mp4"), "h264", AS_FAST, ends=True, live=False),
    Case("file-mp4-h264-paced", in_file("h264.mp4"), "h264", ends=True),
    Case("file-mp4-bframes", in_file("b.mp4", bframes=2), "h264", AS_FAST, ends=True, live=False),
    Case("file-mkv-hevc", in_file("hevc.mkv", codec="hevc"), "hevc", AS_FAST, ends=True, live=False),
    Case("file-ts-bframes", in_file("b.ts", bframes=2), "h264", AS_FAST, ends=True, live=False),
    Case("file-avi-mjpeg", in_file("jpeg.avi", codec="mjpeg"), "mjpeg", AS_FAST, ends=True, live=False),
    Case("http-mp4", over_http, "h264", AS_FAST, ends=True, live=False),
    Case("http-mjpeg", motion_jpeg, "mjpeg", exact=False),
    Case("rtsp-tcp-h264", over_rtsp("h264.mp4"), "h264"),
    Case("rtsp-udp-h264", over_rtsp("h264.mp4"), "h264", UDP),
    Case("rtsp-tcp-hevc", over_rtsp("hevc.mkv", codec="hevc"), "hevc"),
    Case("rtsp-udp-mjpeg", over_rtsp("jpeg.mkv", codec="mjpeg"), "mjpeg", UDP),
    Case("gstreamer-tcp-h264", gstreamer("h264", "tcp"), "h264", exact=False),
    Case("gstreamer-udp-hevc", gstreamer("hevc", "udp"), "hevc", UDP, exact=False),
    Case("pip-tcp-h264", pip_package, "h264", exact=False),
    Case("pip-udp-h264", pip_package, "h264", UDP, exact=False),
    Case("tcp-mpegts", over_tcp, "h264"),
    Case("push-mpegts", pushed("h264.mp4", *TS), "h264"),
    Case("push-mjpeg", pushed("jpeg.avi", *JPEG, codec="mjpeg"), "mjpeg", {"format": "mjpeg"}, exact=False),
    Case("push-raw", pushed("h264.mp4", *RAW), "rawvideo", RAW_SMALL, exact=False, pixel=PixelFormat.BGR),
    Case("synthetic", generated, "rawvideo", ends=True, **COUNTER),
    Case("synthetic-unpaced", generated, "rawvideo", AS_FAST, ends=True, live=False, **COUNTER),
    Case("synthetic-film", film_itself, "rawvideo", AS_FAST, ends=True, live=False, pixel=PixelFormat.BGR),
]


@pytest.fixture(scope="module")
def served(request: pytest.FixtureRequest, films: Films) -> Iterator[Bench]:
    case: Case = request.param
    with ExitStack() as stack:
        try:
            url = stack.enter_context(case.serve(films))
        except Unavailable as reason:
            missing(str(reason))
        yield Bench(case, url)


def of(*cases: Case) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("served", cases, ids=lambda case: case.name, indirect=True)


@of(*(case for case in CASES if not case.ends))
class TestCameras(SourceConformance):
    pass


@of(*(case for case in CASES if case.ends))
class TestFilms(FilmConformance):
    pass
