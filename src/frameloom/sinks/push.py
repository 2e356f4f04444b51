"""Packets of one camera, sent to a server that takes them: RTSP (ANNOUNCE and RECORD) or RTMP, without decoding.

One connection, from a key frame on, until something breaks. When to begin again is `frameloom.workers.push`'s business.
"""

from __future__ import annotations

import contextlib
import io
from fractions import Fraction
from typing import Any
from urllib.parse import urlsplit

import av
import av.error

from frameloom.model.clock import NS_PER_S
from frameloom.model.errors import SourceLost
from frameloom.model.packet import Packet

from .annex_b import AnnexB

SCHEMES = {"rtsp": "rtsp", "rtsps": "rtsp", "rtmp": "flv", "rtmps": "flv"}
CODECS = {"rtsp": ("h264", "hevc"), "flv": ("h264",)}
_TICKS_PER_S = 90_000
_TIME_BASE = Fraction(1, _TICKS_PER_S)


class CannotPush(ValueError):
    """These packets cannot be sent there, now or ever; the message says why."""


class Push:
    """One connection to a server. Raises `SourceLost` when it breaks, without the URL, which may hold a password."""

    def __init__(self, name: str, url: str, transport: str, first: Packet) -> None:
        """Connects; this takes as long as the server does. Raises `CannotPush` for what does not fit."""
        self.format = first.format
        self._name = name
        self._zero_ns = first.dts_ns
        self._last_dts: int | None = None
        kind = SCHEMES[urlsplit(url).scheme]
        if first.format.codec not in CODECS[kind]:
            raise CannotPush(
                f"codec {first.format.codec!r} is not sent so, allowed: {', '.join(CODECS[kind])}"
            )
        self._units = _units(first)
        options = {"rtsp_transport": transport} if kind == "rtsp" else {"flush_packets": "1"}
        self._container: Any = None
        try:
            self._open(url, kind, options, first)
        except (av.error.FFmpegError, OSError, IndexError) as error:
            self.close()
            raise SourceLost(f"{name!r}: {_words(error)}") from None

    def add(self, packet: Packet) -> None:
        """Send one packet."""
        data = self._units.of(bytes(packet.data))
        made = av.Packet(self._units.sets + data if packet.is_key else data)
        made.dts, made.pts = self._ticks(packet.dts_ns), self._ticks(packet.pts_ns)
        if self._last_dts is not None and made.dts <= self._last_dts:
            raise SourceLost(f"{self._name!r}: the camera's time begins anew")
        self._last_dts = made.dts
        made.is_keyframe, made.time_base, made.stream = packet.is_key, _TIME_BASE, self._stream
        try:
            self._container.mux_one(made)
        except (av.error.FFmpegError, OSError) as error:
            raise SourceLost(f"{self._name!r}: {_words(error)}") from None

    def close(self) -> None:
        """Let go of it, whatever the server says to that."""
        container, self._container = self._container, None
        if container is not None:
            with contextlib.suppress(av.error.FFmpegError, OSError):  # it may be gone already
                container.close()

    def _open(self, url: str, kind: str, options: dict[str, str], first: Packet) -> None:
        described = self._units.sets + self._units.of(bytes(first.data))
        self._container = av.open(url, "w", format=kind, options=options)
        with av.open(io.BytesIO(described), format=first.format.codec) as source:
            self._stream = self._container.add_stream_from_template(source.streams.video[0], opaque=True)
        self._stream.time_base = _TIME_BASE
        self._container.start_encoding()

    def _ticks(self, time_ns: int) -> int:
        return ((time_ns - self._zero_ns) * _TICKS_PER_S + NS_PER_S // 2) // NS_PER_S


def _units(first: Packet) -> AnnexB:
    try:
        return AnnexB(first.format)
    except ValueError as error:
        raise CannotPush(str(error)) from None


def _words(error: Exception) -> str:
    """What the system or FFmpeg said; never `str(error)`, which holds the URL."""
    known = {
        av.error.HTTPUnauthorizedError: "the server refused user name or password",
        av.error.HTTPNotFoundError: "the server knows no such path",
        ConnectionRefusedError: "nobody listens there",
    }
    for kind, words in known.items():
        if isinstance(error, kind):
            return words
    return str(getattr(error, "strerror", None) or "it broke off")
