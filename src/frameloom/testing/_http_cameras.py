"""Cameras and files over HTTP: motion JPEG as multipart, and a film behind range requests."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import cv2

from frameloom.testing._film import Film
from frameloom.testing._loop_thread import LoopThread

Quirk = Literal["none", "no_boundary", "dashed_boundary", "no_length"]
"""What is odd about a camera's multipart: no boundary in the header; a boundary whose dashes are in the header too;
parts without Content-Length."""

_JUNK_BYTES = 5000


class MjpegHttpCamera:
    """A film as motion JPEG over HTTP (multipart/x-mixed-replace), looped in real time, with failures on command.

    Each picture is a complete JPEG of `quality` 1..100. Clients that join see the present picture first; slow ones
    miss pictures. Methods may be called from any thread.
    """

    def __init__(self, film: Film, *, quality: int = 90, quirk: Quirk = "none", seed: int = 1) -> None:
        self._fps = float(film.fps)
        self._pictures = [_jpeg(film, n, quality) for n in range(film.frames)]
        self._quirk = quirk
        self._rng = random.Random(seed)
        self._writers: set[asyncio.StreamWriter] = set()
        self._refusing = self._garbage = False

    def __enter__(self) -> Self:
        self._thread = LoopThread("mjpeg-camera")
        try:
            self._thread.run(self._listen())
        except BaseException:
            self._thread.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.call(self._server.close)
        self.drop()
        self._thread.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/video.mjpg"

    def stall(self) -> None:
        """Keep connections open and send nothing."""
        self._thread.call(self._flowing.clear)

    def resume(self) -> None:
        """End `stall` and `garbage`."""
        self._garbage = False
        self._thread.call(self._flowing.set)

    def drop(self) -> None:
        """Close every connection now."""

        def abort_all() -> None:
            for writer in self._writers:
                writer.transport.abort()

        self._thread.call(abort_all)

    def refuse(self) -> None:
        """Answer new clients 503."""
        self._refusing = True

    def accept(self) -> None:
        self._refusing = False

    def garbage(self) -> None:
        """Until `resume`: send random bytes where pictures should be."""
        self._garbage = True

    async def _listen(self) -> None:
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._start_s = asyncio.get_running_loop().time()
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            await self._serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        except asyncio.CancelledError:
            pass  # the camera closes; asyncio (3.11) would print a traceback for a handler that ends cancelled
        finally:
            self._writers.discard(writer)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        status = HTTPStatus.OK if head.split()[1] == b"/video.mjpg" else HTTPStatus.NOT_FOUND
        status = HTTPStatus.SERVICE_UNAVAILABLE if self._refusing else status
        writer.write(f"HTTP/1.0 {status.value} {status.phrase}\r\n".encode())
        if status is not HTTPStatus.OK:
            writer.write(b"Content-Length: 0\r\n\r\n")
            return
        writer.write(f"Content-Type: {self._content_type()}\r\nCache-Control: no-store\r\n\r\n".encode())
        await self._stream(writer)

    def _content_type(self) -> str:
        odd = {"no_boundary": "", "dashed_boundary": ";boundary=--frame"}
        return f"multipart/x-mixed-replace{odd.get(self._quirk, ';boundary=frame')}"

    async def _stream(self, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        n = self._present()
        while True:
            await asyncio.sleep(self._start_s + n / self._fps - loop.time())
            await self._flowing.wait()
            n = max(n, self._present())
            writer.write(self._part(n))
            await writer.drain()
            n += 1

    def _present(self) -> int:
        return int((asyncio.get_running_loop().time() - self._start_s) * self._fps)

    def _part(self, n: int) -> bytes:
        picture = self._pictures[n % len(self._pictures)]
        if self._garbage:
            picture = self._rng.randbytes(_JUNK_BYTES)
        length = b"" if self._quirk == "no_length" else f"Content-Length: {len(picture)}\r\n".encode()
        return b"--frame\r\nContent-Type: image/jpeg\r\n" + length + b"\r\n" + picture + b"\r\n"


def _jpeg(film: Film, n: int, quality: int) -> bytes:
    written, data = cv2.imencode(".jpg", film.render(n), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not written:
        raise ValueError(f"film {film.name!r} frame {n}: not a JPEG")
    return data.tobytes()


class HttpFileServer:
    """One file over HTTP/1.1 with range requests, HEAD, and nothing else; `ranges=False` answers whole files only."""

    def __init__(self, path: Path, *, ranges: bool = True) -> None:
        self._path = path
        self._ranges = ranges

    def __enter__(self) -> Self:
        path, ranges = self._path, self._ranges

        class Handler(_FileHandler):
            served, with_ranges = path, ranges

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="http-files", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/{self._path.name}"


class _FileHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    served: Path
    with_ranges: bool

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        if self.path != f"/{self.served.name}":
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        size = self.served.stat().st_size
        span = self._span(size) if self.with_ranges else None
        first, last = span or (0, size - 1)
        if first > last:
            self.send_error(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
            return
        self._head(first, last, size, partial=span is not None)
        if body:
            self._body(first, last)

    def _span(self, size: int) -> tuple[int, int] | None:
        """First and last byte that are asked for, or None for the whole file."""
        found = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if found is None or found.group(0) == "bytes=-":
            return None
        first, last = found.groups()
        if not first:
            return max(0, size - int(last)), size - 1
        return int(first), min(size - 1, int(last)) if last else size - 1

    def _head(self, first: int, last: int, size: int, *, partial: bool) -> None:
        self.send_response(HTTPStatus.PARTIAL_CONTENT if partial else HTTPStatus.OK)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(last - first + 1))
        if self.close_connection:  # asked for by the client: without this word some wait for a further answer
            self.send_header("Connection", "close")
        if self.with_ranges:
            self.send_header("Accept-Ranges", "bytes")
        if partial:
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.end_headers()

    def _body(self, first: int, last: int) -> None:
        with self.served.open("rb") as file, contextlib.suppress(ConnectionError):
            file.seek(first)
            while first <= last:
                chunk = file.read(min(65_536, last - first + 1))
                self.wfile.write(chunk)
                first += len(chunk)

    def log_message(self, *_: object) -> None:
        """Requests are not worth a line each."""
