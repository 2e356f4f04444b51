"""An ONVIF camera for tests: device and media service over SOAP, and WS-Discovery, on 127.0.0.1 only.

It checks logins as cameras do: WS-UsernameToken by its own clock, each token once; or HTTP's Digest. What it is to do
wrong is said when it is made.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
import secrets
import select
import socket
import struct
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Literal, Self
from xml.etree import ElementTree
from xml.sax.saxutils import escape

Auth = Literal["token", "digest", "none"]
Fault = Literal["", "hang", "garbage", "entities", "endless", "html"]

GROUP, PORT = "239.255.255.250", 3702
_SOAP = "{http://www.w3.org/2003/05/soap-envelope}"
_WSSE = "{http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd}"
_WSU = "{http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd}"
_VALID = timedelta(minutes=5)
_REALM = "camera"
_HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<env:Envelope xmlns:env="http://www.w3.org/2003/05/soap-envelope" '
    'xmlns:tds="http://www.onvif.org/ver10/device/wsdl" xmlns:trt="http://www.onvif.org/ver10/media/wsdl" '
    'xmlns:tt="http://www.onvif.org/ver10/schema" xmlns:ter="http://www.onvif.org/ver10/error" '
    'xmlns:wsa="http://schemas.xmlsoap.org/ws/2004/08/addressing" '
    'xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery" '
    'xmlns:dn="http://www.onvif.org/ver10/network/wsdl">'
)
_NOT_AUTHORIZED = (
    "<env:Fault><env:Code><env:Value>env:Sender</env:Value><env:Subcode><env:Value>ter:NotAuthorized</env:Value>"
    '</env:Subcode></env:Code><env:Reason><env:Text xml:lang="en">Sender not Authorized</env:Text></env:Reason>'
    "</env:Fault>"
)
_ENTITIES = (
    '<!DOCTYPE x [<!ENTITY a "ha">'
    + "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefghi", "bcdefghij", strict=True))
    + "]><x>&j;</x>"
)


@dataclass(frozen=True, slots=True)
class Profile:
    """A stream that the camera offers. `url` is what it says, wherever that leads."""

    name: str
    url: str
    encoding: str = "H264"
    width: int = 320
    height: int = 240
    fps: int = 25


class OnvifCamera:
    """One camera.

    auth         how one has to log in
    clock_off    how far its clock is ahead of the right time
    fault        what it does wrong, whatever it is asked
    multicast    answer probes that are sent to the group on the loopback interface, too
    xaddr        the host that it names as its own
    tokens       WS-UsernameTokens that it has accepted; `asked`: the actions, in order
    """

    def __init__(
        self,
        profiles: Sequence[Profile] = (),
        *,
        user: str = "admin",
        password: str = "secret",
        auth: Auth = "token",
        clock_off: timedelta = timedelta(),
        fault: Fault = "",
        name: str = "Test Camera",
        multicast: bool = False,
        xaddr: str = "192.0.2.7",
    ) -> None:
        self.profiles = tuple(profiles)
        self.user, self.password, self.auth = user, password, auth
        self.clock_off, self.fault, self.name, self.xaddr = clock_off, fault, name, xaddr
        self.tokens: list[str] = []
        self.asked: list[str] = []
        self._multicast = multicast
        self._nonce = secrets.token_hex(8)
        self._stopping = threading.Event()

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self))
        self._server.daemon_threads = True
        self._ears = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM)]
        self._ears[0].bind(("127.0.0.1", 0))
        if self._multicast:
            self._ears.append(_group_socket())
        self._woken, self._waker = socket.socketpair()
        self._threads = [
            threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True),
            threading.Thread(target=self._listen, daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._waker.send(b"x")
        self._server.shutdown()
        for thread in self._threads:
            thread.join()
        self._server.server_close()
        for one in (*self._ears, self._woken, self._waker):
            one.close()

    @property
    def address(self) -> str:
        """Where it is: host and port."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def discovery(self) -> tuple[str, int]:
        """Where it hears probes that are sent to it alone."""
        return self._ears[0].getsockname()[:2]  # type: ignore[no-any-return]

    # -- discovery --

    def _listen(self) -> None:
        while not self._stopping.is_set():
            ready, _, _ = select.select([*self._ears, self._woken], [], [])
            for ear in ready:
                if ear is not self._woken:
                    data, sender = ear.recvfrom(65536)
                    self._answer_probe(data, sender)

    def _answer_probe(self, data: bytes, sender: tuple[str, int]) -> None:
        message = re.search(rb"MessageID[^>]*>([^<]+)<", data)
        if message is None or b"Probe" not in data:
            return
        answer = self.probe_match(message[1].decode())
        with contextlib.suppress(OSError):
            self._ears[0].sendto(answer, sender)

    def probe_match(self, question: str) -> bytes:
        """What it answers to the probe with this id."""
        scopes = f"onvif://www.onvif.org/type/video_encoder onvif://www.onvif.org/name/{self.name.replace(' ', '%20')}"
        if self.fault == "entities":
            return _ENTITIES.encode()
        return (
            f"{_HEAD}<env:Header><wsa:RelatesTo>{escape(question)}</wsa:RelatesTo></env:Header><env:Body>"
            "<d:ProbeMatches><d:ProbeMatch><wsa:EndpointReference><wsa:Address>urn:uuid:1</wsa:Address>"
            f"</wsa:EndpointReference><d:Types>dn:NetworkVideoTransmitter</d:Types><d:Scopes>{scopes}</d:Scopes>"
            f"<d:XAddrs>http://{self.xaddr}:{self._port}/onvif/device_service</d:XAddrs>"
            "</d:ProbeMatch></d:ProbeMatches></env:Body></env:Envelope>"
        ).encode()

    # -- services --

    @property
    def _port(self) -> int:
        return int(self._server.server_address[1])

    def wait_until_closed(self) -> None:
        """For a request that is never answered."""
        self._stopping.wait()

    def digest_is_right(self, header: str, method: str) -> bool:
        """Whether an `Authorization` is that of our user."""
        found = re.findall(r'(\w+)=(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))', header.encode("latin-1").decode())
        said: dict[str, str] = {name: re.sub(r"\\(.)", r"\1", a) or b for name, a, b in found}
        if said.get("nonce") != self._nonce or said.get("username") != self.user:
            return False
        secret = _md5(f"{self.user}:{_REALM}:{self.password}")
        what = _md5(f"{method}:{said['uri']}")
        middle = f"{said['nc']}:{said['cnonce']}:{said['qop']}"
        return _md5(f"{secret}:{self._nonce}:{middle}:{what}") == said["response"]

    @property
    def challenge(self) -> str:
        return f'Digest realm="{_REALM}", nonce="{self._nonce}", qop="auth", algorithm=MD5'

    def token_is_right(self, root: ElementTree.Element) -> bool:
        """Whether a request has a WS-UsernameToken of our user, made just now by our clock, and never seen before."""
        token = root.find(f".//{_WSSE}UsernameToken")
        if token is None:
            return False
        user, digest, nonce = (
            token.findtext(f"{_WSSE}{name}", "") for name in ("Username", "Password", "Nonce")
        )
        created = token.findtext(f"{_WSU}Created", "")
        wanted = hashlib.sha1(base64.b64decode(nonce) + (created + self.password).encode()).digest()
        now = datetime.now(UTC) + self.clock_off
        is_new = abs(datetime.fromisoformat(created) - now) < _VALID and nonce not in self.tokens
        self.tokens.append(nonce)
        return user == self.user and is_new and base64.b64encode(wanted).decode() == digest

    def result(self, action: ElementTree.Element) -> str:
        """The body of an answer."""
        name = action.tag.rpartition("}")[2]
        self.asked.append(name)
        match name:
            case "GetSystemDateAndTime":
                return self._time()
            case "GetCapabilities":
                url = f"http://{self.xaddr}:{self._port}/onvif/media"
                return (
                    "<tds:GetCapabilitiesResponse><tds:Capabilities><tt:Media>"
                    f"<tt:XAddr>{url}</tt:XAddr></tt:Media></tds:Capabilities></tds:GetCapabilitiesResponse>"
                )
            case "GetProfiles":
                profiles = "".join(_profile(at, one) for at, one in enumerate(self.profiles))
                return f"<trt:GetProfilesResponse>{profiles}</trt:GetProfilesResponse>"
            case _:
                token = action.findtext("{http://www.onvif.org/ver10/media/wsdl}ProfileToken", "")
                uri = escape(self.profiles[int(token.removeprefix("profile"))].url)
                return (
                    "<trt:GetStreamUriResponse><trt:MediaUri>"
                    f"<tt:Uri>{uri}</tt:Uri></trt:MediaUri></trt:GetStreamUriResponse>"
                )

    def _time(self) -> str:
        now = datetime.now(UTC) + self.clock_off
        return (
            "<tds:GetSystemDateAndTimeResponse><tds:SystemDateAndTime><tt:DateTimeType>Manual</tt:DateTimeType>"
            f"<tt:UTCDateTime><tt:Time><tt:Hour>{now.hour}</tt:Hour><tt:Minute>{now.minute}</tt:Minute>"
            f"<tt:Second>{now.second}</tt:Second></tt:Time><tt:Date><tt:Year>{now.year}</tt:Year>"
            f"<tt:Month>{now.month}</tt:Month><tt:Day>{now.day}</tt:Day></tt:Date></tt:UTCDateTime>"
            "</tds:SystemDateAndTime></tds:GetSystemDateAndTimeResponse>"
        )


