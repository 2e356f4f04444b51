"""A publisher that breaks the rules: a clear error for its reader, no crash, no descriptor left, and another chance."""

from __future__ import annotations

import contextlib
import fcntl
import json
import mmap
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from frameloom.bus import protocol
from frameloom.bus.protocol import Kind, Type
from frameloom.bus.publisher import FramePublisher
from frameloom.bus.subscriber import Subscription
from frameloom.model.errors import PeerError, StreamEnded
from frameloom.model.frame import Frame, PictureFormat, PixelFormat
from tests.bus.parts import SMALL, open_descriptors, publish, socket_of, take, until
from tests.bus.raw import RawPublisher, item, memory

Speech = Callable[[RawPublisher], None]
BIG = PictureFormat(PixelFormat.GRAY, 1000, 1000)


@pytest.fixture
def hostile(runtime_dir: Path) -> Iterator[RawPublisher]:
    with RawPublisher(socket_of(runtime_dir)) as hostile:
        yield hostile


@pytest.fixture
def reader(hostile: RawPublisher) -> Iterator[Subscription]:
    """Has joined, and has asked for one item."""
    with Subscription("hall") as reader:
        hostile.accept()
        assert reader.get(0) is None
        yield reader


def sent(message: bytes, *, after_welcome: bool = True) -> Speech:
    def speak(hostile: RawPublisher) -> None:
        if after_welcome:
            hostile.welcome()
        hostile.send(message)

    return speak


def with_memory(size: int = mmap.PAGESIZE, *, promised: int = 0, seals: int = fcntl.F_SEAL_SHRINK) -> Speech:
    """Announces a memory that is not as promised."""

    def speak(hostile: RawPublisher) -> None:
        hostile.welcome()
        fd = memory(size, seals)
        hostile.epoch([fd], promised or size)
        os.close(fd)

    return speak


def with_descriptors(count: int, message: bytes = b"") -> Speech:
    """Sends a message, an EPOCH if none is given, with so many descriptors."""

    def speak(hostile: RawPublisher) -> None:
        hostile.welcome()
        fd = memory()
        head = (Kind.FRAMES, 1, mmap.PAGESIZE, 4096, SMALL.to_json(), SMALL)
        hostile.send(message or protocol.pack_epoch(*head), [fd] * count)
        os.close(fd)

    return speak


def with_item(message: bytes, *, picture: PictureFormat = SMALL, epochs: int = 1) -> Speech:
    """A proper announcement, and then an item."""

    def speak(hostile: RawPublisher) -> None:
        hostile.welcome()
        fd = memory()
        for _ in range(epochs):
            hostile.epoch([fd], picture=picture)
        os.close(fd)
        hostile.send(message)

    return speak


def with_format(body: dict[str, object]) -> Speech:
    def speak(hostile: RawPublisher) -> None:
        hostile.welcome()
        fd = memory()
        hostile.epoch([fd], body=body)
        os.close(fd)

    return speak


def with_read_only_memory(hostile: RawPublisher) -> None:
    """What looks like the unlinked memory of systems without seals."""
    hostile.welcome()
    fd = memory(seals=0)
    disguised = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY)
    hostile.epoch([disguised])
    os.close(disguised)
    os.close(fd)


