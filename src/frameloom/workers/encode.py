"""What a view makes of frames: JPEG for everybody, H.264 for browsers. One encode each, and none for nobody.

Which frames are shown, and when nothing is read at all, belongs to `frameloom.workers.view`; the codecs to
`frameloom.pixels` and `frameloom.encoder`, which are loaded when they are first wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from frameloom import pixels
from frameloom.bus.publisher import PacketPublisher
from frameloom.model.errors import FrameloomError, OutOfMemory
from frameloom.model.frame import Frame
from frameloom.model.packet import Packet, PacketFormat

from .meter import Meter

if TYPE_CHECKING:
    from frameloom.encoder import LiveEncoder

_JPEG_BYTES = 4 << 20
_LIVE_BYTES = 8 << 20  # half of it is kept for newcomers: a group of pictures at 16 Mbit/s
_RECORDED_WIDTH, _RECORDED_QUALITY, _RECORDED_KBPS = 7680, 85, 16000


def for_recording(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a view's parameters where what is encoded is recorded, too: all of the picture, and no worse."""
    quality, kbps = values["quality"], values["max_kbps"]
    return {
        **values,
        "max_width": _RECORDED_WIDTH,
        "quality": max(quality, _RECORDED_QUALITY),
        "max_kbps": max(kbps, _RECORDED_KBPS),
    }


class Output:
    """One stream of encoded pictures. `show` and `rest` are for the thread that works, the rest for any.

    dropped  frames that could not be encoded or published
    trouble  why the last one could not, or nothing
    """

    def __init__(self, stream: str, site: str, memory_bytes: int, nudge: Callable[[], None]) -> None:
        """`nudge` is called when somebody begins to read the stream, and when nobody does any more."""
        self.dropped = 0
        self.trouble = ""
        self._meter = Meter()
        self._resting = True
        self._packets = PacketPublisher(stream, site=site, memory_bytes=memory_bytes)
        self._packets.on_wanted = lambda _: nudge()

    @property
    def stream(self) -> str:
        return self._packets.stream

    @property
    def wanted(self) -> bool:
        """True while somebody reads."""
        return self._packets.wanted

    @property
    def clients(self) -> list[str]:
        """Who reads."""
        return [reader.client for reader in self._packets.readers()]

    def show(self, frame: Frame, values: Mapping[str, Any]) -> bool:
        """Encode a frame by these values of the view's parameters, and publish it. True if that went well.

        What stands in the way is kept in `trouble`.
        """
        self._resting = False
        try:
            self._packets.publish(self._encoded(frame, values))
        except FrameloomError as error:
            self.dropped += 1
            self.trouble = str(error)
            if isinstance(error, OutOfMemory):
                self._lost()
            return False
        self._meter.tick(frame.captured_ns)
        self.trouble = ""
        return True

    def rest(self) -> None:
        """Nobody looks: let go of the encoder, and of the last picture, which the next viewer would take for new."""
        if self._resting:
            return
        self._resting = True
        self.trouble = ""
        self._let_go()
        self._packets.forget()

    def described(self) -> dict[str, Any]:
        """For reports and diagrams: who reads, and how many pictures a second they get."""
        return {"kind": "packets", "readers": self.clients, "fps": round(self._meter.fps(), 2)}

    def close(self) -> None:
        self._let_go()
        self._packets.close()

    def _encoded(self, frame: Frame, values: Mapping[str, Any]) -> Packet:
        """The packet of this very frame."""
        raise NotImplementedError

    def _lost(self) -> None:
        """The last packet was not published."""

    def _let_go(self) -> None:
        """Free what is needed for encoding only."""


class JpegOutput(Output):
    """Packets of codec 'mjpeg', each of which stands alone."""

    def __init__(self, stream: str, site: str, nudge: Callable[[], None]) -> None:
        super().__init__(stream, site, _JPEG_BYTES, nudge)

    def _encoded(self, frame: Frame, values: Mapping[str, Any]) -> Packet:
        width = min(frame.width, values["max_width"])
        height = max(1, round(frame.height * width / frame.width))
        return Packet(
            pixels.to_jpeg(frame, values["quality"], max_width=width),
            PacketFormat("mjpeg", width, height),
            frame.pts_ns,
            True,
            frame.captured_ns,
            frame.captured_at_ns,
            dts_ns=frame.pts_ns,
            metadata={"frame_seq": frame.seq},
        )


class LiveOutput(Output):
    """Packets of codec 'h264', as `frameloom.encoder` makes them.

    Readers that join begin at the newest key picture, which is kept with all that came after it: no key picture is made
    for them.
    """

    def __init__(self, stream: str, site: str, nudge: Callable[[], None]) -> None:
        super().__init__(stream, site, _LIVE_BYTES, nudge)
        self._encoder: LiveEncoder | None = None

    @property
    def encoding(self) -> bool:
        """Whether there is an encoder at the moment."""
        return self._encoder is not None

    def _encoded(self, frame: Frame, values: Mapping[str, Any]) -> Packet:
        from frameloom.encoder import LiveEncoder, LiveSettings

        if self._encoder is None:
            self._encoder = LiveEncoder()
        settings = LiveSettings(values["max_width"], values["quality"], values["max_kbps"])
        return self._encoder.encode(frame, settings)

    def _lost(self) -> None:
        if self._encoder is not None:
            self._encoder.force_key()

    def _let_go(self) -> None:
        encoder, self._encoder = self._encoder, None
        if encoder is not None:
            encoder.close()
