"""One stream of bytes to any number of TCP clients: each goes its own pace, and none costs another anything.

What was sent since the newest key frames is kept once for all; of a client, nothing but its place in that is
remembered, and the rest of the part under way. So a newcomer begins at once, and one that is slow goes on at a key
frame: what it missed is counted. What the parts are made of belongs to `tcp_mpegts` and `tcp_jpeg`, where they come
from, to `workers.tcp`.
"""

from __future__ import annotations

import errno
import logging
import select
import socket
from dataclasses import dataclass
from typing import Any

from frameloom.listening import Networks, keep_alive, written
from frameloom.model.clock import NS_PER_S, Clock
from frameloom.model.kept import Kept

log = logging.getLogger(__name__)

SENDING_BYTES = 256 << 10
"""What the kernel holds of a client's stream: the memory that a client costs, and how far it can be behind."""

KEPT_BYTES = 16 << 20
_ACCEPTS = 64  # in one turn, so that a flood of clients keeps nobody waiting
_REST_NS = NS_PER_S  # without descriptors, until the next try to accept
_TALK_BYTES = 4096  # of a client that has nothing to say; a browser's request is less

_READ, _WRITE = select.EPOLLIN, select.EPOLLOUT


@dataclass(frozen=True, slots=True)
class Part:
    """The bytes of one picture. `number` counts the parts of a stream, with gaps where some were lost before.

    joining: the same for a client that begins here, of a key frame; nothing for others
    """

    number: int
    data: bytes
    joining: bytes
    captured_ns: int

    @property
    def is_key(self) -> bool:
        return bool(self.joining)

    @property
    def nbytes(self) -> int:
        return len(self.data)


class Client:
    """One connection, and how far it has come."""

    def __init__(self, sock: socket.socket, address: str, clock: Clock) -> None:
        self.sock = sock
        self.address = address
        self.since_utc_ns = clock.utc_ns()
        self.nbytes = self.dropped = self.heard = 0
        self.number = 0
        self.rest = memoryview(b"")
        self.took_ns = clock.monotonic_ns()
        self.waits = False  # for room in the kernel

    def told(self) -> dict[str, Any]:
        """For reports."""
        return {
            "address": self.address,
            "since_utc_ns": self.since_utc_ns,
            "bytes": self.nbytes,
            "dropped": self.dropped,
        }


