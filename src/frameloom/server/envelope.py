"""What every answer has, whatever it is: security headers, a limit on what is sent to us, and HEAD."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import problem

BODY_BYTES = 64 * 1024
TEXT_BYTES = 512 * 1024
"""Of a whole site.yaml."""

_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-site",  # so that another page on this machine may show a picture
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Envelope:
    """ASGI middleware around everything."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def sealed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        if scope["method"] == "HEAD":  # uvicorn leaves the body away
            scope = {**scope, "method": "GET", "frameloom.head": True}
        most = TEXT_BYTES if scope["path"].startswith("/api/settings") else BODY_BYTES
        body = await _read(receive, most)
        if body is None:
            too_large = problem(413, "too-large", f"the body: at most {most} bytes are allowed")
            await too_large(scope, receive, sealed)
        else:
            await self._app(scope, _again(body, receive), sealed)


async def _read(receive: Receive, most_bytes: int) -> bytes | None:
    """The whole body; None if it is too long, or never came to its end."""
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > most_bytes or message["type"] == "http.disconnect":
            return None
        if not message.get("more_body"):
            return bytes(body)


def _again(body: bytes, receive: Receive) -> Receive:
    """Gives the body that was read, and then what still comes: that the other side has gone."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return messages.pop() if messages else await receive()

    return next_message
