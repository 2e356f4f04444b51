"""A reader's connection by itself: leases, and their way back whatever the publisher does."""

from __future__ import annotations

import gc
import os
import socket
from collections.abc import Iterator

import pytest

from frameloom.bus import protocol
from frameloom.bus.connection import Connection
from frameloom.bus.protocol import ItemHeader, Kind
from tests.bus.parts import SMALL, readable
from tests.bus.raw import memory

PAGES = 16


@pytest.fixture
def ends() -> Iterator[tuple[Connection, socket.socket]]:
    """A connection that was welcomed and has a memory, and the publisher's end of it."""
    mine, publishers = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    mine.setblocking(False)
    publishers.settimeout(5)
    connection = Connection(mine)
    connection.take_welcome(protocol.pack_welcome(Kind.FRAMES, {}))
    head = (Kind.FRAMES, 1, PAGES * 4096, 4096, SMALL.to_json(), SMALL)
    connection.take_epoch(protocol.pack_epoch(*head), memory(PAGES * 4096))
    yield connection, publishers
    publishers.close()
    connection.leave()
    connection.epoch = None  # with it goes the mapping, and its copy of the descriptor


def header(block: int) -> ItemHeader:
    return ItemHeader(0, 1, block, 0, block * 4096, SMALL.nbytes, block + 1, *[0] * 6)


def returned(publishers: socket.socket) -> tuple[int, list[tuple[int, int]]]:
    return protocol.unpack_want(publishers.recv(65536))


def is_silent(publishers: socket.socket) -> bool:
    return not readable(publishers.fileno(), 0)


def test_one_lease_rides_on_the_next_question_and_two_go_at_once(
    ends: tuple[Connection, socket.socket],
) -> None:
    connection, publishers = ends
    arrays = [connection.lease(header(block)) for block in range(3)]
    del arrays[0]
    assert is_silent(publishers)
    assert connection.want(1)
    assert returned(publishers) == (1, [(1, 0)])
    arrays.clear()
    credits, leases = returned(publishers)
    assert (credits, sorted(leases)) == (0, [(1, 1), (1, 2)])
    assert connection.leases == {}


def test_nothing_to_say_is_not_said(ends: tuple[Connection, socket.socket]) -> None:
    connection, publishers = ends
    assert connection.want(0)
    assert is_silent(publishers)


def test_what_a_stopped_publisher_does_not_take_is_said_later(ends: tuple[Connection, socket.socket]) -> None:
    connection, publishers = ends
    arrays = [connection.lease(header(block)) for block in range(PAGES)]
    full = 0
    while connection.want(1):
        full += 1
    arrays.clear()
    assert not connection.want(1)
    for _ in range(full):
        assert returned(publishers) == (1, [])
    assert connection.want(1)
    credits, leases = returned(publishers)
    assert credits == 1
    assert sorted(leases) == [(1, block) for block in range(PAGES)]


def test_a_publisher_that_is_gone_needs_nothing_back(ends: tuple[Connection, socket.socket]) -> None:
    connection, publishers = ends
    array = connection.lease(header(0))
    publishers.close()
    assert connection.want(1)
    assert array.sum() == 0
    del array
    assert connection.want(1)
    assert connection.leases == {}


def test_leaving_with_a_lease_says_so_and_closes_with_the_last(
    ends: tuple[Connection, socket.socket],
) -> None:
    connection, publishers = ends
    arrays = [connection.lease(header(block)) for block in range(2)]
    connection.leave()
    assert publishers.recv(100) == protocol.pack_bye()
    del connection
    gc.collect()  # nobody but the arrays holds it now
    arrays.pop()
    assert returned(publishers) == (0, [(1, 1)])
    arrays.pop()
    assert returned(publishers) == (0, [(1, 0)])
    assert publishers.recv(100) == b""


def test_leaving_without_a_lease_closes(ends: tuple[Connection, socket.socket]) -> None:
    connection, publishers = ends
    connection.leave()
    assert publishers.recv(100) == b""
    connection.leave()


def test_a_view_of_a_view_is_the_lease_too(ends: tuple[Connection, socket.socket]) -> None:
    connection, publishers = ends
    view = memoryview(connection.lease(header(0)).reshape(48, 64)[3:9, ::2])
    assert connection.want(1)
    assert returned(publishers) == (1, [])
    del view
    assert connection.want(1)
    assert returned(publishers) == (1, [(1, 0)])


def test_an_older_memory_stays_readable() -> None:
    """The kernel keeps it as long as somebody looks at it; the descriptor of the message is closed at once."""
    mine, publishers = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection = Connection(mine)
    connection.take_welcome(protocol.pack_welcome(Kind.FRAMES, {}))
    arrays = []
    for number in (1, 2, 3):
        fd = memory()
        os.pwrite(fd, bytes([number]) * SMALL.nbytes, 0)
        head = (Kind.FRAMES, number, 4096, 4096, SMALL.to_json(), SMALL)
        connection.take_epoch(protocol.pack_epoch(*head), fd)
        arrays.append(connection.lease(header(0)._replace(epoch=number)))
    assert [set(array) for array in arrays] == [{1}, {2}, {3}]
    arrays.clear()
    connection.leave()
    publishers.close()
