"""A thread that reads ahead from what blocks, so that its reader can always be interrupted.

FFmpeg offers no way to end a read from outside before its time-out. So a thread of its own reads, and whoever waits
for the packets waits on a condition. It also empties the socket while a picture is being decoded.

Where there is little to do with a packet, the thread that has read it may do that too, see `Feed.relay`.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol

from frameloom.model.errors import FrameloomError
from frameloom.model.packet import Packet, PacketFormat

_MOST_BYTES = 64 << 20  # plain pixels from a device fill memory fast

Lost = Callable[[str], FrameloomError]

Take = Callable[[Packet], bool]
"""Deals with a packet, or says False and leaves it, and those that follow, to who reads."""


class Readable(Protocol):
    """What a feed reads: opened, read and closed by the feed's thread, interrupted by any.

    `bounded`, known after `open`, is False where a late reader must lose packets.
    """

    bounded: bool

    def open(self) -> PacketFormat: ...
    def packets(self) -> Iterator[Packet]: ...
    def interrupt(self) -> None: ...
    def close(self) -> None: ...


class Feed:
    """Opens and reads `source` in a thread of its own, from `start()` on, up to `depth` packets or 64 MB ahead.

    When the reader lags by that much, a live source loses packets up to the next key picture, counted in `dropped`;
    a bounded one waits. After `close()` the thread ends as soon as FFmpeg lets it, at the latest by the
    source's time-out; it never keeps the process alive.
    """

    def __init__(self, name: str, source: Readable, lost: Lost, *, depth: int = 256) -> None:
        self.dropped = 0
        self._source = source
        self._lost = lost
        self._depth = depth
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._packets: deque[Packet] = deque()
        self._format: PacketFormat | None = None
        self._error: BaseException | None = None
        self._done = False
        self._closed = False
        self._skipping = False
        self._relay: Take | None = None
        self._relayed_s = 0.0
        self._nbytes = 0
        self._given_up_s = 0.0
        self._thread = threading.Thread(target=self._run, name=f"feed {name}", daemon=True)

    def start(self) -> None:
        """Begin to open and read, once; nothing happens after `close()`."""
        with self._changed:
            if not self._closed:
                self._thread.start()

    def format(self, timeout_s: float) -> PacketFormat:
        """Wait for the source to be open. Raises its error, or `SourceLost` after `timeout_s`."""
        with self._changed:
            known = self._changed.wait_for(lambda: self._format or self._done or self._closed, timeout_s)
            if self._format is not None and not self._closed:
                return self._format
            raise self._failure(f"no answer for {timeout_s:g} s" if not known else "it was closed")

    def packets(self, timeout_s: float) -> Iterator[Packet]:
        """Packets until the end or `close()`. Raises the source's error, or `SourceLost` after `timeout_s`."""
        while (packet := self._take(timeout_s)) is not None:
            yield packet

    def relay(self, take: Take) -> None:
        """Give the packets that come to `take`, in this feed's own thread, until it says False.

        To wake the reader costs more than most of what is done with a packet. Called by the reader, when it has dealt
        with all that it was given; nothing happens if more is waiting for it, or if packets are being lost up to the
        next key picture. At any time only one of the two threads has packets; `take` is not called any more when
        `close()` has returned, and an error of it is the reader's.
        """
        with self._lock:
            if not (self._packets or self._skipping):
                self._relay = take

    def close(self, wait_s: float = 0.3) -> None:
        """End the reading; waits a little for the thread, which lets go of the connection.

        May be called again and by several threads: together they wait no longer than that.
        """
        with self._changed:
            if not self._closed:
                self._closed = True
                self._given_up_s = time.monotonic() + wait_s
            self._packets.clear()
            self._nbytes = 0
            self._changed.notify_all()
        self._source.interrupt()
        if self._thread.ident is None:
            self._source.close()
        elif self._thread is not threading.current_thread():
            self._thread.join(max(0.0, self._given_up_s - time.monotonic()))

    def _take(self, timeout_s: float) -> Packet | None:
        with self._lock:
            if not self._packets:
                self._await_packet(timeout_s)
            if self._packets:
                return self._pop()
            if self._error is not None and not self._closed:
                raise self._error
            return None

    def _await_packet(self, timeout_s: float) -> None:
        began_s = time.monotonic()
        while not (self._packets or self._done or self._closed):
            left_s = max(began_s, self._relayed_s) + timeout_s - time.monotonic()
            if left_s <= 0:
                raise self._failure(f"no picture for {timeout_s:g} s")
            self._changed.wait(left_s)

    def _pop(self) -> Packet:
        packet = self._packets.popleft()
        self._nbytes -= len(packet.data)
        if self._source.bounded:
            self._changed.notify_all()  # it waits for room
        return packet

    def _failure(self, what: str) -> BaseException:
        return self._error if self._error is not None else self._lost(what)

    def _run(self) -> None:
        try:
            self._read()
        except BaseException as error:
            self._finish(error)
        else:
            self._finish(None)

    def _read(self) -> None:
        try:
            with_format = self._source.open()
            with self._changed:
                self._format = with_format
                self._changed.notify_all()
            for packet in self._source.packets():
                if not self._put(packet):
                    return
        finally:
            self._source.close()

    def _finish(self, error: BaseException | None) -> None:
        with self._changed:
            self._error = error
            self._done = True
            self._changed.notify_all()

    def _put(self, packet: Packet) -> bool:
        """Hand `packet` over; False if nobody wants any more."""
        with self._lock:  # and not the condition, which would be two calls more
            if self._closed:
                return False
            if self._relay is None or not self._relays(packet, self._relay):
                self._put_for_reader(packet)
            return not self._closed

    def _relays(self, packet: Packet, take: Take) -> bool:
        if take(packet):
            self._relayed_s = time.monotonic()
            return True
        self._relay = None
        return False

    def _put_for_reader(self, packet: Packet) -> None:
        if self._source.bounded:
            self._changed.wait_for(lambda: not self._is_full() or self._closed)
            self._append(packet)
        else:
            self._put_or_drop(packet)
        self._changed.notify_all()

    def _put_or_drop(self, packet: Packet) -> None:
        self._skipping = self._is_full() or (self._skipping and not packet.is_key)
        if self._skipping:
            self.dropped += 1
        else:
            self._append(packet)

    def _append(self, packet: Packet) -> None:
        self._packets.append(packet)
        self._nbytes += len(packet.data)

    def _is_full(self) -> bool:
        return len(self._packets) >= self._depth or self._nbytes >= _MOST_BYTES
