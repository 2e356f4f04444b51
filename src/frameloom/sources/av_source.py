"""Sources that FFmpeg opens: cameras over RTSP and HTTP, files, V4L2 devices. See `frameloom.model.stages.Source`.

Retrying after a loss belongs to `frameloom.sources.reconnect`, decoding to `frameloom.sources.decode`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

from frameloom.model.clock import Clock
from frameloom.model.errors import SourceLost
from frameloom.model.packet import Packet, PacketFormat

from . import errors
from .demux import Demuxer
from .feed import Feed, Take
from .pacing import Pacer
from .settings import Kind, Pace, SourceSettings

_MARGIN_S = 1.0  # FFmpeg's own time-outs come first, for they say more


class AvSource:
    """Packets of the first video stream of what `settings` name, as the container gives them.

    name      of the camera, in every message
    live      see `Source`; known for certain once open, since an HTTP address may be a film or a camera
    dropped   packets lost because the reader was too slow, of a live source
    broken    damaged places of a film that were passed over

    `close()` may be called from any thread and ends `packets()` at once. A connection that hangs in FFmpeg is let
    go of at the latest after `connect_s` or `silence_s`. Over RTSP, FFmpeg gives an H.264 or H.265 picture when the
    next one begins: `captured_ns` is late by up to one picture.
    """

    def __init__(self, name: str, settings: SourceSettings, clock: Clock) -> None:
        self.name = name
        self._settings = settings
        self._clock = clock
        self._closed = threading.Event()
        self._closed.set()
        self._lock = threading.Lock()  # a film's demuxer is read by one thread and may be closed by another
        self._demuxer: Demuxer | None = None
        self._feed: Feed | None = None

    @property
    def live(self) -> bool:
        return self._pace != "unpaced"

    @property
    def dropped(self) -> int:
        return self._feed.dropped if self._feed is not None else 0

    @property
    def broken(self) -> int:
        return self._demuxer.broken if self._demuxer is not None else 0

    def open(self) -> PacketFormat:
        """Connect; see `Source.open`. Waits for `connect_s` at most."""
        self.close()
        demuxer = self._new_demuxer()
        feed = None if self._settings.kind is Kind.FILE else Feed(self.name, demuxer, self._lost)
        with self._lock:
            self._closed.clear()
            self._demuxer, self._feed = demuxer, feed
        try:
            return self._opened_film(demuxer) if feed is None else self._opened_feed(feed)
        except BaseException:
            self.close()
            raise

    def packets(self) -> Iterator[Packet]:
        """Packets as they come, or as their times say; see `Source.packets`."""
        packets = self._fed() if self._feed is not None else self._film()
        return self._paced(packets) if self._pace == "realtime" else packets

    def relay(self, take: Take) -> None:
        """Let the thread that reads a live source deal with its packets, see `Feed.relay`.

        Nothing happens for films and for what is paced: `packets()` goes on giving all of them.
        """
        if self._feed is not None and self._pace == "live":
            self._feed.relay(take)

    def close(self) -> None:
        """Let go; see `Source.close`."""
        with self._lock:
            self._closed.set()
            feed = self._feed
            if feed is None and self._demuxer is not None:
                self._demuxer.close()
        if feed is not None:
            feed.close()

    @property
    def _pace(self) -> Pace:
        if self._settings.pace is not None:
            return self._settings.pace
        return "realtime" if self._demuxer is not None and self._demuxer.bounded else "live"

    def _new_demuxer(self) -> Demuxer:
        return Demuxer(self.name, self._settings, self._clock)

    def _opened_film(self, demuxer: Demuxer) -> PacketFormat:
        with self._lock:
            format = demuxer.open()
        if self._closed.is_set():
            raise self._lost("it was closed")
        return format

    def _opened_feed(self, feed: Feed) -> PacketFormat:
        feed.start()
        return feed.format(self._settings.connect_s + _MARGIN_S)

    def _lost(self, what: str) -> SourceLost:
        return errors.lost(self.name, what)

    def _fed(self) -> Iterator[Packet]:
        assert self._feed is not None
        return self._feed.packets(self._settings.silence_s + _MARGIN_S)

    def _film(self) -> Iterator[Packet]:
        while not self._closed.is_set():
            played = 0
            for packet in self._one_pass():
                played += 1
                yield packet
            if not self._settings.loop or self._closed.is_set():
                return
            if not played:
                raise errors.misconfigured(self.name, f"not a single picture in it: {self._settings.path}")
            self._begin_again()

    def _one_pass(self) -> Iterator[Packet]:
        assert self._demuxer is not None
        packets = self._demuxer.packets()
        while True:
            with self._lock:
                packet = None if self._closed.is_set() else next(packets, None)
            if packet is None:
                return
            yield packet

    def _begin_again(self) -> None:
        """Open the film anew, which is surer than seeking; a file that has been replaced is another film."""
        earlier = self._demuxer
        assert earlier is not None
        with self._lock:
            earlier.close()
            if self._closed.is_set():
                return
            self._demuxer = later = self._new_demuxer()
            if later.open() != earlier.format:
                raise self._lost(f"another film is there now: {self._settings.path}")
            later.follow(earlier)

    def _paced(self, packets: Iterator[Packet]) -> Iterator[Packet]:
        pacer = Pacer()
        for packet in packets:
            wait_s = pacer.wait_s(packet.dts_ns, self._clock.monotonic_ns())
            if wait_s > 0 and self._clock.wait(self._closed, wait_s):
                return
            packet.captured_ns, packet.captured_at_ns = self._clock.monotonic_ns(), self._clock.utc_ns()
            yield packet
