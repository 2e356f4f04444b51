"""Hosts WebRTC: waits, small, until the first viewer comes; loads what connections need only then."""

from __future__ import annotations

import os
import select
from collections.abc import Mapping
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING, Any

from frameloom.model.errors import CommandError
from frameloom.model.worker import State, WorkerReport, WorkerSpec
from frameloom.workers.host import Host
from frameloom.workers.link import Link

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Coroutine

    from .service import Service

_PATIENCE_S = 3.5

COMMANDS = {"offer": ("camera", "sdp", "called"), "leave": ("camera", "id")}


class WebRtcHost(Host):
    """config: `host`, the server's address, and `port`, its port: we take the UDP port of that number, if it is free.

    Commands, see `frameloom.workers.webrtc.service.Service`: `offer` (a viewer comes), `leave` (one goes).
    """

    def __init__(self, spec: WorkerSpec, link: Link) -> None:
        super().__init__(spec, link)
        link.work = "serving"
        self._wanted_fd = os.eventfd(0, os.EFD_CLOEXEC)
        self._running: Future[tuple[asyncio.AbstractEventLoop, Service]] = Future()

    def run(self) -> None:
        self.link.wake()
        select.select([self.link.stop_fd, self._wanted_fd], [], [])
        if not self.link.stopping.is_set():
            self._serve()
        self._running.cancel()
        os.close(self._wanted_fd)

    def report(self) -> WorkerReport:
        service = self._running.result()[1] if self._is_running else None
        viewers = service.viewers if service else 0
        return WorkerReport(
            State.RUNNING,
            "" if viewers else "nobody is watching",
            dropped=service.missed if service else 0,
            info=_info(service) if service else {"viewers": 0, "missed": 0},
        )

    def command(self, name: str, args: Mapping[str, Any]) -> dict[str, Any]:
        if name not in COMMANDS:
            allowed = ", ".join(COMMANDS)
            raise CommandError("unknown-command", f"{self.spec.name!r}: read {name!r}, allowed: {allowed}")
        if set(args) != set(COMMANDS[name]) or not all(isinstance(each, str) for each in args.values()):
            raise CommandError(
                "invalid", f"{self.spec.name!r}: {name} wants texts: {', '.join(COMMANDS[name])}"
            )
        return self._ask(name, args)

    @property
    def _is_running(self) -> bool:
        return self._running.done() and not self._running.cancelled()

    def _ask(self, name: str, args: Mapping[str, Any]) -> dict[str, Any]:
        import asyncio

        try:
            os.eventfd_write(self._wanted_fd, 1)
            loop, service = self._running.result(_PATIENCE_S)
            work: Coroutine[Any, Any, dict[str, Any]] = getattr(service, name)(**args)
            return asyncio.run_coroutine_threadsafe(work, loop).result(_PATIENCE_S)
        except TimeoutError:
            raise CommandError("timeout", f"{self.spec.name!r}: {name} took too long") from None
        except (CancelledError, OSError):
            raise CommandError("worker-ended", f"{self.spec.name!r} is being stopped") from None
        finally:
            self.link.wake()

    def _serve(self) -> None:
        import asyncio

        with self.link.busy():
            from .service import Service
        try:
            asyncio.run(self._look_after(Service))
        finally:
            self._running.cancel()

    async def _look_after(self, make: type[Service]) -> None:
        import asyncio

        loop, stopping = asyncio.get_running_loop(), asyncio.Event()
        service = make(self.spec.site, str(self.spec.config["host"]), int(self.spec.config["port"]))
        loop.add_reader(self.link.stop_fd, stopping.set)
        self._running.set_result((loop, service))
        await service.run(stopping)
        loop.remove_reader(self.link.stop_fd)


def _info(service: Service) -> dict[str, Any]:
    return {"viewers": service.viewers, "missed": service.missed, "udp_port": service.port}
