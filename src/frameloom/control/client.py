"""Talking to a running site: what the command line, the web server and bridges use, and any program may.

Blocking with `call`, asyncio with `ControlClient`. Starting a site belongs to `frameloom.control.runner`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket
from collections.abc import AsyncGenerator, Iterator
from typing import Any, Self

from frameloom.bus import paths
from frameloom.model.errors import CommandError, NeedsPerson
from frameloom.workers.lines import from_line, to_line

from .commands import TIMEOUT_S
from .lock import socket_address, socket_path

ANSWER_BYTES = 1 << 26
_SPARE_S = 2.0  # for an answer that comes just in time


class SiteNotRunning(NeedsPerson):
    """There is nobody to give commands to."""

    def __init__(self, site: str) -> None:
        super().__init__(f"site {site!r} is not running; start it with: frameloom up")
        self.site = site


class ControlClient:
    """A connection to the supervisor of a site. Any number of commands may be under way on it."""

    def __init__(self, site: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Use `connect`."""
        self.site = site
        self._reader = reader
        self._writer = writer
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._listening = asyncio.get_running_loop().create_task(self._listen())

    @classmethod
    async def connect(cls, site: str) -> Self:
        """Connect to the supervisor of `site`; raises `SiteNotRunning`."""
        return cls(site, *await _open(site))

    async def command(self, command: str, *, timeout_s: float = TIMEOUT_S, **fields: Any) -> Any:
        """Give a command and wait for its result.

        Raises `CommandError` if it was refused or took too long, `SiteNotRunning` if the site ends meanwhile.
        """
        if self._listening.done():
            raise SiteNotRunning(self.site)
        number = next(self._numbers)
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            self._writer.write(_request(number, command, timeout_s, fields))
            async with asyncio.timeout(timeout_s + _SPARE_S):
                return _result(await answer)
        except TimeoutError:
            raise CommandError("timeout", f"{command}: the supervisor does not answer") from None
        finally:
            self._waiting.pop(number, None)

    async def watch(self) -> AsyncGenerator[dict[str, Any], None]:
        """Snapshots of the site: one at once, one after every change; ends when the site does.

        One that is slow to take them misses some, and never the newest. Uses a connection of its own.
        """
        reader, writer = await _open(self.site)
        try:
            writer.write(_request(0, "subscribe", TIMEOUT_S, {}))
            first = await _next(reader)
            if first is None:
                raise SiteNotRunning(self.site)
            snapshot = _result(first)
            yield snapshot
            while (message := await _next(reader)) is not None:
                snapshot = _merged(snapshot, message["changes"]["workers"])
                yield snapshot
        finally:
            await _close(writer)

    async def close(self) -> None:
        """Close the connection; commands under way raise `SiteNotRunning`."""
        self._listening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._listening
        await _close(self._writer)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def _listen(self) -> None:
        try:
            while (message := await _next(self._reader)) is not None:
                self._deliver(message)
        finally:
            for answer in self._waiting.values():
                if not answer.done():
                    answer.set_exception(SiteNotRunning(self.site))

    def _deliver(self, message: dict[str, Any]) -> None:
        answer = self._waiting.get(message.get("id") or 0)
        if answer is not None and not answer.done():
            answer.set_result(message)


def call(site: str, command: str, timeout_s: float = TIMEOUT_S, **fields: Any) -> Any:
    """Give one command to a running site and wait for its result.

    Raises `SiteNotRunning`, or `CommandError` if it was refused or took too long.
    """
    try:
        with _connected(site, timeout_s + _SPARE_S) as connection:
            connection.sendall(_request(1, command, timeout_s, fields))
            return _result(next(_lines(connection)))
    except TimeoutError:
        raise CommandError("timeout", f"{command}: the supervisor does not answer") from None
    except (ConnectionError, FileNotFoundError, StopIteration):
        raise SiteNotRunning(site) from None


def shut_down(site: str, timeout_s: float = 10.0) -> None:
    """End a running site and wait until it can be started again.

    Raises `SiteNotRunning`, or `CommandError` if it was refused or took too long.
    """
    try:
        with _connected(site, timeout_s) as connection:
            connection.sendall(_request(1, "shutdown", TIMEOUT_S, {}))
            answers = _lines(connection)
            _result(next(answers))
            for _ in answers:
                pass  # the connection is closed when the workers have ended and the lock is free
    except TimeoutError:
        raise CommandError("timeout", f"site {site!r} has not ended within {timeout_s:g} s") from None
    except (ConnectionError, FileNotFoundError, StopIteration):
        raise SiteNotRunning(site) from None


def running_sites() -> list[str]:
    """Names of the sites of this user that run on this machine, sorted."""
    names = [entry.name for entry in os.scandir(paths.runtime_root()) if entry.is_dir()]
    return sorted(name for name in names if _is_running(name))


def _is_running(site: str) -> bool:
    try:
        with _connected(site, _SPARE_S):
            return True
    except TimeoutError:
        return True  # it is there, and has a lot to do
    except (OSError, NeedsPerson):
        return False


def _connected(site: str, timeout_s: float) -> socket.socket:
    """A blocking connection. Raises FileNotFoundError or ConnectionRefusedError if nobody listens."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout_s)
        with socket_address(socket_path(site)) as address:
            connection.connect(address)
    except BaseException:
        connection.close()
        raise
    return connection


async def _open(site: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    try:
        with socket_address(socket_path(site)) as address:
            return await asyncio.open_unix_connection(address, limit=ANSWER_BYTES)
    except (ConnectionError, FileNotFoundError):
        raise SiteNotRunning(site) from None


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def _next(reader: asyncio.StreamReader) -> dict[str, Any] | None:
    """The next message; None when the connection has ended."""
    try:
        return from_line(await reader.readuntil(b"\n"))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


def _lines(connection: socket.socket) -> Iterator[dict[str, Any]]:
    """Messages until the connection ends."""
    with connection.makefile("rb") as lines:
        while line := lines.readline(ANSWER_BYTES):
            yield from_line(line)


def _request(number: int, command: str, timeout_s: float, fields: dict[str, Any]) -> bytes:
    return to_line({**fields, "id": number, "command": command, "timeout_s": timeout_s})


def _result(message: dict[str, Any]) -> Any:
    if message.get("ok"):
        return message["result"]
    error = message["error"]
    raise CommandError(error["code"], error["message"])


def _merged(snapshot: dict[str, Any], workers: dict[str, Any]) -> dict[str, Any]:
    """A new snapshot: the old one may be in somebody's hands."""
    merged = {name: state for name, state in {**snapshot["workers"], **workers}.items() if state is not None}
    return {**snapshot, "workers": merged}
