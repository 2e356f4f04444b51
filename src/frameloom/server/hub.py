"""What is shared by all who look at a camera in one way: made for the first of them, ended with the last.

A feed reads streams of the bus once for all its viewers. What it reads and gives belongs to `live` (pictures), `video`
(access units) and `said` (results).
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any, Generic, Protocol, TypeVar

from frameloom.model.errors import CommandError

from .site import SiteView

STOPPING = CommandError("stopping", "the server is stopping")


class Feed(Protocol):
    """Of one camera. `missed` counts what viewers were too slow for; `ended` says why there is nothing more."""

    viewers: int
    missed: int
    ended: CommandError | None

    @property
    def stream(self) -> str: ...

    def start(self, processors: Iterable[str]) -> None:
        """Begin to read."""

    def follow(self, processors: Iterable[str]) -> None:
        """These processors look at the camera now."""

    def end(self, why: CommandError) -> None:
        """Stop reading, and let every viewer go."""


F = TypeVar("F", bound=Feed)


class Hub(Generic[F]):
    """The feeds of one kind, by camera. `make(camera, site)` makes one.

    patience_s  a viewer that takes nothing for so long is let go
    """

    def __init__(self, view: SiteView, make: Callable[[str, str], F], *, patience_s: float = 30.0) -> None:
        self.patience_s = patience_s
        self._view = view
        self._make = make
        self._feeds: dict[str, F] = {}
        self._missed = 0
        self._stopping = False

    @property
    def viewers(self) -> int:
        """How many look now."""
        return sum(feed.viewers for feed in list(self._feeds.values()))

    @property
    def missed(self) -> int:
        """What viewers were too slow for, in all."""
        return self._missed + sum(feed.missed for feed in list(self._feeds.values()))

    @contextlib.asynccontextmanager
    async def watching(self, camera: str) -> AsyncIterator[F]:
        """Join as a viewer; raises `CommandError` if there is no such camera, or the server stops."""
        processors = processors_on(camera, await self._view.known())
        if self._stopping:
            raise STOPPING
        feed = self._feeds.get(camera)
        if feed is None:
            feed = self._feeds[camera] = self._make(camera, self._view.site)
            feed.start(processors)
        feed.viewers += 1
        try:
            yield feed
        finally:
            feed.viewers -= 1
            if not feed.viewers and feed.ended is None:
                self._end(feed, CommandError("unwatched", "nobody is watching"))

    async def follow(self) -> None:
        """Keep up with cameras that go and processors that come, until cancelled."""
        number = 0
        while True:
            number, snapshot = await self._view.next(number)
            for feed in list(self._feeds.values()):
                self._adapt(feed, snapshot["workers"])

    def close(self) -> None:
        """The server stops: let every viewer go."""
        self._stopping = True
        for feed in list(self._feeds.values()):
            self._end(feed, STOPPING)

    def _adapt(self, feed: F, workers: Mapping[str, Any]) -> None:
        try:
            feed.follow(processors_on(feed.stream, workers))
        except CommandError as error:
            self._end(feed, error)

    def _end(self, feed: F, why: CommandError) -> None:
        del self._feeds[feed.stream]
        self._missed += feed.missed
        feed.end(why)


def processors_on(camera: str, workers: Mapping[str, Any]) -> list[str]:
    """The processors that look at a camera's frames; raises `CommandError` if there is no such camera."""
    if workers.get(camera, {}).get("kind") != "camera":
        cameras = [name for name, worker in workers.items() if worker["kind"] == "camera"]
        raise CommandError(
            "unknown-name", f"no camera {camera[:50]!r}; there are: {', '.join(cameras) or 'none'}"
        )
    return [name for name, w in workers.items() if w["kind"] == "processor" and camera in w["streams"]]
