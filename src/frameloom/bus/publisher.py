"""The publishing side of a stream: FramePublisher, PacketPublisher, ResultPublisher.

One publisher, any number of readers. All counts are kept here, in this process; a reader only sends credits ("I want
one more") and returned leases. Publishing never blocks: a publisher that can wait for its `every` readers calls
`wait_ready()` before the next item. The socket is answered by a small thread of its own, which sleeps while nothing
but published items goes over it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import select
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from frameloom.model.clock import Clock, SystemClock
from frameloom.model.errors import OutOfMemory, PeerError, StreamBusy
from frameloom.model.frame import Array, Frame, PictureFormat
from frameloom.model.packet import Packet, PacketFormat

from . import forks, protocol
from .memory import OwnedMemory
from .paths import address, stream_path
from .pool import Allocator, ByteRing, Leases, SlotPool
from .protocol import Kind, Policy, Type

log = logging.getLogger(__name__)

_GREETING_S = 5.0  # a connection that says nothing for so long is closed
_MOST_READERS = 256
_MOST_PACKETS = 4096  # retained for readers that fall behind
_INTRA = frozenset({"mjpeg", "rawvideo", "png"})
_HUP = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR


@dataclass(slots=True)
class _Item:
    """One published item: its message is built once and sent to every reader as it is."""

    seq: int
    is_key: bool
    message: bytes
    epoch: int
    block: int | None
    length: int


@dataclass(slots=True)
class _Epoch:
    """A geometry and its memory. Replaced, never changed."""

    number: int
    memory: OwnedMemory
    allocator: Allocator
    leases: Leases
    message: bytes


@dataclass(slots=True, eq=False)
class _Reader:
    """One connected reader, as the publisher sees it."""

    sock: socket.socket
    fd: int
    deadline_s: float
    hello: protocol.Hello | None = None
    policy: Policy = Policy.LATEST
    limit: int = 0
    credit: int = 0
    last_seq: int = 0
    epoch: int = 0
    leased: set[tuple[int, int]] = field(default_factory=set)
    sent: int = 0
    dropped: int = 0
    leaving: bool = False
    watched: bool = True
    needs_key: bool = True


@dataclass(frozen=True, slots=True)
class ReaderInfo:
    """What the publisher knows of a reader, for diagrams and counters."""

    client: str
    pid: int
    policy: str
    sent: int
    dropped: int
    leases: int


class _Publisher:
    """What the three kinds of publishers share: socket, readers, retention, delivery."""

    kind: Kind

    def __init__(
        self,
        stream: str,
        *,
        site: str = "default",
        can_wait: bool = False,
        backend: str = "",
        clock: Clock | None = None,
    ) -> None:
        """Publish `stream` of `site`. Raises `StreamBusy` if a living process already does.

        `can_wait`: the stream is bounded and its publisher calls `wait_ready()`; without it, a reader that wants every
        item gets as many as are retained, and the rest is dropped and counted.
        """
        self.stream, self.site = stream, site
        self.can_wait = can_wait
        self._backend = backend
        self._clock = clock or SystemClock()
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._readers: dict[int, _Reader] = {}
        self._log: deque[_Item] = deque()  # what is retained, numbers without gaps
        self._log_bytes = 0
        self._seq = 0
        self._epoch: _Epoch | None = None
        self._epochs = 0
        self._ended: bytes | None = None
        self._closed = False
        self._wanted = False
        self.on_wanted: Callable[[bool], None] | None = None
        self._listen()

    # --- for the worker that publishes -------------------------------------------------------------------------

    @property
    def wanted(self) -> bool:
        """True while at least one reader is connected: without one, the work need not be done."""
        return self._wanted

    def wait_wanted(self, timeout_s: float | None = None) -> bool:
        """Wait until a reader is connected; False after `timeout_s` seconds or when closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._wanted or self._closed, timeout_s)
            return self._wanted

    def readers(self) -> list[ReaderInfo]:
        """Everyone who is connected and has said hello."""
        with self._lock:
            found = [(r, r.hello) for r in self._readers.values() if r.hello and not r.leaving]
            return [ReaderInfo(h.client, h.pid, r.policy, r.sent, r.dropped, len(r.leased)) for r, h in found]

    def ready(self) -> bool:
        """True if every reader that wants every item has been sent all of them."""
        with self._lock:
            return not self._behind()

    def wait_ready(self, timeout_s: float, stop_fd: int | None = None) -> bool:
        """Wait until `ready()`; False after `timeout_s` seconds, or when `stop_fd` becomes readable."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            with self._lock:
                behind = self._behind()
                for reader in behind:
                    self._hear(reader)
                    self._deliver(reader)
                behind = self._behind()
            if not behind:
                return True
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or self._poll_readers(behind, left_s, stop_fd):
                return False

    def forget(self) -> None:
        """Let go of what is retained for readers that come later: it is too old to be shown as new."""
        with self._lock:
            unsent = min((r.last_seq for r in self._behind()), default=self._seq)
            while self._log and self._log[0].seq <= unsent:
                self._drop_oldest()

    def end(self, reason: str = "end of stream") -> None:
        """Tell every reader, present and future, that the stream came to its proper end after the last item."""
        with self._lock:
            self._ended = protocol.pack_end(reason)
            for reader in list(self._readers.values()):
                self._deliver(reader)

    def close(self) -> None:
        """Leave the bus: readers see a lost publisher and wait for another. May be called twice."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._changed.notify_all()
        os.eventfd_write(self._wake_fd, 1)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- retention ---------------------------------------------------------------------------------------------

    def _trim(self) -> None:
        """Let go of what no longer has to be retained; each kind has its own rule."""
        raise NotImplementedError

    def _append(self, item: _Item) -> None:
        self._log.append(item)
        self._log_bytes += item.length
        if item.block is not None and self._epoch:
            self._epoch.leases.hold(item.block)

    def _drop_oldest(self) -> None:
        item = self._log.popleft()
        self._log_bytes -= item.length
        if item.block is not None and self._epoch and item.epoch == self._epoch.number:
            self._epoch.leases.drop(item.block)

    def _allocate(self, nbytes: int) -> tuple[int, int] | None:
        """A free block, at the price of the oldest that are retained; None if readers hold too much."""
        assert self._epoch
        while (placed := self._epoch.allocator.allocate(max(1, nbytes))) is None:
            if not self._log:
                return None
            self._drop_oldest()
        try:
            self._epoch.memory.reserve(placed[1], max(1, nbytes))
        except OutOfMemory:
            self._epoch.allocator.free(placed[0])
            raise
        return placed

    def _store(self, data: bytes | memoryview) -> tuple[int, int] | None:
        placed = self._allocate(len(data))
        if placed and self._epoch:
            self._epoch.memory.array[placed[1] : placed[1] + len(data)] = np.frombuffer(data, np.uint8)
        return placed

    def _new_epoch(self, memory: OwnedMemory, allocator: Allocator, message: bytes) -> None:
        """Readers are told at the next item; the old memory lives on in those that still look at it."""
        old, self._epoch = self._epoch, _Epoch(self._epochs, memory, allocator, Leases(allocator), message)
        if old:
            old.memory.close()

    # --- delivery ----------------------------------------------------------------------------------------------

    def _publish(self, item: _Item) -> None:
        self._append(item)
        for reader in list(self._readers.values()):
            if reader.hello is None:
                continue
            if reader.credit == 0:
                self._hear(reader)
            self._deliver(reader)
        self._trim()

    def _deliver(self, reader: _Reader) -> None:
        """Send what the reader has credit for, then the end if there is one; watch it if it is behind."""
        while reader.credit and (item := self._next(reader)) is not None:
            if item.block is not None and len(reader.leased) >= reader.limit:
                break
            if not self._send_item(reader, item):
                return
        if self._ended and reader.hello and reader.last_seq == self._seq and reader.fd in self._readers:
            self._send(reader, self._ended)
        self._watch(reader, reader.last_seq != self._seq or reader.hello is None)

    def _next(self, reader: _Reader) -> _Item | None:
        """The item that this reader is to get next; counts what it will never get."""
        if reader.last_seq == self._seq or not self._log:
            return None
        if reader.policy is Policy.LATEST:
            item = self._log[-1]
        else:
            place = reader.last_seq + 1 - self._log[0].seq
            item = self._log[max(0, place)]
        if item.seq <= reader.last_seq:
            return None
        reader.dropped += item.seq - reader.last_seq - 1
        return item

    def _send_item(self, reader: _Reader, item: _Item) -> bool:
        if self._epoch and reader.epoch != item.epoch and item.block is not None:
            if item.epoch != self._epoch.number or not self._send(reader, self._epoch.message, self._epoch.memory.fd):
                return False
            reader.epoch = item.epoch
        if not self._send(reader, item.message):
            return False
        if item.block is not None and self._epoch:
            self._epoch.leases.hold(item.block)
            reader.leased.add((item.epoch, item.block))
        reader.credit -= 1
        reader.sent += 1
        reader.last_seq = item.seq
        return True

    def _send(self, reader: _Reader, message: bytes, fd: int | None = None) -> bool:
        try:
            if fd is None:
                reader.sock.send(message)
            else:
                socket.send_fds(reader.sock, [message], [fd])
            return True
        except BlockingIOError:
            self._remove(reader, "it asks for items but does not read them")
        except OSError as error:
            self._remove(reader, error.strerror or "gone")
        return False

    def _hear(self, reader: _Reader) -> None:
        """Take what the reader has said, until it has credit or there is nothing more."""
        while reader.credit == 0 and reader.fd in self._readers:
            if not self._hear_one(reader):
                return

    def _hear_one(self, reader: _Reader) -> bool:
        try:
            message = reader.sock.recv(protocol.LONGEST_MESSAGE)
        except BlockingIOError:
            return False
        except OSError:
            message = b""
        if not message:
            self._remove(reader, "")
            return False
        try:
            self._understand(reader, message)
        except PeerError as error:
            self._refuse(reader, str(error))
        return True

    def _understand(self, reader: _Reader, message: bytes) -> None:
        kind = message[0]
        if kind == Type.WANT and reader.hello:
            credits, returned = protocol.unpack_want(message)
            self._take_back(reader, returned)
            reader.credit += credits
            if reader.credit > protocol.MOST_CREDITS:
                raise PeerError(f"WANT: {reader.credit} credits, allowed: {protocol.MOST_CREDITS}")
        elif kind == Type.BYE and reader.hello:
            reader.leaving, reader.credit, reader.policy = True, 0, Policy.LATEST
            self._count_readers()
        elif kind == Type.HELLO and not reader.hello:
            self._greet(reader, protocol.unpack_hello(message))
        else:
            raise PeerError(f"message of type {kind} is not expected here")

    def _take_back(self, reader: _Reader, returned: Sequence[tuple[int, int]]) -> None:
        for lease in returned:
            if lease not in reader.leased:
                raise PeerError(f"WANT: returns block {lease[1]} of epoch {lease[0]}, which it does not hold")
            self._end_lease(reader, lease)

    def _end_lease(self, reader: _Reader, lease: tuple[int, int]) -> None:
        reader.leased.discard(lease)
        if self._epoch and lease[0] == self._epoch.number:
            self._epoch.leases.drop(lease[1])

    def _greet(self, reader: _Reader, hello: protocol.Hello) -> None:
        reader.hello = hello
        reader.policy, reader.limit = hello.policy, hello.leases
        reader.last_seq = self._first_for_newcomer()
        info = {"stream": self.stream, "site": self.site, "pid": os.getpid(), "can_wait": self.can_wait}
        if self._send(reader, protocol.pack_welcome(self.kind, info)):
            self._make_room()
            self._count_readers()

    def _first_for_newcomer(self) -> int:
        """`last_seq` of a reader that has just joined: the newest item is its first."""
        return self._log[-1].seq - 1 if self._log else self._seq

    def _make_room(self) -> None:
        """Called when a reader has joined: the pool may have to grow."""

    def _behind(self) -> list[_Reader]:
        if not self.can_wait:
            return []
        return [
            r for r in self._readers.values() if r.hello and r.policy is Policy.EVERY and r.last_seq < self._seq
        ]

    def _poll_readers(self, readers: Sequence[_Reader], timeout_s: float, stop_fd: int | None) -> bool:
        """Sleep until one of `readers` says something; True if `stop_fd` was readable instead."""
        poll = select.poll()
        for reader in readers:
            poll.register(reader.fd, select.POLLIN)
        if stop_fd is not None:
            poll.register(stop_fd, select.POLLIN)
        return stop_fd in [fd for fd, _ in poll.poll(timeout_s * 1000)]

    # --- connections -------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        self._path = stream_path(self.site, self.stream)
        self._dir_fd = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        self._lock_fd = _lock_stream(self._path, self.stream)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.setblocking(False)
        # Bound under another name and moved into place once it listens: whoever sees the name can connect, and a
        # socket that a killed publisher left behind is replaced in one step.
        fresh = self._path.with_suffix(f".new{os.getpid()}")
        fresh.unlink(missing_ok=True)
        self._listener.bind(address(fresh, self._dir_fd))
        self._listener.listen(64)
        fresh.rename(self._path)
        self._wake_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll = select.epoll()
        self._epoll.register(self._listener, select.EPOLLIN)
        self._epoll.register(self._wake_fd, select.EPOLLIN)
        self._thread = threading.Thread(target=self._serve, name=f"bus {self.stream}", daemon=True)
        self._thread.start()
        forks.close_in_child(self, self._close_descriptors)

    def _serve(self) -> None:
        while not self._closed:
            for fd, events in self._epoll.poll(self._next_deadline_s()):
                with self._lock:
                    self._handle(fd, events)
            with self._lock:
                self._close_silent()
        self._finish()

    def _next_deadline_s(self) -> float:
        with self._lock:
            deadlines = [r.deadline_s for r in self._readers.values() if r.hello is None]
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else -1

    def _handle(self, fd: int, events: int) -> None:
        if fd == self._listener.fileno():
            self._accept()
        elif (reader := self._readers.get(fd)) is not None:
            while self._hear_one(reader) and fd in self._readers:
                pass
            if events & _HUP and fd in self._readers:
                self._remove(reader, "")
            elif fd in self._readers:
                self._deliver(reader)

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError as error:
            log.warning("stream %s: cannot accept a reader: %s", self.stream, error)
            return
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 18)
        reader = _Reader(sock, sock.fileno(), time.monotonic() + _GREETING_S)
        self._readers[reader.fd] = reader
        self._epoll.register(reader.fd, select.EPOLLIN | _HUP)
        problem = _stranger(sock) or ("too many readers" if len(self._readers) > _MOST_READERS else "")
        if problem:
            self._refuse(reader, problem)

    def _close_silent(self) -> None:
        now_s = time.monotonic()
        for reader in [r for r in self._readers.values() if r.hello is None and r.deadline_s <= now_s]:
            self._refuse(reader, f"no HELLO within {_GREETING_S:g} s")

    def _refuse(self, reader: _Reader, message: str) -> None:
        with contextlib.suppress(OSError):
            reader.sock.send(protocol.pack_error(message))
        self._remove(reader, message)

    def _remove(self, reader: _Reader, why: str) -> None:
        """The connection is over; every lease of the reader comes back at once."""
        if self._readers.pop(reader.fd, None) is None:
            return
        if why:
            name = reader.hello.client if reader.hello else "a connection without HELLO"
            log.warning("stream %s: closed %s: %s", self.stream, name, why)
        with contextlib.suppress(OSError):
            self._epoll.unregister(reader.fd)
        reader.sock.close()
        for lease in list(reader.leased):
            self._end_lease(reader, lease)
        reader.credit = 0
        self._count_readers()

    def _watch(self, reader: _Reader, watch: bool) -> None:
        """Wake the socket's thread for what this reader says only while somebody must act on it."""
        if reader.watched != watch and reader.fd in self._readers:
            reader.watched = watch
            self._epoll.modify(reader.fd, (select.EPOLLIN if watch else 0) | _HUP)

    def _count_readers(self) -> None:
        wanted = any(r.hello and not r.leaving for r in self._readers.values())
        if wanted == self._wanted:
            return
        self._wanted = wanted
        self._changed.notify_all()
        if not wanted:
            self.forget()
        if self.on_wanted:
            self.on_wanted(wanted)

    def _finish(self) -> None:
        with self._lock:
            for reader in list(self._readers.values()):
                self._remove(reader, "")
            with contextlib.suppress(OSError):
                self._path.unlink()
            if self._epoch:
                self._epoch.memory.close()
                self._epoch = None
            self._log.clear()
            self._close_descriptors()

    def _close_descriptors(self) -> None:
        for reader in self._readers.values():
            reader.sock.close()
        self._readers.clear()
        self._listener.close()
        self._epoll.close()
        for fd in (self._wake_fd, self._lock_fd, self._dir_fd):
            with contextlib.suppress(OSError):
                os.close(fd)

    def _header(
        self, flags: int, block: int, meta: bytes, offset: int, length: int, times: Sequence[int], inline: bytes = b""
    ) -> bytes:
        epoch = self._epoch.number if self._epoch else 0
        pts_ns, captured_ns, captured_at_ns, dts_ns, duration_ns = times
        return (
            protocol.ITEM.pack(
                Type.ITEM,
                flags,
                0,
                epoch,
                block,
                len(meta),
                offset,
                length,
                self._seq,
                pts_ns,
                captured_ns,
                captured_at_ns,
                self._clock.monotonic_ns(),
                dts_ns,
                duration_ns,
            )
            + meta
            + inline
        )


