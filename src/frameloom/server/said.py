"""What processors say of a camera's frames, as it comes, for players that draw it and for plots.

One subscription per processor, however many listen; none when nobody does. A listener that is slow misses the oldest.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Iterable

from frameloom.bus.subscriber import Subscription
from frameloom.model.errors import CommandError, FrameloomError
from frameloom.model.result import Result

from .news import News

log = logging.getLogger(__name__)

_AGAIN_S = 1.0
_KEPT = 512


class SaidFeed:
    """The results of all processors on one camera. Numbers begin at 1 and have no gaps."""

    def __init__(self, stream: str, site: str) -> None:
        self.stream = stream
        self.viewers = 0
        self.missed = 0
        self.ended: CommandError | None = None
        self._site = site
        self._news = News()
        self._texts: deque[str] = deque(maxlen=_KEPT)
        self._number = 0
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def number(self) -> int:
        """That of the newest result."""
        return self._number

    def start(self, processors: Iterable[str]) -> None:
        """Begin to read what these say."""
        self.follow(processors)

    def follow(self, processors: Iterable[str]) -> None:
        """These look at the camera now."""
        wanted = set(processors)
        for name in self._tasks.keys() - wanted:
            self._tasks.pop(name).cancel()
        for name in wanted - self._tasks.keys():
            self._tasks[name] = asyncio.create_task(self._keep_going(name))

    def end(self, why: CommandError) -> None:
        """Stop reading, and let every listener go."""
        for task in self._tasks.values():
            task.cancel()
        self._tasks.clear()
        self.ended = why
        self._news.tell()

    async def after(self, number: int) -> tuple[int, list[str]]:
        """What came after `number`, oldest first, and the number of the last of it; nothing when the feed has ended."""
        while self.ended is None and self._number == number:
            await self._news.wait()
        new = min(self._number - number, len(self._texts))
        return self._number, list(self._texts)[len(self._texts) - new :] if self.ended is None else []

    async def _keep_going(self, processor: str) -> None:
        said = ""
        while True:
            try:
                await self._read(processor)
            except (FrameloomError, OSError) as error:
                if said != (said := str(error)):
                    log.warning("stream %s: %s", processor, error)
            await asyncio.sleep(_AGAIN_S)

    async def _read(self, processor: str) -> None:
        with Subscription(processor, site=self._site, policy="every", leases=16, client="server") as results:
            async for result in results:
                if result.source == self.stream:
                    self._texts.append(_text(result))
                    self._number += 1
                    self._news.tell()


def _text(result: Result) -> str:
    head = {"processor": result.stream, "frame_seq": result.frame_seq, "pts_ns": result.pts_ns}
    times = {"captured_ns": result.captured_ns, "captured_at_ns": result.captured_at_ns}
    return json.dumps({**head, **times, "values": result.values}, separators=(",", ":"))
