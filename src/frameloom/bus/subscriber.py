"""The reading side of a stream: `Subscription` gives frames, packets or results, from any process.

No order of starting matters, and waiting is a descriptor: iterate, `select` on it, or iterate in asyncio. A publisher
that is not there yet, or dies and returns, is waited for and joined without the reader doing anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, Self

from frameloom.model.errors import PeerError, StreamEnded

from . import forks, protocol
from .alarm import Alarm
from .connection import Connection
from .finding import Search
from .items import Item, frame_of, packet_of, result_of
from .paths import stream_path
from .protocol import Hello, Kind, Policy, Type

_ASK_AGAIN_S = 0.2  # a publisher that was stopped by a signal has left no room for our message
_STALE_NS = 10_000_000
_LONGEST_REFRESH_S = 0.02
_MOST_FDS = socket.CMSG_SPACE(4 * 4)
# Used once per item, where an enumeration costs more than the rest.
_FRAMES = Kind.FRAMES
_ITEM, _CLOEXEC, _LONGEST = int(Type.ITEM), int(socket.MSG_CMSG_CLOEXEC), protocol.LONGEST_MESSAGE


@dataclass(slots=True)
class Stats:
    """What this reader got and missed. `lag_ns`: from the capture of the last item to its being taken.

    copied      frames that were handed out as copies, because so many were kept that the leases ran short
    joins       how often a publisher was joined: more than one means that it went and came back
    """

    received: int = 0
    dropped: int = 0
    copied: int = 0
    joins: int = 0
    lag_ns: int = 0


class SubscriptionClosed(ValueError):
    """`get` was called, or was waiting, when the subscription was closed."""


class Subscription:
    """Joins a stream. Iterate over it, or call `get`.

    stream, site   what to join; it need not exist yet
    policy         'latest': the newest item whenever you ask, what came between is dropped and counted;
                   'every': all items in order, see `frameloom.bus.protocol.Policy`
    leases         how many frames may be looked at without a copy; more than that may be kept, as copies
    client         who you are, for the site's diagrams

    One thread at a time may read it, any may close it; what it gave may be used and dropped in any thread. It does
    not survive a fork.
    """

    def __init__(
        self, stream: str, *, site: str = "default", policy: str = "latest", leases: int = 4, client: str = ""
    ) -> None:
        self._closed = True  # until there is something to close
        self.stream, self.site = stream, site
        self.policy = Policy(policy)
        self.stats = Stats()
        self._leases = min(max(2, leases), protocol.MOST_LEASES)
        self._window = 1 if self.policy is Policy.LATEST else self._leases // 2
        self._few = self._window // 2  # asked for: time to ask for more
        self._most_shared = self._leases - self._window
        self._may_refresh = self.policy is Policy.LATEST
        hello = Hello(self.policy, self._leases, client or f"process {os.getpid()}", os.getpid())
        self._greeting = protocol.pack_hello(hello)
        self._connection: Connection | None = None
        self._asked = 0  # credits granted and not yet used
        self._last_seq = 0
        self._published_ns = 0
        self._prefetch = False
        self._ended: str | None = None
        self._had_to_wait = False
        self._interrupt_fd = -1
        self._poll = select.poll()
        self._is_copy = False  # of a forked process
        self._reading = threading.Lock()
        self._awaiting: asyncio.Future[None] | None = None
        path = stream_path(site, stream)
        self._epoll = select.epoll()
        self._alarm = Alarm()
        self._closed = False
        forks.close_in_child(self, self._after_fork)
        self._epoll.register(self._alarm.fd, select.EPOLLIN)
        self._search = Search(path, self._epoll, self._alarm)
        self._try_to_join()

    # --- reading -----------------------------------------------------------------------------------------------

    def get(self, timeout_s: float | None = None, *, interrupt_fd: int | None = None) -> Item | None:
        """The next item; None after `timeout_s` seconds (None: wait as long as it takes, 0: do not wait).

        Waiting also ends, with None, when `interrupt_fd` is readable: how a worker hears of a stop or a change.
        Raises `StreamEnded` at the proper end of the stream, `PeerError` if the publisher refuses this reader, and
        `ValueError` if the subscription is closed, also while it waits.
        """
        if not self._reading.acquire(blocking=False):
            self._check_usable()
            raise RuntimeError(f"stream {self.stream!r}: another thread is reading this subscription")
        try:
            return self._get(timeout_s, interrupt_fd)
        finally:
            self._reading.release()
            if self._closed:
                self._let_go()

    def __iter__(self) -> Iterator[Any]:
        """Items until the proper end of the stream, or until `close()`."""
        try:
            while True:
                item = self.get()
                yield item
                del item  # or this frame would hold its lease while we wait for the next
        except (StreamEnded, SubscriptionClosed):
            return

    async def __aiter__(self) -> AsyncIterator[Any]:
        """As `__iter__`, without blocking the event loop."""
        try:
            while True:
                item = await self.next()
                yield item
                del item
        except (StreamEnded, SubscriptionClosed):
            return

    async def next(self) -> Any:
        """As `get()`, without blocking the event loop. May be cancelled; no item is lost."""
        while (item := self.get(0)) is None:
            await self._readable()
        return item

    def fileno(self) -> int:
        """A descriptor that becomes readable when there is something to `get(0)`; it stays the same for ever.

        It may become readable without an item (the publisher went or came): `get(0)` then returns None.
        """
        self._check_usable()
        self._prefetch = True  # from now on one item is always asked for ahead, or nobody would ever be woken
        self._ask()
        return self._epoll.fileno()

    @property
    def connected(self) -> bool:
        """True while a publisher is there."""
        return self._connection is not None and self._connection.kind is not None

    @property
    def can_wait(self) -> bool:
        """True if the publisher waits for readers that want every item: the stream is bounded, like a film."""
        return self._connection is not None and bool(self._connection.info.get("can_wait"))

    @property
    def format(self) -> Any:
        """`PictureFormat` or `PacketFormat` of the present epoch; None before the first item."""
        epoch = self._connection.epoch if self._connection else None
        return (epoch.picture or epoch.packets) if epoch else None

    def close(self) -> None:
        """Leave the stream, from any thread. Frames that are still kept stay valid. May be called twice."""
        if self._closed:
            return
        self._closed = True
        self._alarm.set(0)
        if (awaiting := self._awaiting) is not None:
            with contextlib.suppress(RuntimeError):
                awaiting.get_loop().call_soon_threadsafe(_settle, awaiting)
        self._let_go()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self._awaiting = None
            self.close()

    # --- asking and receiving ----------------------------------------------------------------------------------

    def _check_usable(self) -> None:
        if self._is_copy:
            raise ValueError(
                f"stream {self.stream!r}: a subscription does not survive a fork; attach again here"
            )
        if self._closed:
            raise SubscriptionClosed(f"stream {self.stream!r}: the subscription is closed")

    def _after_fork(self) -> None:
        # In the child. Nothing is unregistered: the epoll is the parent's too.
        self._is_copy = self._closed = True

    def _get(self, timeout_s: float | None, interrupt_fd: int | None) -> Item | None:
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        may_be_old = self._may_refresh and self._asked > 0
        # Where the last item had to be waited for, this one is not there yet either: waiting tells when to look.
        looks = not self._had_to_wait or may_be_old or timeout_s == 0
        waited = False
        while True:
            if self._closed:
                self._check_usable()
            self._ask()
            if looks or self._connection is None:
                if (item := self._receive()) is not None:
                    self._had_to_wait = waited
                    return self._newest(item) if may_be_old else item
                if self._closed:  # the ring of close() may just have been taken for another
                    self._check_usable()
                self._ask()  # a publisher that was joined just now
            left_s = -1.0 if deadline_s is None else deadline_s - time.monotonic()
            if looks and deadline_s is not None and left_s <= 0:
                return None
            if self._wait(max(0.0, left_s) if deadline_s is not None else -1.0, interrupt_fd):
                return None
            looks = waited = True

    def _ask(self) -> None:
        """Grant credit: for `latest` at the moment of asking, so that what comes is the newest; else a window ahead."""
        connection = self._connection
        if self._asked > self._few or connection is None:
            return
        wanted = self._window - self._asked
        if connection.want(wanted):
            self._asked += wanted
        elif not self._asked:
            self._alarm.set(_ASK_AGAIN_S)

    def _receive(self) -> Item | None:
        """The next item that has arrived; None if there is none."""
        while (connection := self._connection or self._try_to_join()) is not None:
            try:
                message, ancillary, flags, _ = connection.sock.recvmsg(_LONGEST, _MOST_FDS, _CLOEXEC)
                if not message:
                    self._publisher_is_gone(connection)
                    continue
                if message[0] == _ITEM and not ancillary and connection.kind is not None:
                    return self._item(connection, message)
                item = self._understand(connection, message, _descriptors(ancillary, flags))
            except BlockingIOError:
                break
            except ConnectionResetError:
                continue  # it closed without hearing all we said; what it sent before can still be read
            except OSError:
                self._lose_publisher(hold_off=True)
                continue
            except PeerError:
                self._lose_publisher(hold_off=True)
                raise
            if item is not None:
                return item
        self._stop_if_ended()
        self._alarm.drain()
        return None

    def _stop_if_ended(self) -> None:
        if self._ended is not None:
            raise StreamEnded(f"stream {self.stream!r}: {self._ended}")

    def _publisher_is_gone(self, connection: Connection) -> None:
        self._stop_if_ended()
        self._lose_publisher(hold_off=connection.kind is None)

    def _understand(self, connection: Connection, message: bytes, fds: list[int]) -> Item | None:
        kind = message[0]
        try:
            if kind == Type.ERROR:
                raise PeerError(f"stream {self.stream!r}: {protocol.unpack_body(message).get('message')}")
            if kind == Type.EPOCH and connection.kind is not None and len(fds) == 1:
                connection.take_epoch(message, fds.pop())
            elif kind == Type.WELCOME:
                self._joined(connection, message)
            elif kind == Type.END:
                self._ended = str(protocol.unpack_body(message).get("reason", ""))
            else:
                raise PeerError(f"stream {self.stream!r}: a message of type {kind} is not expected here")
        finally:
            for fd in fds:
                os.close(fd)
        return None

    def _joined(self, connection: Connection, message: bytes) -> None:
        connection.take_welcome(message)
        last_seq = connection.info.get("last_seq", 0)
        self._last_seq = last_seq if isinstance(last_seq, int) else 0
        self.stats.joins += 1

    def _item(self, connection: Connection, message: bytes) -> Item:
        header, metadata, inline = protocol.unpack_item(message)
        if self._asked <= 0:
            raise PeerError(f"stream {self.stream!r}: item {header.seq} was not asked for")
        if connection.kind is _FRAMES:
            item: Item = (frame := frame_of(self.stream, connection, header, metadata, self._most_shared))
            if not frame.shared:
                self.stats.copied += 1
        elif connection.kind is Kind.PACKETS:
            item = packet_of(self.stream, connection, header, metadata, inline)
        else:
            item = result_of(self.stream, connection, header, metadata, inline)
        self._count(header)
        if self._prefetch:
            self._ask()
        return item

    def _count(self, header: protocol.ItemHeader) -> None:
        stats = self.stats
        self._asked -= 1
        if header.seq > self._last_seq + 1:
            stats.dropped += header.seq - self._last_seq - 1
        stats.received += 1
        stats.lag_ns = time.monotonic_ns() - header.captured_ns
        self._last_seq = header.seq
        self._published_ns = header.published_ns

    def _newest(self, item: Item) -> Item:
        """What was asked for earlier may have waited here for long: if a newer one is there, take that.

        The publisher answers nothing when there is none, so the older the item, the longer an answer is waited for.
        """
        age_ns = time.monotonic_ns() - self._published_ns
        if age_ns < _STALE_NS:
            return item
        self._ask()
        newer = None
        with contextlib.suppress(StreamEnded, PeerError):  # said once more when this item has been looked at
            newer = self._receive()
            if newer is None:
                self._epoll.poll(min(age_ns / 1e10, _LONGEST_REFRESH_S))
                newer = self._receive()
        if newer is None:
            return item
        self.stats.dropped += 1
        self.stats.received -= 1
        return newer

    # --- joining and leaving -----------------------------------------------------------------------------------

    def _try_to_join(self) -> Connection | None:
        sock = self._search.try_to_connect(self._greeting)
        if sock is None:
            return None
        self._connection = connection = Connection(sock)
        self._asked = self._last_seq = 0
        self._epoll.register(sock, select.EPOLLIN)
        if self._prefetch or self.policy is Policy.EVERY:
            self._ask()
        return connection

    def _lose_publisher(self, hold_off: bool) -> None:
        self._disconnect()
        if hold_off:
            self._search.hold_off()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(OSError, ValueError):
                self._epoll.unregister(connection.sock)
            connection.leave()
        self._asked = self._last_seq = 0

    def _let_go(self) -> None:
        """Close what is closed; later, by the reading thread or task itself, if one is waiting."""
        if self._is_copy:
            return
        if self._awaiting is not None or not self._reading.acquire(blocking=False):
            return
        try:
            self._disconnect()
            self._search.stop()
            self._alarm.close()
            self._epoll.close()
        finally:
            self._reading.release()

    # --- waiting -----------------------------------------------------------------------------------------------

    def _wait(self, timeout_s: float, interrupt_fd: int | None) -> bool:
        """Sleep until there may be something to read; True if `interrupt_fd` is readable."""
        if interrupt_fd is None:
            self._epoll.poll(timeout_s, 2)
            return False
        if interrupt_fd != self._interrupt_fd:
            self._interrupt_fd, self._poll = interrupt_fd, select.poll()
            self._poll.register(self._epoll.fileno(), select.POLLIN)
            self._poll.register(interrupt_fd, select.POLLIN)
        ready = self._poll.poll(None if timeout_s < 0 else timeout_s * 1000)
        return interrupt_fd in [fd for fd, _ in ready]

    async def _readable(self) -> None:
        if self._awaiting is not None:
            raise RuntimeError(f"stream {self.stream!r}: another task is reading this subscription")
        loop = asyncio.get_running_loop()
        self._awaiting = ready = loop.create_future()
        fd = self._epoll.fileno()
        loop.add_reader(fd, _settle, ready)
        try:
            await ready
        finally:
            loop.remove_reader(fd)
            self._awaiting = None
            if self._closed:
                self._let_go()


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def _descriptors(ancillary: list[tuple[int, int, bytes]], flags: int) -> list[int]:
    """The descriptors that came with a message."""
    fds: list[int] = []
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds += memoryview(data[: len(data) // 4 * 4]).cast("i").tolist()
    if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        for fd in fds:
            os.close(fd)
        raise PeerError("a message of the publisher was cut short, or this process has no descriptors left")
    return fds
