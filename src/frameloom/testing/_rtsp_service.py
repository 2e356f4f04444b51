"""RTSP sessions: a service that listens, and what each connection asks and is told.

Runs inside an event loop and belongs to it; `rtsp_server` gives it a thread, a command line and thread-safe
switches. Playing is `_rtsp_play`'s business, the form of messages `_rtsp_messages`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from frameloom.testing._rtsp_messages import (
    MAX_HEAD_BYTES,
    AuthScheme,
    BadRequest,
    Gate,
    Request,
    Response,
    Transport,
    parse_transport,
    read_message,
)
from frameloom.testing._rtsp_play import Clocks, Link, Mount, Player, TcpLink, UdpLink, UdpPorts
from frameloom.testing._timeline import EncodedFilm, Timeline

_METHODS = ("OPTIONS", "DESCRIBE", "SETUP", "PLAY", "PAUSE", "TEARDOWN", "GET_PARAMETER", "SET_PARAMETER")


@dataclass(frozen=True)
class Settings:
    """`users` maps names to passwords (empty: everyone may watch); `transports` are "udp" and "tcp".

    `session_timeout_s`: a client over UDP, or one that does not play, that is silent for so long is dropped.
    `buffer_bytes` is what a slow TCP client may have waiting for it, in the process and again in the kernel.
    """

    host: str = "127.0.0.1"
    port: int = 0
    users: Mapping[str, str] = field(default_factory=dict)
    auth: AuthScheme = "digest"
    transports: tuple[str, ...] = ("udp", "tcp")
    session_timeout_s: float = 60.0
    report_interval_s: float = 5.0
    buffer_bytes: int = 1 << 20
    seed: int | None = None


class RtspService:
    """Mounts by name, the listening socket, the connections."""

    def __init__(self, settings: Settings, wall_s: Callable[[], float] = time.time) -> None:
        self.settings = settings
        self.mounts: dict[str, Mount] = {}
        self.port = settings.port
        self.rng = random.Random(settings.seed)
        self.connections: set[Connection] = set()
        self._wall_s = wall_s
        self._server: asyncio.Server | None = None
        self._ports: UdpPorts | None = None

    def add(self, name: str, film: EncodedFilm, on_players: Callable[[], None] = lambda: None) -> Mount:
        """Serve a film under a name, from now on, looped for ever."""
        clocks = Clocks(asyncio.get_running_loop().time, self._wall_s)
        timeline = Timeline(film, clocks.now_s())
        rng = random.Random(self.rng.random())
        mount = Mount(name, timeline, clocks, rng, self.settings.report_interval_s, on_players)
        self.mounts[name] = mount
        return mount

    async def listen(self) -> None:
        """Accept connections; raises OSError where the port is taken. Listening already: no effect."""
        if self._server is None:
            self._server = await asyncio.start_server(
                self._connected, self.settings.host, self.port, limit=MAX_HEAD_BYTES, family=socket.AF_INET
            )
            self.port = self._server.sockets[0].getsockname()[1]

    def deafen(self) -> None:
        """Stop listening, so that new connections are refused; those that are open stay."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def close(self) -> None:
        self.deafen()
        tasks = [connection.task for connection in self.connections]
        for connection in self.connections:
            connection.abort()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._ports is not None:
            self._ports.close()

    def udp_ports(self) -> UdpPorts:
        if self._ports is None:
            self._ports = UdpPorts(self.settings.host, self._heard)
        return self._ports

    def _heard(self, address: tuple[str, int]) -> None:
        for connection in self.connections:
            connection.heard_from(address)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(self, reader, writer)
        self.connections.add(connection)
        try:
            await connection.serve()
        finally:
            self.connections.discard(connection)


