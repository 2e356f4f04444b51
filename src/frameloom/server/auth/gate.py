"""Lets in who may come in, before any resource is asked: ASGI middleware around all of them."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from frameloom.accounts.roles import may
from frameloom.model.errors import NeedsPerson
from frameloom.server.errors import problem

from .access import CALLER, Access, Caller
from .rules import Need, needed

log = logging.getLogger(__name__)

LOGIN_ENDED = 4401
"""WebSocket close code: the login has ended, or its rights have changed."""

_READING = frozenset({"GET", "HEAD"})


class Gate:
    """Answers 401 to nobody, 403 to those who may not; and ends what is under way when the right to it ends."""

    def __init__(self, app: ASGIApp, *, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        need = needed(scope)
        try:
            caller = self._access.caller(scope)
        except NeedsPerson as error:
            log.error("%s", error)
            caller = Caller(None, problem="the accounts cannot be read; the server's log says why")
        if refusal := _refusal(scope, need, caller):
            await refusal(scope, receive, send)
        else:
            await self._let_in({**scope, CALLER: caller}, receive, send)

    async def _let_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What changes something is short, and goes to its end; what reads may be without an end."""
        caller: Caller = scope[CALLER]
        ends = caller.how in ("session", "token")
        if not ends or (scope["type"] == "http" and scope["method"] not in _READING):
            await self._app(scope, receive, send)
            return
        task = asyncio.current_task()
        assert task is not None
        with self._access.living(caller, task.cancel) as live:
            try:
                await self._app(scope, receive, send)
            except asyncio.CancelledError:
                if not live.gone:
                    raise
                task.uncancel()
                await _end(scope, send)


def _refusal(scope: Scope, need: Need, caller: Caller) -> Response | None:
    if need == "open":
        return None
    if caller.role is None:
        headers = {"WWW-Authenticate": _challenge(scope)}
        return problem(401, "login-needed", caller.problem or "log in first, or send a token", headers)
    if need == "self":
        return None
    if caller.must_change:
        return problem(403, "must-change-password", "change the one-time password first: POST /api/password")
    if may(caller.role, need):
        return None
    return problem(403, "not-allowed-role", f"this needs the role {need}, and yours is {caller.role}")


def _challenge(scope: Scope) -> str:
    """Players send a user and password only when they are asked in this way; a browser would put up a window."""
    agent = next((value for name, value in scope["headers"] if name == b"user-agent"), b"")
    player = scope["path"].startswith("/streams/") and not agent.startswith(b"Mozilla/")
    return 'Basic realm="Frameloom", charset="UTF-8"' if player else 'Bearer realm="Frameloom"'


async def _end(scope: Scope, send: Send) -> None:
    """Say that it is over, if that can still be said."""
    last: Message = {"type": "http.response.body", "body": b"", "more_body": False}
    if scope["type"] == "websocket":
        last = {"type": "websocket.close", "code": LOGIN_ENDED, "reason": "the login has ended"}
    with contextlib.suppress(RuntimeError, OSError):
        await send(last)
