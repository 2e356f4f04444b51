"""What the three kinds of publishers share: the answering of the socket, and the waiting for readers.

The socket is answered by a small thread of its own, so that a camera that stands still keeps nobody waiting; it
sleeps while nothing but published items goes over the socket. Who gets what belongs to `frameloom.bus.delivery`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Self

from frameloom.model.clock import Clock, SystemClock

from . import forks, protocol
from .delivery import Delivery
from .listening import Listener
from .readers import Reader, ReaderInfo, stranger

log = logging.getLogger(__name__)

_GREETING_S = 5.0  # a connection that says nothing for so long is closed
_MOST_READERS = 256
_BREATHER_S = 0.2  # until readers are accepted again when descriptors or memory for them have run out
_SEND_BYTES = 1 << 18
_HUP = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR


class Publisher(Delivery):
    """A stream that can be joined. Not used by itself: see `frameloom.bus.publisher`."""

    def __init__(
        self,
        stream: str,
        *,
        site: str = "default",
        can_wait: bool = False,
        backend: str = "",
        clock: Clock | None = None,
        greeting_s: float = _GREETING_S,
    ) -> None:
        """Publish `stream` of `site`. Raises `StreamBusy` if a living process already does.

        `can_wait`: the stream is bounded and its publisher calls `wait_ready()`; without it, a reader that wants every
        item gets as many as are retained, and the rest is dropped and counted.
        `greeting_s`: how long a connection may stay silent before it says who it is.
        """
        super().__init__(stream, site, can_wait, backend, clock or SystemClock())
        self._greeting_s = greeting_s
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._closed = False
        self._on_wanted: Callable[[bool], None] | None = None
        self._told_wanted = False
        self._accept_again_s: float | None = None
        with contextlib.ExitStack() as undo:
            self._epoll = undo.enter_context(select.epoll())
            self._listener = Listener(site, stream)
            undo.callback(self._listener.close)
            undo.callback(self._listener.withdraw)
            self._wake_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            undo.callback(os.close, self._wake_fd)
            self._epoll.register(self._listener.sock, select.EPOLLIN)
            self._epoll.register(self._wake_fd, select.EPOLLIN)
            self._thread = threading.Thread(target=self._serve, name=f"bus {stream}", daemon=True)
            self._thread.start()
            undo.pop_all()
        forks.close_in_child(self, self._after_fork)

    # --- for the worker that publishes -----------------------------------------------------------------------------

    @property
    def wanted(self) -> bool:
        """True while at least one reader is connected: without one, the work need not be done."""
        return self._wanted

    def wait_wanted(self, timeout_s: float | None = None) -> bool:
        """Wait until a reader is connected; False after `timeout_s` seconds or when closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._wanted or self._closed, timeout_s)
            return self._wanted

    @property
    def on_wanted(self) -> Callable[[bool], None] | None:
        """Called with `wanted` when it has changed, in the thread of the socket, which must not be kept for long.

        Changes that follow each other quickly may be told as one, or not at all if nothing is left of them.
        """
        return self._on_wanted

    @on_wanted.setter
    def on_wanted(self, call: Callable[[bool], None] | None) -> None:
        with self._lock:
            self._on_wanted = call
            self._wake()

    def readers(self) -> list[ReaderInfo]:
        """Everyone who is connected and has said hello."""
        with self._lock:
            return [ReaderInfo.of(r, r.hello) for r in self._readers.values() if r.hello and not r.leaving]

    def ready(self) -> bool:
        """True if every reader that wants every item has been sent all of them."""
        with self._lock:
            return not self._behind()

    def wait_ready(self, timeout_s: float, stop_fd: int | None = None) -> bool:
        """Wait until `ready()`; False after `timeout_s` seconds, or when `stop_fd` becomes readable."""
        return self.ready() or self._wait_for(self._behind, timeout_s, stop_fd)

    def forget(self) -> None:
        """Let go of what is retained for readers that come later: it is too old to be shown as new."""
        with self._lock:
            sent = self._sent_to_all()
            while self._kept.items and self._kept.items[0].seq <= sent:
                self._kept.drop_oldest()

    def end(self, reason: str = "end of stream") -> None:
        """Tell every reader, present and future, that the stream came to its proper end after the last item.

        Nothing can be published after it. May be called twice.
        """
        with self._lock:
            if self._ended:
                return
            self._check_open()
            self._ended = protocol.pack_end(reason)
            for reader in [r for r in self._readers.values() if r.hello]:
                self._deliver(reader)

    def wait_ended(self, timeout_s: float, stop_fd: int | None = None) -> bool:
        """After `end()`: wait until every reader has been sent the end, and before it what it was to get.

        False after `timeout_s` seconds, or when `stop_fd` becomes readable. Closing earlier would look like a death.
        """
        return self._wait_for(self._untold, timeout_s, stop_fd)

    def close(self) -> None:
        """Leave the bus: readers see a lost publisher and wait for another. May be called twice."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._changed.notify_all()
            self._wake()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            why = "the publisher is closed, or belongs to the process that forked"
            raise ValueError(f"stream {self.stream!r}: {why}")
        if self._ended:
            raise ValueError(f"stream {self.stream!r}: it has ended, nothing more can be published")

    # --- waiting for readers -------------------------------------------------------------------

    def _wait_for(self, lagging: Callable[[], list[Reader]], timeout_s: float, stop_fd: int | None) -> bool:
        """Serve those that `lagging` finds until there are none; False if it takes too long or is stopped."""
        deadline_s = time.monotonic() + timeout_s
        readers: list[Reader] = []
        try:
            while readers := self._attend(lagging):
                left_s = deadline_s - time.monotonic()
                if left_s <= 0 or self._poll_readers(readers, left_s, stop_fd):
                    return False
            return True
        finally:
            self._leave_to_thread(readers)

    def _attend(self, lagging: Callable[[], list[Reader]]) -> list[Reader]:
        """Hear and serve the lagging readers; returns those that still are, whom now only the caller hears.

        Otherwise the socket's thread would take away the message that the caller is about to wait for.
        """
        with self._lock:
            found = lagging()
            for reader in found:
                reader.attended = True
                self._hear_all(reader)
                if self._readers.get(reader.fd) is reader:
                    self._deliver(reader)
            left = lagging() if found else []
            for reader in {*found, *left}:
                reader.attended = reader in left
                self._watch(reader, reader.last_seq != self._seq)
            return left

    def _leave_to_thread(self, readers: Sequence[Reader]) -> None:
        if not readers:
            return
        with self._lock:
            for reader in readers:
                reader.attended = False
                self._watch(reader, True)

    def _poll_readers(self, readers: Sequence[Reader], timeout_s: float, stop_fd: int | None) -> bool:
        """Sleep until one of `readers` says something; True if `stop_fd` was readable instead."""
        poll = select.poll()
        for reader in readers:
            poll.register(reader.fd, select.POLLIN)
        if stop_fd is not None:
            poll.register(stop_fd, select.POLLIN)
        return stop_fd in [fd for fd, _ in poll.poll(timeout_s * 1000)]

    # --- the thread of the socket ----------------------------------------------------------------------------------

    def _serve(self) -> None:
        try:
            while not self._closed:
                for fd, _ in self._epoll.poll(self._next_deadline_s()):
                    self._answer(fd)
                self._look_at_the_clock()
                self._tell_wanted()
        finally:
            self._finish()

    def _answer(self, fd: int) -> None:
        with self._lock:
            try:
                self._handle(fd)
            except Exception:
                # Our bug, but one reader's trouble: all others are still to be answered.
                log.exception("stream %s: a reader could not be answered", self.stream)
                if (reader := self._readers.get(fd)) is not None:
                    self._remove(reader, "")

    def _handle(self, fd: int) -> None:
        # What happened is asked of the socket itself, never of the event: within one round of events, a descriptor's
        # number may have gone to a new reader.
        if fd == self._listener.sock.fileno():
            self._accept()
        elif fd == self._wake_fd:
            os.eventfd_read(fd)
        elif (reader := self._readers.get(fd)) is not None:
            self._hear_all(reader)
            if reader.hello and self._readers.get(fd) is reader:
                self._deliver(reader)

    def _wake(self) -> None:
        if not self._wake_fd < 0:
            os.eventfd_write(self._wake_fd, 1)

    def _next_deadline_s(self) -> float:
        with self._lock:
            deadlines = [r.deadline_s for r in self._readers.values() if r.hello is None]
        if self._accept_again_s is not None:
            deadlines.append(self._accept_again_s)
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else -1

    def _look_at_the_clock(self) -> None:
        with self._lock:
            for reader in self._silent():
                self._refuse(reader, f"no HELLO within {self._greeting_s:g} s")
            if self._accept_again_s is not None and self._accept_again_s <= time.monotonic():
                self._accept_again_s = None
                self._epoll.modify(self._listener.sock, select.EPOLLIN)

    def _tell_wanted(self) -> None:
        # Outside the lock and always in this thread: the call may take locks of its own, and close this publisher.
        call, wanted = self._on_wanted, self._wanted
        if call is None or wanted == self._told_wanted:
            return
        self._told_wanted = wanted
        try:
            call(wanted)
        except Exception:
            log.exception("stream %s: on_wanted(%s) failed", self.stream, wanted)

    # --- connections -----------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.sock.accept()
        except (BlockingIOError, ConnectionError):
            return
        except OSError as error:
            log.warning("stream %s: cannot accept a reader: %s", self.stream, error.strerror)
            self._accept_again_s = time.monotonic() + _BREATHER_S
            self._epoll.modify(self._listener.sock, 0)
            return
        self._admit(sock)

    def _admit(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BYTES)
        reader = Reader(sock, sock.fileno(), time.monotonic() + self._greeting_s)
        self._readers[reader.fd] = reader
        self._epoll.register(reader.fd, select.EPOLLIN | _HUP)
        problem = stranger(sock) or ("too many readers" if len(self._readers) > _MOST_READERS else "")
        if problem:
            self._refuse(reader, problem)

    def _watch(self, reader: Reader, watch: bool) -> None:
        watch = watch and not reader.attended
        if reader.watched != watch and self._readers.get(reader.fd) is reader:
            reader.watched = watch
            self._epoll.modify(reader.fd, (select.EPOLLIN if watch else 0) | _HUP)

    def _unwatch(self, reader: Reader) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._epoll.unregister(reader.fd)

    def _wanted_changed(self) -> None:
        self._changed.notify_all()
        if threading.current_thread() is not self._thread:
            self._wake()

    def _finish(self) -> None:
        with self._lock:
            self._closed = True
            for reader in list(self._readers.values()):
                # Who has not asked in time misses what is left, but must not take the end for a death.
                if self._ended and reader.hello and not reader.told_end:
                    self._send(reader, self._ended)
                self._remove(reader, "")
            self._listener.withdraw()
            self._kept.close()
            self._released()
            self._close_descriptors()

    def _close_descriptors(self) -> None:
        self._listener.close()
        self._epoll.close()
        fd, self._wake_fd = self._wake_fd, -1
        if fd >= 0:
            os.close(fd)

    def _after_fork(self) -> None:
        # In the child: the copies go, and nothing is said to anybody. The lock may have been held by a thread that
        # does not exist here.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._closed, self._wanted = True, False
        for reader in self._readers.values():
            reader.sock.close()
        self._readers.clear()
        self._close_descriptors()