LIES: dict[str, tuple[Speech, str]] = {
    "garbage": (sent(b"\xff" * 40, after_welcome=False), "message of type 255 is not expected here"),
    "another protocol": (sent(b"\x10HTTP/1.1", after_welcome=False), "does not speak the bus protocol"),
    "another version": (
        sent(b"\x10FLBS\2\0\1{}", after_welcome=False),
        "speaks version 2 of the bus protocol, this",
    ),
    "another kind": (
        sent(b"\x10FLBS\1\0\7{}", after_welcome=False),
        "WELCOME: kind: read 7, allowed: 1 to 3",
    ),
    "a welcome cut short": (sent(b"\x10FLBS", after_welcome=False), "WELCOME: cut short at 5 bytes"),
    "an item before the welcome": (
        sent(item(), after_welcome=False),
        "message of type 18 is not expected here",
    ),
    "two welcomes": (sent(protocol.pack_welcome(Kind.FRAMES, {})), "WELCOME: read a second one"),
    "an error": (sent(protocol.pack_error("too many readers")), "stream 'hall': too many readers"),
    "an end that is none": (sent(b"\x13[]"), "not a mapping"),
    "a message longer than allowed": (sent(b"\x14" * 70_000), "was cut short, or this process"),
    "a reader's message": (sent(protocol.WANT_ONE), "message of type 2 is not expected here"),
    "an epoch without memory": (with_descriptors(0), "message of type 17 is not expected here"),
    "an epoch with two memories": (with_descriptors(2), "message of type 17 is not expected here"),
    "more descriptors than we take": (with_descriptors(9), "was cut short, or this process"),
    "descriptors with an item": (with_descriptors(3, item()), "message of type 18 is not expected here"),
    "descriptors with the end": (with_descriptors(1, protocol.pack_error("over")), "over"),
    "an epoch cut short": (with_descriptors(1, b"\x11\1\1\1"), "EPOCH: cut short at 4 bytes"),
    "an epoch with half a description": (with_descriptors(1, b"\x11" + bytes(99) + b"{"), "no valid JSON"),
    "memory smaller than promised": (with_memory(promised=8192), "has 4096 bytes, 8192 were promised"),
    "more memory than there is": (with_memory(1 << 48), "the memory cannot be mapped"),
    "a size that is no size": (with_memory(0, promised=0), "has 0 bytes, 0 were promised"),
    "memory that may shrink": (with_memory(seals=0), "not sealed against shrinking"),
    "memory that may shrink, disguised": (with_read_only_memory, "not sealed against shrinking"),
    "two epochs in a row": (with_item(item(), epochs=2), "EPOCH: 1 does not follow 1, or that had no item"),
    "an unknown pixel format": (with_format({**SMALL.to_json(), "pixel": "yuv999"}), "EPOCH: not understood"),
    "a picture without a size": (with_format({"pixel": "gray"}), "EPOCH: not understood: KeyError"),
    "a size that is not a number": (with_format({**SMALL.to_json(), "width": [1]}), "EPOCH: not understood"),
    "a picture without end": (
        with_format({**SMALL.to_json(), "width": float("inf")}),
        "EPOCH: not understood",
    ),
    "a picture larger than any": (
        with_format({**SMALL.to_json(), "width": 10**9}),
        "allowed: 1 to 16384 each",
    ),
    "an item cut short": (with_item(item()[:-1]), "ITEM: cut short at 87 bytes"),
    "an item of another epoch": (with_item(item(epoch=2)), "ITEM: epoch 2 was not announced"),
    "an item outside the memory": (with_item(item(offset=4096)), "3072 bytes at 4096 lie outside the memory"),
    "an item beyond all memory": (with_item(item(offset=2**64 - 1)), "lie outside the memory"),
    "an item over the edge": (with_item(item(offset=2000)), "3072 bytes at 2000 lie outside the memory"),
    "an item of another size": (with_item(item(length=100)), "ITEM: 100 bytes are no picture of this stream"),
    "an item of no size": (with_item(item(length=0)), "ITEM: 0 bytes are no picture of this stream"),
    "a picture too large for its memory": (
        with_item(item(length=10**6), picture=BIG),
        "lie outside the memory",
    ),
    "metadata cut short": (with_item(item(meta_bytes=5)), "ITEM: read 88 bytes, want 93"),
    "metadata that is none": (with_item(item(meta_bytes=2, tail=b"[]")), "not a mapping"),
    "metadata too deep": (with_item(item(meta_bytes=60_000, tail=b"[" * 60_000)), "no valid JSON"),
}


@pytest.mark.parametrize("what", LIES)
def test_a_lie_is_an_error_that_says_what_was_wrong(
    hostile: RawPublisher, reader: Subscription, what: str
) -> None:
    speak, error = LIES[what]
    before = open_descriptors()
    speak(hostile)
    with pytest.raises(PeerError, match=error):
        take(reader)
    assert not [what for fd, what in open_descriptors().items() if before.get(fd) != what and "memfd" in what]


@pytest.mark.parametrize("what", ["garbage", "an item of another size", "an error"])
def test_after_a_lie_the_next_publisher_is_joined(
    hostile: RawPublisher, reader: Subscription, runtime_dir: Path, what: str
) -> None:
    LIES[what][0](hostile)
    with pytest.raises(PeerError):
        take(reader)
    os.rename(socket_of(runtime_dir), socket_of(runtime_dir).with_suffix(".old"))
    with FramePublisher("hall") as publisher:
        until(lambda: reader.get(0.05) is None and publisher.readers())
        publish(publisher, 1)
        assert take(reader).seq == 1
    os.rename(socket_of(runtime_dir).with_suffix(".old"), socket_of(runtime_dir))


def test_a_reader_that_does_not_give_up_is_slowed_down(hostile: RawPublisher, reader: Subscription) -> None:
    """Each time it comes back it is refused; between, it waits."""
    for _ in range(3):
        hostile.send(protocol.pack_error("go away"))
        with pytest.raises(PeerError, match="go away"):
            take(reader)
        assert reader.get(0) is None
        assert reader._connection is None
        until(lambda: reader.get(0.05) is None and reader._connection)
        hostile.accept()


