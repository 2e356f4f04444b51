"""The wire format: what is packed is unpacked the same, and nothing that arrives can do more than be refused."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from frameloom.bus import protocol
from frameloom.bus.protocol import Hello, ItemHeader, Kind, Policy, Type
from frameloom.model.errors import PeerError
from frameloom.model.frame import ColorMatrix, PictureFormat, PixelFormat
from frameloom.model.packet import PacketFormat

U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
I64 = st.integers(-(2**63), 2**63 - 1)
JSON = st.dictionaries(
    st.text(max_size=10), st.none() | st.booleans() | I64 | st.text(max_size=20), max_size=5
)

HELLOS = st.builds(
    Hello,
    st.sampled_from(Policy),
    st.integers(1, protocol.MOST_LEASES),
    st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=80),
    U32,
)
PICTURES = st.builds(
    PictureFormat,
    st.sampled_from(PixelFormat),
    st.integers(1, 16384),
    st.integers(1, 16384),
    st.sampled_from(ColorMatrix),
    st.booleans(),
)
PACKETS = st.builds(
    PacketFormat,
    st.sampled_from(["h264", "mjpeg"]),
    U32,
    U32,
    st.binary(max_size=200),
    st.sampled_from([0, 90, 180, 270]),
    st.text(max_size=10),
)
HEADERS = st.builds(
    ItemHeader, st.sampled_from([0, 1]), U32, U32, st.just(0), U64, U64, U64, I64, I64, I64, I64, I64, I64
)

UNPACKERS: list[Callable[[bytes], Any]] = [
    protocol.unpack_hello,
    protocol.unpack_welcome,
    protocol.unpack_want,
    protocol.unpack_epoch,
    protocol.unpack_item,
    protocol.unpack_body,
]


@given(HELLOS)
def test_hello_goes_round(hello: Hello) -> None:
    assert protocol.unpack_hello(protocol.pack_hello(hello)) == hello


@given(st.sampled_from(Kind), JSON)
def test_welcome_goes_round(kind: Kind, info: dict[str, Any]) -> None:
    assert protocol.unpack_welcome(protocol.pack_welcome(kind, info)) == (kind, info)


@given(st.integers(0, protocol.MOST_CREDITS), st.lists(st.tuples(U32, U32), max_size=protocol.MOST_LEASES))
def test_want_goes_round(credits: int, leases: list[tuple[int, int]]) -> None:
    assert protocol.unpack_want(protocol.pack_want(credits, leases)) == (credits, leases)


def test_the_message_that_is_sent_most_is_packed_beforehand() -> None:
    assert protocol.pack_want(1) == protocol.WANT_ONE


@given(PICTURES, U32, U64)
def test_a_picture_goes_round(picture: PictureFormat, number: int, size: int) -> None:
    message = protocol.pack_epoch(Kind.FRAMES, number, size, 4096, picture.to_json(), picture)
    found_number, found_size, body = protocol.unpack_epoch(message)
    assert (found_number, found_size, PictureFormat.from_json(body)) == (number, size, picture)


@given(PACKETS)
def test_a_packet_format_goes_round(packets: PacketFormat) -> None:
    message = protocol.pack_epoch(Kind.PACKETS, 3, 4096, 0, packets.to_json(), None)
    assert PacketFormat.from_json(protocol.unpack_epoch(message)[2]) == packets


def test_a_description_that_fits_into_no_message_is_refused_by_who_made_it() -> None:
    packets = PacketFormat("h264", 1, 1, extradata=bytes(60_000))
    with pytest.raises(ValueError, match=r"a description of 80[0-9]{3} bytes, allowed: 65536"):
        protocol.pack_epoch(Kind.PACKETS, 1, 4096, 0, packets.to_json(), None)


@given(HEADERS, JSON, st.none() | st.binary(max_size=50))
def test_an_item_goes_round(header: ItemHeader, metadata: dict[str, Any], inline: bytes | None) -> None:
    meta = json.dumps(metadata).encode() if metadata else b""
    header = header._replace(meta_bytes=len(meta))
    if inline is not None:
        header = header._replace(flags=header.flags | protocol.INLINE, length=len(inline))
    message = protocol.ITEM.pack(Type.ITEM, header.flags, 0, *header[1:]) + meta + (inline or b"")
    assert protocol.unpack_item(message) == (header, metadata, inline or b"")


@given(st.text(max_size=2000))
def test_the_end_and_errors_go_round(text: str) -> None:
    assert protocol.unpack_body(protocol.pack_end(text)) == {"reason": text}
    assert protocol.unpack_body(protocol.pack_error(text)) == {"message": text[:1000]}


@settings(max_examples=300)
@given(st.sampled_from(UNPACKERS), st.binary(max_size=200))
def test_garbage_is_refused(unpack: Callable[[bytes], Any], garbage: bytes) -> None:
    only_peer_errors(unpack, garbage)


@settings(max_examples=300)
@given(st.sampled_from(UNPACKERS), st.data())
def test_a_damaged_message_is_refused_or_understood(
    unpack: Callable[[bytes], Any], data: st.DataObject
) -> None:
    message = bytearray(data.draw(valid_messages()))
    for _ in range(data.draw(st.integers(1, 4))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    only_peer_errors(unpack, bytes(message[: data.draw(st.integers(0, len(message)))]))


def valid_messages() -> st.SearchStrategy[bytes]:
    return st.one_of(
        HELLOS.map(protocol.pack_hello),
        st.builds(protocol.pack_welcome, st.sampled_from(Kind), JSON),
        st.builds(protocol.pack_want, st.integers(0, 40), st.lists(st.tuples(U32, U32), max_size=3)),
        PICTURES.map(lambda p: protocol.pack_epoch(Kind.FRAMES, 1, 4096, 4096, p.to_json(), p)),
        st.just(protocol.ITEM.pack(Type.ITEM, 0, 0, 1, 0, 2, 0, 100, 1, *[0] * 6) + b"{}"),
        st.text(max_size=20).map(protocol.pack_end),
    )


def only_peer_errors(unpack: Callable[[bytes], Any], message: bytes) -> None:
    with contextlib.suppress(PeerError):
        unpack(message)


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (b"", "HELLO: cut short at 0 bytes"),
        (b"\1GET / HTTP", "HELLO: the reader does not speak the bus protocol"),
        (b"\1FLBS\7\0\0{}", "HELLO: the reader speaks version 7 of the bus protocol, this side 1"),
        (b"\1FLBS\1\0\0", "no valid JSON"),
        (b"\1FLBS\1\0\0[]", "not a mapping"),
        (b"\1FLBS\1\0\0" + b"[" * 60_000, "no valid JSON"),
        (b"\1FLBS\1\0\0{}", "HELLO: not understood: KeyError"),
        (b'\1FLBS\1\0\0{"policy":"all","client":"","pid":1,"leases":4}', "'all' is not a valid Policy"),
        (b'\1FLBS\1\0\0{"policy":"every","client":"","pid":1,"leases":65}', "read 65, allowed: 1 to 64"),
        (b'\1FLBS\1\0\0{"policy":"every","client":"","pid":1e999,"leases":4}', "OverflowError"),
    ],
)
def test_what_is_wrong_with_a_hello_is_said(message: bytes, error: str) -> None:
    with pytest.raises(PeerError, match=error):
        protocol.unpack_hello(message)


def test_a_strangers_name_cannot_paint_the_terminal() -> None:
    hello = protocol.unpack_hello(protocol.pack_hello(Hello(Policy.LATEST, 2, "a\x1b[31m\nb" + "c" * 200, 1)))
    assert hello.client == "a?[31m?b" + "c" * 72


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (b"\2", "WANT: cut short at 1 bytes"),
        (protocol.pack_want(2**32 - 1), "WANT: read 4294967295 credits"),
        (protocol.pack_want(1, [(1, 1)])[:-1], "WANT: read 1 credits and 19 bytes for 1 leases"),
    ],
)
def test_what_is_wrong_with_a_want_is_said(message: bytes, error: str) -> None:
    with pytest.raises(PeerError, match=error):
        protocol.unpack_want(message)
