"""Hosts the web server in its worker: one uvicorn on one socket, until the supervisor says stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import uvicorn
import uvloop
from fastapi import FastAPI

from frameloom.accounts.store import Accounts
from frameloom.bus.paths import site_dir
from frameloom.model.errors import NeedsPerson
from frameloom.model.worker import State, WorkerReport, WorkerSpec
from frameloom.site.exposure import is_loopback
from frameloom.site.ports import busy_port
from frameloom.site.tls import TlsFiles
from frameloom.workers.host import Host
from frameloom.workers.link import Link

from .app import close_viewers, create_app

log = logging.getLogger(__name__)

_GRACE_S = 0.5  # for viewers to hear that the server stops
_UNSENT_BYTES = 128 * 1024
_USER_TIMEOUT_MS = 30_000
_LONGEST_MESSAGE_BYTES = 64 * 1024


class ServerHost(Host):
    """config: `host` (address to listen on) and `port`; 0: the one that the site had last, or any that is free.

    `login` and `tls` as in site.yaml, the paths of `tls` absolute.
    """

    def __init__(self, spec: WorkerSpec, link: Link) -> None:
        super().__init__(spec, link)
        link.work = "serving"
        self._host = str(spec.config.get("host", "127.0.0.1"))
        self._port = int(spec.config.get("port", 8080))
        self._url = ""
        self._tls = _tls(spec.config.get("tls"))
        names = self._tls.certificate.names if self._tls else ()
        login = spec.config.get("login", "auto")
        database = spec.config.get("database")
        self._app = create_app(spec.site, address=self._host, login=login, names=names, database=database)

    def run(self) -> None:
        listener = self._listen()
        host, port = listener.getsockname()[:2]
        self._url = url_of(host, port, "https" if self._tls else "http")
        if warning := self._warning():
            log.warning(warning)
        self.link.wake()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve(listener))

    def report(self) -> WorkerReport:
        app = self._app.state
        hubs = (app.live, app.annotated, app.video)
        state = State.RUNNING if self._url else State.STARTING
        info = (
            {
                "url": self._url,
                "viewers": sum(hub.viewers for hub in hubs),
                "missed": sum(hub.missed for hub in hubs),
            }
            if self._url
            else {}
        )
        return WorkerReport(state, self._warning(), info=info)

    def _warning(self) -> str:
        access = self._app.state.access
        if access.login:
            return _trouble_with(access.accounts) or self._trouble_with_tls()
        if is_loopback(self._host):
            return self._trouble_with_tls()
        return f"listening on {self._host} without a login: whoever reaches this address sees and controls everything"

    def _trouble_with_tls(self) -> str:
        return self._tls.certificate.warning(datetime.now(UTC)) if self._tls else ""

    def _listen(self) -> socket.socket:
        last = LastPort(site_dir(self.spec.site) / "server.port")
        wishes = [self._port] if self._port else [*last.read(), 0]
        for port in wishes:
            try:
                listener = listen(self._host, port)
            except OSError as error:
                if port == wishes[-1]:
                    raise NeedsPerson(busy_port(self._host, port, error)) from error
            else:
                last.write(listener.getsockname()[1])
                return listener
        raise AssertionError("there is always a wish")

    async def _serve(self, listener: socket.socket) -> None:
        server = WebServer(self._app, self._tls.context if self._tls else None)
        stopping = asyncio.create_task(self._stop_in_time(server))
        await server.serve(sockets=[listener])
        stopping.cancel()

    async def _stop_in_time(self, server: WebServer) -> None:
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(self.link.stop_fd, stopped.set)
        await stopped.wait()
        loop.remove_reader(self.link.stop_fd)
        close_viewers(self._app)
        server.should_exit = True
        await asyncio.sleep(_GRACE_S)
        server.abort_connections()  # of those that do not read what we said


class WebServer(uvicorn.Server):
    """Uvicorn as we want it. Signals are the worker's business (`frameloom.workers.main`)."""

    def __init__(self, app: FastAPI, tls: ssl.SSLContext | None = None) -> None:
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            log_config=None,
            lifespan="on",
            ws="websockets-sansio",
            ws_per_message_deflate=False,
            ws_max_size=_LONGEST_MESSAGE_BYTES,
            timeout_graceful_shutdown=1,
        )
        config.load()
        config.ssl = tls  # uvicorn itself takes files, and never looks at them again
        super().__init__(config)

    def abort_connections(self) -> None:
        """Close every connection at once, whatever has not been sent on it."""
        for connection in list(self.server_state.connections):
            connection.transport.abort()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class LastPort:
    """The port that a site had last, so that a page that is open finds a server that was started again."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> list[int]:
        """The port, if there is one."""
        with contextlib.suppress(OSError, ValueError):
            port = int(self._path.read_text(encoding="ascii"))
            if 1024 <= port <= 65535:
                return [port]
        return []

    def write(self, port: int) -> None:
        """Keep it; if that fails, the next server has another port."""
        with contextlib.suppress(OSError):
            self._path.write_text(f"{port}\n", encoding="ascii")


def listen(host: str, port: int) -> socket.socket:
    """A listening socket whose connections hold little that was not sent, so that a slow viewer is not far behind."""
    family, _, _, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for option, value in (("TCP_NOTSENT_LOWAT", _UNSENT_BYTES), ("TCP_USER_TIMEOUT", _USER_TIMEOUT_MS)):
            if hasattr(socket, option):
                listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        listener.bind(address)
        listener.listen(128)
    except BaseException:
        listener.close()
        raise
    return listener


def url_of(host: str, port: int, scheme: str = "http") -> str:
    """The page's address for a browser on this machine."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"{scheme}://{reachable}:{port}/"


def _tls(files: dict[str, str] | None) -> TlsFiles | None:
    return TlsFiles(Path(files["cert"]), Path(files["key"])) if files else None


def _trouble_with(accounts: Accounts) -> str:
    try:
        if accounts.book().users:
            return ""
    except NeedsPerson as error:
        return f"nobody can log in: {error}"
    return "nobody can log in yet: frameloom user add NAME --role admin"
