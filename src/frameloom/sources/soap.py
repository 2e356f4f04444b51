"""SOAP 1.2 over HTTP as ONVIF cameras speak it, with both of their ways to log in. Knows nothing of cameras.

What answers may be hostile: an answer is short, has little time, defines no entities, and its host is the one asked.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import os
import re
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn
from urllib.parse import urlsplit
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat
from xml.sax.saxutils import escape

from frameloom.model.errors import SourceLost, SourceMisconfigured

TIMEOUT_S = 5.0
MOST_BYTES = 1 << 20
_MOST_ELEMENTS, _DEEPEST = 20_000, 64

_ENVELOPE = "http://www.w3.org/2003/05/soap-envelope"
_WSS = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-"
_TOKEN = f"""\
<Security s:mustUnderstand="1" xmlns="{_WSS}wssecurity-secext-1.0.xsd"><UsernameToken><Username>{{user}}</Username>\
<Password Type="{_WSS}username-token-profile-1.0#PasswordDigest">{{digest}}</Password>\
<Nonce EncodingType="{_WSS}soap-message-security-1.0#Base64Binary">{{nonce}}</Nonce>\
<Created xmlns="{_WSS}wssecurity-utility-1.0.xsd">{{created}}</Created></UsernameToken></Security>"""

_NO_SOAP = "what answers does not speak ONVIF: is the port right?"
_REFUSED = "it refused user name or password: correct them"
_PARAMETER = re.compile(r'(\w+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))')


class NotXml(ValueError):
    """What came cannot be read, or asks for more than an answer may."""


@dataclass(slots=True)
class Credentials:
    """Who asks. `offset` is how far the clock of the other side is ahead of ours."""

    user: str = ""
    password: str = field(default="", repr=False)
    offset: timedelta = timedelta()

    def token(self, nonce: bytes, now: datetime) -> str:
        """The header of WS-UsernameToken, with a digest instead of the password; nothing for nobody."""
        if not self.user:
            return ""
        created = (now + self.offset).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        digest = hashlib.sha1(
            nonce + created.encode() + self.password.encode(), usedforsecurity=False
        ).digest()
        return _TOKEN.format(
            user=escape(self.user), digest=_base64(digest), nonce=_base64(nonce), created=created
        )


class Service:
    """One service of a device. Every method raises `SourceLost` or `SourceMisconfigured`, without any address."""

    def __init__(self, url: str, credentials: Credentials, deadline_s: float) -> None:
        """`deadline_s`: monotonic time at which patience with the whole device ends."""
        self._url = urlsplit(url)
        self._credentials = credentials
        self._deadline_s = deadline_s
        self._challenge: dict[str, str] = {}
        self._count = 0

    def call(self, body: str, *, login: bool = True) -> Element:
        """The first element of the answer's body; `body` is the XML of the request."""
        status, data = self._post(body, login)
        if status == 401 and login and self._challenge and self._credentials.user:
            status, data = self._post(body, login)
        if status == 401:
            raise SourceMisconfigured(_REFUSED)
        return self._read(status, data)

    def _read(self, status: int, data: bytes) -> Element:
        try:
            root = parse(data)
        except NotXml:
            raise SourceMisconfigured(_said(status)) from None
        body = find(root, "Body")
        if body is None or len(body) == 0:
            raise SourceMisconfigured(_said(status))
        if body[0].tag == "Fault":
            _raise_fault(body[0])
        return body[0]

    def _post(self, body: str, login: bool) -> tuple[int, bytes]:
        headers: dict[str, str | bytes] = {
            "Content-Type": "application/soap+xml; charset=utf-8",
            "Connection": "close",
        }
        if login and self._challenge and self._credentials.user:
            headers["Authorization"] = self._authorization().encode()
        message = self._message(body, login).encode()
        connection = self._connection()
        try:
            connection.request("POST", self._path, message, headers)
            with connection.getresponse() as answer:
                self._challenge = _challenge_of(answer)
                return answer.status, self._bounded(answer)
        except TimeoutError:
            raise SourceLost(f"no answer for {TIMEOUT_S:g} s") from None
        except ssl.SSLError:
            raise SourceMisconfigured(_NO_SOAP) from None
        except OSError as error:
            raise SourceLost(_unreachable(error)) from None
        except (http.client.HTTPException, ValueError):
            raise SourceMisconfigured(_NO_SOAP) from None
        finally:
            connection.close()

    @property
    def _path(self) -> str:
        path = self._url.path or "/"
        return f"{path}?{self._url.query}" if self._url.query else path

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self._url.hostname or "", self._url.port
        if self._url.scheme == "https":  # a camera made its certificate itself; no password travels
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            return http.client.HTTPSConnection(host, port, timeout=self._left_s(), context=context)
        return http.client.HTTPConnection(host, port, timeout=self._left_s())

    def _left_s(self) -> float:
        left_s = self._deadline_s - time.monotonic()
        if left_s <= 0:
            raise SourceLost("it takes too long to answer")
        return min(TIMEOUT_S, left_s)

    def _bounded(self, answer: http.client.HTTPResponse) -> bytes:
        """Not more than an answer may have, and not in drops without an end."""
        data = bytearray()
        while chunk := answer.read1(65536):
            data += chunk
            if len(data) > MOST_BYTES:
                raise SourceMisconfigured(_NO_SOAP)
            self._left_s()
        return bytes(data)

    def _message(self, body: str, login: bool) -> str:
        token = self._credentials.token(os.urandom(16), datetime.now(UTC)) if login else ""
        return (
            f'<?xml version="1.0" encoding="UTF-8"?><s:Envelope xmlns:s="{_ENVELOPE}">'
            f"<s:Header>{token}</s:Header><s:Body>{body}</s:Body></s:Envelope>"
        )

    def _authorization(self) -> str:
        self._count += 1
        return digest_authorization(
            self._challenge, self._credentials, "POST", self._path, self._count, os.urandom(8).hex()
        )


