"""Films over TCP, sent by ffmpeg: to a port that somebody listens on, and to whoever connects."""

from __future__ import annotations

import select
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from frameloom.testing.needs import Unavailable

TS = ("-c", "copy", "-f", "mpegts")
JPEG = ("-c", "copy", "-f", "mpjpeg")
RAW = ("-pix_fmt", "bgr24", "-f", "rawvideo")

_AGAIN_S = 0.1


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def ffmpeg(film: Path, *options: str, to: str) -> list[str]:
    """The command that sends a film at its own pace, again and again."""
    program = shutil.which("ffmpeg")
    if program is None:
        raise Unavailable("ffmpeg is not installed: apt-get install ffmpeg")
    return [program, "-v", "error", "-nostdin", "-re", "-stream_loop", "-1", "-i", str(film), *options, to]


@contextmanager
def sender(port: int, film: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """One ffmpeg that sends to a port that is open."""
    command = ffmpeg(film, "-flush_packets", "1", *options, to=f"tcp://127.0.0.1:{port}")
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def stubborn_sender(port: int, film: Path, *options: str) -> Iterator[None]:
    """A sender that comes again whenever it has been let go, as one does in a shell script."""
    over = threading.Event()

    def send() -> None:
        while not over.is_set():
            with sender(port, film, *options) as process:
                while process.poll() is None and not over.wait(_AGAIN_S):
                    pass

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def server(film: Path, *options: str) -> Iterator[int]:
    """A port at which everybody who connects gets the film from its beginning."""
    command = ffmpeg(film, "-flush_packets", "1", *options, to="pipe:1")
    children: list[subprocess.Popen[bytes]] = []
    with socket.create_server(("127.0.0.1", 0)) as listener, _bell() as (ring, rung):

        def serve() -> None:
            while rung not in (ready := select.select([listener, rung], [], [])[0]):
                assert ready
                with suppress(OSError):
                    client, _ = listener.accept()
                    with client:
                        children.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=client))

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            ring.send(b"\0")
            thread.join()
            for child in children:
                child.kill()
                child.wait()


@contextmanager
def _bell() -> Iterator[tuple[socket.socket, socket.socket]]:
    ring, rung = socket.socketpair()
    with ring, rung:
        yield ring, rung