class Fanout:
    """Accepts clients from `networks` on `listener`, and sends them what is `put`. For one thread; `told` for any.

    poll         where all descriptors are registered; who waits on it calls `ready` for those that are `ours`
    max_clients  more are turned away; patience_s: a client that takes nothing for so long is let go

    refused      connections that were turned away, and `last_refused` why the last one was
    missed       parts that clients were too slow for
    """

    def __init__(
        self,
        name: str,
        listener: socket.socket,
        networks: Networks,
        poll: select.epoll,
        clock: Clock,
        *,
        kept_bytes: int = KEPT_BYTES,
        sending_bytes: int = SENDING_BYTES,
    ) -> None:
        self.max_clients = 100
        self.patience_s = 30.0
        self.refused = self.missed = 0
        self.last_refused = ""
        self._name = name
        self._listener = listener
        self._networks = networks
        self._poll = poll
        self._clock = clock
        self._kept: Kept[Part] = Kept(kept_bytes)
        self._sending_bytes = sending_bytes
        self._clients: dict[int, Client] = {}
        self._rests_until_ns = 0
        poll.register(listener, _READ)

    def __len__(self) -> int:
        return len(self._clients)

    def told(self) -> list[dict[str, Any]]:
        """What is to be said of each client, the oldest first."""
        return [client.told() for client in list(self._clients.values())]

    def ours(self, fd: int) -> bool:
        """Whether this descriptor is one that `ready` looks after."""
        return fd in self._clients or fd == self._listener.fileno()

    def ready(self, fd: int, events: int) -> None:
        """Something can be done with this descriptor."""
        if fd == self._listener.fileno():
            self._accept()
        elif (client := self._clients.get(fd)) is not None:
            if events & ~_WRITE:
                self._hear(client)
            if events & _WRITE and fd in self._clients:
                self._send(client)

    def put(self, data: bytes, joining: bytes, captured_ns: int, missing: int = 0) -> None:
        """The next part, for all clients; `missing` were lost before it came here."""
        self._kept.add(Part(self._kept.number + 1 + missing, data, joining, captured_ns))
        for client in list(self._clients.values()):
            if not client.waits:
                self._send(client)

    def tick(self) -> None:
        """Let go of those that take nothing; to be called now and then while there are clients, or `rests`."""
        now_ns = self._clock.monotonic_ns()
        if self.rests and now_ns >= self._rests_until_ns:
            self._rests_until_ns = 0
            self._poll.modify(self._listener, _READ)
        for client in list(self._clients.values()):
            if client.waits and now_ns - client.took_ns > self.patience_s * NS_PER_S:
                self._let_go(client, f"it took nothing for {self.patience_s:g} s")

    @property
    def rests(self) -> bool:
        """True while nobody is accepted, since there are no descriptors left."""
        return self._rests_until_ns > 0

    def forget(self) -> None:
        """What was kept will not be the present any more when the next client comes."""
        self._kept.clear()

    def dismiss(self, why: str) -> None:
        """Let go of everybody: they may come again, and will find another stream."""
        for client in list(self._clients.values()):
            self._let_go(client, why)
        self._kept.clear()

    def close(self) -> None:
        """Let go of everybody, and of the port."""
        self.dismiss("the site ends it")
        self._poll.unregister(self._listener)
        self._listener.close()

    # --- coming and going ---

    def _accept(self) -> None:
        for _ in range(_ACCEPTS):
            try:
                sock, address = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                self._cannot_accept(error)
                return
            if why := self._objection(address[0]):
                self._refuse(sock, written(address), why)
            else:
                self._welcome(sock, written(address))

    def _objection(self, host: str) -> str:
        if not self._networks.allow(host):
            return "it is in none of the networks of `allow`"
        return f"there are {self.max_clients} clients already" if len(self) >= self.max_clients else ""

    def _refuse(self, sock: socket.socket, address: str, why: str) -> None:
        self.refused += 1
        self.last_refused = f"{address}: {why}"
        sock.close()

    def _cannot_accept(self, error: OSError) -> None:
        """Without descriptors the listener stays readable: we must look away for a while, or turn in a circle."""
        if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
            log.warning("%r: no more clients for now: %s", self._name, error.strerror)
            self._rests_until_ns = self._clock.monotonic_ns() + _REST_NS
            self._poll.modify(self._listener, 0)

    def _welcome(self, sock: socket.socket, address: str) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._sending_bytes)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        keep_alive(sock)
        client = Client(sock, address, self._clock)
        self._clients[sock.fileno()] = client
        self._poll.register(sock, _READ)
        log.info("%r: client %s has come", self._name, address)
        self._send(client)

    def _hear(self, client: Client) -> None:
        """A client has nothing to say: what it says is thrown away, and that it goes is noticed here."""
        try:
            said = client.sock.recv(_TALK_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._let_go(client, error.strerror or "it broke off")
            return
        client.heard += len(said)
        if not said:
            self._let_go(client, "it has closed the connection")
        elif client.heard > _TALK_BYTES:
            self._let_go(client, "it talks, and nobody listens here")

    def _let_go(self, client: Client, why: str) -> None:
        fd = client.sock.fileno()
        del self._clients[fd]
        self._poll.unregister(fd)
        client.sock.close()
        client.rest.release()
        log.info("%r: client %s has gone: %s", self._name, client.address, why)

    # --- sending ---

    def _send(self, client: Client) -> None:
        """As much as the kernel takes without waiting."""
        try:
            while client.rest or self._next(client):
                sent = client.sock.send(client.rest)
                client.rest = client.rest[sent:]
                client.nbytes += sent
                client.took_ns = self._clock.monotonic_ns()
        except BlockingIOError:
            self._wait(client, True)
        except OSError as error:
            self._let_go(client, error.strerror or "it broke off")
        else:
            self._wait(client, False)

    def _next(self, client: Client) -> bool:
        """Take up the next part for this client, if there is one."""
        number = client.number
        part = self._kept.after(number) if number else self._kept.first(self._clock.monotonic_ns())
        if part is None:
            return False
        follows = part.number == number + 1 and number > 0
        if number and not follows:
            client.dropped += part.number - number - 1
            self.missed += part.number - number - 1
        client.number = part.number
        client.rest = memoryview(part.data if follows else part.joining)
        client.took_ns = self._clock.monotonic_ns()
        return True

    def _wait(self, client: Client, waits: bool) -> None:
        if client.waits != waits:
            client.waits = waits
            self._poll.modify(client.sock, _READ | _WRITE if waits else _READ)