class Connection:
    """One client. It has at most one session, which ends with the connection."""

    def __init__(
        self, service: RtspService, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.task = task
        self._service = service
        self._settings = service.settings
        self._reader = reader
        self._writer = writer
        self._session_id = f"{service.rng.getrandbits(64):016x}"
        self._nonce = f"{service.rng.getrandbits(128):032x}"
        self._gate = Gate(service.settings.users, service.settings.auth)
        self._player: Player | None = None
        self._playing: asyncio.Task[None] | None = None
        self._starts_at: int | None = None
        self._closing = False
        self._heard_s = 0.0
        self._bound_buffers()

    def _bound_buffers(self) -> None:
        self._writer.transport.set_write_buffer_limits(high=self._settings.buffer_bytes)
        sock = self._writer.get_extra_info("socket")
        # Without this the kernel alone keeps seconds of old pictures for a client that reads slowly.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._settings.buffer_bytes)

    async def serve(self) -> None:
        """Answer until the client leaves, misbehaves, or is silent for too long."""
        self._touch()
        watch = asyncio.get_running_loop().create_task(self._watch_silence())
        try:
            await self._answer_all()
        except BadRequest:
            self._writer.write(Response(400, {}).encode("0"))
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            watch.cancel()
            self._stop()
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()

    async def _answer_all(self) -> None:
        while not self._closing:
            request = await read_message(self._reader)
            self._touch()
            if request is not None:
                self._answer(request)
                await self._writer.drain()

    def _answer(self, request: Request) -> None:
        if self._is_refused(request):
            self.abort()
            return
        response = self._respond(request)
        self._writer.write(response.encode(request.headers.get("cseq", "0")))
        if self._starts_at is not None:  # only after PLAY's answer may packets follow
            self._start(self._starts_at)

    def _respond(self, request: Request) -> Response:
        if request.method not in _METHODS:
            return Response(405, {"Allow": ", ".join(_METHODS)})
        if request.method == "OPTIONS":  # cameras tell everyone what they can
            return Response(200, {"Public": ", ".join(_METHODS)})
        return self._barred(request) or self._handle(request)

    def _handle(self, request: Request) -> Response:
        handlers = {
            "DESCRIBE": self._describe,
            "SETUP": self._setup,
            "PLAY": self._play,
            "PAUSE": self._pause,
            "TEARDOWN": self._teardown,
            "GET_PARAMETER": self._keep_alive,
            "SET_PARAMETER": self._keep_alive,
        }
        return handlers[request.method](request)

    def _is_refused(self, request: Request) -> bool:
        mount = self._service.mounts.get(request.path)
        return self._player is None and mount is not None and mount.script.refusing

    def _barred(self, request: Request) -> Response | None:
        """401 or 404, by rights or by script; None where the client may go on."""
        mount = self._service.mounts.get(request.path)
        scripted = mount.script.status if mount is not None and self._player is None else None
        if scripted == 404:
            return Response(404, {})
        if scripted == 401 or (self._settings.users and not self._gate.admits(request, self._nonce)):
            return Response(401, {"WWW-Authenticate": self._gate.challenge(self._nonce)})
        return None

    def _describe(self, request: Request) -> Response:
        mount = self._service.mounts.get(request.path)
        if mount is None:
            return Response(404, {})
        base = request.url.rstrip("/") + "/"
        headers = {"Content-Type": "application/sdp", "Content-Base": base}
        return Response(200, headers, _sdp(mount, self._settings.host))

    def _setup(self, request: Request) -> Response:
        mount = self._service.mounts.get(request.path)
        if mount is None:
            return Response(404, {})
        if self._playing is not None:
            return Response(455, self._session_header())
        transport = parse_transport(request.headers.get("transport", ""), self._settings.transports)
        if transport is None:
            return Response(461, {})
        self._player = Player(mount, self._link(transport))
        described = f"{self._describe_transport(transport)};ssrc={mount.ssrc:08X}"
        return Response(200, {**self._session_header(), "Transport": described})

    def _link(self, transport: Transport) -> Link:
        if transport.protocol == "tcp":
            return TcpLink(self._writer, transport.first)
        host = self._writer.get_extra_info("peername")[0]
        return UdpLink(self._writer, self._service.udp_ports(), host, transport.first)

    def _describe_transport(self, transport: Transport) -> str:
        pair = f"{transport.first}-{transport.first + 1}"
        if transport.protocol == "tcp":
            return f"RTP/AVP/TCP;unicast;interleaved={pair}"
        ours = "-".join(map(str, self._service.udp_ports().numbers))
        return f"RTP/AVP;unicast;client_port={pair};server_port={ours}"

    def _play(self, request: Request) -> Response:
        if self._player is None or not self._is_own_session(request):
            return Response(454, {})
        if self._playing is not None:
            return Response(200, self._session_header())
        first = self._starts_at = self._player.first()
        track = request.url.rstrip("/")
        if not track.endswith("trackID=0"):
            track += "/trackID=0"
        info = f"url={track};seq={self._player.sequence(first)};rtptime={self._player.ticks(first)}"
        return Response(200, {**self._session_header(), "Range": "npt=0.000-", "RTP-Info": info})

    def _pause(self, request: Request) -> Response:
        if self._player is None or not self._is_own_session(request):
            return Response(454, {})
        self._stop()
        return Response(200, self._session_header())

    def _teardown(self, request: Request) -> Response:
        if self._player is None or not self._is_own_session(request):
            return Response(454, {})
        self._stop()
        self._closing = True
        return Response(200, self._session_header())

    def _keep_alive(self, request: Request) -> Response:
        return Response(200, self._session_header() if self._player is not None else {})

    def _is_own_session(self, request: Request) -> bool:
        return request.headers.get("session", "").partition(";")[0].strip() == self._session_id

    def _session_header(self) -> dict[str, str]:
        return {"Session": f"{self._session_id};timeout={max(1, round(self._settings.session_timeout_s))}"}

    def _start(self, position: int) -> None:
        assert self._player is not None
        self._starts_at = None
        self._playing = asyncio.get_running_loop().create_task(self._player.play(position))

    def _stop(self) -> None:
        if self._playing is not None:
            self._playing.cancel()
            self._playing = None

    def abort(self) -> None:
        """End the connection now; `serve` then returns."""
        self._writer.transport.abort()

    def heard_from(self, address: tuple[str, int]) -> None:
        """A packet came from a UDP address: where it is this client's, it is alive."""
        link = None if self._player is None else self._player.link
        if isinstance(link, UdpLink) and link.rtcp_address == address:
            self._touch()

    def _touch(self) -> None:
        self._heard_s = asyncio.get_running_loop().time()

    async def _watch_silence(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            left_s = self._heard_s + self._settings.session_timeout_s - loop.time()
            if left_s <= 0:
                if not self._proves_itself():
                    self.abort()
                    return
                left_s = self._settings.session_timeout_s
            await asyncio.sleep(left_s)

    def _proves_itself(self) -> bool:
        """A client that takes packets in this very connection is alive, whatever else it says."""
        return self._playing is not None and isinstance(self._player and self._player.link, TcpLink)


def _sdp(mount: Mount, host: str) -> bytes:
    film = mount.film
    lines = [
        "v=0",
        f"o=- {mount.ssrc} 1 IN IP4 {host}",
        f"s={mount.name}",
        "c=IN IP4 0.0.0.0",
        "t=0 0",
        "a=control:*",
        "a=range:npt=now-",
        f"m=video 0 RTP/AVP {film.payload_type}",
        *film.sdp_lines,
        f"a=framerate:{film.frame_rate:.3f}",
        "a=control:trackID=0",
    ]
    return "".join(f"{line}\r\n" for line in lines).encode()
