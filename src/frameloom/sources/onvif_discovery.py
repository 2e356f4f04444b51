"""Finds ONVIF cameras in the network by WS-Discovery: one question by multicast, and whoever answers in time.

Answers are not trusted: each names a camera at the address that the answer came from, and nothing else.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import unquote
from xml.etree.ElementTree import Element

from frameloom.model.errors import SourceMisconfigured

from .onvif import at_host_of, urlsplit_or_none
from .soap import NotXml, parse, text

GROUP, PORT = "239.255.255.250", 3702
_MOST = 256
_AGAIN_S = 0.5  # a datagram may be lost
_DATAGRAM_BYTES = 1 << 16
_LONGEST = 100
_TYPES = ("NetworkVideoTransmitter", "Device")
_PROBE = """\
<?xml version="1.0" encoding="UTF-8"?><e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope" \
xmlns:w="http://schemas.xmlsoap.org/ws/2004/08/addressing" \
xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery" xmlns:dn="http://www.onvif.org/ver10/network/wsdl">\
<e:Header><w:MessageID>{message}</w:MessageID><w:To>urn:schemas-xmlsoap-org:ws:2005:04:discovery</w:To>\
<w:Action>http://schemas.xmlsoap.org/ws/2005/04/discovery/Probe</w:Action></e:Header>\
<e:Body><d:Probe><d:Types>dn:NetworkVideoTransmitter</d:Types></d:Probe></e:Body></e:Envelope>"""

Place = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Camera:
    """A camera that answered: the URL of its device service, and what it calls itself."""

    address: str
    name: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def discover(wait_s: float = 3.0, places: Sequence[Place] | None = None) -> list[Camera]:
    """The cameras that answer within `wait_s`, by address. Raises nothing.

    places  whom to ask; by default everybody, on every interface
    """
    question = f"urn:uuid:{uuid.uuid4()}"
    message = _PROBE.format(message=question).encode()
    found: dict[str, Camera] = {}
    with ExitStack() as stack:
        asking = [(stack.enter_context(one), to) for one, to in _sockets(places)]
        for wait in (min(_AGAIN_S, wait_s), max(0.0, wait_s - _AGAIN_S)):
            _ask(asking, message)
            for camera in _answers([one for one, _ in asking], question, time.monotonic() + wait):
                found.setdefault(camera.address, camera)
                if len(found) >= _MOST:
                    break
    return sorted(found.values(), key=lambda camera: camera.address)


def _sockets(places: Sequence[Place] | None) -> Iterator[tuple[socket.socket, Place]]:
    for place in places or []:
        yield socket.socket(socket.AF_INET, socket.SOCK_DGRAM), place
    for index, _ in socket.if_nameindex() if places is None else []:
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        interface = struct.pack("@4s4si", b"\0" * 4, b"\0" * 4, index)  # struct ip_mreqn
        try:
            one.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
            one.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
        except OSError:  # it has no address
            one.close()
            continue
        yield one, (GROUP, PORT)


def _ask(asking: Sequence[tuple[socket.socket, Place]], message: bytes) -> None:
    for one, place in asking:
        with contextlib.suppress(OSError):  # an interface without a way there
            one.sendto(message, place)


def _answers(sockets: Sequence[socket.socket], question: str, until_s: float) -> Iterator[Camera]:
    while sockets and (left_s := until_s - time.monotonic()) > 0:
        ready, _, _ = select.select(sockets, [], [], left_s)
        for one in ready:
            with contextlib.suppress(OSError):  # somebody said that nobody listens there
                data, (host, *_) = one.recvfrom(_DATAGRAM_BYTES)
                yield from cameras_in(data, host, question)


def cameras_in(data: bytes, host: str, question: str) -> list[Camera]:
    """The cameras that an answer to `question` from `host` names; none if it is no such answer."""
    try:
        root = parse(data)
    except NotXml:
        return []
    if question.rpartition(":")[2] not in text(root, "RelatesTo"):
        return []
    return [camera for match in root.iter("ProbeMatch") if (camera := _camera(match, host)) is not None]


def _camera(match: Element, host: str) -> Camera | None:
    types = [one.rpartition(":")[2] for one in text(match, "Types").split()]
    if types and not set(types) & set(_TYPES):
        return None
    addresses = [one for one in text(match, "XAddrs").split() if urlsplit_or_none(one, ("http", "https"))]
    own = [one for one in addresses if host in one] or addresses
    if not own:
        return None
    with contextlib.suppress(SourceMisconfigured):
        return Camera(at_host_of(f"http://{host}/", own[0]), _name(text(match, "Scopes")) or host)
    return None


def _name(scopes: str) -> str:
    """What the camera calls itself: its name and its model, which cameras of one maker share or not."""
    said: dict[str, str] = {}
    for scope in scopes.split():
        for part in ("name", "hardware"):
            _, found, value = scope.partition(f"/{part}/")
            if found:
                said.setdefault(part, unquote(value))
    words = " ".join(dict.fromkeys(said[part] for part in ("name", "hardware") if said.get(part)))
    return "".join(one for one in words if one.isprintable())[:_LONGEST]
