"""From a message and the block it names to the Frame, Packet or Result that a reader gets."""

from __future__ import annotations

from typing import Any

from frameloom.model.errors import PeerError
from frameloom.model.frame import Frame
from frameloom.model.packet import Packet
from frameloom.model.result import Result

from . import protocol
from .connection import Connection
from .protocol import INLINE, KEY, ItemHeader

Item = Frame | Packet | Result


def frame_of(
    stream: str, connection: Connection, header: ItemHeader, metadata: dict[str, Any], most_shared: int
) -> Frame:
    """A frame on the publisher's memory; or a copy, if so many are kept that it would have none left for us."""
    data = connection.lease(header)
    picture = connection.epoch.picture if connection.epoch else None
    if picture is None or picture.nbytes != header.length:
        raise PeerError(f"ITEM: {header.length} bytes are no picture of this stream")
    shared = len(connection.leases) <= most_shared
    if not shared:
        data = data.copy()
        data.flags.writeable = False
    return Frame(
        data,
        picture,
        stream=stream,
        seq=header.seq,
        pts_ns=header.pts_ns,
        captured_ns=header.captured_ns,
        captured_at_ns=header.captured_at_ns,
        metadata=metadata,
        shared=shared,
    )


def packet_of(
    stream: str, connection: Connection, header: ItemHeader, metadata: dict[str, Any], inline: bytes
) -> Packet:
    """A packet with data of its own."""
    data = _bytes(connection, header, inline)
    format = connection.epoch.packets if connection.epoch else None
    if format is None:
        raise PeerError("ITEM: a packet without a format")
    return Packet(
        data,
        format,
        header.pts_ns,
        bool(header.flags & KEY),
        header.captured_ns,
        header.captured_at_ns,
        header.dts_ns,
        header.duration_ns,
        stream,
        header.seq,
        metadata,
    )


def result_of(
    stream: str, connection: Connection, header: ItemHeader, metadata: dict[str, Any], inline: bytes
) -> Result:
    """A result with values of its own."""
    values = protocol.unpack_json(_bytes(connection, header, inline))
    try:
        source, frame_seq = str(metadata["source"]), int(metadata["frame_seq"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise PeerError(f"ITEM: not a result: {error!r}") from None
    times = (header.pts_ns, header.captured_ns, header.captured_at_ns)
    return Result(stream, header.seq, source, frame_seq, *times, values)


def _bytes(connection: Connection, header: ItemHeader, inline: bytes) -> bytes:
    # Small: a copy frees the ring at once.
    return inline if header.flags & INLINE else connection.lease(header).tobytes()
