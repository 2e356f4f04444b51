"""Cameras that come to us: a port on which one sender at a time delivers MPEG-TS, MJPEG or plain pictures.

A sender that goes is no end: the next one is awaited on the same port, which stays open between them (`Door`). When the
camera is opened again belongs to `frameloom.sources.reconnect`.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import av
from av.container import InputContainer

from frameloom.listening import Networks, keep_alive, listen, written
from frameloom.model.clock import NS_PER_S, Clock
from frameloom.model.errors import NeedsPerson, SourceLost, SourceMisconfigured
from frameloom.model.packet import Packet, PacketFormat

from . import errors
from .av_source import AvSource
from .demux import Demuxer, container_of, options_of
from .feed import Feed
from .settings import SourceSettings

_GIVES_WAY_NS = 2 * NS_PER_S  # a sender that is silent for so long gives way to another one
_UNFIT_PAUSE_S = 0.5  # after one whose bytes are of no use
_CLOSING_S = 5.0


class Bell:
    """Wakes a thread that waits in `poll` on `fd`, for good."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.has_rung = False
        self._lock = threading.Lock()

    def ring(self) -> None:
        with self._lock:
            self.has_rung = True
            if self.fd >= 0:
                os.eventfd_write(self.fd, 1)

    def close(self) -> None:
        with self._lock:
            fd, self.fd = self.fd, -1
            if fd >= 0:
                os.close(fd)


