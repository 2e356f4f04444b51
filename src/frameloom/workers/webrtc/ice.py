"""One UDP port for all viewers, and how each is found through it: ICE as a server does it (lite), no STUN, no TURN.

The browser asks from wherever it can, with the name and password of our answer; whom we answer is its address, and it
asks again every few seconds, which says that it is still there. Nobody is sent anything who has not asked that way.
Sources: RFC 8445 (ICE), RFC 8489 (STUN), RFC 7983 (what a datagram is).
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import secrets
import socket
import struct
import time
from typing import Any

import psutil
from aioice import stun

log = logging.getLogger(__name__)

Address = tuple[Any, ...]

_UNSENT_BYTES = 1 << 20
_AT_ONCE = 64  # datagrams read before anybody else has a turn
_WAITING = 64
_LONGEST_BYTES = 2048
_GARBAGE = (ValueError, KeyError, IndexError, struct.error)


class Seat:
    """A viewer's place at the port, in the form that aiortc's DTLS wants a transport to have.

    ufrag, password  by which he says that he is meant
    address          where he was last heard from, as he wants it; None before that
    heard_s          when he last asked (monotonic)
    """

    role = "controlled"

    def __init__(self, port: Port) -> None:
        self.ufrag, self.password = secrets.token_hex(4), secrets.token_hex(12)
        self.address: Address | None = None
        self.heard_s = time.monotonic()
        self._port = port
        self._received: asyncio.Queue[bytes | None] = asyncio.Queue(_WAITING)

    def send(self, data: bytes) -> bool:
        """False if it cannot be sent now."""
        return self.address is None or self._port.send(data, self.address)

    def take(self, data: bytes) -> None:
        """A datagram from him; what comes faster than it is read is lost, as on the network."""
        with contextlib.suppress(asyncio.QueueFull):
            self._received.put_nowait(data)

    def close(self) -> None:
        """Nothing more will come: wakes whoever waits for it."""
        self._port.leave(self)
        while self._received.full():
            self._received.get_nowait()
        self._received.put_nowait(None)

    async def _recv(self) -> bytes:
        data = await self._received.get()
        if data is None:
            raise ConnectionError("the viewer was let go")
        return data

    async def _send(self, data: bytes) -> None:
        self.send(data)


class Port:
    """The socket. Everything is called in its event loop.

    host, wish  address to listen on, and the port that is wanted; if that is taken, another
    """

    def __init__(self, host: str, wish: int) -> None:
        self._host = host
        self._is_v6 = ":" in host
        self._socket = _bound(host, wish)
        self.number: int = self._socket.getsockname()[1]
        self._seats: dict[str, Seat] = {}
        self._by_address: dict[Address, Seat] = {}
        asyncio.get_running_loop().add_reader(self._socket, self._receive)

    def candidates(self, called: str = "") -> list[str]:
        """Addresses under which we may be reached. `called`: the one by which the viewer reached the server."""
        found = [called] if _is_address(called) and called not in ("0.0.0.0", "::") else []
        if self._host in ("0.0.0.0", "::"):
            found += _own_addresses(self._is_v6)
        else:
            found.append(self._socket.getsockname()[0])
        return list(dict.fromkeys(found))

    def seat(self) -> Seat:
        """A place for one more viewer."""
        seat = Seat(self)
        self._seats[seat.ufrag] = seat
        return seat

    def leave(self, seat: Seat) -> None:
        """He is not known any more. May be called twice."""
        self._seats.pop(seat.ufrag, None)
        for address in [address for address, each in self._by_address.items() if each is seat]:
            del self._by_address[address]

    def send(self, data: bytes, address: Address) -> bool:
        """False if the network takes nothing at the moment."""
        try:
            self._socket.sendto(data, address)
        except BlockingIOError:
            return False
        except OSError:  # nobody there, no way: it is lost, and consent ends it
            pass
        return True

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def _receive(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                data, address = self._socket.recvfrom(_LONGEST_BYTES)
            except BlockingIOError:
                return
            except OSError:  # an answer that somebody was not there
                continue
            if data and data[0] < 4:
                self._asked(data, address)
            elif data and (seat := self._by_address.get(address)) is not None:
                seat.take(data)

    def _asked(self, data: bytes, address: Address) -> None:
        """Somebody wants to know whether he reaches us; who cannot say the password gets no answer."""
        try:
            message = stun.parse_message(data)
            name = str(message.attributes.get("USERNAME", "")).partition(":")[0]
            seat = self._seats.get(name)
            if seat is None or message.message_class is not stun.Class.REQUEST:
                return
            key = seat.password.encode()
            if not message.check_message_integrity(key):
                return
        except _GARBAGE:
            return
        self._answer(message, address, key)
        self._found(seat, address, is_wanted="USE-CANDIDATE" in message.attributes)

    def _answer(self, message: stun.Message, address: Address, key: bytes) -> None:
        plain = str(address[0]).removeprefix("::ffff:")
        attributes = {"XOR-MAPPED-ADDRESS": (plain, address[1])}
        answer = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, message.transaction_id, attributes)
        answer.add_message_integrity(key)
        self.send(bytes(answer), address)

    def _found(self, seat: Seat, address: Address, *, is_wanted: bool) -> None:
        seat.heard_s = time.monotonic()
        if (
            self._by_address.get(address) is not seat
            and sum(s is seat for s in self._by_address.values()) < 16
        ):
            self._by_address[address] = seat
        if is_wanted or seat.address is None:
            seat.address = address


def _bound(host: str, wish: int) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(
        host, wish, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE
    )[0]
    for target in dict.fromkeys((address, (address[0], 0, *address[2:]))):
        bound = socket.socket(family, socket.SOCK_DGRAM)
        try:
            bound.setblocking(False)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _UNSENT_BYTES)
            if family == socket.AF_INET6:
                bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            bound.bind(target)
        except OSError as error:
            bound.close()
            if target[1] == 0:
                raise
            log.warning("UDP port %d is taken (%s): viewers get another one", wish, error.strerror)
        else:
            return bound
    raise AssertionError("port 0 was tried last")


def _own_addresses(is_v6: bool) -> list[str]:
    """Those of this machine, loopback last."""
    families = {socket.AF_INET, *([socket.AF_INET6] if is_v6 else [])}
    found = [
        each.address
        for addresses in psutil.net_if_addrs().values()
        for each in addresses
        if each.family in families and "%" not in each.address
    ]
    return sorted(found, key=lambda each: ipaddress.ip_address(each).is_loopback)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
