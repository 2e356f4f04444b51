"""The child process of `cameras.GstRtspCamera`: GStreamer's RTSP server, run by the system's Python (with gi).

Loads nothing of ours but `_children.py` beside it; the arguments come as JSON. With "units", a file of encoded
pictures (each behind four bytes of length), those are served in a loop as they are; without, a test picture.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

sys.path[0] = os.path.dirname(os.path.abspath(__file__))
import _children  # type: ignore[import-not-found]  # noqa: E402  (this runs without our package)

# Parameter sets are repeated by the parsers: the payloaders (1.22) would do it before every slice of a key frame,
# which some clients take for the beginning of another picture.
PAYLOADERS = {
    "h264": "h264parse config-interval=-1 ! rtph264pay name=pay0 pt=96",
    "hevc": "h265parse config-interval=-1 ! rtph265pay name=pay0 pt=96",
    "mjpeg": "jpegparse ! rtpjpegpay name=pay0 pt=26",
}
ENCODERS = {
    "h264": "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25",
    "hevc": "x265enc tune=zerolatency speed-preset=ultrafast key-int-max=25",
    "mjpeg": "jpegenc",
}
CAPS = {
    "h264": "video/x-h264,stream-format=byte-stream,alignment=au",
    "hevc": "video/x-h265,stream-format=byte-stream,alignment=au",
    "mjpeg": "image/jpeg",
}


def main() -> None:
    options = json.loads(_children.die_with_parent(sys.argv[1:])[0])
    try:
        gst = Gst()
    except (ImportError, ValueError) as error:
        _children.ready(missing=f"gst-rtsp-server ({error})")
        return
    absent = [name for name in _elements(options) if gst.core.ElementFactory.find(name) is None]
    if absent:
        _children.ready(missing=f"GStreamer's {', '.join(absent)}")
        return
    server = _server(gst, options)
    _children.ready(port=server.get_bound_port())
    gst.glib.MainLoop().run()


class Gst:
    """The libraries by way of gi. Raises ImportError or ValueError where one is missing."""

    def __init__(self) -> None:
        import gi  # type: ignore[import-not-found]

        for name in ("Gst", "GstRtsp", "GstRtspServer"):
            gi.require_version(name, "1.0")
        from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # type: ignore[import-not-found]

        Gst.init(None)
        self.glib, self.core, self.rtsp, self.server = GLib, Gst, GstRtsp, GstRtspServer


def _server(gst: Gst, options: dict[str, Any]) -> Any:
    """A server that listens on a free port of loopback; it needs the main loop to run."""
    server = gst.server.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service("0")
    server.get_mount_points().add_factory("/live", _factory(gst, options))
    server.attach(None)
    return server


def _factory(gst: Gst, options: dict[str, Any]) -> Any:
    factory = gst.server.RTSPMediaFactory()
    factory.set_shared(True)
    factory.set_launch(_pipeline(options))
    transports = {"tcp": gst.rtsp.RTSPLowerTrans.TCP, "udp": gst.rtsp.RTSPLowerTrans.UDP}
    factory.set_protocols(transports[options["transport"]])
    if options.get("units"):
        with open(options["units"], "rb") as file:
            units = split(file.read())
        factory.connect("media-configure", lambda _, media: Feeder(gst, media, units, options["fps"]))
    return factory


def _elements(options: dict[str, Any]) -> list[str]:
    chain = _pipeline(options).strip("() ").split("!")
    return [part.split()[0] for part in chain if "/" not in part.split()[0]]


def _pipeline(options: dict[str, Any]) -> str:
    codec = options["codec"]
    if options.get("units"):
        source = f"appsrc name=film is-live=true format=time do-timestamp=true caps={CAPS[codec]}"
        rate = f",framerate={options['fps']}"
        return f"( {source}{rate} ! {PAYLOADERS[codec]} )"
    raw = f"video/x-raw,format=I420,width={options['width']},height={options['height']},framerate={options['fps']}"
    return f"( videotestsrc is-live=true pattern=ball ! {raw} ! {ENCODERS[codec]} ! {PAYLOADERS[codec]} )"


def split(data: bytes) -> list[bytes]:
    units, at = [], 0
    while at < len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4], "big")
        units.append(data[at + 4 : end])
        at = end
    return units


class Feeder:
    """Pushes encoded pictures into one media at their rate, round and round, until it is unprepared."""

    def __init__(self, gst: Gst, media: Any, units: list[bytes], fps: str) -> None:
        over, _, under = fps.partition("/")
        self._gst = gst
        self._units, self._next = units, 0
        self._appsrc = media.get_element().get_by_name("film")
        self._timer = gst.glib.timeout_add(max(1, 1000 * int(under or 1) // int(over)), self._push)
        media.connect("unprepared", self._end)

    def _push(self) -> bool:
        unit = self._units[self._next % len(self._units)]
        self._next += 1
        self._appsrc.emit("push-buffer", self._gst.core.Buffer.new_wrapped(unit))
        return True

    def _end(self, _media: Any) -> None:
        self._gst.glib.source_remove(self._timer)


if __name__ == "__main__":
    main()
