"""The UDP port: who says the password is answered and found, all else is as if it had not come."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from aioice import stun

from frameloom.workers.webrtc.ice import Port, Seat

PATIENCE_S = 60.0


class Peer:
    """A browser's side, datagram by datagram."""

    def __init__(self, port: Port) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.connect(("127.0.0.1", port.number))

    @property
    def address(self) -> Any:
        return self.socket.getsockname()

    def ask(self, name: str, password: str, *, nominates: bool = False) -> bytes:
        """Whether we can be reached; gives the number of the request."""
        attributes: dict[str, Any] = {"USERNAME": f"{name}:his", "PRIORITY": 1}
        if nominates:
            attributes["USE-CANDIDATE"] = None
        message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST, attributes=attributes)
        message.add_message_integrity(password.encode())
        self.socket.send(bytes(message))
        return bytes(message.transaction_id)

    async def receive(self) -> bytes:
        async with asyncio.timeout(PATIENCE_S):
            return await asyncio.get_running_loop().sock_recv(self.socket, 2000)


Join = Callable[[], Peer]


def run(work: Callable[[Port, Seat, Join], Coroutine[Any, Any, None]]) -> None:
    """With a port, a seat at it, and as many peers as are wanted."""

    async def with_port() -> None:
        with contextlib.ExitStack() as ending:

            def join() -> Peer:
                peer = Peer(port)
                ending.enter_context(peer.socket)
                return peer

            port = Port("127.0.0.1", 0)
            ending.callback(port.close)
            await work(port, port.seat(), join)

    asyncio.run(with_port())


def test_who_says_the_password_is_answered() -> None:
    async def work(port: Port, seat: Seat, join: Join) -> None:
        peer = join()
        number = peer.ask(seat.ufrag, seat.password)
        answer = stun.parse_message(await peer.receive())
        assert (answer.message_class, answer.transaction_id) == (stun.Class.RESPONSE, number)
        assert answer.attributes["XOR-MAPPED-ADDRESS"] == peer.address
        assert answer.check_message_integrity(seat.password.encode())
        assert seat.address == peer.address
        seat.send(b"\x80to him")
        assert await peer.receive() == b"\x80to him"
        peer.socket.send(b"\x80from him")
        assert await seat._recv() == b"\x80from him"

    run(work)


def test_nobody_else_is_answered_or_heard() -> None:
    async def work(port: Port, seat: Seat, join: Join) -> None:
        stranger, peer = join(), join()
        stranger.ask(seat.ufrag, "wrong" * 5)
        stranger.ask("unknown", seat.password)
        for garbage in (
            b"",
            b"\0",
            b"\0\1\0\4" + b"\x21\x12\xa4\x42" + bytes(20),
            b"\1" * 30,
            b"\x80" * 30,
            b"\x16" * 30,
        ):
            stranger.socket.send(garbage)
        message = stun.Message(
            stun.Method.BINDING, stun.Class.REQUEST, attributes={"USERNAME": f"{seat.ufrag}:his"}
        )
        stranger.socket.send(bytes(message))
        peer.ask(seat.ufrag, seat.password)
        await peer.receive()  # so all that came before has been read
        assert seat.address == peer.address
        assert seat._received.empty()
        with pytest.raises(BlockingIOError):
            stranger.socket.recv(2000)

    run(work)


def test_the_address_that_he_chooses_is_his() -> None:
    async def work(port: Port, seat: Seat, join: Join) -> None:
        first, second, third = join(), join(), join()
        for peer, nominates, expected in (
            (first, False, first),
            (second, False, first),
            (third, True, third),
        ):
            peer.ask(seat.ufrag, seat.password, nominates=nominates)
            await peer.receive()
            assert seat.address == expected.address

    run(work)


def test_what_comes_faster_than_it_is_read_is_lost() -> None:
    async def work(port: Port, seat: Seat, join: Join) -> None:
        for number in range(200):
            seat.take(bytes([number]))
        seat.close()
        assert seat._received.qsize() <= 64
        for _ in range(seat._received.qsize() - 1):
            await seat._recv()
        with pytest.raises(ConnectionError):
            await seat._recv()

    run(work)


def test_one_who_was_let_go_is_not_known_any_more() -> None:
    async def work(port: Port, seat: Seat, join: Join) -> None:
        gone, peer, other = join(), join(), port.seat()
        gone.ask(seat.ufrag, seat.password)
        await gone.receive()
        seat.close()
        gone.ask(seat.ufrag, seat.password)
        gone.socket.send(b"\x80")
        peer.ask(other.ufrag, other.password)
        await peer.receive()
        with pytest.raises(BlockingIOError):
            gone.socket.recv(2000)
        assert not port._by_address.keys() - {peer.address}

    run(work)


def test_a_port_that_is_taken_is_another_one(caplog: pytest.LogCaptureFixture) -> None:
    async def work(port: Port, seat: Seat, join: Join) -> None:
        other = Port("127.0.0.1", port.number)
        assert other.number not in (0, port.number)
        assert f"UDP port {port.number} is taken" in caplog.text
        other.close()

    run(work)


def test_addresses_where_we_are_reached() -> None:
    async def work(port: Port, seat: Seat, join: Join) -> None:
        assert port.candidates() == ["127.0.0.1"]
        assert port.candidates("127.0.0.1") == ["127.0.0.1"]
        assert port.candidates("198.51.100.7") == ["198.51.100.7", "127.0.0.1"]
        for name in ("hall.example", "0.0.0.0", "::", ""):
            assert port.candidates(name) == ["127.0.0.1"]

    run(work)
