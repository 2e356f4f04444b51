"""What each resource needs of the one who calls: the one place that says so.

What is not named here needs `viewer` if it only reads (GET, WebSocket), else `admin`: a resource that somebody forgot
is closed rather than open.
"""

from __future__ import annotations

import re
from typing import Literal

from starlette.types import Scope

Need = Literal["open", "self", "viewer", "operator", "admin"]
"""open: everybody; self: whoever has logged in, if only to change the password; else at least that role."""

WEBSOCKET = "WEBSOCKET"
_READING = frozenset({"GET", "HEAD", "OPTIONS", WEBSOCKET})

# All that is below them, reading too.
FOR_ADMINS = ("/api/cameras", "/api/settings", "/api/users")

TABLE: tuple[tuple[str, str, Need], ...] = (
    ("GET", "/", "open"),
    ("GET", "/static/{file}", "open"),
    ("GET", "/api/me", "open"),
    ("POST", "/api/login", "open"),
    ("POST", "/api/logout", "open"),
    ("POST", "/api/password", "self"),
    ("POST", "/api/tokens", "viewer"),  # his own
    ("DELETE", "/api/tokens/{id}", "viewer"),
    ("POST", "/streams/{name}/whep", "viewer"),
    ("PATCH", "/streams/{name}/whep/{id}", "viewer"),
    ("DELETE", "/streams/{name}/whep/{id}", "viewer"),
    ("POST", "/api/workers/{name}/{verb}", "operator"),
    ("PATCH", "/api/workers/{name}/parameters", "operator"),
    ("POST", "/api/streams/{name}/record", "operator"),
    ("DELETE", "/api/recordings/{camera}", "operator"),
)


def needed(scope: Scope) -> Need:
    """What a request or a WebSocket needs, by its method and path."""
    method = WEBSOCKET if scope["type"] == "websocket" else str(scope["method"])
    return need_of(method, str(scope["path"]))


def need_of(method: str, path: str) -> Need:
    """As `needed`; `path` is decoded. Only a path that is exactly as in the table needs less than it would without."""
    if path.startswith(FOR_ADMINS):
        return "admin"
    for verb, pattern, need in _PATTERNS:
        if verb == method and pattern.fullmatch(path):
            return need
    return "viewer" if method in _READING else "admin"


def _pattern(template: str) -> re.Pattern[str]:
    """Each `{name}` stands for one step of the path."""
    return re.compile("[^/]+".join(map(re.escape, re.split(r"\{\w+\}", template))))


_PATTERNS = tuple((method, _pattern(template), need) for method, template, need in TABLE)