def _handler_of(camera: OnvifCamera) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if camera.fault:
                _misbehave(camera, self)
                return
            root = ElementTree.fromstring(body)
            action = root.find(f"{_SOAP}Body/*")
            assert action is not None
            if "GetSystemDateAndTime" in action.tag or camera.auth == "none":
                self.answer(200, camera.result(action))
            elif camera.auth == "digest" and not camera.digest_is_right(
                self.headers.get("Authorization", ""), "POST"
            ):
                self.answer(401, "", ("WWW-Authenticate", camera.challenge))
            elif camera.auth == "token" and not camera.token_is_right(root):
                self.answer(400, _NOT_AUTHORIZED)
            else:
                self.answer(200, camera.result(action))

        def answer(self, status: int, body: str, *headers: tuple[str, str]) -> None:
            data = f"{_HEAD}<env:Body>{body}</env:Body></env:Envelope>".encode() if body else b""
            self.send(status, data, *headers)

        def send(self, status: int, data: bytes, *headers: tuple[str, str]) -> None:
            self.send_response(status)
            for name, value in (("Content-Type", "application/soap+xml"), *headers):
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


def _misbehave(camera: OnvifCamera, handler: BaseHTTPRequestHandler) -> None:
    match camera.fault:
        case "hang":
            camera.wait_until_closed()
        case "garbage":
            handler.wfile.write(b"\x00\xff" * 400)
            handler.close_connection = True
        case "endless":
            handler.send_response(200)
            handler.send_header("Connection", "close")
            handler.end_headers()
            with contextlib.suppress(OSError):
                while True:
                    handler.wfile.write(b"<x>" * 10_000)
        case "html":
            handler.send(200, b"<html><body>Welcome</body></html>")  # type: ignore[attr-defined]
        case _:
            handler.send(200, _ENTITIES.encode())  # type: ignore[attr-defined]


def _profile(at: int, one: Profile) -> str:
    return (
        f'<trt:Profiles token="profile{at}" fixed="true"><tt:Name>{escape(one.name)}</tt:Name>'
        f"<tt:VideoEncoderConfiguration><tt:Encoding>{one.encoding}</tt:Encoding><tt:Resolution>"
        f"<tt:Width>{one.width}</tt:Width><tt:Height>{one.height}</tt:Height></tt:Resolution><tt:RateControl>"
        f"<tt:FrameRateLimit>{one.fps}</tt:FrameRateLimit></tt:RateControl></tt:VideoEncoderConfiguration>"
        "</trt:Profiles>"
    )


def _group_socket() -> socket.socket:
    """Hears what is sent to the group on the loopback interface."""
    ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    ear.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    ear.bind((GROUP, PORT))
    membership = struct.pack("@4s4si", socket.inet_aton(GROUP), b"\0" * 4, socket.if_nametoindex("lo"))
    ear.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
    return ear


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
