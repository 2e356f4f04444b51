"""The publishing side of a stream: FramePublisher, PacketPublisher, ResultPublisher.

One publisher, any number of readers. All counts are kept here, in this process; a reader only sends credits ("I want
one more") and returned leases. Publishing never blocks: a publisher that can wait for its `every` readers calls
`wait_ready()` before the next item. Here is what the three kinds do differently; what they share is
`frameloom.bus.serving`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from frameloom.model.errors import OutOfMemory
from frameloom.model.frame import Array, Frame, PictureFormat
from frameloom.model.packet import Packet, PacketFormat

from . import protocol
from .memory import whole_pages
from .pool import ByteRing, SlotPool
from .protocol import Kind, Policy
from .readers import Reader, ReaderInfo
from .records import pack_metadata, pack_record
from .retention import Item
from .serving import Publisher

log = logging.getLogger(__name__)

_MOST_PACKETS = 4096  # retained for readers that fall behind
_INTRA = frozenset({"mjpeg", "rawvideo", "png"})


class Slot:
    """A part of the pool that is being filled: write into `planes`, then publish it."""

    __slots__ = ("block", "data", "format", "offset", "planes")

    def __init__(self, block: int, offset: int, data: Array, format: PictureFormat) -> None:
        self.block, self.offset, self.data, self.format = block, offset, data, format
        self.planes = tuple(plane.of(data) for plane in format.planes)


class FramePublisher(Publisher):
    """Publishes pictures without copying them: fill a slot, hand it over.

        slot = publisher.reserve(picture_format)
        decoder.fill(slot.planes)
        publisher.publish(slot, pts_ns=..., captured_ns=..., captured_at_ns=...)

    Readers that want every frame of a stream that cannot wait find the last `history` ones.
    """

    kind = Kind.FRAMES

    def __init__(self, stream: str, *, slots: int = 32, history: int = 4, **options: Any) -> None:
        self._slots = slots
        self._history = max(2, history)
        self._format: PictureFormat | None = None
        self._open: Slot | None = None
        self._made: dict[int, Slot] = {}
        self._grow = False
        super().__init__(stream, **options)

    def reserve(self, format: PictureFormat) -> Slot:
        """A free slot for a picture of this format; the same one again if the last was not published.

        Raises `OutOfMemory`. A format other than the last one's begins a new epoch with memory of its own.
        """
        with self._lock:
            self._check_open()
            if format is not self._format and format != self._format:
                self._begin(format)
            elif self._grow:
                self._try_to_grow(format)
            if self._open is None:
                self._open = self._take(format)
            return self._open

    def publish(
        self,
        slot: Slot,
        *,
        pts_ns: int,
        captured_ns: int,
        captured_at_ns: int,
        metadata: Mapping[str, Any] | None = None,
    ) -> int:
        """Hand the filled slot to all readers; returns the frame's number. The slot must not be written again."""
        meta = pack_metadata(self.stream, metadata)
        times = (pts_ns, captured_ns, captured_at_ns, pts_ns, 0)
        with self._lock:
            self._check_open()
            epoch = self._kept.epoch
            if slot is not self._open or epoch is None:
                raise ValueError(f"stream {self.stream!r}: the slot is not the one reserved last")
            length = slot.format.nbytes
            message = self._header(0, (slot.block, slot.offset), meta, length, times)
            self._open = None
            self._publish(Item(self._seq + 1, True, message, length, epoch, slot.block))
            return self._seq

    def publish_frame(self, frame: Frame) -> int:
        """Copy a frame into a slot and publish it with its times."""
        slot = self.reserve(frame.format)
        np.copyto(slot.data, frame.data)
        return self.publish(
            slot,
            pts_ns=frame.pts_ns,
            captured_ns=frame.captured_ns,
            captured_at_ns=frame.captured_at_ns,
            metadata=frame.metadata,
        )

    def _begin(self, format: PictureFormat) -> None:
        slot_bytes = whole_pages(format.nbytes)
        pool = SlotPool(self._slots, slot_bytes)
        self._kept.begin(slot_bytes * self._slots, pool, slot_bytes, format.to_json(), format)
        self._format, self._open, self._grow = format, None, False
        self._made = {}

    def _try_to_grow(self, format: PictureFormat) -> None:
        """More slots for more readers; without the memory for them, the stream goes on with those that it has."""
        self._grow = False
        try:
            self._begin(format)
        except OutOfMemory as error:
            problem = str(error)  # not the error itself: whoever keeps the record would keep the memory
            log.warning("stream %s: %s; it goes on with fewer slots than promised", self.stream, problem)

    def _take(self, format: PictureFormat) -> Slot:
        epoch = self._kept.epoch
        assert epoch
        if (placed := self._allocate(format.nbytes)) is None:
            raise OutOfMemory(f"stream {self.stream!r}: all {self._slots} slots are in use")
        block, offset = placed
        epoch.leases.hold(block)
        if (slot := self._made.get(block)) is None:
            data = epoch.memory.array[offset : offset + format.nbytes]
            slot = self._made[block] = Slot(block, offset, data, format)
        return slot

    def _trim(self) -> None:
        if not self._wanted:
            self._kept.clear()  # nobody looks: a frame kept for later would be shown as new, hours old
            return
        keep = self._to_keep()
        while len(self._kept.items) > keep:
            self._kept.drop_oldest()

    def _to_keep(self) -> int:
        """Frames to retain, the newest among them."""
        if not self._every_wanted:
            return 1
        if not self.can_wait:
            return self._history
        first = min([reader.last_seq for reader in self._greeted if reader.is_every])
        behind = self._seq - first
        return 1 if behind <= 1 else max(1, min(behind, self._slots - self._promised() - 1))

    def _abandoned(self) -> None:
        self._kept.clear()

    def _released(self) -> None:
        self._open, self._made = None, {}

    def _joined(self) -> None:
        """All leases that were promised, what is retained and the one being filled must fit at once."""
        needed = self._promised() + self._history + 2
        if needed > self._slots:
            self._slots = 2 * needed
            self._grow = True  # the next frame begins an epoch with more slots

    def _promised(self) -> int:
        return sum(r.limit for r in self._readers.values())


