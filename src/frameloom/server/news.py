"""Small tools for tasks that wait: for a change, or for the first of several things to end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


class News:
    """Wakes every task that waits for something to change. What has changed, they look up themselves."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def tell(self) -> None:
        """Wake all that wait now; to be called on the event loop."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def wait(self) -> None:
        """Wait for the next `tell()`."""
        await self._changed.wait()


async def first_of(*works: Coroutine[Any, Any, None]) -> None:
    """Run all until one of them ends; raises what that one raised. No task is left when this returns."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
