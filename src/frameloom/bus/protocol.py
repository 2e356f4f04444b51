"""The wire format of the bus: what each message looks like, and nothing of what is done about it.

All numbers are little-endian; every message begins with its type (one byte). `docs/bus-protocol.md` says the same for
people who write a reader in another language; a test holds the two together.

    reader -> publisher   HELLO, WANT, BYE
    publisher -> reader   WELCOME, EPOCH (with the memory's descriptor), ITEM, END, ERROR
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any, NamedTuple

from frameloom.model.errors import PeerError
from frameloom.model.frame import PictureFormat, PixelFormat

MAGIC = b"FLBS"
VERSION = 1

MOST_CREDITS = 32  # unread items a reader may ask for: keeps what a socket must hold bounded
MOST_LEASES = 64  # blocks one reader may hold
INLINE_BYTES = 4096  # larger payloads and metadata travel in blocks, like pixels
LONGEST_MESSAGE = 65536


class Type(IntEnum):
    """The first byte of a message."""

    HELLO = 1
    WANT = 2
    BYE = 3
    WELCOME = 16
    EPOCH = 17
    ITEM = 18
    END = 19
    ERROR = 20


class Kind(IntEnum):
    """What a stream carries."""

    FRAMES = 1
    PACKETS = 2
    RESULTS = 3


class Policy(StrEnum):
    """What a reader gets when it is slower than the stream.

    LATEST   the newest item at the moment it asks; what came between is dropped and counted
    EVERY    all items in order; a publisher that can wait (a file) waits, one that cannot (a camera) keeps a few and
             then drops the oldest, counted. Packets go on at the newest key frame after such a gap
    """

    LATEST = "latest"
    EVERY = "every"


KEY = 1  # flag: a decoder can start at this packet
INLINE = 2  # flag: the payload follows in the message, no block is leased

_PREAMBLE = struct.Struct("<B4sHB")  # type, magic, version, kind (0 in HELLO)
_WANT = struct.Struct("<BxxxII")  # type, credits, number of returned leases
LEASE = struct.Struct("<II")  # epoch, block
# type, kind, pixel, planes, epoch, memory bytes, block bytes, width, height
_EPOCH = struct.Struct("<BBBBIQQII")
_PLANE = struct.Struct("<IIII")  # offset, width, height, channels
_MOST_PLANES = 4
ITEM = struct.Struct("<BBHIIIQQQqqqqqq")
_ITEM_HEADER = struct.Struct("<xBxxIIIQQQqqqqqq")  # the same without its type and padding
_WANT_AND_ONE = struct.Struct("<BxxxIIII")  # with one returned lease, the usual case
_PIXELS = {
    PixelFormat.GRAY: 1,
    PixelFormat.YUV420P: 2,
    PixelFormat.NV12: 3,
    PixelFormat.BGR: 4,
    PixelFormat.RGB: 5,
}


class ItemHeader(NamedTuple):
    """The fixed part of an ITEM message. Times in ns; `published_ns` is monotonic, when it was handed over."""

    flags: int
    epoch: int
    block: int
    meta_bytes: int
    offset: int
    length: int
    seq: int
    pts_ns: int
    captured_ns: int
    captured_at_ns: int
    published_ns: int
    dts_ns: int
    duration_ns: int


@dataclass(frozen=True, slots=True)
class Hello:
    """What a reader asks for."""

    policy: Policy
    leases: int
    client: str
    pid: int


def pack_hello(hello: Hello) -> bytes:
    """The first message of a reader."""
    body = {"policy": hello.policy, "leases": hello.leases, "client": hello.client[:80], "pid": hello.pid}
    return _PREAMBLE.pack(Type.HELLO, MAGIC, VERSION, 0) + json.dumps(body).encode()


def unpack_hello(message: bytes) -> Hello:
    """Raises `PeerError` for anything that is not a HELLO of our version."""
    _check_preamble(message, Type.HELLO, "reader")
    body = unpack_json(message[_PREAMBLE.size :])
    try:
        leases = int(body["leases"])
        hello = Hello(Policy(body["policy"]), leases, _printable(body["client"]), int(body["pid"]))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise PeerError(f"HELLO: not understood: {error!r}") from None
    if not 1 <= leases <= MOST_LEASES:
        raise PeerError(f"HELLO: leases: read {leases}, allowed: 1 to {MOST_LEASES}")
    return hello


def pack_welcome(kind: Kind, body: Mapping[str, Any]) -> bytes:
    """The answer to HELLO: what the stream carries, and facts about it."""
    return _PREAMBLE.pack(Type.WELCOME, MAGIC, VERSION, kind) + json.dumps(body).encode()


def unpack_welcome(message: bytes) -> tuple[Kind, dict[str, Any]]:
    """What the stream carries, and facts about it; raises `PeerError`."""
    kind = _check_preamble(message, Type.WELCOME, "publisher")
    try:
        return Kind(kind), unpack_json(message[_PREAMBLE.size :])
    except ValueError:
        raise PeerError(f"WELCOME: kind: read {kind}, allowed: 1 to 3") from None


def pack_want(credits: int, returned: Sequence[tuple[int, int]] = ()) -> bytes:
    """Ask for `credits` more items, and return leases as (epoch, block)."""
    if len(returned) == 1:
        return _WANT_AND_ONE.pack(Type.WANT, credits, 1, *returned[0])
    leases = [LEASE.pack(epoch, block) for epoch, block in returned]
    return _WANT.pack(Type.WANT, credits, len(leases)) + b"".join(leases)


WANT_ONE = _WANT.pack(Type.WANT, 1, 0)


def unpack_want(message: bytes) -> tuple[int, list[tuple[int, int]]]:
    """Credits granted and leases returned; raises `PeerError` if the message is cut or excessive."""
    if len(message) == _WANT_AND_ONE.size:
        _, credits, count, epoch, block = _WANT_AND_ONE.unpack(message)
        if count == 1 and credits <= MOST_CREDITS:
            return credits, [(epoch, block)]
    try:
        _, credits, count = _WANT.unpack_from(message)
        if len(message) != _WANT.size + count * LEASE.size or credits > MOST_CREDITS:
            raise PeerError(f"WANT: read {credits} credits and {len(message)} bytes for {count} leases")
        return credits, list(LEASE.iter_unpack(message[_WANT.size :])) if count else []
    except struct.error:
        raise PeerError(f"WANT: cut short at {len(message)} bytes") from None


def pack_bye() -> bytes:
    """No more items are wanted; leases are still held."""
    return bytes([Type.BYE])


def pack_epoch(
    kind: Kind,
    number: int,
    memory_bytes: int,
    block_bytes: int,
    body: Mapping[str, Any],
    picture: PictureFormat | None,
) -> bytes:
    """A geometry and its memory. Raises `ValueError` if the description is too long for a message."""
    planes = picture.planes if picture else ()
    size = (picture.width, picture.height) if picture else (0, 0)
    pixel = _PIXELS[picture.pixel] if picture else 0
    fixed = _EPOCH.pack(Type.EPOCH, kind, pixel, len(planes), number, memory_bytes, block_bytes, *size)
    table = b"".join(_PLANE.pack(p.offset, p.width, p.height, p.channels) for p in planes)
    message = fixed + table.ljust(_MOST_PLANES * _PLANE.size, b"\0") + json.dumps(body).encode()
    if len(message) > LONGEST_MESSAGE:
        raise ValueError(f"a description of {len(message)} bytes, allowed: {LONGEST_MESSAGE}")
    return message


def unpack_epoch(message: bytes) -> tuple[int, int, dict[str, Any]]:
    """Epoch number, bytes of its memory, and the description (`PictureFormat` or `PacketFormat` as JSON)."""
    try:
        fields = _EPOCH.unpack_from(message)
    except struct.error:
        raise PeerError(f"EPOCH: cut short at {len(message)} bytes") from None
    return fields[4], fields[5], unpack_json(message[_EPOCH.size + _MOST_PLANES * _PLANE.size :])


def unpack_item(message: bytes) -> tuple[ItemHeader, dict[str, Any], bytes]:
    """Header, metadata and inline payload; raises `PeerError` if the message is cut."""
    if len(message) < ITEM.size:
        raise PeerError(f"ITEM: cut short at {len(message)} bytes")
    header = ItemHeader._make(_ITEM_HEADER.unpack_from(message))
    if len(message) == ITEM.size and not (header.meta_bytes or header.flags & INLINE):
        return header, {}, b""
    end = ITEM.size + header.meta_bytes
    inline = header.length if header.flags & INLINE else 0
    if len(message) != end + inline:
        raise PeerError(f"ITEM: read {len(message)} bytes, want {end + inline}")
    return header, unpack_json(message[ITEM.size : end]) if header.meta_bytes else {}, message[end:]


def pack_end(reason: str) -> bytes:
    """The stream came to its proper end."""
    return bytes([Type.END]) + json.dumps({"reason": reason}).encode()


def pack_error(message: str) -> bytes:
    """Why the publisher closes this connection."""
    return bytes([Type.ERROR]) + json.dumps({"message": message[:1000]}).encode()


def unpack_body(message: bytes) -> dict[str, Any]:
    """The JSON of END and ERROR."""
    return unpack_json(message[1:])


def _printable(name: Any) -> str:
    """What a stranger calls itself, fit for a log and a terminal."""
    return "".join(c if c.isprintable() else "?" for c in str(name)[:80])


def _check_preamble(message: bytes, want: Type, who: str) -> int:
    try:
        type_, magic, version, kind = _PREAMBLE.unpack_from(message)
    except struct.error:
        raise PeerError(f"{want.name}: cut short at {len(message)} bytes") from None
    if type_ != want or magic != MAGIC:
        raise PeerError(f"{want.name}: the {who} does not speak the bus protocol")
    if version != VERSION:
        raise PeerError(
            f"{want.name}: the {who} speaks version {version} of the bus protocol, this side {VERSION}"
        )
    return int(kind)


def unpack_json(data: bytes) -> dict[str, Any]:
    """A JSON mapping; raises `PeerError` for anything else."""
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        raise PeerError("the message holds no valid JSON") from None
    if not isinstance(body, dict):
        raise PeerError("the message's JSON is not a mapping")
    return body