class _RingPublisher(Publisher):
    """What packets and results share: a ring of bytes, in which items of any size are stored by a copy."""

    _memory_bytes: int
    _description: Mapping[str, Any]

    def _begin_ring(self, size: int, description: Mapping[str, Any]) -> None:
        self._kept.begin(size, ByteRing(size), body=description)
        self._memory_bytes, self._description = size, description

    def _publish_stored(
        self, data: bytes | memoryview, is_key: bool, meta: bytes, times: tuple[int, int, int, int, int]
    ) -> None:
        """Copy `data` into the ring and publish it. It fits if it takes no more than a quarter of the ring."""
        block, offset = self._place(len(data))
        epoch = self._kept.epoch
        assert epoch
        epoch.leases.hold(block)
        try:
            self._kept.write(offset, data)
            flags = protocol.KEY if is_key else 0
            message = self._header(flags, (block, offset), meta, len(data), times)
        except BaseException:
            epoch.leases.drop(block)
            raise
        self._publish(Item(self._seq + 1, is_key, message, len(data), epoch, block))

    def _place(self, nbytes: int) -> tuple[int, int]:
        placed = self._allocate(nbytes)
        if placed is None and self._kept.epoch:
            # Readers that do not give back stand in the way: they keep the old ring, everybody goes on in a new one.
            self._begin_ring(self._memory_bytes, self._description)
            placed = self._kept.allocate(nbytes)
        assert placed
        return placed


