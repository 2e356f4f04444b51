"""RTSP 1.0 on the wire: requests, responses, the Transport header, authentication. No sockets, no state of play."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote, urlsplit

MAX_HEAD_BYTES = 16_384
MAX_BODY_BYTES = 65_536

REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    405: "Method Not Allowed",
    454: "Session Not Found",
    455: "Method Not Valid In This State",
    461: "Unsupported Transport",
    503: "Service Unavailable",
    505: "RTSP Version not supported",
}

AuthScheme = Literal["digest", "basic"]


class BadRequest(ValueError):
    """What a peer sent is not RTSP; the connection cannot go on."""


@dataclass(frozen=True)
class Request:
    """One request; header names are lower case."""

    method: str
    url: str
    headers: Mapping[str, str]

    @property
    def path(self) -> str:
        """The URL's path without slashes at its ends and without the track: the name of what is asked for."""
        path = unquote(urlsplit(self.url).path).strip("/")
        return re.sub(r"/?trackID=\d+$", "", path)

    @property
    def query(self) -> str:
        """What stands after the question mark, without the track that some clients append to it."""
        return re.sub(r"/?trackID=\d+/?$", "", urlsplit(self.url).query)


@dataclass(frozen=True)
class Response:
    """One answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""

    def encode(self, cseq: str) -> bytes:
        lines = [f"RTSP/1.0 {self.status} {REASONS[self.status]}", f"CSeq: {cseq}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if self.body:
            lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + self.body


async def read_message(reader: asyncio.StreamReader) -> Request | None:
    """The next request, or None for an interleaved packet (a receiver report), which is read and thrown away.

    Raises BadRequest for what is not RTSP, asyncio.IncompleteReadError at the end of the connection.
    """
    first = await reader.readexactly(1)
    if first == b"$":
        head = await reader.readexactly(3)
        await reader.readexactly(int.from_bytes(head[1:], "big"))
        return None
    if first in b"\r\n":
        return None  # empty lines between messages are allowed
    try:
        head = first + await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError as error:
        raise BadRequest(f"more than {MAX_HEAD_BYTES} bytes without an end of the header") from error
    request = _parse(head)
    await _read_body(reader, request)
    return request


def _parse(head: bytes) -> Request:
    line, *rest = head.decode("utf-8", "replace").split("\r\n")
    words = line.split()
    if len(words) != 3 or not words[2].startswith("RTSP/"):
        raise BadRequest("the request line is not 'METHOD url RTSP/1.0'")
    pairs = (header.partition(":") for header in rest if ":" in header)
    return Request(words[0], words[1], {name.strip().lower(): value.strip() for name, _, value in pairs})


async def _read_body(reader: asyncio.StreamReader, request: Request) -> None:
    """Bodies (of SET_PARAMETER, mostly) are read past: there is nothing in them for us."""
    length = request.headers.get("content-length", "0")
    if not length.isdigit() or int(length) > MAX_BODY_BYTES:
        raise BadRequest(f"Content-Length {length!r}; at most {MAX_BODY_BYTES} is read")
    await reader.readexactly(int(length))


@dataclass(frozen=True)
class Transport:
    """What a client asks for in SETUP: interleaved channels in the connection, or a pair of UDP ports."""

    protocol: Literal["tcp", "udp"]
    first: int
    """The channel of RTP (RTCP is the next one), or the client's RTP port."""


def parse_transport(header: str, allowed: tuple[str, ...]) -> Transport | None:
    """The first of the client's proposals that is possible and allowed, or None."""
    for proposal in header.split(","):
        transport = _parse_proposal([part.strip() for part in proposal.split(";")])
        if transport is not None and transport.protocol in allowed:
            return transport
    return None


def _parse_proposal(parts: list[str]) -> Transport | None:
    values = dict(part.partition("=")[::2] for part in parts)
    if "multicast" in values:
        return None
    if parts[0] == "RTP/AVP/TCP":
        first = _first_number(values.get("interleaved", "0-1"))
        return None if first is None or first > 254 else Transport("tcp", first)
    if parts[0] in ("RTP/AVP", "RTP/AVP/UDP"):
        first = _first_number(values.get("client_port", ""))
        return None if first is None or not 0 < first < 65535 else Transport("udp", first)
    return None


def _first_number(pair: str) -> int | None:
    digits = pair.partition("-")[0]
    return int(digits) if digits.isdigit() else None


class Gate:
    """Checks Authorization headers against users and passwords (RFC 2617, digest with MD5 as cameras do it)."""

    realm = "Frameloom"

    def __init__(self, users: Mapping[str, str], scheme: AuthScheme) -> None:
        self._users = dict(users)
        self._scheme = scheme

    def challenge(self, nonce: str) -> str:
        """The value of WWW-Authenticate."""
        if self._scheme == "basic":
            return f'Basic realm="{self.realm}"'
        return f'Digest realm="{self.realm}", nonce="{nonce}", algorithm=MD5'

    def admits(self, request: Request, nonce: str) -> bool:
        scheme, _, rest = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != self._scheme:
            return False
        return self._basic(rest) if self._scheme == "basic" else self._digest(request.method, rest, nonce)

    def _basic(self, rest: str) -> bool:
        try:
            user, _, password = base64.b64decode(rest, validate=True).decode().partition(":")
        except ValueError:
            return False
        return user in self._users and hmac.compare_digest(password.encode(), self._users[user].encode())

    def _digest(self, method: str, rest: str, nonce: str) -> bool:
        found = re.findall(r'(\w+)=(?:"([^"]*)"|([^\s,"]+))', rest)
        said = {name: quoted or bare for name, quoted, bare in found}
        user = said.get("username", "")
        if user not in self._users:
            return False
        secret = _md5(f"{user}:{self.realm}:{self._users[user]}")
        asked = _md5(f"{method}:{said.get('uri', '')}")
        wanted = _md5(f"{secret}:{nonce}:{asked}")
        return hmac.compare_digest(said.get("response", ""), wanted)


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
