"""Hosts the web server in its worker: one uvicorn on one socket, until the supervisor says stop."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
from typing import Any

import uvicorn

from frameloom.model.errors import NeedsPerson
from frameloom.model.worker import State, WorkerReport, WorkerSpec
from frameloom.workers.host import Host
from frameloom.workers.link import Link

from .app import create_app
from .ports import busy_port

log = logging.getLogger(__name__)


class ServerHost(Host):
    """config: `host` (address to listen on) and `port`."""

    def __init__(self, spec: WorkerSpec, link: Link) -> None:
        super().__init__(spec, link)
        link.work = "serving"
        self._address = (str(spec.config.get("host", "127.0.0.1")), int(spec.config.get("port", 8080)))
        self._app = create_app(spec.site, loopback_only=is_loopback(self._address[0]))
        self._listening = False

    def run(self) -> None:
        listener = self._listen()
        self._listening = True
        self.link.wake()
        try:
            asyncio.run(self._serve(listener))
        finally:
            listener.close()

    def report(self) -> WorkerReport:
        return WorkerReport(
            State.RUNNING if self._listening else State.STARTING,
            "",
            info={"url": f"http://{self._address[0]}:{self._address[1]}/", "viewers": self._app.state.live.viewers},
        )

    def _listen(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._address[0] else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(self._address)
        except OSError as error:
            listener.close()
            raise NeedsPerson(busy_port(*self._address, error)) from error
        self._address = listener.getsockname()[:2]
        if not is_loopback(self._address[0]):
            log.warning("listening on %s without a login: whoever reaches this address controls the site", self._address[0])
        return listener

    async def _serve(self, listener: socket.socket) -> None:
        settings: dict[str, Any] = {"log_level": "warning", "access_log": False, "lifespan": "on", "ws": "websockets-sansio"}
        config = uvicorn.Config(self._app, timeout_graceful_shutdown=1, ws_per_message_deflate=False, **settings)
        server = _Server(config)
        stop = asyncio.get_running_loop().create_task(self._watch_stop(server))
        await server.serve(sockets=[listener])
        stop.cancel()

    async def _watch_stop(self, server: uvicorn.Server) -> None:
        stopped = asyncio.Event()
        asyncio.get_running_loop().add_reader(self.link.stop_fd, stopped.set)
        await stopped.wait()
        asyncio.get_running_loop().remove_reader(self.link.stop_fd)
        self._app.state.live.close()
        server.should_exit = True


class _Server(uvicorn.Server):
    """Signals are the worker's business (`frameloom.workers.main`)."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield


def is_loopback(host: str) -> bool:
    """True if only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
