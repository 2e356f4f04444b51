"""Who gets which item: credits, leases and policies of the connected readers of one stream.

No threads and no waiting here: the caller (`frameloom.bus.serving`) serialises access and says when a socket is
readable. What the three kinds of streams do differently belongs to `frameloom.bus.publisher`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections.abc import Sequence

from frameloom.model.clock import Clock
from frameloom.model.errors import OutOfMemory, PeerError

from . import protocol
from .protocol import Kind, Policy, Type
from .readers import Reader
from .retention import Item, Retention

log = logging.getLogger(__name__)

# Used once per item, where an enumeration costs more than the rest.
_ITEM, _WANT, _NOSIGNAL = int(Type.ITEM), int(Type.WANT), int(socket.MSG_NOSIGNAL)

Times = tuple[int, int, int, int, int]  # pts, captured, captured_at, dts, duration, in ns


class Delivery:
    """The readers of a stream, what is kept for them, and what they are sent."""

    kind: Kind

    def __init__(self, stream: str, site: str, can_wait: bool, backend: str, clock: Clock) -> None:
        self.stream, self.site, self.can_wait = stream, site, can_wait
        self._clock = clock
        self._readers: dict[int, Reader] = {}
        self._greeted: tuple[Reader, ...] = ()  # those of them that have said hello
        self._every_wanted = False
        self._kept = Retention(self.kind, stream, backend)
        self._seq = 0
        self._ended: bytes | None = None
        self._wanted = False

    # --- what each kind of stream decides --------------------------------------------------------------------------

    def _trim(self) -> None:
        """Let go of what no longer has to be retained."""
        raise NotImplementedError

    def _next(self, reader: Reader) -> Item | None:
        """The item that this reader is to get next."""
        if reader.policy is Policy.LATEST:
            return self._kept.newest_after(reader.last_seq)
        return self._kept.oldest_after(reader.last_seq)

    def _first_for_newcomer(self) -> int:
        """`last_seq` of a reader that has just joined: the newest item is its first."""
        return self._kept.items[-1].seq - 1 if self._kept.items else self._seq

    def _joined(self) -> None:
        """Called when a reader has joined: the pool may have to grow."""

    def _abandoned(self) -> None:
        """Called when the last reader has left."""

    def _released(self) -> None:
        """Called when the memory is no longer ours."""

    # --- for the socket's side -------------------------------------------------------------------------------------

    def _watch(self, reader: Reader, watch: bool) -> None:
        """Whether the socket's thread shall hear this reader."""
        raise NotImplementedError

    def _unwatch(self, reader: Reader) -> None:
        """The socket is about to be closed."""
        raise NotImplementedError

    def _wanted_changed(self) -> None:
        raise NotImplementedError

    # --- sending ---------------------------------------------------------------------------------------------------

    def _publish(self, item: Item) -> None:
        self._seq = item.seq
        self._kept.append(item)
        for reader in self._greeted:
            self._hear_credit(reader)
            if not self._sent_at_once(reader, item):
                self._deliver(reader)
        if self._every_wanted:
            for reader in self._greeted:
                if (
                    reader.is_every
                ):  # it is at work already, and what it gave back is filled next, while it is warm
                    self._hear_credit(reader)
        self._trim()

    def _hear_credit(self, reader: Reader) -> None:
        """No more than that: to find that nothing more was said costs as much as to hear it."""
        while not reader.credit and self._hear_one(reader):
            pass

    def _sent_at_once(self, reader: Reader, item: Item) -> bool:
        """Send the newest item to a reader that has had all others: the usual case of `_deliver`, made quick.

        False if this is not the usual case, and then nothing has been done.
        """
        epoch = item.epoch
        if (
            not reader.credit
            or reader.last_seq != item.seq - 1
            or (reader.needs_key and not item.is_key)
            or (epoch is not None and (reader.epoch != epoch.number or len(reader.leased) >= reader.limit))
        ):
            return False
        try:
            reader.sock.send(item.message, _NOSIGNAL)
        except OSError:
            return False  # once more, and then with its consequences
        if epoch is not None:
            epoch.leases.hold(item.block)
            reader.leased.add(item.lease)
        reader.credit -= 1
        reader.sent += 1
        reader.needs_key = False
        reader.last_seq = item.seq
        if reader.watched:
            self._watch(reader, False)
        return True

    def _allocate(self, nbytes: int) -> tuple[int, int] | None:
        """(block, offset) of free memory, at the price of the oldest items that nobody waits for.

        None if readers hold too much. Raises `OutOfMemory`.
        """
        if (placed := self._try_to_allocate(nbytes)) is not None:
            return placed
        for reader in self._greeted:
            self._hear_all(reader)  # what they gave back may be enough
        while (placed := self._try_to_allocate(nbytes)) is None and self._drop_what_was_sent():
            pass
        return placed or self._kept.allocate(nbytes)

    def _try_to_allocate(self, nbytes: int) -> tuple[int, int] | None:
        try:
            return self._kept.allocate(nbytes)
        except OutOfMemory:
            return None

    def _drop_what_was_sent(self) -> bool:
        """Let go of the oldest item, if there is one that nobody waits for."""
        items = self._kept.items
        if not items or items[0].seq > self._sent_to_all():
            return False
        self._kept.drop_oldest()
        return True

    def _sent_to_all(self) -> int:
        """The number up to which no reader has to be waited for."""
        behind = self._behind()
        return min(reader.last_seq for reader in behind) if behind else self._seq

    def _deliver(self, reader: Reader) -> None:
        """Send what the reader has credit for, then the end if there is one; watch it if it is behind."""
        while reader.credit and (item := self._next(reader)) is not None:
            if item.epoch is not None and len(reader.leased) >= reader.limit:
                break
            if not self._send_item(reader, item):
                return
        is_behind = reader.last_seq != self._seq
        if self._ended and not is_behind and not reader.told_end and not reader.leaving:
            reader.told_end = self._send(reader, self._ended)
        self._watch(reader, is_behind)

    def _send_item(self, reader: Reader, item: Item) -> bool:
        epoch = item.epoch
        if epoch is not None and reader.epoch != epoch.number:
            if not self._send(reader, epoch.message, epoch.memory.fd):
                return False
            reader.epoch = epoch.number
        if not self._send(reader, item.message):
            return False
        if epoch is not None:
            epoch.leases.hold(item.block)
            reader.leased.add(item.lease)
        reader.credit -= 1
        reader.sent += 1
        reader.needs_key = False
        self._pass_over(reader, item.seq - 1)
        reader.last_seq = item.seq
        return True

    def _pass_over(self, reader: Reader, seq: int) -> None:
        """The reader will never get the items up to `seq`."""
        reader.dropped += seq - reader.last_seq
        reader.last_seq = seq

    def _send(self, reader: Reader, message: bytes, fd: int | None = None) -> bool:
        try:
            reader.send(message, fd)
            return True
        except BlockingIOError:
            self._remove(reader, "it asks for items but does not read them")
        except OSError:
            self._remove(reader, "")  # it has gone
        return False

    def _header(
        self, flags: int, placed: tuple[int, int], meta: bytes, length: int, times: Times, inline: bytes = b""
    ) -> bytes:
        """The ITEM message of the next number."""
        epoch = self._kept.epoch.number if self._kept.epoch else 0
        seq, now_ns = self._seq + 1, self._clock.monotonic_ns()
        pts_ns, captured_ns, captured_at_ns, dts_ns, duration_ns = times
        block, offset = placed
        fixed = protocol.ITEM.pack(
            _ITEM, flags, 0, epoch, block, len(meta), offset, length, seq,
            pts_ns, captured_ns, captured_at_ns, now_ns, dts_ns, duration_ns,
        )  # fmt: skip
        return fixed + meta + inline if meta or inline else fixed

    # --- hearing ---------------------------------------------------------------------------------------------------

    def _hear_all(self, reader: Reader) -> None:
        """Take all that the reader has said: little, since each message uses up credit or leases it was given."""
        while self._hear_one(reader):
            pass

    def _hear_one(self, reader: Reader) -> bool:
        """False if there is nothing more, or the connection is over."""
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
            if message[0] == _WANT and reader.hello:
                self._grant(reader, *protocol.unpack_want(message))
            else:
                self._understand(reader, message)
        except PeerError as error:
            self._refuse(reader, str(error))
        return self._readers.get(reader.fd) is reader

    def _understand(self, reader: Reader, message: bytes) -> None:
        kind = message[0]
        if kind == Type.BYE and reader.hello and not reader.leaving:
            reader.leave()
            self._count_readers()
        elif kind == Type.HELLO and not reader.hello:
            self._greet(reader, protocol.unpack_hello(message))
        else:
            raise PeerError(f"message of type {kind} is not expected here")

    def _grant(self, reader: Reader, credits: int, returned: Sequence[tuple[int, int]]) -> None:
        if not credits and not returned:
            raise PeerError("WANT: asks for nothing and returns nothing")
        for lease in returned:
            if lease not in reader.leased:
                raise PeerError(f"WANT: returns block {lease[1]} of epoch {lease[0]}, which it does not hold")
            reader.leased.discard(lease)
            self._kept.return_lease(lease)
        allowed = 0 if reader.leaving else protocol.MOST_CREDITS - reader.credit
        if credits > allowed:
            raise PeerError(f"WANT: read {credits} more credits, allowed: {allowed}")
        reader.credit += credits

    # --- coming and going ------------------------------------------------------------------------------------------

    def _greet(self, reader: Reader, hello: protocol.Hello) -> None:
        reader.introduce(hello, self._first_for_newcomer())
        info = {"stream": self.stream, "site": self.site, "pid": os.getpid(), "can_wait": self.can_wait}
        if self._send(reader, protocol.pack_welcome(self.kind, {**info, "last_seq": reader.last_seq})):
            self._joined()
            self._count_readers()

    def _refuse(self, reader: Reader, message: str) -> None:
        with contextlib.suppress(OSError):
            reader.send(protocol.pack_error(message))
        self._remove(reader, message)

    def _remove(self, reader: Reader, why: str) -> None:
        """The connection is over; every lease of the reader comes back at once."""
        if self._readers.get(reader.fd) is not reader:
            return
        del self._readers[reader.fd]
        if why:
            log.warning("stream %s: closed %s: %s", self.stream, reader.name, why)
        self._unwatch(reader)
        reader.close()
        reader.credit = 0
        for lease in reader.leased:
            self._kept.return_lease(lease)
        reader.leased.clear()
        self._count_readers()

    def _count_readers(self) -> None:
        self._greeted = tuple(reader for reader in self._readers.values() if reader.hello)
        self._every_wanted = any(reader.is_every for reader in self._greeted)
        wanted = any(not reader.leaving for reader in self._greeted)
        if wanted == self._wanted:
            return
        self._wanted = wanted
        if not wanted:
            self._abandoned()
        self._wanted_changed()

    def _silent(self) -> list[Reader]:
        now_s = time.monotonic()
        return [r for r in self._readers.values() if r.hello is None and r.deadline_s <= now_s]

    def _untold(self) -> list[Reader]:
        """Those that do not know yet that the stream has ended."""
        return [r for r in self._readers.values() if r.hello and not (r.told_end or r.leaving)]

    def _behind(self) -> list[Reader]:
        """Those that the publisher has to wait for."""
        if not self.can_wait:
            return []
        seq = self._seq
        return [reader for reader in self._greeted if reader.last_seq < seq and reader.is_every]