class Door:
    """The port of one camera, open from the first `await_sender` to `close`. For one thread, but for what it tells.

    end      a bell that ends all waiting at this door, beside that of who waits

    waiting  what is waited for, and since when, in words; empty while a sender is at work, and before it is open
    refused  senders that were turned away, and `last_refused` why the last one was
    """

    def __init__(self, name: str, settings: SourceSettings, clock: Clock, end: Bell | None = None) -> None:
        host, port = settings.listens_on
        self.refused = 0
        self.last_refused = ""
        self.closed = threading.Event()
        self._name = name
        self._at = host, port
        self._networks = Networks(settings.allow)
        self._clock = clock
        self._end = end
        self._listener: socket.socket | None = None
        self._next: socket.socket | None = None
        self._address = written(self._at)
        self.waiting = ""

    def await_sender(self, bell: Bell) -> socket.socket:
        """The connection of the next sender. Raises `SourceLost` when a bell rings, and `SourceMisconfigured`."""
        bells = [bell, *([self._end] if self._end else [])]
        poll = select.poll()
        for fd in (*(each.fd for each in bells), self._opened().fileno()):
            poll.register(fd, select.POLLIN)
        while not any(each.has_rung for each in bells):
            sender, self._next = self._next or self._accept(), None
            if sender is not None:
                self.waiting = ""
                return sender
            poll.poll()
        raise errors.lost(self._name, "it was closed")

    def fileno(self) -> int:
        """Readable while somebody knocks."""
        return self._opened().fileno()

    def answer(self, busy_with: str, is_silent: bool) -> bool:
        """Somebody knocks while a sender is at work. True if he is to take its place, as it says nothing."""
        other = self._accept()
        if other is None:
            return False
        if is_silent:
            self._next = other
            return True
        self._refuse(other, f"{busy_with} sends already")
        return False

    def say_gone(self, why: str) -> None:
        """The sender at work is not any more."""
        since = time.strftime("%H:%M:%S", time.gmtime(self._clock.utc_ns() // NS_PER_S))
        self.waiting = f"no sender since {since} UTC ({why}); waiting for one on {self._address}"

    def close(self) -> None:
        """Let go of the port; may be called twice."""
        for sock in (self._listener, self._next):
            if sock is not None:
                sock.close()
        self._listener = self._next = None
        self.waiting = ""
        self.closed.set()

    def _opened(self) -> socket.socket:
        if self._listener is None:
            self.closed.clear()
            try:
                self._listener = listen(self._name, *self._at)
            except NeedsPerson as error:
                raise SourceMisconfigured(str(error)) from None
            self.waiting = f"waiting for a sender on {self._address}"
        return self._listener

    def _accept(self) -> socket.socket | None:
        try:
            sender, address = self._opened().accept()
        except OSError:  # nobody knocks, or he has gone already
            return None
        sender.setblocking(False)
        keep_alive(sender)
        if self._networks.allow(address[0]):
            return sender
        self._refuse(sender, "it is in none of the networks of `allow`")
        return None

    def _refuse(self, sender: socket.socket, why: str) -> None:
        self.refused += 1
        self.last_refused = f"{_peer(sender)}: {why}"
        sender.close()


class Sender:
    """What FFmpeg reads from: the bytes of one connection, with an eye on the door and on the clock.

    Waits end with `SourceLost`: at `silence_s` without a byte, while it `is_new` at `connect_s` after it has come, when
    the bell rings, and when another sender takes its place.
    """

    def __init__(
        self, name: str, settings: SourceSettings, sock: socket.socket, door: Door, bell: Bell, clock: Clock
    ) -> None:
        self.address = _peer(sock)
        self.since_utc_ns = clock.utc_ns()
        self.nbytes = 0
        self.is_new = True
        self._name = name
        self._settings = settings
        self._sock = sock
        self._door = door
        self._bell = bell
        self._clock = clock
        self._came_ns = self._heard_ns = clock.monotonic_ns()
        self._poll = select.poll()
        for fd in (bell.fd, door.fileno(), sock.fileno()):
            self._poll.register(fd, select.POLLIN)

    def read(self, size: int) -> bytes:
        """Up to `size` bytes as soon as there are some; none at the end."""
        while True:
            ready = {fd for fd, _ in self._poll.poll(self._left_s() * 1000)}
            if self._bell.has_rung:
                raise self._lost("it was closed")
            if self._door.fileno() in ready:
                self._open_door()
            if self._sock.fileno() in ready:
                return self._receive(size)
            if self._left_s() <= 0:
                raise self._lost(f"nothing came for {self._patience_s():g} s")

    def close(self) -> None:
        self._sock.close()

    def _receive(self, size: int) -> bytes:
        try:
            data = self._sock.recv(size)
        except OSError as error:
            raise self._lost(f"the connection broke: {error.strerror}") from None
        self._heard_ns = self._clock.monotonic_ns()
        self.nbytes += len(data)
        return data

    def _open_door(self) -> None:
        is_silent = self._clock.monotonic_ns() - self._heard_ns > _GIVES_WAY_NS
        if self._door.answer(self.address, is_silent):
            raise self._lost("it said nothing, and another sender has come")

    def _patience_s(self) -> float:
        return self._settings.connect_s if self.is_new else self._settings.silence_s

    def _left_s(self) -> float:
        since_ns = self._came_ns if self.is_new else self._heard_ns
        passed_s = (self._clock.monotonic_ns() - since_ns) / NS_PER_S
        return max(0.0, self._patience_s() - passed_s)

    def _lost(self, what: str) -> SourceLost:
        return errors.lost(self._name, what)


class ListenDemuxer(Demuxer):
    """Waits for a sender whose bytes can be used, and reads them. `sender`: the one at work.

    keeps_door  the door is another's, and stays open when this is closed
    """

    def __init__(
        self, name: str, settings: SourceSettings, clock: Clock, door: Door, *, keeps_door: bool
    ) -> None:
        super().__init__(name, settings, clock)
        self.sender: Sender | None = None
        self._door = door
        self._keeps_door = keeps_door
        self._bell = Bell()

    def open(self) -> PacketFormat:
        """Wait as long as it takes. One that sends nonsense is let go, and the next one awaited."""
        while True:
            sock = self._door.await_sender(self._bell)
            self.sender = Sender(self.name, self._settings, sock, self._door, self._bell, self._clock)
            try:
                format = super().open()
            except (SourceLost, SourceMisconfigured) as error:
                self._let_go(error)
            else:
                self.sender.is_new = False
                return format

    def packets(self) -> Iterator[Packet]:
        try:
            yield from super().packets()
        except SourceLost as error:
            self._door.say_gone(self._reason(error))
            raise

    def interrupt(self) -> None:
        self._bell.ring()

    def close(self) -> None:
        super().close()
        self._hang_up()
        if not self._keeps_door:
            self._door.close()
        self._bell.close()

    def _open_container(self) -> InputContainer:
        options = options_of(self._settings)
        return av.open(self.sender, "r", format=container_of(self._settings), options=options)

    def _check_end(self) -> None:
        if self._container is not None and not self._bell.has_rung:
            raise errors.lost(self.name, "the sender has closed the connection")

    def _let_go(self, error: SourceLost | SourceMisconfigured) -> None:
        if self._bell.has_rung:
            raise error
        assert self.sender is not None
        self._door.say_gone(f"{self.sender.address}: {self._reason(error)}")
        super().close()
        self._hang_up()
        pause = select.poll()
        pause.register(self._bell.fd, select.POLLIN)
        pause.poll(_UNFIT_PAUSE_S * 1000)

    def _hang_up(self) -> None:
        sender, self.sender = self.sender, None
        if sender is not None:
            sender.close()

    def _reason(self, error: Exception) -> str:
        return str(error).removeprefix(f"{self.name!r}: ")


class ListenSource(AvSource):
    """Packets of whoever sends to the port that `settings` name; see `AvSource`. Always live.

    `open()` waits until a sender has come and its first bytes could be understood; meanwhile `waiting` says for whom.
    Where a `door` is given it stays open when this is closed, so that the next sender need not come twice.
    """

    def __init__(self, name: str, settings: SourceSettings, clock: Clock, door: Door | None = None) -> None:
        super().__init__(name, settings, clock)
        self._keeps_door = door is not None
        self._door = door or Door(name, settings, clock)

    @property
    def waiting(self) -> str:
        return self._door.waiting

    @property
    def told(self) -> dict[str, Any]:
        """For reports: who sends, and who was turned away."""
        sender = self._demuxer.sender if isinstance(self._demuxer, ListenDemuxer) else None
        who = sender and {
            "address": sender.address,
            "since_utc_ns": sender.since_utc_ns,
            "bytes": sender.nbytes,
        }
        return {"sender": who, "refused": self._door.refused, "last_refused": self._door.last_refused}

    def close(self) -> None:
        """Let go; see `Source.close`. The port is free when this returns, unless the door is another's."""
        super().close()
        if not self._keeps_door and self._feed is not None:
            self._door.closed.wait(_CLOSING_S)

    def _new_demuxer(self) -> Demuxer:
        return ListenDemuxer(self.name, self._settings, self._clock, self._door, keeps_door=self._keeps_door)

    def _opened_feed(self, feed: Feed) -> PacketFormat:
        feed.start()
        return feed.format(threading.TIMEOUT_MAX)


def _peer(sock: socket.socket) -> str:
    try:
        return written(sock.getpeername())
    except OSError:
        return "one that has gone"
