"""Hearing of changes: what has changed since one last asked, however slow one is.

A subscription holds names of workers and never states, so that it cannot grow beyond the number of workers.
How changes travel belongs to `frameloom.control.listener`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

SOONEST_S = 0.1


class Subscription:
    """Collects names between two calls of `changes()`."""

    def __init__(
        self,
        snapshot_of: Callable[[str], dict[str, Any] | None],
        on_close: Callable[[Subscription], None],
    ) -> None:
        """`snapshot_of` gives the state of one worker, or None if it was removed."""
        self._snapshot_of = snapshot_of
        self._on_close = on_close
        self._marked: dict[str, None] = {}
        self._something = asyncio.Event()
        self._closed = False
        self._given_s = float("-inf")  # loop time of the last changes

    def mark(self, name: str) -> None:
        """Worker `name` has changed, come or gone."""
        self._marked[name] = None
        self._something.set()

    async def changes(self) -> dict[str, dict[str, Any] | None] | None:
        """Wait for changes; the present state of each worker that changed, None if it is gone.

        None instead of a dict when the subscription was closed. The first change comes at once, those of the
        next 0.1 s together.
        """
        await self._something.wait()
        await self._pause()
        if self._closed:
            return None
        self._something.clear()
        names, self._marked = self._marked, {}
        return {name: self._snapshot_of(name) for name in names}

    async def _pause(self) -> None:
        clock = asyncio.get_running_loop()
        wait_s = self._given_s + SOONEST_S - clock.time()
        if wait_s > 0 and not self._closed:
            await asyncio.sleep(wait_s)
        self._given_s = clock.time()

    def close(self) -> None:
        """Hear no more; `changes()` returns None from now on."""
        self._closed = True
        self._something.set()
        self._on_close(self)
