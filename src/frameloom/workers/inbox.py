"""Parameter changes on their way from the command thread to the work, taken between two pieces of work."""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from frameloom.model.errors import CommandError

Values = Mapping[str, Any]
Change = tuple[Values, "Future[dict[str, Any]]"]


class Inbox:
    """`submit` hands values over and waits for their effect; the work waits on `fileno()` and calls `apply`.

    `also_fd`: another descriptor (the link's `stop_fd`) that makes `fileno()` readable too.
    """

    def __init__(self, also_fd: int) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[Change] = deque()
        self._closed = False
        self._event_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll = select.epoll()
        self._epoll.register(self._event_fd, select.EPOLLIN)
        self._epoll.register(also_fd, select.EPOLLIN)

    def fileno(self) -> int:
        """Readable while values wait, after a nudge, or while `also_fd` is readable."""
        return self._epoll.fileno()

    @property
    def waiting(self) -> bool:
        """True while values wait to be applied."""
        return bool(self._waiting)

    def submit(self, values: Values) -> dict[str, Any]:
        """Hand over `values`; returns what `apply` made of them, or raises what it raised.

        Waits as long as the present piece of work takes. Raises `CommandError` when there is no work any more.
        """
        done: Future[dict[str, Any]] = Future()
        with self._lock:
            if self._closed:
                raise _ended()
            self._waiting.append((values, done))
        self.nudge()
        return done.result()

    def nudge(self) -> None:
        """Wake the work without giving it anything."""
        with self._lock:
            if not self._closed:
                os.eventfd_write(self._event_fd, 1)

    def apply(self, change: Callable[[Values], dict[str, Any]]) -> bool:
        """Give every waiting set of values to `change`, in order; True if there were any."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._event_fd)
        changes = self._take()
        for values, done in changes:
            try:
                done.set_result(change(values))
            except Exception as error:
                done.set_exception(error)
        return bool(changes)

    def wait(self, timeout_s: float | None = None) -> None:
        """Sleep until `fileno()` is readable or `timeout_s` seconds have passed; None: as long as it takes."""
        self._epoll.poll(timeout_s)

    def close(self) -> None:
        """The work has ended: refuse what waits and what still comes. May be called twice."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._epoll.close()
            os.close(self._event_fd)
        for _, done in self._take():
            done.set_exception(_ended())

    def _take(self) -> list[Change]:
        with self._lock:
            changes = list(self._waiting)
            self._waiting.clear()
            return changes


def _ended() -> CommandError:
    return CommandError("worker-ended", "the worker ended before it took the change")
