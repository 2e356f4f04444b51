"""Cameras that are not ours: independent servers for tests of sources, each a context manager with a `url`.

`PipRtspCamera` (the pip package `rtsp`), `GstRtspCamera` (GStreamer's RTSP server), and, over HTTP,
`MjpegHttpCamera` and `HttpFileServer`. They listen on 127.0.0.1 only, on free ports. Our own RTSP server, with more
failures on command, is `frameloom.testing.rtsp_server`.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
import tempfile
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import av

from frameloom.testing._children import Child, ChildFailed
from frameloom.testing._http_cameras import HttpFileServer, MjpegHttpCamera, Quirk
from frameloom.testing.films import CodecName, Film, encode
from frameloom.testing.needs import Unavailable

__all__ = [
    "ChildFailed",
    "GstRtspCamera",
    "HttpFileServer",
    "MjpegHttpCamera",
    "PipRtspCamera",
    "Quirk",
    "Unavailable",
]

SYSTEM_PYTHON = "/usr/bin/python3"
_GST_PACKAGES = (
    "gir1.2-gst-rtsp-server-1.0 gir1.2-gst-plugins-base-1.0 python3-gi gstreamer1.0-plugins-good "
    "gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly"
)


class _ChildCamera:
    """What cameras in child processes share."""

    _child: Child | None = None

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self._running.answer['port']}/live"

    @property
    def pid(self) -> int:
        """The process that serves: kill it to see a camera lose its power."""
        return self._running.pid

    @property
    def _running(self) -> Child:
        if self._child is None:
            raise RuntimeError("the camera serves only inside its 'with' block")
        return self._child

    def _start(self) -> Child:
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._child = self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.close()
        self._child = None


class PipRtspCamera(_ChildCamera):
    """A film served by the pip package `rtsp`: H.264, looped, over TCP and UDP; sizes are rounded down to even.

    Entering raises Unavailable where the package is not installed.
    """

    def __init__(self, film: Film) -> None:
        self._film = film

    def _start(self) -> Child:
        if find_spec("rtsp") is None:
            raise Unavailable("the package rtsp is not installed: pip install rtsp")
        return Child([sys.executable, "-m", "frameloom.testing._pip_camera"], pickle.dumps(self._film))


class GstRtspCamera(_ChildCamera):
    """GStreamer's RTSP server, in Debian's Python, over one transport only.

    With a film it serves our encoding of it (a key frame a second, no B frames), looped; without, a test picture
    of 320x240 at 25/s that GStreamer encodes. Entering raises Unavailable, with the packages to install, where
    anything is missing.
    """

    def __init__(
        self,
        film: Film | None = None,
        codec: CodecName = "h264",
        transport: Literal["tcp", "udp"] = "tcp",
    ) -> None:
        self._film = film
        self._options: dict[str, object] = {"codec": codec, "transport": transport}
        self._options |= {"width": 320, "height": 240, "fps": "25/1"}

    def _start(self) -> Child:
        if not os.access(SYSTEM_PYTHON, os.X_OK):
            raise Unavailable(f"{SYSTEM_PYTHON} is not installed: apt-get install python3 {_GST_PACKAGES}")
        with tempfile.TemporaryDirectory(prefix="frameloom-gst-") as folder:
            options = self._options | self._encoded(Path(folder))
            child = Child([SYSTEM_PYTHON, str(_GST_SCRIPT), json.dumps(options)])
        if "missing" in child.answer:
            child.close()
            raise Unavailable(f"{child.answer['missing']} is not installed: apt-get install {_GST_PACKAGES}")
        return child

    def _encoded(self, folder: Path) -> dict[str, object]:
        if self._film is None:
            return {}
        rate = Fraction(self._film.fps)
        codec = self._options["codec"]
        suffix = {"h264": ".h264", "hevc": ".h265", "mjpeg": ".mjpeg"}[str(codec)]
        path = encode(self._film, folder / f"film{suffix}", codec=codec, gop=max(1, round(rate)))  # type: ignore[arg-type]
        return {"units": str(_units_of(path)), "fps": f"{rate.numerator}/{rate.denominator}"}


_GST_SCRIPT = Path(__file__).with_name("_gst_camera.py")


def _units_of(path: Path) -> Path:
    """The pictures of a bare stream, each behind four bytes of length, in a file beside it."""
    units = path.with_suffix(".units")
    with av.open(path) as container, units.open("wb") as file:
        for packet in container.demux(video=0):
            if packet.size:
                file.write(packet.size.to_bytes(4, "big") + bytes(packet))
    return units
