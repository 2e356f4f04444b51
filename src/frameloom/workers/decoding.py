"""Decoding on demand: pictures from the packet on at which somebody begins to want them.

What a decoder must see first is kept here. Who wants pictures and what becomes of them is the business of
`frameloom.workers.camera`; decoding itself that of `frameloom.sources.decode`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from frameloom.model.errors import SourceMisconfigured
from frameloom.model.packet import Packet, PacketFormat
from frameloom.sources.decode import Decoder
from frameloom.sources.picture import Picture

from .link import Link

_MOST_KEPT_BYTES = 64 << 20

INTRA = frozenset({"mjpeg", "rawvideo", "png"})
"""Codecs of which every packet is a picture of its own."""


class Decoding:
    """The decoder of one camera, if there is one at the moment. Give every packet to `decode` or `skip`, in order.

    name     of the camera, for messages
    wanted   asked while a late beginning is made up for: False ends that
    """

    def __init__(self, name: str, link: Link, wanted: Callable[[], bool]) -> None:
        self._name = name
        self._link = link
        self._wanted = wanted
        self._format: PacketFormat | None = None
        self._decoder: Decoder | None = None
        self._errors = self._withheld = 0
        self._backlog = Backlog()

    @property
    def active(self) -> bool:
        return self._decoder is not None

    @property
    def errors(self) -> int:
        """Packets of which no picture came, or a damaged one, so far."""
        decoder = self._decoder  # another thread reads this
        return self._errors + (decoder.errors if decoder else 0)

    @property
    def withheld(self) -> int:
        """Pictures kept back so far because they would have smeared after a loss."""
        decoder = self._decoder
        return self._withheld + (decoder.withheld if decoder else 0)

    def begin(self, format: PacketFormat) -> None:
        """Packets of another connection or format follow: `end` was called, and nothing of before is of use."""
        self.rest()
        self._format = format
        self._backlog = Backlog()

    def decode(self, packet: Packet) -> Sequence[Picture]:
        """The pictures that are ready after `packet`; they live until the next call.

        With the first packet that is decoded, all since the newest key frame are, so that its picture is there at
        once; theirs are past and not returned. Raises `SourceMisconfigured` if there is no decoder for this codec.
        """
        if self._decoder is None and not self._start(packet):
            self._backlog.add(packet)
            return ()
        assert self._decoder is not None
        self._backlog.add(packet)
        with self._link.busy():
            return self._decoder.decode(packet)

    def skip(self, packet: Packet) -> None:
        """Nobody wants pictures."""
        self.rest()
        self._backlog.add(packet)

    def end(self) -> Sequence[Picture]:
        """No packet follows: the pictures that were held back for reordering."""
        pictures: Sequence[Picture] = ()
        if self._decoder is not None:
            with self._link.busy():
                pictures = self._decoder.flush()
        self.rest()
        return pictures

    def rest(self) -> None:
        """Let go of the decoder."""
        decoder = self._decoder
        if decoder is not None:
            self._errors, self._withheld, self._decoder = self.errors, self.withheld, None
            decoder.close()

    def give_up(self) -> None:
        """Decoding has failed: not before the next key frame is it tried again."""
        self.rest()
        self._backlog.clear()

    def _start(self, packet: Packet) -> bool:
        """Bring a decoder to where it can take `packet`; False if that is not possible, or no longer wanted."""
        if not (packet.is_key or self._backlog.can_start):
            return False
        assert self._format is not None
        try:
            self._decoder = Decoder(self._format)
        except ValueError as error:
            raise SourceMisconfigured(f"{self._name!r}: {error}") from None
        return packet.is_key or self._catch_up(self._decoder)

    def _catch_up(self, decoder: Decoder) -> bool:
        for past in self._backlog.packets:
            if not self._wanted():
                self.rest()
                return False
            with self._link.busy():
                decoder.decode(past)
        return True


class Backlog:
    """The packets since the newest key frame: what a decoder that starts now must see first."""

    def __init__(self) -> None:
        self.packets: list[Packet] = []
        self._nbytes = 0
        self._key_seen = False

    @property
    def can_start(self) -> bool:
        """Whether something can be made of the next packet, whatever it is. Some streams never tell a key frame."""
        return bool(self.packets) or not self._key_seen

    def add(self, packet: Packet) -> None:
        if packet.is_key or self._nbytes > _MOST_KEPT_BYTES:
            self.clear()
        self._key_seen |= packet.is_key
        # Of a codec without references, the next packet needs no other: do not sit on a device's buffer.
        if (packet.is_key or self.packets) and packet.format.codec not in INTRA:
            self.packets.append(packet)
            self._nbytes += len(packet.data)

    def clear(self) -> None:
        self.packets.clear()
        self._nbytes = 0
