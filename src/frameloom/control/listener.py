"""The control socket: lets clients of the same user in, and keeps the trouble of each to its connection.

What commands mean is in `commands` and `dispatch`. Clients on other machines come through the web server.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
from typing import Any

from frameloom.bus import paths
from frameloom.model.errors import CommandError, PeerError
from frameloom.workers.lines import MESSAGE_BYTES, from_line, to_line

from . import commands
from .dispatch import Dispatcher
from .feed import Subscription
from .lock import SOCKET_NAME, socket_address, stays_with_this_process

MOST_CONNECTIONS = 100
COMMANDS_AT_ONCE = 16
_log = logging.getLogger(__name__)


class Listener:
    """Answers on `<runtime folder>/<site>/control.sock`. The site's lock must be held."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._connections: dict[_Connection, None] = {}
        self._socket: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._path = paths.site_dir(dispatcher.supervisor.site) / SOCKET_NAME

    async def start(self) -> None:
        """Listen; a socket that a killed supervisor has left is replaced."""
        self._path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with socket_address(self._path) as address:
            self._socket.bind(address)
        self._path.chmod(0o600)  # before listen(): until then nobody can connect
        self._server = await asyncio.start_unix_server(
            self._connected, sock=self._socket, limit=MESSAGE_BYTES
        )
        stays_with_this_process(self)

    def shut(self) -> None:
        """Let nobody in any more, and remove the socket; connections stay."""
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)

    async def close(self) -> None:
        """Close every connection; to be called after `shut`."""
        if self._server is None:
            return
        for connection in list(self._connections):
            connection.abort()
        while self._connections:
            await asyncio.gather(*(connection.ended.wait() for connection in list(self._connections)))
        await self._server.wait_closed()

    def abandon(self) -> None:
        """In a forked child: see `frameloom.control.lock.stays_with_this_process`."""
        if self._socket is not None:
            self._socket.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(self._dispatcher, reader, writer)
        self._connections[connection] = None
        try:
            self._admit(writer)
            await connection.serve()
        except CommandError as error:
            await connection.refuse(error)
        except (OSError, asyncio.CancelledError):
            pass  # it went away, or we do
        finally:
            connection.abort()
            del self._connections[connection]
            connection.ended.set()

    def _admit(self, writer: asyncio.StreamWriter) -> None:
        """Raises `CommandError` for a stranger. When all places are taken the oldest idle one makes room."""
        uid = _peer_uid(writer.get_extra_info("socket"))
        if uid not in (None, 0, os.getuid()):
            raise CommandError("forbidden", f"this site belongs to user {os.getuid()}, you are user {uid}")
        if len(self._connections) > MOST_CONNECTIONS:
            idle = [connection for connection in self._connections if connection.is_idle]
            if not idle[:-1]:
                raise CommandError("busy", f"{MOST_CONNECTIONS} clients are connected")
            idle[0].abort()


class _Connection:
    def __init__(
        self, dispatcher: Dispatcher, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.ended = asyncio.Event()
        self._dispatcher = dispatcher
        self._reader = reader
        self._writer = writer
        self._sending = asyncio.Lock()
        self._places = asyncio.Semaphore(COMMANDS_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._subscription: Subscription | None = None
        writer.transport.set_write_buffer_limits(0)  # what drain() waits for is all in the kernel's hands

    @property
    def is_idle(self) -> bool:
        return not self._tasks

    def abort(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._subscription is not None:
            self._subscription.close()
        self._writer.transport.abort()

    async def serve(self) -> None:
        """Until the client closes its end and has its answers. Raises `CommandError` for what is no message."""
        while (line := await self._line()) is not None:
            message = _message(line)
            await self._places.acquire()
            self._run(self._answer(message)).add_done_callback(lambda _: self._places.release())
        if self._subscription is not None:
            self._subscription.close()
        await asyncio.gather(*self._tasks)

    async def refuse(self, error: CommandError) -> None:
        """Say why, as far as the client reads it, before the connection is closed."""
        self._writer.write(to_line(_refusal(None, error)))
        with contextlib.suppress(OSError, asyncio.CancelledError, TimeoutError):
            async with asyncio.timeout(1):
                await self._writer.drain()

    async def _line(self) -> bytes | None:
        try:
            return await self._reader.readuntil(b"\n")
        except asyncio.IncompleteReadError:
            return None
        except asyncio.LimitOverrunError:
            raise CommandError("garbage", f"a command has at most {MESSAGE_BYTES} bytes") from None

    async def _answer(self, message: dict[str, Any]) -> None:
        number = commands.reply_id(message)
        try:
            command = commands.parse(message)
            if isinstance(command, commands.Subscribe):
                self._subscribe()
            result = await self._dispatcher.answer(command)
        except CommandError as error:
            await self._send(_refusal(number, error))
            return
        await self._send({"id": number, "ok": True, "result": result})
        if isinstance(command, commands.Subscribe):
            self._run(self._pump(number))

    def _subscribe(self) -> None:
        if self._subscription is not None:
            raise CommandError("invalid", "subscribe: this connection is subscribed already")
        self._subscription = self._dispatcher.supervisor.subscribe()

    async def _pump(self, number: int | str | None) -> None:
        assert self._subscription is not None
        while (workers := await self._subscription.changes()) is not None:
            await self._send({"id": number, "changes": {"workers": workers}})

    async def _send(self, message: dict[str, Any]) -> None:
        """One at a time, so that no more than one message waits for a slow client."""
        async with self._sending:
            self._writer.write(to_line(message))
            await self._writer.drain()

    def _run(self, work: Any) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, OSError):
            _log.error("control connection", exc_info=error)


def _refusal(number: int | str | None, error: CommandError) -> dict[str, Any]:
    return {"id": number, "ok": False, "error": {"code": error.code, "message": str(error)}}


def _message(line: bytes) -> dict[str, Any]:
    try:
        return from_line(line)
    except PeerError as error:
        raise CommandError("garbage", str(error)) from None


def _peer_uid(connection: Any) -> int | None:
    """The user at the other end; None where the kernel does not tell, and the folder's mode decides alone."""
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", credentials)
    return int(uid)
