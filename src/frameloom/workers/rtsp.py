"""Hosts the RTSP server: every camera of the site at `rtsp://host:port/NAME`, for players and recorders.

What a client is told and sent is the business of `frameloom.rtsp`.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from urllib.parse import parse_qs

from frameloom.bus.paths import stream_path
from frameloom.listening import listen
from frameloom.model.clock import SystemClock
from frameloom.model.errors import FrameloomError
from frameloom.model.names import annotated_live_of, check_name, live_of, packets_of
from frameloom.model.worker import State, WorkerReport, WorkerSpec
from frameloom.rtsp.live import LiveMount
from frameloom.rtsp.messages import Request
from frameloom.rtsp.sessions import RtspService, Settings

from .host import Host
from .link import Link

log = logging.getLogger(__name__)

_BUFFER_BYTES = 256 << 10  # so much a slow client is behind in our buffers, before it loses pictures
_YES, _NO = frozenset({"1", "true"}), frozenset({"", "0", "false"})


class RtspHost(Host):
    """config: `host` and `port` to listen on; `users`, names and passwords of who may watch: everybody if empty."""

    def __init__(self, spec: WorkerSpec, link: Link) -> None:
        super().__init__(spec, link)
        link.work = "serving"
        config = spec.config
        self._listener = listen(spec.name, config["host"], config["port"])
        self._port = int(self._listener.getsockname()[1])
        transports = ("tcp",) if ":" in config["host"] else ("udp", "tcp")  # our UDP ports are of IPv4
        self._settings = Settings(
            config["host"],
            self._port,
            dict(config["users"]),
            transports=transports,
            buffer_bytes=_BUFFER_BYTES,
        )
        self._service: LiveService | None = None

    def run(self) -> None:
        asyncio.run(self._serve(self._listener))

    async def _serve(self, listener: socket.socket) -> None:
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(self.link.stop_fd, stopped.set)
        self._service = LiveService(self._settings, self.spec)
        await self._service.listen(listener)
        self.link.wake()
        await stopped.wait()
        loop.remove_reader(self.link.stop_fd)
        await self._service.close()

    def report(self) -> WorkerReport:
        service = self._service
        if service is None:
            return WorkerReport(State.STARTING)
        clients = service.told()
        return WorkerReport(
            State.RUNNING,
            "" if clients else "nobody is connected",
            dropped=service.missed,
            info={"url": url_of(self._settings.host, self._port), "clients": clients},
        )


class LiveService(RtspService):
    """Streams of a site by name, made when somebody first asks for one."""

    def __init__(self, settings: Settings, spec: WorkerSpec) -> None:
        super().__init__(settings)
        self._site = spec.site
        self._client = spec.name
        self._mounts: dict[tuple[str, bool], LiveMount] = {}
        self._random = random.SystemRandom()

    @property
    def missed(self) -> int:
        """Pictures that clients were too slow for."""
        return sum(mount.missed for mount in list(self._mounts.values()))

    def told(self) -> list[dict[str, object]]:
        """Who is connected, and whether he plays."""
        return [
            {"address": connection.peer, "playing": connection.playing}
            for connection in list(self.connections)
        ]

    def find(self, request: Request) -> LiveMount | None:
        wanted = parse_qs(request.query, keep_blank_values=True).get("annotated", [""])[-1].lower()
        if wanted not in _YES | _NO:
            return None
        key = (request.path, wanted in _YES)
        if key not in self._mounts and (streams := self._streams(*key)):
            self._mounts[key] = LiveMount(
                request.path, streams, self._site, SystemClock(), self._random, self._client
            )
        return self._mounts.get(key)

    def _streams(self, name: str, annotated: bool) -> tuple[str, ...]:
        """The streams of a camera that is there; none otherwise, so that nobody can fill us with names."""
        try:
            check_name(name, "camera")
            if not stream_path(self._site, packets_of(name)).exists():
                return ()
        except FrameloomError:
            return ()
        return (annotated_live_of(name),) if annotated else (packets_of(name), live_of(name))


def url_of(host: str, port: int) -> str:
    """What a player on this machine calls."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"rtsp://{reachable}:{port}/"
