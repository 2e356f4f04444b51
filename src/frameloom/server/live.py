"""Live pictures for viewers: one subscription per stream, however many look; none when nobody does.

A viewer gets the newest picture whenever it is ready for one. What it misses is counted; it slows nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Any

from frameloom.bus.subscriber import Subscription
from frameloom.model.errors import FrameloomError
from frameloom.model.names import view_of
from frameloom.model.packet import Packet
from frameloom.model.result import Result

log = logging.getLogger(__name__)

_RESULTS_KEPT = 64  # a picture is encoded a few frames after it was taken; its results come before or after


@dataclass(slots=True)
class Picture:
    """One JPEG and the number of the frame that it shows."""

    number: int
    frame_seq: int
    packet: Packet


@dataclass(slots=True)
class Feed:
    """What all viewers of one stream share."""

    stream: str
    viewers: int = 0
    picture: Picture | None = None
    results: dict[str, OrderedDict[int, Result]] = field(default_factory=dict)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    closed: bool = False

    async def next(self, number: int) -> Picture | None:
        """The newest picture after `number`; None when the server stops."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.closed or (self.picture and self.picture.number != number))
            return None if self.closed else self.picture

    def results_of(self, frame_seq: int) -> list[Result]:
        """For each processor its result of this frame, or of the last one before it."""
        found = []
        for kept in self.results.values():
            before = [seq for seq in kept if seq <= frame_seq]
            if before:
                found.append(kept[before[-1]])
        return found


class Live:
    """The feeds of a site, by stream."""

    def __init__(self, site: str) -> None:
        self._site = site
        self._feeds: dict[str, Feed] = {}

    @property
    def viewers(self) -> int:
        return sum(feed.viewers for feed in self._feeds.values())

    @contextlib.asynccontextmanager
    async def watching(self, stream: str, processors: Iterable[str] = ()) -> AsyncIterator[Feed]:
        """Join as a viewer of `stream`, with the results of `processors`."""
        feed = self._feeds.setdefault(stream, Feed(stream))
        feed.viewers += 1
        self._start(feed, processors)
        try:
            yield feed
        finally:
            feed.viewers -= 1
            if not feed.viewers:
                self._end(feed)

    def close(self) -> None:
        """The server stops: let every viewer go."""
        for feed in list(self._feeds.values()):
            feed.closed = True
            self._end(feed)

    def _start(self, feed: Feed, processors: Iterable[str]) -> None:
        self._start_task(feed, view_of(feed.stream), self._take_pictures)
        for name in processors:
            self._start_task(feed, name, self._take_results)

    def _start_task(self, feed: Feed, stream: str, take: Any) -> None:
        if stream not in feed.tasks:
            feed.tasks[stream] = asyncio.create_task(self._kept_going(take, feed, stream))

    def _end(self, feed: Feed) -> None:
        for task in feed.tasks.values():
            task.cancel()
        feed.tasks.clear()
        if self._feeds.get(feed.stream) is feed:
            del self._feeds[feed.stream]
        asyncio.get_running_loop().create_task(_notify(feed))

    async def _kept_going(self, take: Any, feed: Feed, stream: str) -> None:
        """A stream that refuses us is tried again; its viewers keep the last picture."""
        while True:
            try:
                await take(feed, stream)
            except FrameloomError as error:
                log.warning("stream %s: %s", stream, error)
            await asyncio.sleep(1)

    async def _take_pictures(self, feed: Feed, stream: str) -> None:
        with Subscription(stream, site=self._site, client="server") as packets:
            async for packet in packets:
                number = feed.picture.number + 1 if feed.picture else 1
                feed.picture = Picture(number, int(packet.metadata.get("frame_seq", 0)), packet)
                await _notify(feed)

    async def _take_results(self, feed: Feed, stream: str) -> None:
        kept = feed.results.setdefault(stream, OrderedDict())
        last_seq = 0
        with Subscription(stream, site=self._site, policy="every", client="server", leases=16) as results:
            async for result in results:
                if result.source != feed.stream:
                    continue
                if result.frame_seq <= last_seq:
                    kept.clear()  # the camera began to count anew
                last_seq = result.frame_seq
                kept[last_seq] = result
                while len(kept) > _RESULTS_KEPT:
                    kept.popitem(last=False)


async def _notify(feed: Feed) -> None:
    async with feed.changed:
        feed.changed.notify_all()
