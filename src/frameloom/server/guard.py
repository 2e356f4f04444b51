"""Keeps other web pages out of a server that listens on loopback without a login.

Any page in the user's browser can send requests to 127.0.0.1. Two checks stop it: the Host header must name this
machine (else a foreign name was pointed here: DNS rebinding), and what changes something, and every WebSocket, must
come from our own page (Origin) or from no page at all (curl, scripts).
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from .errors import problem

_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_THIS_MACHINE = frozenset({"localhost", "127.0.0.1", "::1"})


class Guard:
    """ASGI middleware. `loopback_only`: the Host header must name this machine."""

    def __init__(self, app: ASGIApp, *, loopback_only: bool) -> None:
        self._app = app
        self._loopback_only = loopback_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if not refusal:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": refusal[:120]})
        else:
            await problem(403, "forbidden", refusal)(scope, receive, send)

    def _refusal(self, scope: Scope) -> str:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get(b"host", "")
        if self._loopback_only and _name(f"//{host}") not in _THIS_MACHINE:
            return f"Host header: read {host[:100]!r}, allowed: localhost, 127.0.0.1"
        origin = headers.get(b"origin")
        changes = scope["type"] == "websocket" or scope["method"] not in _READING
        if changes and origin is not None and urlsplit(origin).netloc != host:
            return f"Origin: read {origin[:100]!r}, allowed: this server's own page"
        return ""


def _name(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""