class PacketPublisher(_RingPublisher):
    """Publishes encoded access units. A newcomer starts at the newest key frame; so does one that fell behind."""

    kind = Kind.PACKETS

    def __init__(self, stream: str, *, memory_bytes: int = 8 << 20, **options: Any) -> None:
        self._memory_bytes = whole_pages(memory_bytes)
        self._format: PacketFormat | None = None
        super().__init__(stream, **options)

    def publish(self, packet: Packet) -> int:
        """Copy the packet into the ring and hand it to all readers; returns its number.

        Raises `OutOfMemory`: this packet is lost, which every reader sees by a gap in the numbers, and the stream goes
        on with the next.
        """
        data = memoryview(packet.data).cast("B")
        meta = pack_metadata(self.stream, packet.metadata)
        times = (packet.pts_ns, packet.captured_ns, packet.captured_at_ns, packet.dts_ns, packet.duration_ns)
        with self._lock:
            self._check_open()
            try:
                if packet.format != self._format or len(data) > self._memory_bytes // 4:
                    self._begin(packet.format, len(data))
                self._publish_stored(data, packet.is_key, meta, times)
            except OutOfMemory:
                self._skip()
                raise
            return self._seq

    def _begin(self, format: PacketFormat, nbytes: int) -> None:
        size = self._memory_bytes
        while nbytes > size // 4:
            size *= 2
        self._begin_ring(size, format.to_json())
        self._format = format

    def _skip(self) -> None:
        """A number without an item: a decoder cannot go on before the next key frame."""
        self._kept.clear()
        self._seq += 1

    def _trim(self) -> None:
        kept = self._kept
        while len(kept.items) > _MOST_PACKETS or kept.nbytes > self._memory_bytes // 2:
            kept.drop_oldest()

    def _first_for_newcomer(self) -> int:
        key = self._kept.newest_key_after(0)
        return key.seq - 1 if key else self._seq

    def _next(self, reader: Reader) -> Item | None:
        if reader.last_seq == self._seq:
            return None
        # Each picture stands alone only in intra codecs; elsewhere "latest" must still get packets in order.
        if self._format and self._format.codec in _INTRA and reader.policy is Policy.LATEST:
            return self._kept.newest_after(reader.last_seq)
        item = None if reader.needs_key else self._kept.oldest_after(reader.last_seq)
        if item is None or item.seq != reader.last_seq + 1:
            reader.needs_key = True
            item = self._kept.newest_key_after(reader.last_seq)
        if item is None:
            self._pass_over(reader, self._seq)  # of no use without a key frame
        return item


class ResultPublisher(_RingPublisher):
    """Publishes small JSON records. The last `history` ones are kept for readers that fall behind."""

    kind = Kind.RESULTS

    def __init__(
        self, stream: str, *, history: int = 256, memory_bytes: int = 4 << 20, **options: Any
    ) -> None:
        self._history = max(1, history)
        self._memory_bytes = whole_pages(memory_bytes)
        super().__init__(stream, **options)

    def publish(
        self,
        values: Mapping[str, Any],
        *,
        source: str,
        frame_seq: int,
        pts_ns: int,
        captured_ns: int,
        captured_at_ns: int,
    ) -> int:
        """Publish what was seen on a frame.

        Raises `ValueError` if `values` is not JSON or too large for the ring, `OutOfMemory` if there is no ring.
        """
        meta = pack_record(self.stream, {"source": source, "frame_seq": int(frame_seq)})
        data = pack_record(self.stream, values)
        times = (pts_ns, captured_ns, captured_at_ns, pts_ns, 0)
        if len(data) > self._memory_bytes // 4:
            allowed = self._memory_bytes // 4
            raise ValueError(f"stream {self.stream!r}: a result of {len(data)} bytes, allowed: {allowed}")
        with self._lock:
            self._check_open()
            if len(data) <= protocol.INLINE_BYTES:
                flags = protocol.INLINE | protocol.KEY
                message = self._header(flags, (0, 0), meta, len(data), times, data)
                self._publish(Item(self._seq + 1, True, message, 0))
            else:
                if self._kept.epoch is None:
                    self._begin_ring(self._memory_bytes, {})
                self._publish_stored(data, True, meta, times)
            return self._seq

    def _trim(self) -> None:
        kept = self._kept
        while len(kept.items) > self._history or kept.nbytes > self._memory_bytes // 2:
            kept.drop_oldest()


__all__ = ["FramePublisher", "PacketPublisher", "ReaderInfo", "ResultPublisher", "Slot"]
