"""Asks an ONVIF camera for its streams: their URLs, codecs, sizes and rates. Finding cameras is `onvif_discovery`'s.

Light: standard library only. Whatever the camera says of its addresses, only its own host is asked and named.
"""

from __future__ import annotations

import contextlib
import ipaddress
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import SplitResult, urlsplit, urlunsplit
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape

from frameloom.model.errors import SourceMisconfigured

from .soap import Credentials, Service, find, text

PATIENCE_S = 12.0
_MOST_STREAMS = 16
_LONGEST = 100
_DEVICE_PATH = "/onvif/device_service"
_DEVICE = "http://www.onvif.org/ver10/device/wsdl"
_MEDIA = "http://www.onvif.org/ver10/media/wsdl"
_SCHEMA = "http://www.onvif.org/ver10/schema"
_DATE_AND_TIME = (
    *(("Date", part) for part in ("Year", "Month", "Day")),
    *(("Time", part) for part in ("Hour", "Minute", "Second")),
)
_CODECS = {"H264": "h264", "H265": "hevc", "HEVC": "hevc", "JPEG": "mjpeg", "MPEG4": "mpeg4"}

_GET_TIME = f'<GetSystemDateAndTime xmlns="{_DEVICE}"/>'
_GET_CAPABILITIES = f'<GetCapabilities xmlns="{_DEVICE}"><Category>Media</Category></GetCapabilities>'
_GET_PROFILES = f'<GetProfiles xmlns="{_MEDIA}"/>'
_GET_STREAM_URI = (
    f'<GetStreamUri xmlns="{_MEDIA}"><StreamSetup><Stream xmlns="{_SCHEMA}">RTP-Unicast</Stream>'
    f'<Transport xmlns="{_SCHEMA}"><Protocol>RTSP</Protocol></Transport></StreamSetup>'
    "<ProfileToken>{token}</ProfileToken></GetStreamUri>"
)


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream. `url` has no user and no password; None is what the camera does not tell."""

    name: str
    url: str
    codec: str
    width: int | None
    height: int | None
    fps: float | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Device:
    """One camera. Methods raise `SourceLost` (not there, too slow) or `SourceMisconfigured` (a person must act)."""

    def __init__(
        self,
        address: str,
        user: str = "",
        password: str = "",
        *,
        utc: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`address`: host, host:port, or the URL of the device service. `utc` tells our time."""
        self._url = service_url(address)
        self._credentials = Credentials(user, password)
        self._utc = utc
        self._deadline_s = time.monotonic() + PATIENCE_S

    def streams(self) -> list[Stream]:
        """All that it offers over RTSP, best first as it tells them. Takes `PATIENCE_S` at most."""
        device = self._service(self._url)
        self._take_time(device)
        media = self._service(self._media_url(device))
        found = list(self._streams(media))
        if not found:
            raise SourceMisconfigured("it offers no stream")
        return found

    def _service(self, url: str) -> Service:
        return Service(url, self._credentials, self._deadline_s)

    def _take_time(self, device: Service) -> None:
        """A login is valid for minutes by the camera's clock, which may be hours wrong. Not every camera tells it."""
        with contextlib.suppress(SourceMisconfigured):
            theirs = _time_of(device.call(_GET_TIME, login=False))
            if theirs is not None:
                self._credentials.offset = theirs - self._utc()

    def _media_url(self, device: Service) -> str:
        url = text(device.call(_GET_CAPABILITIES), "Media", "XAddr")
        if not url:
            raise SourceMisconfigured("it has no media service: is it a camera?")
        return at_host_of(self._url, url)

    def _streams(self, media: Service) -> Iterator[Stream]:
        profiles = media.call(_GET_PROFILES)
        for profile in list(profiles.iter("Profiles"))[:_MOST_STREAMS]:
            encoder, token = find(profile, "VideoEncoderConfiguration"), profile.get("token", "")
            if encoder is None or not token:
                continue
            answer = media.call(_GET_STREAM_URI.format(token=escape(token)))
            url = text(answer, "Uri")
            if urlsplit_or_none(url, ("rtsp", "rtsps")) is not None:
                yield _stream(profile, encoder, at_host_of(self._url, url))


def service_url(address: str) -> str:
    """The URL of the device service at `address`; raises `SourceMisconfigured` for what is no address."""
    url = address.strip() if "://" in address else f"http://{address.strip()}"
    parts = urlsplit_or_none(url, ("http", "https"))
    if parts is None or any(character.isspace() for character in url):
        raise SourceMisconfigured("address: allowed: a host, host:port, or http://host/onvif/device_service")
    netloc = _netloc(parts.hostname or "", parts.port)
    return urlunsplit(
        (parts.scheme, netloc, parts.path if len(parts.path) > 1 else _DEVICE_PATH, parts.query, "")
    )


def at_host_of(asked: str, url: str) -> str:
    """`url` without credentials, at the host of `asked`.

    Behind a router a camera names an address of its own that nobody reaches; and one that means ill does not learn
    how others answer a login.
    """
    parts = urlsplit_or_none(url, ("http", "https", "rtsp", "rtsps"))
    if parts is None:
        raise SourceMisconfigured("it names an address that cannot be read")
    netloc = _netloc(urlsplit(asked).hostname or "", parts.port)
    return urlunsplit((parts.scheme, netloc, parts.path, parts.query, ""))


def urlsplit_or_none(url: str, schemes: tuple[str, ...]) -> SplitResult | None:
    """The parts of a URL of one of `schemes`, with a host and a port that is one; None for anything else."""
    with contextlib.suppress(ValueError):
        parts = urlsplit(url)
        if parts.scheme in schemes and parts.hostname and (parts.port is None or parts.port > 0):
            return parts
    return None


def _netloc(host: str, port: int | None) -> str:
    with contextlib.suppress(ValueError):
        host = f"[{host}]" if ipaddress.ip_address(host).version == 6 else host
    return host if port is None else f"{host}:{port}"


def _stream(profile: Element, encoder: Element, url: str) -> Stream:
    encoding = text(encoder, "Encoding")
    return Stream(
        name=(text(profile, "Name") or profile.get("token", ""))[:_LONGEST],
        url=url,
        codec=_CODECS.get(encoding.upper(), encoding.lower()[:20]),
        width=_number(text(encoder, "Resolution", "Width")),
        height=_number(text(encoder, "Resolution", "Height")),
        fps=_rate(text(encoder, "RateControl", "FrameRateLimit")),
    )


def _number(said: str) -> int | None:
    return int(said) if said.isascii() and said.isdigit() and 0 < len(said) < 6 else None


def _rate(said: str) -> float | None:
    with contextlib.suppress(ValueError):
        rate = float(said)
        return rate if 0 < rate <= 1000 else None
    return None


def _time_of(answer: Element) -> datetime | None:
    parts = [text(answer, "UTCDateTime", *path) for path in _DATE_AND_TIME]
    with contextlib.suppress(ValueError, OverflowError):
        year, month, day, hour, minute, second = map(int, parts)
        return datetime(year, month, day, hour, minute, min(second, 59), tzinfo=UTC)
    return None
