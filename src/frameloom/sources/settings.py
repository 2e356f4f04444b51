"""What a person says about a source: where it is and how to read it. Light: the command line imports this.

Opening belongs to `frameloom.sources.open_source`, asking devices what they can give to `frameloom.sources.v4l2`.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any, Literal, Self
from urllib.parse import parse_qsl, quote, unquote, urlsplit, urlunsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from frameloom.listening import NETWORKS_ALLOWED, check_reach

Pace = Literal["live", "realtime", "unpaced"]

_DEVICE = re.compile(r"device:(\d{1,3})|(/dev/video\d{1,3})|(/dev/v4l/[\w./:-]+)")
_NETWORK = {"rtsp": "rtsp", "rtsps": "rtsp", "http": "http", "https": "http"}
_ALLOWED = (
    "rtsp://, rtsps://, http://, https://, tcp://HOST:PORT, tcp://ADDRESS:PORT?listen, a file's path, /dev/videoN, "
    "device:N or synthetic:NAME"
)
TCP_FORMATS = ("mpegts", "mjpeg", "raw")
_ONLY_FOR = {
    "transport": ("rtsp",),
    "format": ("device", "tcp", "listen"),
    "width": ("device", "tcp", "listen"),
    "height": ("device", "tcp", "listen"),
    "fps": ("device", "tcp", "listen"),
    "allow": ("listen",),
    "loop": ("file", "synthetic"),
    "username": ("rtsp", "http"),
    "password": ("rtsp", "http"),
}
_PACES: dict[str, tuple[Pace, ...]] = {
    "rtsp": ("live",),
    "device": ("live",),
    "tcp": ("live",),
    "listen": ("live",),
    "http": ("live", "realtime", "unpaced"),
    "file": ("realtime", "unpaced", "live"),
    "synthetic": ("realtime", "unpaced"),
}


class Kind(StrEnum):
    """What sort of source a URL names."""

    RTSP = "rtsp"
    HTTP = "http"
    TCP = "tcp"  # we connect
    LISTEN = "listen"  # a sender connects to us
    FILE = "file"
    DEVICE = "device"
    SYNTHETIC = "synthetic"


class SourceSettings(BaseModel):
    """A source as described in `site.yaml`, valid once built. Neither `repr` nor an error shows the URL.

    `model_dump(mode="json")` does hold it, with the password: it is for handing over to a worker, not for logs.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    url: str = Field(repr=False, min_length=1, description=_ALLOWED)
    username: str | None = Field(default=None, repr=False, description="merged into the URL only to open it")
    password: str | None = Field(
        default=None,
        repr=False,
        description="merged into the URL only to open it",
        json_schema_extra={"format": "password"},
    )
    transport: Literal["tcp", "udp"] = Field(default="tcp", description="how RTSP carries pictures")
    pace: Pace | None = Field(
        default=None,
        description="live: as they come; realtime: as their times say; unpaced: as fast as they are read. "
        "By default realtime for films, live for cameras",
    )
    loop: bool = Field(default=False, description="begin a film again at its end")
    format: str | None = Field(
        default=None,
        description="format of a device: mjpeg, yuyv422, h264, ... or MJPG, YUYV; "
        "over TCP: mpegts (by default), mjpeg or raw",
    )
    width: int | None = Field(
        default=None, ge=1, le=16384, description="of the picture of a device or a raw sender, pixels"
    )
    height: int | None = Field(
        default=None, ge=1, le=16384, description="of the picture of a device or a raw sender, pixels"
    )
    fps: float | None = Field(
        default=None, gt=0, le=1000, description="of a device or a raw sender, pictures per second"
    )
    allow: list[str] = Field(
        default=[],
        max_length=100,
        description="from where senders may come to a port that we listen on; without it, from this machine only",
        json_schema_extra={"allowed": NETWORKS_ALLOWED},
    )
    silence_s: float = Field(
        default=10.0, ge=0.1, le=3600, description="no picture for so long is a loss, seconds"
    )
    connect_s: float = Field(
        default=10.0, ge=0.1, le=3600, description="longest wait for a camera to answer, seconds"
    )
    options: dict[str, str] = Field(
        default_factory=dict, repr=False, description="extras for FFmpeg's demuxer"
    )

    @field_validator("url")
    @classmethod
    def _known_url(cls, url: str) -> str:
        kind_of(url.strip())
        return url.strip()

    @model_validator(mode="after")
    def _fits_kind(self) -> Self:
        for name in self.model_fields_set & _ONLY_FOR.keys():
            self._check_only_for(name)
        if self.pace is not None and self.pace not in _PACES[self.kind]:
            raise ValueError(f"pace: read {self.pace!r}, allowed here: {', '.join(_PACES[self.kind])}")
        if (self.width is None) != (self.height is None):
            raise ValueError("width and height: read one of them, allowed: both or neither")
        if self.kind in (Kind.TCP, Kind.LISTEN):
            self._check_tcp()
        if self.kind is Kind.LISTEN:
            self._check_senders()
        return self

    def _check_only_for(self, name: str) -> None:
        default = type(self).model_fields[name].default
        if self.kind not in _ONLY_FOR[name] and getattr(self, name) != default:
            raise ValueError(f"{name}: allowed only for {' and '.join(_ONLY_FOR[name])}, this is {self.kind}")

    def _check_tcp(self) -> None:
        if self.format is not None and self.format not in TCP_FORMATS:
            raise ValueError(f"format: read {self.format!r}, allowed over TCP: {', '.join(TCP_FORMATS)}")
        for name in ("width", "height", "fps"):
            if getattr(self, name) is not None and self.format != "raw":
                raise ValueError(f"{name}: allowed over TCP only for format raw")

    def _check_senders(self) -> None:
        try:
            check_reach(self.listens_on[0], self.allow)
        except ValueError as error:
            raise ValueError(f"allow: {error}") from None

    @property
    def kind(self) -> Kind:
        """What sort of source the URL names."""
        return kind_of(self.url)

    @property
    def device(self) -> str:
        """Path of the device of a `Kind.DEVICE`."""
        found = _DEVICE.fullmatch(self.url)
        assert found is not None, "not a device"
        return f"/dev/video{found[1]}" if found[1] else self.url

    @property
    def listens_on(self) -> tuple[str, int]:
        """Address and port of a `Kind.LISTEN`."""
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or 0

    @property
    def path(self) -> str:
        """Path of the file of a `Kind.FILE`."""
        return unquote(urlsplit(self.url).path) if self.url.startswith("file://") else self.url

    @property
    def address(self) -> str:
        """What to open, credentials included. Never log this."""
        match self.kind:
            case Kind.DEVICE:
                return self.device
            case Kind.FILE:
                return self.path
            case _:
                return _with_credentials(self.url, self.username, self.password)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Texts that must not come out in a message, longest first: the URL as a whole, and its parts."""
        if self.kind not in (Kind.RTSP, Kind.HTTP, Kind.TCP):
            return ()
        parts = urlsplit(self.address)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        found = {self.url, self.address, parts.netloc, path, parts.query, parts.path, parts.password or ""}
        plain = {unquote(text) for text in found} | {self.password or ""}
        return tuple(sorted((text for text in found | plain if len(text) > 2), key=len, reverse=True))

    def __repr_args__(self) -> list[tuple[str | None, Any]]:
        return [("kind", self.kind.value), *super().__repr_args__()]


def kind_of(url: str) -> Kind:
    """What sort of source `url` names. Raises `ValueError` that does not repeat it, for it may hold a password."""
    if not url:
        raise ValueError(f"url: read nothing, allowed: {_ALLOWED}")
    scheme = url.split("://", 1)[0].lower() if "://" in url else ""
    if scheme in _NETWORK:
        if not _has_host(url):
            raise ValueError(f"url: read {scheme}:// without a host, or with a wrong port")
        return Kind(_NETWORK[scheme])
    if scheme == "tcp":
        return _kind_of_tcp(url)
    if scheme not in ("", "file"):
        raise ValueError(f"url: read a scheme that is not known, allowed: {_ALLOWED}")
    if url.startswith("synthetic:"):
        return Kind.SYNTHETIC
    return Kind.DEVICE if _DEVICE.fullmatch(url) else Kind.FILE


def _has_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def _kind_of_tcp(url: str) -> Kind:
    if not (_has_host(url) and urlsplit(url).port):
        raise ValueError("url: read tcp:// without a host or a port, allowed: tcp://HOST:PORT")
    options = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
    if options not in ({}, {"listen": ""}, {"listen": "1"}):
        raise ValueError("url: read tcp:// with options that are not known, allowed: ?listen")
    return Kind.LISTEN if options else Kind.TCP


def _with_credentials(url: str, username: str | None, password: str | None) -> str:
    """`url` with credentials put in, each overriding what the URL itself says."""
    if username is None and password is None:
        return url
    parts = urlsplit(url)
    user = quote(username, safe="") if username is not None else parts.username or ""
    secret = quote(password, safe="") if password is not None else parts.password
    host = parts.netloc.rpartition("@")[2]
    netloc = f"{user}:{secret}@{host}" if secret is not None else f"{user}@{host}"
    return urlunsplit(parts._replace(netloc=netloc))