def digest_authorization(
    challenge: dict[str, str], credentials: Credentials, method: str, path: str, count: int, cnonce: str
) -> str:
    """The `Authorization` of HTTP's Digest (RFC 7616) that answers `challenge`."""
    algorithm = challenge.get("algorithm", "MD5")
    name = algorithm.upper().removesuffix("-SESS")
    made: Callable[..., Any] = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}[name]

    def hashed(text: str) -> str:
        return str(made(text.encode(), usedforsecurity=False).hexdigest())

    user, realm, nonce = credentials.user, challenge.get("realm", ""), challenge.get("nonce", "")
    secret = hashed(f"{user}:{realm}:{credentials.password}")
    if algorithm.upper().endswith("-SESS"):
        secret = hashed(f"{secret}:{nonce}:{cnonce}")
    what, fields = hashed(f"{method}:{path}"), {"username": user, "realm": realm, "nonce": nonce, "uri": path}
    if "auth" in [one.strip() for one in challenge.get("qop", "").split(",")]:
        fields["response"] = hashed(f"{secret}:{nonce}:{count:08x}:{cnonce}:auth:{what}")
        plain = f", qop=auth, nc={count:08x}"
        fields["cnonce"] = cnonce
    else:
        fields["response"], plain = hashed(f"{secret}:{nonce}:{what}"), ""
    if "opaque" in challenge:
        fields["opaque"] = challenge["opaque"]
    quoted = ", ".join(f'{key}="{_escaped(value)}"' for key, value in fields.items())
    return f"Digest {quoted}, algorithm={algorithm}{plain}"


def parse(data: bytes) -> Element:
    """The root of an XML document; tags and attributes have their local names only. Raises `NotXml`.

    A document type is refused, and with it every entity that could grow.
    """
    builder, count, depth = TreeBuilder(), 0, 0
    parser = expat.ParserCreate(namespace_separator="}")

    def refuse(*_: Any) -> NoReturn:
        raise NotXml("a document type")

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal count, depth
        count, depth = count + 1, depth + 1
        if count > _MOST_ELEMENTS or depth > _DEEPEST:
            raise NotXml("too many elements")
        builder.start(_local(tag), {_local(name): value for name, value in attributes.items()})

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(_local(tag))

    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(data, True)
        return builder.close()
    except (expat.ExpatError, LookupError, AssertionError) as error:
        raise NotXml(str(error)) from None


def find(element: Element, *path: str) -> Element | None:
    """The first element of that name anywhere below, and then below that one; None if there is none."""
    found: Element | None = element
    for name in path:
        found = None if found is None else next((one for one in found.iter(name) if one is not found), None)
    return found


def text(element: Element | None, *path: str) -> str:
    """The text of the element that `find` finds; empty if there is none."""
    found = find(element, *path) if element is not None else None
    return (found.text or "").strip() if found is not None else ""


def _raise_fault(fault: Element) -> NoReturn:
    """The words of a device go no further: they may be anything."""
    codes = " ".join(one.text or "" for one in fault.iter("Value"))
    reason = text(fault, "Reason", "Text")
    if "NotAuthorized" in codes or "FailedAuthentication" in codes or "uthoriz" in reason:
        raise SourceMisconfigured(_REFUSED)
    raise SourceMisconfigured("it answers that it cannot do this")


def _challenge_of(answer: http.client.HTTPResponse) -> dict[str, str]:
    """The Digest challenge that we can answer, the strongest one; nothing if there is none."""
    found: list[dict[str, str]] = []
    for header in answer.headers.get_all("WWW-Authenticate") or []:
        scheme, _, rest = header.strip().partition(" ")
        if scheme.lower() != "digest":
            continue
        challenge = {name.lower(): a.replace('\\"', '"') or b for name, a, b in _PARAMETER.findall(rest)}
        if challenge.get("algorithm", "MD5").upper().removesuffix("-SESS") in ("MD5", "SHA-256"):
            found.append(challenge)
    return max(found, key=lambda one: "256" in one.get("algorithm", ""), default={})


def _unreachable(error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "the connection was refused: is it on, and is the port right?"
    if isinstance(error, ConnectionError):
        return "it closed the connection"
    return "its host is not known or cannot be reached"


def _said(status: int) -> str:
    return "there is no ONVIF service at this address (404)" if status == 404 else _NO_SOAP


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')
