"""Parameter changes on their way from the command thread to the work, taken between two pieces of work."""

from __future__ import annotations

import contextlib
import os
import select
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

Values = Mapping[str, Any]


class Inbox:
    """`submit` hands values over and waits for their effect; the work waits on `fileno()` and calls `apply`.

    `also_fd`: another descriptor (the link's `stop_fd`) that makes `fileno()` readable too.
    """

    def __init__(self, also_fd: int) -> None:
        self._waiting: deque[tuple[Values, Future[dict[str, Any]]]] = deque()
        self._event_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll = select.epoll()
        self._epoll.register(self._event_fd, select.EPOLLIN)
        self._epoll.register(also_fd, select.EPOLLIN)

    def fileno(self) -> int:
        """Readable while values wait or `also_fd` is readable."""
        return self._epoll.fileno()

    @property
    def waiting(self) -> bool:
        """True while values wait to be applied."""
        return bool(self._waiting)

    def submit(self, values: Values) -> dict[str, Any]:
        """Hand over `values`; returns what `apply` made of them, or raises what it raised."""
        done: Future[dict[str, Any]] = Future()
        self._waiting.append((values, done))
        self.nudge()
        return done.result()

    def nudge(self) -> None:
        """Wake the work without giving it anything."""
        os.eventfd_write(self._event_fd, 1)

    def apply(self, change: Callable[[Values], dict[str, Any]]) -> bool:
        """Give every waiting set of values to `change`; True if there were any."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._event_fd)
        if not self._waiting:
            return False
        while self._waiting:
            values, done = self._waiting.popleft()
            try:
                done.set_result(change(values))
            except Exception as error:
                done.set_exception(error)
        return True

    def wait(self, timeout_s: float) -> None:
        """Sleep until there is something to apply, `also_fd` is readable, or `timeout_s` seconds have passed."""
        self._epoll.poll(timeout_s)
