"""The site as the server knows it: the newest snapshot of the supervisor, and a way to post commands."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

from frameloom.control.client import ControlClient, SiteNotRunning
from frameloom.model.errors import CommandError, FrameloomError

log = logging.getLogger(__name__)

_RETRY_S = 0.5


class SiteView:
    """Keeps up with the supervisor. `snapshot` is None until it has been reached."""

    def __init__(self, site: str) -> None:
        self.site = site
        self.snapshot: dict[str, Any] | None = None
        self.number = 0
        self._changed = asyncio.Condition()
        self._client: ControlClient | None = None

    async def follow(self) -> None:
        """Follow the supervisor's state until cancelled; a supervisor that went away is looked for again."""
        while True:
            with contextlib.suppress(FrameloomError, OSError):
                await self._follow_once()
            await asyncio.sleep(_RETRY_S)

    async def next(self, number: int) -> tuple[int, dict[str, Any]]:
        """The newest snapshot after the one with `number`."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.snapshot is not None and self.number != number)
            assert self.snapshot is not None
            return self.number, self.snapshot

    async def command(self, command: str, **fields: Any) -> dict[str, Any]:
        """Post a command; raises `CommandError` as the supervisor answered it."""
        client = await self._commander()
        try:
            answer: dict[str, Any] = await client.command(command, **fields)
            return answer
        except (SiteNotRunning, OSError, EOFError) as error:
            self._client = None
            raise CommandError("unreachable", "the supervisor does not answer") from error

    def workers(self) -> dict[str, Any]:
        """The workers by name, as in the snapshot; raises `CommandError` before it is known."""
        if self.snapshot is None:
            raise CommandError("unreachable", "the supervisor has not been reached yet")
        workers: dict[str, Any] = self.snapshot["workers"]
        return workers

    async def _commander(self) -> ControlClient:
        if self._client is None:
            self._client = await ControlClient.connect(self.site)
        return self._client

    async def _follow_once(self) -> None:
        client = await ControlClient.connect(self.site)
        try:
            async for snapshot in client.watch():
                async with self._changed:
                    self.snapshot = snapshot
                    self.number += 1
                    self._changed.notify_all()
        finally:
            await client.close()
