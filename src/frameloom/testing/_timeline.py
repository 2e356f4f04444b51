"""An encoded film in memory, cut into RTP payloads once, and its place in time when it is played for ever.

Nothing here sends: `rtsp_server` asks what is due when.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import av
from av.packet import Packet
from av.video.stream import VideoStream

from frameloom.rtsp.rtp import CLOCK_HZ, H264Packetiser, H265Packetiser, JpegPacketiser, Packetiser


@dataclass(frozen=True, slots=True)
class Unit:
    """One encoded picture: RTP payloads, and times in ticks (1/90000 s) from the film's start.

    `send_ticks` is when it is due (decoding order), `pts_ticks` when it is shown; `first_packet` counts the
    packets before it in the film.
    """

    payloads: tuple[bytes, ...]
    send_ticks: int
    pts_ticks: int
    first_packet: int
    is_key: bool


@dataclass(frozen=True)
class EncodedFilm:
    """All of a file's first video stream. `sdp_lines` and `payload_type` describe its payloads."""

    units: tuple[Unit, ...]
    length_ticks: int
    codec: str
    width: int
    height: int
    frame_rate: float
    payload_type: int
    sdp_lines: tuple[str, ...]

    @property
    def packet_count(self) -> int:
        return self.units[-1].first_packet + len(self.units[-1].payloads)

    @cached_property
    def keys(self) -> tuple[int, ...]:
        """Indexes of the key units, growing; the first is 0."""
        return tuple(index for index, unit in enumerate(self.units) if unit.is_key)

    @cached_property
    def send_ticks(self) -> tuple[int, ...]:
        return tuple(unit.send_ticks for unit in self.units)


def load(path: Path) -> EncodedFilm:
    """Read a whole film into memory, ready to be sent.

    Raises OSError where the file cannot be read, ValueError where RTP cannot carry what is in it.
    """
    with av.open(path) as container:
        if not container.streams.video:
            raise ValueError(f"{path.name}: no video stream")
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        return _film(path, stream, packets)


def _film(path: Path, stream: VideoStream, packets: list[Packet[VideoStream]]) -> EncodedFilm:
    while packets and not packets[0].is_keyframe:
        del packets[0]
    if not packets:
        raise ValueError(f"{path.name}: no key frame")
    rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    try:
        packetiser = _packetiser(stream)
        units, length_ticks = _units(packets, rate, packetiser)
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error
    return EncodedFilm(
        units,
        length_ticks,
        stream.codec_context.name,
        stream.width,
        stream.height,
        float(rate),
        packetiser.payload_type,
        tuple(packetiser.sdp_lines()),
    )


def _packetiser(stream: VideoStream) -> Packetiser:
    extradata = stream.codec_context.extradata or b""
    codec = stream.codec_context.name
    if codec == "h264":
        return H264Packetiser(extradata)
    if codec == "hevc":
        return H265Packetiser(extradata)
    if codec == "mjpeg":
        return JpegPacketiser()
    raise ValueError(f"cannot be served: codec {codec!r}; one of: h264, hevc, mjpeg")


def _units(
    packets: list[Packet[VideoStream]], rate: Fraction, packetiser: Packetiser
) -> tuple[tuple[Unit, ...], int]:
    step = round(CLOCK_HZ / rate)
    send = [_ticks(p, p.dts, index * step) for index, p in enumerate(packets)]
    shown = [_ticks(p, p.pts, ticks) for p, ticks in zip(packets, send, strict=True)]
    first_sent, first_shown = send[0], min(shown)
    units, count = [], 0
    for packet, due, pts in zip(packets, send, shown, strict=True):
        payloads = tuple(packetiser.payloads(bytes(packet), is_key=packet.is_keyframe))
        units.append(Unit(payloads, due - first_sent, pts - first_shown, count, packet.is_keyframe))
        count += len(payloads)
    return tuple(units), _length_ticks(units, step)


def _ticks(packet: Packet[VideoStream], stamp: int | None, otherwise: int) -> int:
    """A packet's stamp in ticks; bare streams (.h264) have none and are sent at their rate."""
    return otherwise if stamp is None else round(stamp * packet.time_base * CLOCK_HZ)


def _length_ticks(units: list[Unit], step: int) -> int:
    """From the first picture of one round to the first of the next."""
    sent = units[-1].send_ticks
    shown = max(unit.pts_ticks for unit in units)
    return max(sent, shown) + step


@dataclass(frozen=True)
class Timeline:
    """A film played for ever from `start_s`, a moment of some monotonic clock; times here are of that clock.

    Positions count units from the start, through all rounds.
    """

    film: EncodedFilm
    start_s: float

    def unit(self, position: int) -> Unit:
        return self.film.units[position % len(self.film.units)]

    def due_s(self, position: int) -> float:
        """When a unit is to be sent."""
        return self.start_s + self._ticks(position, self.unit(position).send_ticks) / CLOCK_HZ

    def pts_ticks(self, position: int) -> int:
        """When a unit is shown, in ticks since the start."""
        return self._ticks(position, self.unit(position).pts_ticks)

    def packets_before(self, position: int) -> int:
        """RTP packets of all units before this one, through all rounds."""
        return self._round(position) * self.film.packet_count + self.unit(position).first_packet

    def position(self, now_s: float) -> int:
        """The last unit that was due by `now_s` (before the start: the first)."""
        done_ticks = max(0, math.floor((now_s - self.start_s) * CLOCK_HZ))
        rounds, within = divmod(done_ticks, self.film.length_ticks)
        return rounds * len(self.film.units) + bisect_right(self.film.send_ticks, within) - 1

    def newest_key(self, now_s: float) -> int:
        """The last key unit that was due by `now_s` (before the start: the first)."""
        position = self.position(now_s)
        within = position % len(self.film.units)
        return position - within + self.film.keys[bisect_right(self.film.keys, within) - 1]

    def next_key(self, position: int) -> int:
        """The first key unit at or after a position."""
        within = position % len(self.film.units)
        later = [key for key in self.film.keys if key >= within]
        return position - within + (later[0] if later else len(self.film.units))

    def _round(self, position: int) -> int:
        return position // len(self.film.units)

    def _ticks(self, position: int, within: int) -> int:
        return self._round(position) * self.film.length_ticks + within
