"""The site as the server knows it: the newest snapshot of the supervisor, and a way to post commands."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import Any

from frameloom.control.client import ControlClient, SiteNotRunning
from frameloom.model.errors import CommandError, FrameloomError

from .news import News

log = logging.getLogger(__name__)

_RETRY_S = 0.5
_SILENT_S = 5.0  # the supervisor tells every two seconds how its workers are
_KNOWN_S = 3.0
_COMMAND_S = 4.0  # a worker that does not want to end is gone after 2.9 s
_COMMANDS_AT_ONCE = 16


class SiteView:
    """Keeps up with the supervisor.

    snapshot  what the supervisor said last; None until it has been reached. `silent_since_utc_ns` in it is None,
              or since when the supervisor has not been heard
    number    grows with each change of `snapshot`
    """

    def __init__(self, site: str, *, silent_s: float = _SILENT_S) -> None:
        self.site = site
        self.snapshot: dict[str, Any] | None = None
        self.number = 0
        self._silent_s = silent_s
        self._news = News()
        self._places = asyncio.Semaphore(_COMMANDS_AT_ONCE)
        self._silence: asyncio.TimerHandle | None = None

    async def follow(self) -> None:
        """Follow the supervisor's state until cancelled; a supervisor that went away is looked for again."""
        try:
            while True:
                with contextlib.suppress(FrameloomError, OSError):
                    await self._follow_once()
                await asyncio.sleep(_RETRY_S)
        finally:
            self._expect_news(False)

    async def next(self, number: int) -> tuple[int, dict[str, Any]]:
        """The newest snapshot after the one with `number`."""
        while self.snapshot is None or self.number == number:
            await self._news.wait()
        return self.number, self.snapshot

    async def known(self) -> dict[str, Any]:
        """The workers by name, as in the snapshot, waited for a little where the server has just begun.

        Raises `CommandError` if the supervisor cannot be reached.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_KNOWN_S):
                _, snapshot = await self.next(-1)
                workers: dict[str, Any] = snapshot["workers"]
                return workers
        raise CommandError("unreachable", "the supervisor has not been reached yet")

    async def command(self, command: str, *, timeout_s: float = _COMMAND_S, **fields: Any) -> dict[str, Any]:
        """Post a command; raises `CommandError` as the supervisor answered it, or because it does not answer."""
        self._refuse_if_silent()
        try:
            async with self._places, await ControlClient.connect(self.site) as client:
                answer: dict[str, Any] = await client.command(command, timeout_s=timeout_s, **fields)
                return answer
        except (SiteNotRunning, OSError) as error:
            raise CommandError("unreachable", "the supervisor does not answer") from error
        except (TypeError, ValueError) as error:
            raise CommandError("invalid", f"{command}: it cannot be said in JSON: {error}") from error

    def _refuse_if_silent(self) -> None:
        since_ns = (self.snapshot or {}).get("silent_since_utc_ns")
        if since_ns is not None:
            silent_s = (time.time_ns() - since_ns) / 1e9
            raise CommandError(
                "unreachable", f"the supervisor has not answered for {silent_s:.0f} s; try again later"
            )

    async def _follow_once(self) -> None:
        client = await ControlClient.connect(self.site)
        async with client, contextlib.aclosing(client.watch()) as snapshots:
            async for snapshot in snapshots:
                self._take({**snapshot, "silent_since_utc_ns": None})
                self._expect_news(True)

    def _take(self, snapshot: dict[str, Any]) -> None:
        self.snapshot = snapshot
        self.number += 1
        self._news.tell()

    def _expect_news(self, expected: bool) -> None:
        if self._silence is not None:
            self._silence.cancel()
        loop = asyncio.get_running_loop()
        self._silence = (
            loop.call_later(self._silent_s, self._fall_silent, time.time_ns()) if expected else None
        )

    def _fall_silent(self, heard_utc_ns: int) -> None:
        log.warning("the supervisor has said nothing for %g s", self._silent_s)
        self._take({**(self.snapshot or {}), "silent_since_utc_ns": heard_utc_ns})
