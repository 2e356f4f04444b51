"""Live pictures for viewers: one subscription per stream, however many look; none when nobody does.

A viewer gets the newest picture whenever it is ready for one. What it misses is counted; it slows nobody. How a
viewer is reached (WebSocket, multipart, one picture) belongs to `frameloom.server.viewers`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from frameloom.bus.subscriber import Subscription
from frameloom.model.errors import CommandError, FrameloomError
from frameloom.model.names import annotated_of, view_of
from frameloom.model.packet import Packet
from frameloom.model.result import Result

from .news import News
from .results import WAIT_S, FrameId, Results

log = logging.getLogger(__name__)

_AGAIN_S = 1.0
_HEAD = struct.Struct("<I")


@dataclass(frozen=True)
class Picture:
    """One JPEG, the frame that it shows, and the results that are drawn on it.

    `number` counts the pictures of a feed: what a viewer misses is a gap in it.
    """

    number: int
    frame: FrameId
    packet: Packet
    results: tuple[Result, ...] = ()

    @property
    def jpeg(self) -> bytes:
        data: bytes = self.packet.data
        return data

    @cached_property
    def message(self) -> bytes:
        """For a WebSocket: uint32 length of a JSON text, the text, the JPEG. The same for all viewers."""
        head = json.dumps(self.describe(), separators=(",", ":")).encode()
        return b"".join((_HEAD.pack(len(head)), head, self.jpeg))

    def describe(self) -> dict[str, Any]:
        """The picture in JSON, without its pixels."""
        packet = self.packet
        return {
            "number": self.number,
            "frame_seq": self.frame.seq,
            "width": packet.format.width,
            "height": packet.format.height,
            "pts_ns": packet.pts_ns,
            "captured_ns": packet.captured_ns,
            "captured_at_ns": packet.captured_at_ns,
            "results": [
                {"processor": each.stream, "frame_seq": each.frame_seq, "values": each.values}
                for each in self.results
            ],
        }


class Feed:
    """What all viewers of one stream share. `missed` counts the pictures that one of them was too slow for."""

    def __init__(self, stream: str, site: str) -> None:
        self.stream = stream
        self.viewers = 0
        self.missed = 0
        self.picture: Picture | None = None
        self.ended: CommandError | None = None
        self._site = site
        self._news = News()
        self._arrivals = News()
        self._results: dict[str, Results] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def next(self, number: int) -> Picture | None:
        """The newest picture after `number`; None when the feed has ended (`ended` says why)."""
        while self.ended is None:
            if self.picture is not None and self.picture.number != number:
                self._count_missed(number, self.picture.number)
                return self.picture
            await self._news.wait()
        return None

    async def end_of_feed(self) -> None:
        """Wait for the end."""
        while self.ended is None:
            await self._news.wait()

    def start(self, processors: Iterable[str]) -> None:
        """Begin to read the pictures of the stream, and the results of `processors`."""
        pictures = self._pictures()
        self._tasks[pictures] = asyncio.create_task(self._kept_going(pictures, self._take_pictures))
        self.follow(processors)

    def follow(self, processors: Iterable[str]) -> None:
        """These processors look at the stream now."""
        wanted = set(processors)
        for name in self._results.keys() - wanted:
            del self._results[name]
            self._tasks.pop(name).cancel()
        for name in wanted - self._results.keys():
            self._results[name] = Results()
            self._tasks[name] = asyncio.create_task(self._kept_going(name, self._take_results))

    def end(self, why: CommandError) -> None:
        """Stop reading, and let every viewer go."""
        for task in self._tasks.values():
            task.cancel()
        self._tasks.clear()
        self.ended = why
        self._news.tell()

    def _pictures(self) -> str:
        """The stream that they come from."""
        return view_of(self.stream)

    def _count_missed(self, last: int, now: int) -> None:
        if last:
            self.missed += now - last - 1

    async def _kept_going(self, stream: str, take: Any) -> None:
        """A stream that refuses us is tried again; viewers keep the last picture."""
        said = ""
        while True:
            try:
                await take(stream)
            except (FrameloomError, OSError) as error:
                if said != (said := str(error)):
                    log.warning("stream %s: %s", stream, error)
            await asyncio.sleep(_AGAIN_S)

    async def _take_pictures(self, stream: str) -> None:
        with Subscription(stream, site=self._site, client="server") as packets:
            async for packet in packets:
                frame = FrameId(int(packet.metadata.get("frame_seq", 0)), packet.captured_ns)
                await self._await_results(frame)
                number = self.picture.number + 1 if self.picture else 1
                self.picture = Picture(number, frame, packet, tuple(self._results_of(frame)))
                self._news.tell()

    async def _take_results(self, stream: str) -> None:
        found = self._results[stream]
        with Subscription(stream, site=self._site, policy="every", client="server", leases=16) as results:
            async for result in results:
                if result.source == self.stream:
                    found.add(result)
                    self._arrivals.tell()

    async def _await_results(self, frame: FrameId) -> None:
        """Wait a little for those processors that are usually in time."""
        for results in self._results.values():
            results.expect(frame)
        if not self._are_worth_waiting(frame):
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WAIT_S):
                while self._are_worth_waiting(frame):
                    await self._arrivals.wait()

    def _are_worth_waiting(self, frame: FrameId) -> bool:
        return any(results.is_worth_waiting(frame) for results in self._results.values())

    def _results_of(self, frame: FrameId) -> Iterable[Result]:
        found = (results.of(frame) for results in self._results.values())
        return (result for result in found if result is not None)


class AnnotatedFeed(Feed):
    """Pictures on which the view has drawn what processors saw: nothing is left to wait for here."""

    def follow(self, processors: Iterable[str]) -> None:
        """The view follows them."""

    def _pictures(self) -> str:
        return annotated_of(self.stream)
