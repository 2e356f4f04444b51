"""A client that breaks the rules: a clear error on its own connection, and nobody else notices."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from frameloom.bus import protocol
from frameloom.bus.protocol import Hello, Policy, Type
from frameloom.bus.publisher import FramePublisher, PacketPublisher
from frameloom.bus.subscriber import Subscription
from tests.bus.parts import (
    GENEROUS_S,
    SMALL,
    is_intact,
    joined,
    packet,
    pattern,
    publish,
    settle,
    socket_of,
    take,
    until,
)
from tests.bus.raw import RawReader

Serve = Callable[[], None]
HELLO = protocol.pack_hello(Hello(Policy.LATEST, 4, "raw", 1))


@pytest.fixture
def publisher() -> Iterator[FramePublisher]:
    with FramePublisher("hall", greeting_s=60) as publisher:
        yield publisher


@pytest.fixture
def witness(publisher: FramePublisher) -> Iterator[Subscription]:
    """A reader beside, that gets every frame during the test and after it."""
    with Subscription("hall", client="witness") as witness:
        joined(publisher, 1)
        yield witness
        if publisher._ended is None:
            until(lambda: len(publisher._readers) == 1, "the hostile connection is closed")
            assert_served(publisher, witness, 50)


@pytest.fixture
def serve(publisher: FramePublisher, witness: Subscription) -> Serve:
    """Publishes a frame, which the witness must get. Whoever is up to date is only heard when one is published."""
    return lambda: assert_served(publisher, witness)


@pytest.fixture
def raw(publisher: FramePublisher, witness: Subscription, runtime_dir: Path) -> Iterator[RawReader]:
    with RawReader(socket_of(runtime_dir)) as raw:
        yield raw


def assert_served(publisher: FramePublisher, witness: Subscription, frames: int = 1) -> None:
    for _ in range(frames):
        publish(publisher, publisher._seq + 1)
        frame = take(witness)
        assert frame.seq == publisher._seq
        assert is_intact(frame)


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "message of type 71 is not expected here"),
        (b"\1GET", "HELLO: cut short at 4 bytes"),
        (b"\1" + b"x" * 60_000, "HELLO: the reader does not speak the bus protocol"),
        (HELLO.replace(b"FLBS", b"FLBT"), "HELLO: the reader does not speak the bus protocol"),
        (HELLO.replace(b"S\1\0", b"S\2\0"), "the reader speaks version 2 of the bus protocol, this side 1"),
        (HELLO[:-1], "the message holds no valid JSON"),
        (HELLO.replace(b'"leases": 4', b'"leases": 1000000'), "leases: read 1000000, allowed: 1 to 64"),
        (protocol.WANT_ONE, "message of type 2 is not expected here"),
        (protocol.pack_bye(), "message of type 3 is not expected here"),
        (bytes(100_000), "message of type 0 is not expected here"),
    ],
)
def test_nonsense_instead_of_hello(raw: RawReader, message: bytes, error: str) -> None:
    raw.send(message)
    assert error in raw.refusal()


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (HELLO, "message of type 1 is not expected here"),
        (b"\2\0", "WANT: cut short at 2 bytes"),
        (protocol.pack_want(2**32 - 1), "WANT: read 4294967295 credits"),
        (protocol.pack_want(33), "WANT: read 33 credits"),
        (protocol.pack_want(0), "WANT: asks for nothing and returns nothing"),
        (protocol.pack_want(1, [(1, 1)]), "returns block 1 of epoch 1, which it does not hold"),
        (protocol.pack_want(1, [(0, 0)] * 8000), "returns block 0 of epoch 0, which it does not hold"),
        (struct.pack("<BxxxII", Type.WANT, 1, 2**32 - 1), "bytes for 4294967295 leases"),
        (b"\2" + b"\xff" * 100_000, "WANT: read 4294967295 credits"),
        (protocol.pack_end("over"), "message of type 19 is not expected here"),
        (b"\xff", "message of type 255 is not expected here"),
    ],
)
def test_nonsense_after_hello(raw: RawReader, serve: Serve, message: bytes, error: str) -> None:
    raw.hello().send(message)
    assert error in raw.refusal(serve)


def test_an_error_is_heard_though_more_was_said(publisher: FramePublisher, raw: RawReader) -> None:
    """Closing a socket with unread messages resets the connection; the error must come before that."""
    with publisher._lock:  # it hears nothing before all is said
        raw.send(HELLO.replace(b"S\1\0", b"S\2\0"))
        for _ in range(20):
            raw.send(protocol.WANT_ONE)
    assert "version 2" in raw.refusal()


def test_an_empty_message_is_a_good_bye(raw: RawReader, serve: Serve) -> None:
    raw.hello().send(b"")
    assert raw.refusal(serve) == ""


def test_credits_cannot_be_piled_up(raw: RawReader, serve: Serve) -> None:
    raw.hello()
    for _ in range(4):
        raw.want(10)
    assert "WANT: read 10 more credits, allowed: " in raw.refusal(serve)


def test_a_lease_goes_back_once(publisher: FramePublisher, witness: Subscription, raw: RawReader) -> None:
    raw.hello().want(1)
    joined(publisher, 2)
    assert_served(publisher, witness)
    header, memory = raw.receive_item()
    assert memory is not None
    os.close(memory)
    raw.want(0, [(header.epoch, header.block)])
    raw.want(0, [(header.epoch, header.block)])
    assert_served(publisher, witness)
    assert "which it does not hold" in raw.refusal()


def test_who_has_left_asks_for_nothing(
    publisher: FramePublisher, witness: Subscription, raw: RawReader
) -> None:
    raw.hello()
    joined(publisher, 2)
    raw.send(protocol.pack_bye())
    raw.want(1)
    assert_served(publisher, witness)
    assert "WANT: read 1 more credits, allowed: 0" in raw.refusal()


def test_who_has_left_cannot_leave_again(raw: RawReader, serve: Serve) -> None:
    raw.hello().send(protocol.pack_bye())
    raw.send(protocol.pack_bye())
    assert "message of type 3 is not expected here" in raw.refusal(serve)


def test_silence_has_an_end(runtime_dir: Path) -> None:
    with FramePublisher("hall", greeting_s=0.05), RawReader(socket_of(runtime_dir)) as raw:
        assert "no HELLO within 0.05 s" in raw.refusal()


def test_descriptors_that_a_client_sends_are_closed(raw: RawReader, serve: Serve) -> None:
    socket.send_fds(raw.sock, [HELLO], [0, 1, 2] * 20)
    socket.send_fds(raw.sock, [b"\xff"], [0] * 20)
    assert "message of type 255" in raw.refusal(serve)


def test_one_that_never_reads_and_never_returns(
    publisher: FramePublisher, witness: Subscription, raw: RawReader
) -> None:
    raw.hello(Policy.EVERY, leases=64).want(32)
    joined(publisher, 2)
    assert_served(publisher, witness, 200)
    assert publisher.readers()[1].sent == 32
    assert publisher.readers()[1].leases == 32
    for _ in range(2):
        raw.want(32)
        assert_served(publisher, witness, 200)
        assert publisher.readers()[1].leases == 64
    raw.close()


def test_many_that_hold_all_they_may(
    publisher: FramePublisher, witness: Subscription, runtime_dir: Path
) -> None:
    crowd = [RawReader(socket_of(runtime_dir)).hello(Policy.EVERY, leases=64) for _ in range(5)]
    joined(publisher, 6)
    for _ in range(2):
        for raw in crowd:
            raw.want(32)
        assert_served(publisher, witness, 100)
    assert [reader.leases for reader in publisher.readers()[1:]] == [64] * 5
    for raw in crowd:
        raw.close()


def test_one_that_keeps_the_ring_of_packets(runtime_dir: Path) -> None:
    """Those that return nothing keep the old memory to themselves; all others go on in a new one."""
    with (
        PacketPublisher("hall", memory_bytes=1 << 16) as publisher,
        Subscription("hall", policy="every") as reader,
    ):
        crowd = [RawReader(socket_of(runtime_dir)).hello(Policy.EVERY, leases=64) for _ in range(3)]
        joined(publisher, 4)
        for raw in crowd:
            raw.want(32)
        for seed in range(1, 400):
            publisher.publish(packet(seed, nbytes=10_000))
            item = take(reader)
            assert item.seq == seed
            assert item.data == pattern(seed, 10_000).tobytes()
        assert publisher._memory_bytes == 1 << 16
        assert len(publisher._kept._live) < 5
        for raw in crowd:
            raw.close()


def test_a_thousand_connections(publisher: FramePublisher, witness: Subscription, runtime_dir: Path) -> None:
    for number in range(1000):
        with RawReader(socket_of(runtime_dir)) as raw:
            if number % 3 == 1:
                raw.hello()
            elif number % 3 == 2:
                raw.send(b"garbage")
        if number % 100 == 0:
            assert_served(publisher, witness)


def test_too_many_readers_are_told(
    publisher: FramePublisher, witness: Subscription, runtime_dir: Path
) -> None:
    crowd = [RawReader(socket_of(runtime_dir)).hello() for _ in range(255)]
    joined(publisher, 256)
    with RawReader(socket_of(runtime_dir)) as one_more:
        assert one_more.refusal() == "too many readers"
    assert_served(publisher, witness)
    for raw in crowd:
        raw.close()


def test_a_flood_of_messages_is_cut_off(
    publisher: FramePublisher, witness: Subscription, raw: RawReader
) -> None:
    """Every valid message uses up something that the publisher gave, so that nobody can keep it busy with them."""
    raw.hello()
    joined(publisher, 2)

    def flood() -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while True:
                raw.want(1)

    thread = threading.Thread(target=flood)
    thread.start()
    assert_served(publisher, witness, 100)
    thread.join()


def test_the_end_is_told_once(publisher: FramePublisher, witness: Subscription, raw: RawReader) -> None:
    raw.hello()
    joined(publisher, 2)
    publisher.end()
    raw.want(1)
    publisher._answer(next(fd for fd, r in publisher._readers.items() if r.hello and r.hello.client == "raw"))
    assert publisher.wait_ended(GENEROUS_S)
    publisher.close()
    kinds = []
    while (kind := raw.receive()[0]) != 0:
        kinds.append(kind)
    assert kinds == [Type.WELCOME, Type.END]


class TestMemory:
    """The memory that a reader is given can be looked at, and nothing else, by whatever way."""

    @pytest.fixture
    def fd(self, publisher: FramePublisher, witness: Subscription, raw: RawReader) -> Iterator[int]:
        raw.hello().want(1)
        joined(publisher, 2)
        assert_served(publisher, witness)
        _, fd = raw.receive_item()
        assert fd is not None
        yield fd
        os.close(fd)
        raw.close()

    @pytest.mark.parametrize("flags", [os.O_RDWR, None], ids=["opened anew", "as it came"])
    def test_it_cannot_be_mapped_for_writing(self, fd: int, flags: int | None) -> None:
        mine = os.dup(fd) if flags is None else os.open(f"/proc/self/fd/{fd}", flags)
        try:
            with pytest.raises(PermissionError):
                mmap.mmap(mine, mmap.PAGESIZE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
            with pytest.raises(PermissionError):
                os.pwrite(mine, b"x", 0)
        finally:
            os.close(mine)

    def test_it_can_be_mapped_for_reading(self, fd: int) -> None:
        with mmap.mmap(fd, mmap.PAGESIZE, mmap.MAP_SHARED, mmap.PROT_READ) as view:
            assert view[: SMALL.nbytes] == pattern(1, SMALL.nbytes).tobytes()

    def test_it_cannot_be_resized(self, fd: int) -> None:
        size = os.fstat(fd).st_size
        for other in (0, size - mmap.PAGESIZE, size + mmap.PAGESIZE):
            with pytest.raises(PermissionError):
                os.ftruncate(fd, other)
        with pytest.raises(PermissionError):
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)

    def test_no_hole_can_be_punched_into_it(self, fd: int) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        keep_size_punch_hole = 0x01 | 0x02
        result = libc.fallocate(fd, keep_size_punch_hole, ctypes.c_long(0), ctypes.c_long(mmap.PAGESIZE))
        assert (result, ctypes.get_errno()) == (-1, errno.EPERM)


def test_numpy_refuses_to_write(publisher: FramePublisher, witness: Subscription) -> None:
    publish(publisher, 1)
    frame = take(witness)
    for array in (frame.data, frame.gray, *frame.planes, frame.gray[3:5]):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.flags.writeable = True
    assert frame.gray.base is frame.data


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    messages=st.lists(
        st.binary(max_size=60)
        | st.just(HELLO)
        | st.builds(
            protocol.pack_want,
            st.integers(0, 40),
            st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=3),
        )
        | st.just(protocol.pack_bye()),
        max_size=8,
    )
)
def test_no_conversation_harms_the_publisher(runtime_dir: Path, messages: list[bytes]) -> None:
    with FramePublisher("hall") as publisher, Subscription("hall", client="witness") as witness:
        joined(publisher, 1)
        with RawReader(socket_of(runtime_dir)) as raw:
            raw.hello()
            for message in messages:
                try:
                    raw.send(message)
                except OSError:
                    break
                assert_served(publisher, witness)
        until(lambda: len(publisher._readers) == 1)
        assert_served(publisher, witness)
        settle(publisher)
        assert publisher._thread.is_alive()
