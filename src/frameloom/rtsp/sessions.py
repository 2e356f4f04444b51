"""RTSP sessions: a service that listens, and what each connection asks and is told.

Belongs to one event loop. What can be played is told by mounts (`Mount`), which `RtspService.find` gives; how packets
reach a client is `links`'s business, the form of messages `messages`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from .links import Link, TcpLink, UdpLink, UdpPorts
from .messages import (
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

log = logging.getLogger(__name__)

_METHODS = ("OPTIONS", "DESCRIBE", "SETUP", "PLAY", "PAUSE", "TEARDOWN", "GET_PARAMETER", "SET_PARAMETER")


@dataclass(frozen=True)
class Settings:
    """`users` maps names to passwords (empty: everyone may watch); `transports` are "udp" and "tcp".

    `session_timeout_s`: a client over UDP, or one that does not play, that is silent for so long is dropped.
    `buffer_bytes` is what a slow TCP client may have waiting for it, in the process and again in the kernel.
    `most_clients`: connections beyond so many are closed at once.
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
    most_clients: int = 200


class Described(NamedTuple):
    """What SDP says of a stream."""

    payload_type: int
    sdp_lines: tuple[str, ...]
    frame_rate: float | None = None


class Begin(NamedTuple):
    """Where a player begins, for RTP-Info: the first sequence number and time stamp, if they are known by then."""

    sequence: int | None
    ticks: int | None


class Unavailable(Exception):
    """A mount cannot be played now. `status`: the RTSP status that says so."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Player(Protocol):
    """One client's way through a stream."""

    @property
    def link(self) -> Link: ...

    def begin(self) -> Begin:
        """Choose where to begin; called once, before `play`."""

    async def play(self) -> None:
        """Send until cancelled. Closes the connection where the client is gone or the stream has ended."""


class Mount(Protocol):
    """Something that can be played. A connection that asks for it holds it until it ends."""

    name: str
    ssrc: int

    def hold(self) -> None: ...

    def release(self) -> None: ...

    async def describe(self) -> Described:
        """Raises `Unavailable` where it cannot be told in time."""

    def player(self, link: Link) -> Player: ...