def test_an_item_that_nobody_asked_for(hostile: RawPublisher, reader: Subscription) -> None:
    with_item(item())(hostile)
    assert take(reader).seq == 1
    hostile.item(seq=2, block=1)
    hostile.item(seq=3, block=2)
    assert take(reader).seq == 2
    with pytest.raises(PeerError, match="item 3 was not asked for"):
        reader._receive()


def test_the_same_block_twice_harms_nobody_but_the_liar(hostile: RawPublisher, reader: Subscription) -> None:
    with_item(item())(hostile)
    first = take(reader)
    hostile.item(seq=2)
    second = take(reader)
    del first, second
    assert reader.get(0) is None


def test_a_publisher_that_closes_without_a_word_is_tried_again(
    hostile: RawPublisher, reader: Subscription
) -> None:
    for _ in range(2):
        assert hostile.sock
        hostile.sock.close()
        until(lambda: reader.get(0.05) is None and reader._connection)
        hostile.accept()
    with_item(item())(hostile)
    assert take(reader).seq == 1


@pytest.mark.parametrize(
    ("values", "error"),
    [
        (b"[" * 5000, "no valid JSON"),
        (b"[1]", "not a mapping"),
        (b"{", "no valid JSON"),
        (b"", "no valid JSON"),
    ],
)
def test_a_result_that_is_none(
    hostile: RawPublisher, reader: Subscription, values: bytes, error: str
) -> None:
    meta = b'{"source":"a","frame_seq":1}'
    hostile.welcome(Kind.RESULTS)
    hostile.item(flags=protocol.INLINE, length=len(values), meta_bytes=len(meta), tail=meta + values)
    with pytest.raises(PeerError, match=error):
        take(reader)


@pytest.mark.parametrize(
    "meta", [{}, {"source": 1}, {"source": "a", "frame_seq": []}, {"source": "a", "frame_seq": 1e999}]
)
def test_a_result_of_nothing(hostile: RawPublisher, reader: Subscription, meta: dict[str, object]) -> None:
    packed = json.dumps(meta).encode()
    hostile.welcome(Kind.RESULTS)
    hostile.item(flags=protocol.INLINE, length=2, meta_bytes=len(packed), tail=packed + b"{}")
    with pytest.raises(PeerError, match="ITEM: not a result"):
        take(reader)


@pytest.mark.parametrize(
    "body", [{}, {"codec": "h264", "width": 1}, {"codec": "h264", "width": 1, "height": 1, "extradata": "a"}]
)
def test_packets_that_are_none(hostile: RawPublisher, reader: Subscription, body: dict[str, object]) -> None:
    hostile.welcome(Kind.PACKETS)
    fd = memory()
    hostile.epoch([fd], body=body, picture=None)
    os.close(fd)
    with pytest.raises(PeerError, match="EPOCH: not understood"):
        take(reader)


def test_an_inline_packet_without_a_format(hostile: RawPublisher, reader: Subscription) -> None:
    hostile.welcome(Kind.PACKETS)
    hostile.item(flags=protocol.INLINE, length=2, tail=b"xx")
    with pytest.raises(PeerError, match="a packet without a format"):
        take(reader)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_conversation_harms_a_reader(runtime_dir: Path, data: st.DataObject) -> None:
    """Well-formed beginnings with damaged bytes in them, and descriptors where there should be none."""
    proper = [
        protocol.pack_welcome(Kind.FRAMES, {"last_seq": 0}),
        protocol.pack_epoch(Kind.FRAMES, 1, 4096, 4096, SMALL.to_json(), SMALL),
        item(),
    ]
    speech = [damage(data, message) for message in proper]
    descriptors = [data.draw(st.sampled_from([usual] * 3 + [0, 1, 2])) for usual in (0, 1, 0)]
    with RawPublisher(socket_of(runtime_dir)) as hostile, Subscription("hall") as reader:
        hostile.accept()
        assert reader.get(0) is None
        fd = memory()
        for message, count in zip(speech, descriptors, strict=True):
            hostile.send(message, [fd] * count)
        os.close(fd)
        with contextlib.suppress(PeerError, StreamEnded):
            found = reader.get(0)
            assert found is None or isinstance(found, Frame)


def damage(data: st.DataObject, message: bytes) -> bytes:
    damaged = bytearray(message)
    for _ in range(data.draw(st.integers(0, 2))):
        place = data.draw(st.integers(0, len(message) - 1))
        damaged[place] = data.draw(st.integers(0, 255))
    return bytes(damaged) if damaged else struct.pack("B", Type.ERROR)
