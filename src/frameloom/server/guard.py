"""Keeps other web pages out. Who calls, and whether he may, is asked after that (`frameloom.server.auth`).

Any page in the user's browser can send requests to 127.0.0.1. Two checks stop it: the Host header must name this
machine (else a foreign name was pointed here: DNS rebinding), and what changes something, and every WebSocket, must
come from our own page (Origin) or from no page at all (curl, scripts). A third one is for servers that trust everybody
who reaches them, since only this machine can: what came through a proxy came from elsewhere.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from frameloom.site.exposure import is_loopback

from .errors import problem

__all__ = ["Guard", "Hosts", "is_loopback"]

_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_BY_PROXIES = (b"forwarded", b"x-forwarded-for", b"x-real-ip")


class Hosts:
    """The names by which this server may be called, given the address on which it listens.

    A name can be pointed anywhere by whoever owns it; an IP address cannot. On loopback only loopback is allowed.
    `names` are those of a certificate: an authority has seen that they are ours. '*.home.lan' allows one step more.
    """

    def __init__(self, address: str, names: Iterable[str] = ()) -> None:
        self.is_loopback = is_loopback(address)
        self._names = {"localhost", address.lower(), *(name.lower() for name in names)}
        if not self.is_loopback:
            own = socket.gethostname().lower()
            self._names |= {own, f"{own}.local", socket.getfqdn().lower()}

    def allow(self, host: str) -> bool:
        """Whether `host`, as in a Host header, may be served."""
        name = _name(host)
        if name in self._names or f"*.{name.partition('.')[2]}" in self._names:
            return True
        return is_loopback(name) or (not self.is_loopback and _is_address(name))

    def __str__(self) -> str:
        names = sorted(name for name in self._names if not _is_address(name))
        return ", ".join([*names, "127.0.0.1" if self.is_loopback else "an IP address"])


class Guard:
    """ASGI middleware that answers 403 to what may not come in.

    trusting  everybody who gets here may do everything, because nobody was expected from another machine
    """

    def __init__(self, app: ASGIApp, *, hosts: Hosts, trusting: bool = False) -> None:
        self._app = app
        self._hosts = hosts
        self._trusting = trusting

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket") and (refusal := self._refusal(scope)):
            await problem(403, "forbidden", refusal)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> str:
        hosts, origins = _values(scope, b"host"), _values(scope, b"origin")
        host = hosts[0] if len(hosts) == 1 else ""
        if not self._hosts.allow(host):
            return f"Host header: read {', '.join(hosts)[:100]!r}, allowed: {self._hosts}"
        changes = scope["type"] == "websocket" or scope["method"] not in _READING
        if changes and any(_place(origin) != host.lower() for origin in origins):
            return f"Origin: read {', '.join(origins)[:100]!r}, allowed: this server's own page"
        if self._trusting and any(name in _BY_PROXIES for name, _ in scope["headers"]):
            return "this came through a proxy, and nobody has to log in here: set server.login in site.yaml"
        return ""


def _values(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _name(host: str) -> str:
    """'localhost' of 'localhost:8080', '::1' of '[::1]:8080'; empty if it is nothing of the kind."""
    try:
        parts = urlsplit(f"//{host}")
        return parts.hostname or "" if parts.netloc == host and "@" not in host else ""
    except ValueError:
        return ""


def _place(origin: str) -> str:
    """'localhost:8080' of 'http://localhost:8080'; empty for 'null'."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""
