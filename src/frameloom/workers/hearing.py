"""Reads what several processors say, beside other work of the same thread: nothing here waits.

What becomes of their results is the business of whoever hears them.
"""

from __future__ import annotations

import logging
import select
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from frameloom.bus.subscriber import Subscription
from frameloom.model.clock import NS_PER_S, Clock
from frameloom.model.errors import ParameterError, PeerError, StreamEnded
from frameloom.model.result import Result

_AGAIN_NS = NS_PER_S  # until a stream that has ended, or refused us, is joined again

log = logging.getLogger(__name__)


class Hearing:
    """The results of the processors that are followed, each of them once and in order. For one thread.

    client  who hears, for the site's diagrams
    """

    def __init__(self, site: str, client: str, clock: Clock) -> None:
        self._site, self._client, self._clock = site, client, clock
        self._epoll = select.epoll()
        self._heard: dict[str, Subscription] = {}
        self._left: dict[str, int] = {}  # when to join again, monotonic time in ns
        self._said: dict[str, str] = {}

    def fileno(self) -> int:
        """Readable when there may be something to `take`."""
        return self._epoll.fileno()

    def follow(self, processors: Iterable[str]) -> None:
        """Hear these from now on, and no others."""
        wanted = set(processors)
        for name in self._heard.keys() - wanted:
            self._leave(name)
        for name in self._left.keys() - wanted:
            del self._left[name]
        for name in wanted - self._heard.keys() - self._left.keys():
            self._join(name)

    def take(self) -> Iterator[Result]:
        """All that has come by now."""
        now_ns = self._clock.monotonic_ns()
        for name in [name for name, due_ns in self._left.items() if now_ns >= due_ns]:
            del self._left[name]
            self._join(name)
        for name in list(self._heard):
            yield from self._take_from(name)

    def close(self) -> None:
        """Hear nobody, and let go of the descriptor."""
        self.follow(())
        self._epoll.close()

    def _take_from(self, name: str) -> Iterator[Result]:
        results = self._heard[name]
        try:
            while (result := results.get(0)) is not None:
                if isinstance(result, Result):
                    yield result
        except (StreamEnded, PeerError) as error:
            if self._said.get(name) != str(error):
                log.info("stream %s: %s", name, error)
            self._said[name] = str(error)
            self._leave(name)
            self._left[name] = self._clock.monotonic_ns() + _AGAIN_NS

    def _join(self, name: str) -> None:
        results = Subscription(name, site=self._site, policy="every", leases=16, client=self._client)
        self._epoll.register(results.fileno(), select.EPOLLIN)
        self._heard[name] = results

    def _leave(self, name: str) -> None:
        results = self._heard.pop(name)
        self._epoll.unregister(results.fileno())
        results.close()


def without_names(values: Mapping[str, Any], *keys: str) -> tuple[dict[str, Any], dict[str, tuple[str, ...]]]:
    """A worker's values without those under `keys`, and these: lists of names, which the site says and no person.

    Raises `ParameterError` where such a value is no list of texts.
    """
    names: dict[str, tuple[str, ...]] = {}
    for key in keys:
        if key in values:
            value = values[key]
            if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
                raise ParameterError(f"{key}: read {value!r}, allowed: a list of names")
            names[key] = tuple(value)
    return {key: value for key, value in values.items() if key not in keys}, names
