"""The child process of `cameras.PipRtspCamera`: the pip package `rtsp` serving a film that we render."""

from __future__ import annotations

import pickle
import signal
import sys

import rtsp
from PIL import Image
from rtsp import source as rtsp_source

from frameloom.testing._children import die_with_parent, ready
from frameloom.testing._film import Film


def main() -> None:
    die_with_parent(sys.argv[1:])
    film: Film = pickle.load(sys.stdin.buffer)
    _listen_on_loopback()
    with rtsp.Source("rtsp://127.0.0.1:8554/live", fps=float(film.fps)) as camera:
        for n in range(film.frames):
            camera.put(Image.fromarray(film.render(n)[:, :, ::-1].copy()))
        if not (camera.wait_ready() and camera.wait_encoding_started()):
            sys.exit("the rtsp package's server did not start")
        ready(port=camera._rtsp._server.sockets[0].getsockname()[1])
        signal.sigwait({signal.SIGTERM, signal.SIGINT})


def _listen_on_loopback() -> None:
    """The package listens on every address and on a port that must be known; we want one of our own, and free."""
    theirs = rtsp_source._RTSPServer
    rtsp_source._RTSPServer = lambda _host, _port, describe: theirs("127.0.0.1", 0, describe)


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    main()