class RtspService:
    """The listening socket and the connections. Subclasses say what there is to play."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.port = settings.port
        self.rng: random.Random = (
            random.Random(settings.seed) if settings.seed is not None else random.SystemRandom()
        )
        self.connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._ports: UdpPorts | None = None

    def find(self, request: Request) -> Mount | None:
        """What a request is about; None: there is nothing of that name."""
        raise NotImplementedError

    def objection(self, request: Request, has_session: bool) -> int | None:
        """A status with which the request is to be refused. Raises `ConnectionAbortedError` to say nothing at all."""
        return None

    async def listen(self, sock: socket.socket | None = None) -> None:
        """Accept connections, on `sock` where one is given. Raises OSError where the port is taken.

        Listening already: no effect.
        """
        if self._server is not None:
            return
        if sock is not None:
            self._server = await asyncio.start_server(self._connected, sock=sock, limit=MAX_HEAD_BYTES)
        else:
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
        if len(self.connections) >= self.settings.most_clients:
            writer.transport.abort()
            return
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
        self.player: Player | None = None
        self._service = service
        self._settings = service.settings
        self._reader = reader
        self._writer = writer
        self._session_id = f"{service.rng.getrandbits(64):016x}"
        self._nonce = f"{service.rng.getrandbits(128):032x}"
        self._gate = Gate(service.settings.users, service.settings.auth)
        self._held: list[Mount] = []
        self._playing: asyncio.Task[None] | None = None
        self._is_to_start = False
        self._closing = False
        self._heard_s = 0.0
        self._bound_buffers()

    @property
    def peer(self) -> str:
        """The client's address."""
        return str((self._writer.get_extra_info("peername") or ["?"])[0])

    @property
    def playing(self) -> bool:
        return self._playing is not None

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
            self._let_go()
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()

    async def _answer_all(self) -> None:
        while not self._closing:
            request = await read_message(self._reader)
            self._touch()
            if request is not None:
                await self._answer(request)
                await self._writer.drain()

    async def _answer(self, request: Request) -> None:
        response = await self._respond(request)
        self._writer.write(response.encode(request.headers.get("cseq", "0")))
        if self._is_to_start:  # only after PLAY's answer may packets follow
            self._start()

    async def _respond(self, request: Request) -> Response:
        objection = self._service.objection(request, self.player is not None)
        if request.method not in _METHODS:
            return Response(405, {"Allow": ", ".join(_METHODS)})
        if request.method == "OPTIONS":  # cameras tell everyone what they can
            return Response(200, {"Public": ", ".join(_METHODS)})
        if objection == 404:
            return Response(404, {})
        if objection == 401 or (self._settings.users and not self._gate.admits(request, self._nonce)):
            return Response(401, {"WWW-Authenticate": self._gate.challenge(self._nonce)})
        if request.method == "DESCRIBE":
            return await self._describe(request)
        return self._handle(request)

    def _handle(self, request: Request) -> Response:
        handlers = {
            "SETUP": self._setup,
            "PLAY": self._play,
            "PAUSE": self._pause,
            "TEARDOWN": self._teardown,
            "GET_PARAMETER": self._keep_alive,
            "SET_PARAMETER": self._keep_alive,
        }
        return handlers[request.method](request)

    async def _describe(self, request: Request) -> Response:
        mount = self._find(request)
        if mount is None:
            return Response(404, {})
        try:
            described = await mount.describe()
        except Unavailable as why:
            return Response(why.status, {})
        headers = {"Content-Type": "application/sdp", "Content-Base": request.url.rstrip("/") + "/"}
        return Response(200, headers, sdp(mount, described, self._settings.host))

    def _setup(self, request: Request) -> Response:
        mount = self._find(request)
        if mount is None:
            return Response(404, {})
        if self._playing is not None:
            return Response(455, self._session_header())
        transport = parse_transport(request.headers.get("transport", ""), self._settings.transports)
        if transport is None:
            return Response(461, {})
        self.player = mount.player(self._link(transport))
        described = f"{self._describe_transport(transport)};ssrc={mount.ssrc:08X}"
        return Response(200, {**self._session_header(), "Transport": described})

    def _find(self, request: Request) -> Mount | None:
        """The mount, held from now on until the connection ends."""
        mount = self._service.find(request)
        if mount is not None and mount not in self._held:
            mount.hold()
            self._held.append(mount)
        return mount

    def _let_go(self) -> None:
        while self._held:
            self._held.pop().release()

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
        if self.player is None or not self._is_own_session(request):
            return Response(454, {})
        if self._playing is not None:
            return Response(200, self._session_header())
        begin = self.player.begin()
        self._is_to_start = True
        track = request.url.rstrip("/")
        if not track.endswith("trackID=0"):
            track += "/trackID=0"
        info = f"url={track}"
        if begin.sequence is not None:
            info += f";seq={begin.sequence}"
        if begin.ticks is not None:
            info += f";rtptime={begin.ticks}"
        return Response(200, {**self._session_header(), "Range": "npt=0.000-", "RTP-Info": info})

    def _pause(self, request: Request) -> Response:
        if self.player is None or not self._is_own_session(request):
            return Response(454, {})
        self._stop()
        return Response(200, self._session_header())

    def _teardown(self, request: Request) -> Response:
        if self.player is None or not self._is_own_session(request):
            return Response(454, {})
        self._stop()
        self._closing = True
        return Response(200, self._session_header())

    def _keep_alive(self, request: Request) -> Response:
        return Response(200, self._session_header() if self.player is not None else {})

    def _is_own_session(self, request: Request) -> bool:
        return request.headers.get("session", "").partition(";")[0].strip() == self._session_id

    def _session_header(self) -> dict[str, str]:
        return {"Session": f"{self._session_id};timeout={max(1, round(self._settings.session_timeout_s))}"}

    def _start(self) -> None:
        assert self.player is not None
        self._is_to_start = False
        self._playing = asyncio.get_running_loop().create_task(self.player.play())

    def _stop(self) -> None:
        if self._playing is not None:
            self._playing.cancel()
            self._playing = None

    def abort(self) -> None:
        """End the connection now; `serve` then returns."""
        self._writer.transport.abort()

    def heard_from(self, address: tuple[str, int]) -> None:
        """A packet came from a UDP address: where it is this client's, it is alive."""
        link = None if self.player is None else self.player.link
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
        return self._playing is not None and isinstance(self.player and self.player.link, TcpLink)


def sdp(mount: Mount, described: Described, host: str) -> bytes:
    """The session description (RFC 8866) of one video stream."""
    rate = [] if described.frame_rate is None else [f"a=framerate:{described.frame_rate:.3f}"]
    lines = [
        "v=0",
        f"o=- {mount.ssrc} 1 IN IP4 {host}",
        f"s={mount.name}",
        "c=IN IP4 0.0.0.0",
        "t=0 0",
        "a=control:*",
        "a=range:npt=now-",
        f"m=video 0 RTP/AVP {described.payload_type}",
        *described.sdp_lines,
        *rate,
        "a=control:trackID=0",
    ]
    return "".join(f"{line}\r\n" for line in lines).encode()