class Slot:
    """A part of the pool that is being filled: write into `planes`, then publish it."""

    __slots__ = ("block", "data", "format", "offset", "planes")

    def __init__(self, block: int, offset: int, data: Array, format: PictureFormat) -> None:
        self.block, self.offset, self.data, self.format = block, offset, data, format
        self.planes = tuple(plane.of(data) for plane in format.planes)


class FramePublisher(_Publisher):
    """Publishes pictures without copying them: fill a slot, hand it over.

        slot = publisher.reserve(picture_format)
        decoder.fill(slot.planes)
        publisher.publish(slot, pts_ns=..., captured_ns=..., captured_at_ns=...)

    Readers that want every frame of a stream that cannot wait find the last `history` ones.
    """

    kind = Kind.FRAMES

    def __init__(self, stream: str, *, slots: int = 32, history: int = 4, **options: Any) -> None:
        self._slots = slots
        self._history = history
        self._format: PictureFormat | None = None
        self._open: Slot | None = None
        self._made: dict[int, Slot] = {}
        super().__init__(stream, **options)

    def reserve(self, format: PictureFormat) -> Slot:
        """A free slot for a picture of this format; the same one again if the last was not published.

        Raises `OutOfMemory`. A format other than the last one's begins a new epoch with memory of its own.
        """
        with self._lock:
            if format != self._format:
                self._begin(format)
            if self._open is None:
                self._open = self._take(format)
            return self._open

    def publish(
        self,
        slot: Slot,
        *,
        pts_ns: int,
        captured_ns: int,
        captured_at_ns: int,
        metadata: Mapping[str, Any] | None = None,
    ) -> int:
        """Hand the filled slot to all readers; returns the frame's number. The slot must not be written again."""
        meta = _packed(metadata)
        with self._lock:
            if slot is not self._open or self._epoch is None:
                raise ValueError(f"stream {self.stream!r}: the slot is not the one reserved last")
            self._open = None
            self._seq += 1
            times = (pts_ns, captured_ns, captured_at_ns, pts_ns, 0)
            message = self._header(0, slot.block, meta, slot.offset, slot.format.nbytes, times)
            item = _Item(self._seq, True, message, self._epoch.number, slot.block, slot.format.nbytes)
            self._publish(item)
            self._epoch.leases.drop(slot.block)  # the writer's own hold
            return self._seq

    def publish_frame(self, frame: Frame) -> int:
        """Copy a frame into a slot and publish it with its times."""
        slot = self.reserve(frame.format)
        np.copyto(slot.data, frame.data)
        return self.publish(
            slot,
            pts_ns=frame.pts_ns,
            captured_ns=frame.captured_ns,
            captured_at_ns=frame.captured_at_ns,
            metadata=frame.metadata,
        )

    def _begin(self, format: PictureFormat) -> None:
        slot_bytes = -(-format.nbytes // 4096) * 4096
        self._epochs += 1
        memory = OwnedMemory(slot_bytes * self._slots, self.stream, self._backend)
        head = (self.kind, self._epochs, memory.size, slot_bytes, format.to_json(), format)
        while self._log:
            self._drop_oldest()
        self._new_epoch(memory, SlotPool(self._slots, slot_bytes), protocol.pack_epoch(*head))
        self._format, self._open = format, None
        self._made.clear()

    def _take(self, format: PictureFormat) -> Slot:
        assert self._epoch
        if (placed := self._allocate(format.nbytes)) is None:
            raise OutOfMemory(f"stream {self.stream!r}: all {self._slots} slots are in use")
        block, offset = placed
        self._epoch.leases.hold(block)
        if block not in self._made:
            data = self._epoch.memory.array[offset : offset + format.nbytes]
            self._made[block] = Slot(block, offset, data, format)
        return self._made[block]

    def _trim(self) -> None:
        keep = 1
        if any(r.policy is Policy.EVERY for r in self._readers.values()):
            keep = 2 if self.can_wait else self._history
        while len(self._log) > keep:
            self._drop_oldest()
        if not self._wanted:
            self._log_cleared()

    def _log_cleared(self) -> None:
        # Nobody looks: a frame that is kept for later would be shown as new, hours old.
        while self._log:
            self._drop_oldest()

    def _make_room(self) -> None:
        """All leases that were promised, what is retained and the one being filled must fit at once."""
        promised = sum(r.limit for r in self._readers.values())
        if promised + self._history + 2 > self._slots:
            self._slots = 2 * (promised + self._history + 2)
            self._format = None  # the next frame begins an epoch with more slots


class PacketPublisher(_Publisher):
    """Publishes encoded access units. A newcomer starts at the newest key frame; so does one that fell behind."""

    kind = Kind.PACKETS

    def __init__(self, stream: str, *, memory_bytes: int = 8 << 20, **options: Any) -> None:
        self._memory_bytes = memory_bytes
        self._format: PacketFormat | None = None
        super().__init__(stream, **options)

    def publish(self, packet: Packet) -> int:
        """Copy the packet into the ring and hand it to all readers; returns its number.

        A packet for which there is no room is dropped and counted by the gap in the numbers.
        """
        data = memoryview(packet.data).cast("B")
        meta = _packed(packet.metadata)
        with self._lock:
            if packet.format != self._format or len(data) > self._memory_bytes // 4:
                self._begin(packet.format, len(data))
            self._seq += 1
            placed = self._store(data)
            if placed is None or self._epoch is None:
                return self._seq
            times = (packet.pts_ns, packet.captured_ns, packet.captured_at_ns, packet.dts_ns, packet.duration_ns)
            flags = protocol.KEY if packet.is_key else 0
            message = self._header(flags, placed[0], meta, placed[1], len(data), times)
            self._publish(_Item(self._seq, packet.is_key, message, self._epoch.number, placed[0], len(data)))
            return self._seq

    def _begin(self, format: PacketFormat, nbytes: int) -> None:
        while nbytes > self._memory_bytes // 4:
            self._memory_bytes *= 2
        while self._log:
            self._drop_oldest()
        self._epochs += 1
        memory = OwnedMemory(self._memory_bytes, self.stream, self._backend)
        head = (self.kind, self._epochs, memory.size, 0, format.to_json(), None)
        self._new_epoch(memory, ByteRing(memory.size), protocol.pack_epoch(*head))
        self._format = format

    def _trim(self) -> None:
        while len(self._log) > _MOST_PACKETS or self._log_bytes > self._memory_bytes // 2:
            self._drop_oldest()

    def _first_for_newcomer(self) -> int:
        return next((i.seq - 1 for i in reversed(self._log) if i.is_key), self._seq)

    def _next(self, reader: _Reader) -> _Item | None:
        # Each picture stands alone only in intra codecs; elsewhere "latest" must still get packets in order.
        if self._format and self._format.codec in _INTRA and reader.policy is Policy.LATEST:
            return super()._next(reader)
        return self._next_in_order(reader)

    def _next_in_order(self, reader: _Reader) -> _Item | None:
        if reader.last_seq == self._seq or not self._log:
            return None
        place = reader.last_seq + 1 - self._log[0].seq
        if place < 0 or reader.needs_key:
            item = next((i for i in reversed(self._log) if i.is_key and i.seq > reader.last_seq), None)
        else:
            item = self._log[place]
        reader.needs_key = item is None
        if item is not None:
            reader.dropped += item.seq - reader.last_seq - 1
        return item


class ResultPublisher(_Publisher):
    """Publishes small JSON records. The last `history` ones are kept for readers that fall behind."""

    kind = Kind.RESULTS

    def __init__(self, stream: str, *, history: int = 256, memory_bytes: int = 4 << 20, **options: Any) -> None:
        self._history = history
        self._memory_bytes = memory_bytes
        super().__init__(stream, **options)

    def publish(
        self,
        values: Mapping[str, Any],
        *,
        source: str,
        frame_seq: int,
        pts_ns: int,
        captured_ns: int,
        captured_at_ns: int,
    ) -> int:
        """Publish what was seen on a frame. Raises `ValueError` if `values` is not JSON."""
        meta = json.dumps({"source": source, "frame_seq": frame_seq}).encode()
        data = json.dumps(values, allow_nan=False, default=_plain).encode()
        times = (pts_ns, captured_ns, captured_at_ns, pts_ns, 0)
        with self._lock:
            self._seq += 1
            item = self._inline(data, meta, times) if len(data) <= protocol.INLINE_BYTES else None
            item = item or self._in_block(data, meta, times)
            if item is not None:
                self._publish(item)
            return self._seq

    def _inline(self, data: bytes, meta: bytes, times: Sequence[int]) -> _Item:
        message = self._header(protocol.INLINE | protocol.KEY, 0, meta, 0, len(data), times, data)
        return _Item(self._seq, True, message, 0, None, len(data))

    def _in_block(self, data: bytes, meta: bytes, times: Sequence[int]) -> _Item | None:
        if len(data) > self._memory_bytes // 4:
            raise ValueError(f"stream {self.stream!r}: a result of {len(data)} bytes, allowed: {self._memory_bytes // 4}")
        if self._epoch is None:
            self._begin()
        placed = self._store(data)
        if placed is None or self._epoch is None:
            return None
        message = self._header(protocol.KEY, placed[0], meta, placed[1], len(data), times)
        return _Item(self._seq, True, message, self._epoch.number, placed[0], len(data))

    def _begin(self) -> None:
        self._epochs += 1
        memory = OwnedMemory(self._memory_bytes, self.stream, self._backend)
        message = protocol.pack_epoch(self.kind, self._epochs, memory.size, 0, {}, None)
        self._new_epoch(memory, ByteRing(memory.size), message)

    def _trim(self) -> None:
        while len(self._log) > self._history:
            self._drop_oldest()


def _packed(metadata: Mapping[str, Any] | None) -> bytes:
    if not metadata:
        return b""
    packed = json.dumps(dict(metadata), default=_plain).encode()
    if len(packed) > protocol.INLINE_BYTES:
        raise ValueError(f"metadata of {len(packed)} bytes, allowed: {protocol.INLINE_BYTES}")
    return packed


def _plain(value: Any) -> Any:
    """NumPy numbers and arrays as JSON would have them."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"a result holds {type(value).__name__}, allowed: numbers, texts, lists, mappings, arrays")


def _lock_stream(path: Path, stream: str) -> int:
    """Only one living process publishes a stream; the kernel lets go of the lock when it dies."""
    fd = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        owner = os.read(fd, 20).decode(errors="replace")
        os.close(fd)
        raise StreamBusy(f"stream {stream!r} is already published by process {owner or '?'}") from None
    os.ftruncate(fd, 0)
    os.write(fd, str(os.getpid()).encode())
    return fd


def _stranger(sock: socket.socket) -> str:
    """Why this peer may not read, or nothing. The folder's mode keeps strangers out already; this is the second lock."""
    if not hasattr(socket, "SO_PEERCRED"):
        return ""
    _, uid, _ = struct.unpack("iII", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return "" if uid in (os.getuid(), 0) else f"user {uid} may not join this site"


__all__ = ["FramePublisher", "PacketPublisher", "ReaderInfo", "ResultPublisher", "Slot"]
