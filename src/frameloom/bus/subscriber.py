"""The reading side of a stream: `Subscription` gives frames, packets or results, from any process, in any order of start.

Waiting is a descriptor: iterate, `select` on it, or iterate in asyncio. A publisher that is not there yet, or dies and
returns, is waited for and joined without the reader doing anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import select
import socket
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, Self

from frameloom.model.errors import PeerError, StreamEnded
from frameloom.model.frame import Frame
from frameloom.model.packet import Packet
from frameloom.model.result import Result

from . import protocol
from .connection import Connection
from .inotify import FolderWatch
from .paths import address, site_dir, stream_path
from .protocol import INLINE, KEY, Hello, ItemHeader, Kind, Policy, Type

Item = Frame | Packet | Result
_LOOK_AGAIN_S = 0.2  # only where the system cannot tell us that a socket has appeared
_STALE_NS = 10_000_000
_NO_SOCKET = (errno.ENOENT, errno.ECONNREFUSED, errno.EAGAIN, errno.ECONNRESET, errno.EPIPE, errno.ENOTDIR)


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


class Subscription:
    """Joins a stream. Iterate over it, or call `get`.

    stream, site   what to join; it need not exist yet
    policy         'latest': the newest item whenever you ask, what came between is dropped and counted;
                   'every': all items in order, see `frameloom.bus.protocol.Policy`
    leases         how many frames may be looked at without a copy; more than that may be kept, as copies
    client         who you are, for the site's diagrams

    One thread at a time may read it; what it gave may be used and dropped in any thread. It does not survive a fork.
    """

    def __init__(
        self, stream: str, *, site: str = "default", policy: str = "latest", leases: int = 4, client: str = ""
    ) -> None:
        self.stream, self.site = stream, site
        self.policy = Policy(policy)
        self.stats = Stats()
        self._leases = max(2, leases)
        self._window = 1 if self.policy is Policy.LATEST else max(1, self._leases // 2)
        self._hello = Hello(self.policy, self._leases, client or f"process {os.getpid()}", os.getpid())
        self._connection: Connection | None = None
        self._asked = 0  # credits granted and not yet used
        self._last_seq = 0
        self._prefetch = False
        self._ended: str | None = None
        self._closed = False
        self._pid = os.getpid()
        self._not_before_s = 0.0
        self._published_ns = 0
        self._path = stream_path(site, stream)
        self._epoll = select.epoll()
        self._watch: FolderWatch | None = None
        self._look_for_publisher()

    # --- reading -----------------------------------------------------------------------------------------------

    def get(self, timeout_s: float | None = None) -> Item | None:
        """The next item; None after `timeout_s` seconds (None: wait as long as it takes, 0: do not wait).

        Raises `StreamEnded` at the proper end of the stream and `PeerError` if the publisher refuses this reader.
        """
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            self._check_usable()
            self._ask()
            if (item := self._receive()) is not None:
                return self._newest(item) if self._prefetch else item
            left_s = -1.0 if deadline_s is None else deadline_s - time.monotonic()
            if deadline_s is not None and left_s <= 0:
                return None
            self._wait(left_s)

    def __iter__(self) -> Iterator[Any]:
        """Items until the proper end of the stream, or until `close()`."""
        try:
            while not self._closed:
                item = self.get()
                yield item
                del item  # or this frame would hold its lease while we wait for the next
        except StreamEnded:
            return

    async def __aiter__(self) -> AsyncIterator[Any]:
        """As `__iter__`, without blocking the event loop."""
        while not self._closed:
            try:
                item = await self.next()
            except StreamEnded:
                return
            yield item
            del item

    async def next(self) -> Any:
        """As `get()`, without blocking the event loop. May be cancelled; no item is lost."""
        while (item := self.get(0)) is None:
            await self._readable()
        return item

    def fileno(self) -> int:
        """A descriptor that becomes readable when there is something to `get(0)`; it stays the same for ever.

        It may become readable without an item (the publisher went or came): `get(0)` then returns None.
        """
        self._prefetch = True  # from now on one item is always asked for ahead, or nobody would ever be woken
        self._ask()
        return self._epoll.fileno()

    @property
    def connected(self) -> bool:
        """True while a publisher is there."""
        return self._connection is not None and self._connection.kind is not None

    @property
    def format(self) -> Any:
        """`PictureFormat` or `PacketFormat` of the present epoch; None before the first item."""
        epoch = self._connection.epoch if self._connection else None
        return (epoch.picture or epoch.packets) if epoch else None

    def close(self) -> None:
        """Leave the stream. Frames that are still kept stay valid. May be called twice."""
        if self._closed:
            return
        self._closed = True
        if self._pid != os.getpid():
            return
        self._disconnect()
        self._stop_looking()
        self._epoll.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.close()

    # --- asking and receiving ----------------------------------------------------------------------------------

    def _check_usable(self) -> None:
        if self._pid != os.getpid():
            raise ValueError(f"stream {self.stream!r}: a subscription does not survive a fork; attach again here")
        if self._closed:
            raise ValueError(f"stream {self.stream!r}: the subscription is closed")

    def _ask(self) -> None:
        """Grant credit: for `latest` at the moment of asking, so that what comes is the newest; else a window ahead."""
        connection = self._connection
        if connection is None or self._asked > self._window // 2:
            return
        wanted = self._window - self._asked
        if connection.want(wanted):
            self._asked += wanted

    def _receive(self) -> Item | None:
        """The next item that has arrived; None if there is none."""
        while self._connection is not None or self._try_to_join():
            connection = self._connection
            assert connection is not None
            try:
                message, fds = _read_message(connection.sock)
            except BlockingIOError:
                self._stop_if_ended()
                return None
            except OSError:
                message, fds = b"", []
            if not message:
                self._stop_if_ended()
                self._lose_publisher(was_joined=connection.kind is not None)
                continue
            try:
                item = self._understand(connection, message, fds)
            except PeerError:
                self._disconnect()
                raise
            if item is not None:
                return item
        return None

    def _stop_if_ended(self) -> None:
        if self._ended is not None:
            raise StreamEnded(f"stream {self.stream!r}: {self._ended}")

    def _understand(self, connection: Connection, message: bytes, fds: list[int]) -> Item | None:
        kind = message[0]
        if kind == Type.ITEM:
            return self._item(connection, message)
        if kind == Type.EPOCH and len(fds) == 1:
            connection.take_epoch(message, fds.pop())
        elif kind == Type.WELCOME:
            connection.kind, connection.info = protocol.unpack_welcome(message)
            self.stats.joins += 1
        elif kind == Type.END:
            self._ended = str(protocol.unpack_body(message).get("reason", ""))
        elif kind == Type.ERROR:
            raise PeerError(f"stream {self.stream!r}: {protocol.unpack_body(message).get('message')}")
        else:
            raise PeerError(f"stream {self.stream!r}: a message of type {kind} is not expected here")
        for fd in fds:
            os.close(fd)
        return None

    def _item(self, connection: Connection, message: bytes) -> Item:
        header, metadata, inline = protocol.unpack_item(message)
        self._asked -= 1
        stats = self.stats
        if self._last_seq:
            stats.dropped += max(0, header.seq - self._last_seq - 1)
        self._last_seq = header.seq
        stats.received += 1
        stats.lag_ns = time.monotonic_ns() - header.captured_ns
        if connection.kind is Kind.FRAMES:
            item: Item = self._frame(connection, header, metadata)
        elif connection.kind is Kind.PACKETS:
            item = self._packet(connection, header, metadata)
        else:
            item = self._result(connection, header, metadata, inline)
        if self._prefetch:
            self._ask()
        self._published_ns = header.published_ns
        return item

    def _frame(self, connection: Connection, header: ItemHeader, metadata: dict[str, Any]) -> Frame:
        data = connection.lease(header)
        picture = connection.epoch.picture if connection.epoch else None
        if picture is None or picture.nbytes != header.length:
            raise PeerError(f"ITEM: {header.length} bytes are no picture of this stream")
        shared = len(connection.leases) <= self._leases - self._window
        if not shared:
            # So many frames are kept that the publisher would have none left for us: from here on, copies.
            data = data.copy()
            data.flags.writeable = False
            self.stats.copied += 1
        return Frame(
            data,
            picture,
            stream=self.stream,
            seq=header.seq,
            pts_ns=header.pts_ns,
            captured_ns=header.captured_ns,
            captured_at_ns=header.captured_at_ns,
            metadata=metadata,
            shared=shared,
        )

    def _packet(self, connection: Connection, header: ItemHeader, metadata: dict[str, Any]) -> Packet:
        data = connection.lease(header).tobytes()  # small: a copy frees the ring at once
        format = connection.epoch.packets if connection.epoch else None
        if format is None:
            raise PeerError("ITEM: a packet without a format")
        return Packet(
            data,
            format,
            header.pts_ns,
            bool(header.flags & KEY),
            header.captured_ns,
            header.captured_at_ns,
            header.dts_ns,
            header.duration_ns,
            self.stream,
            header.seq,
            metadata,
        )

    def _result(self, connection: Connection, header: ItemHeader, metadata: dict[str, Any], inline: bytes) -> Result:
        data = inline if header.flags & INLINE else connection.lease(header).tobytes()
        try:
            values = json.loads(data)
            source, frame_seq = str(metadata["source"]), int(metadata["frame_seq"])
        except (ValueError, KeyError) as error:
            raise PeerError(f"ITEM: not a result: {error!r}") from None
        times = (header.pts_ns, header.captured_ns, header.captured_at_ns)
        return Result(self.stream, header.seq, source, frame_seq, *times, values)

    def _newest(self, item: Item) -> Item:
        """With one item asked for ahead, the waiting one may be old: if a newer is there, take that."""
        if self.policy is not Policy.LATEST:
            return item
        while time.monotonic_ns() - self._published_ns > _STALE_NS:
            if not self._epoll.poll(0.001):
                break
            newer = self._receive()
            if newer is None:
                break
            self.stats.dropped += 1
            self.stats.received -= 1
            item = newer
        return item

    # --- finding the publisher ---------------------------------------------------------------------------------

    def _look_for_publisher(self) -> None:
        site_dir(self.site)
        self._watch = FolderWatch(self._path.parent)
        if self._watch.fd is not None:
            self._epoll.register(self._watch.fd, select.EPOLLIN)
        self._try_to_join()

    def _stop_looking(self) -> None:
        if self._watch is not None:
            if self._watch.fd is not None:
                self._epoll.unregister(self._watch.fd)
            self._watch.close()
            self._watch = None

    def _try_to_join(self) -> bool:
        if self._watch is not None:
            self._watch.drain()
        if time.monotonic() < self._not_before_s:
            return False
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.setblocking(False)
        try:
            self._connect(sock)
            sock.send(protocol.pack_hello(self._hello))
        except OSError as error:
            sock.close()
            if error.errno in _NO_SOCKET:
                return False
            raise
        self._connection = Connection(sock)
        self._not_before_s = 0.0
        self._asked = self._last_seq = 0
        self._stop_looking()
        self._epoll.register(sock, select.EPOLLIN)
        self._ask()
        return True

    def _connect(self, sock: socket.socket) -> None:
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            sock.connect(address(self._path, folder))
        finally:
            os.close(folder)

    def _lose_publisher(self, was_joined: bool) -> None:
        self._disconnect()
        if not was_joined:
            self._not_before_s = time.monotonic() + _LOOK_AGAIN_S  # it takes us and throws us out: do not spin
        self._look_for_publisher()

    def _disconnect(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(OSError, ValueError):
                self._epoll.unregister(self._connection.sock)
            self._connection.leave()
            self._connection = None
        self._asked = self._last_seq = 0

    # --- waiting -----------------------------------------------------------------------------------------------

    def _wait(self, timeout_s: float) -> None:
        self._epoll.poll(self._shortened(timeout_s))

    def _shortened(self, timeout_s: float) -> float:
        blind = self._watch is not None and (self._watch.fd is None or self._not_before_s > 0)
        unsent = self._connection is not None and self._asked == 0
        if not (blind or unsent):
            return timeout_s
        return _LOOK_AGAIN_S if timeout_s < 0 else min(timeout_s, _LOOK_AGAIN_S)

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        ready = loop.create_future()
        fd = self._epoll.fileno()
        loop.add_reader(fd, _settle, ready)
        try:
            slice_s = self._shortened(-1)
            await asyncio.wait_for(ready, None if slice_s < 0 else slice_s)
        except TimeoutError:
            pass
        finally:
            loop.remove_reader(fd)


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def _read_message(sock: socket.socket) -> tuple[bytes, list[int]]:
    message, fds, flags, _ = socket.recv_fds(sock, protocol.LONGEST_MESSAGE, 4)
    if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        for fd in fds:
            os.close(fd)
        raise PeerError("a message of the publisher was cut short")
    return message, fds
