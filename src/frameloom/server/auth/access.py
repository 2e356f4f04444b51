"""Who calls: by the cookie of a session, or by a token that a program sends.

Reads what is kept of users; changing it, and checking passwords, belongs to `logins` and `routes`.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import logging
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeVar

from starlette.requests import HTTPConnection, cookie_parser
from starlette.types import Scope

from frameloom.accounts.book import SEEN_NS, Book, Session
from frameloom.accounts.paths import make_private
from frameloom.accounts.roles import Role
from frameloom.accounts.secrets import digest
from frameloom.accounts.store import Accounts
from frameloom.bus.inotify import FolderWatch
from frameloom.model.clock import NS_PER_S
from frameloom.model.errors import NeedsPerson

log = logging.getLogger(__name__)

CALLER = "frameloom.caller"
BASIC_USER = "token"
_LOOK_AGAIN_S = 3600.0
_SOONEST_S = 0.05
_LOOK_AGAIN_UNTOLD_S = 5.0  # where the system does not tell that a file has changed
_MOST_HELD = 1000
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who calls. `key` is the digest of the secret that was shown; `how` what sort of secret it was."""

    role: Role | None
    user: str | None = None
    how: Literal["nobody", "everybody", "session", "token"] = "nobody"
    key: str = ""
    must_change: bool = False
    problem: str = ""


NOBODY = Caller(None)
EVERYBODY = Caller("admin", how="everybody")


def caller_of(connection: HTTPConnection) -> Caller:
    """Who sent a request, as the gate found out."""
    caller: Caller = connection.scope[CALLER]
    return caller


class Live:
    """Somebody who looks or listens, until `let_go` is called. `gone`: it was."""

    def __init__(self, caller: Caller, let_go: Callable[[], Any]) -> None:
        self.caller = caller
        self.gone = False
        self._let_go = let_go

    def end(self) -> None:
        self.gone = True
        self._let_go()


class Access:
    """Knows the callers of one site.

    login  whether one has to log in; else everybody is an admin
    """

    def __init__(self, site: str, *, login: bool) -> None:
        self.accounts = Accounts(site)
        self.login = login
        self._site = site
        self._live: set[Live] = set()
        self._held: dict[Live, None] = {}
        self._leaving: set[asyncio.Task[Any]] = set()
        self._used: set[str] = set()
        self._noting: asyncio.Task[None] | None = None

    def cookie(self, scope: Scope) -> str:
        """Name of the session's cookie: of this site alone, since cookies know no ports, and bound to TLS by it."""
        name = f"frameloom-{self._site}"
        return f"__Host-{name}" if is_secure(scope) else name

    def caller(self, scope: Scope) -> Caller:
        """Who sent this; raises `NeedsPerson` if the accounts cannot be read."""
        if not self.login:
            return EVERYBODY
        headers = dict(scope["headers"])
        if (shown := headers.get(b"authorization")) is not None:
            return self._by_header(shown.decode("latin-1"))
        if secret := cookie_parser(headers.get(b"cookie", b"").decode("latin-1")).get(self.cookie(scope)):
            return self._by_key("session", digest(secret))
        return NOBODY

    def again(self, caller: Caller) -> Caller:
        """Who a caller of before is now: somebody may have ended his session, or changed his role."""
        if caller.how == "session" or caller.how == "token":
            return self._by_key(caller.how, caller.key)
        return caller

    @contextlib.contextmanager
    def living(self, caller: Caller, let_go: Callable[[], Any]) -> Iterator[Live]:
        """Have `let_go` called when the caller's right ends or becomes another one, until the end of the block."""
        live = Live(caller, let_go)
        self._live.add(live)
        try:
            yield live
        finally:
            self._live.discard(live)

    def hold(self, caller: Caller, let_go: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """For what goes on after its request: run `let_go` once when the caller's right ends.

        Whoever has gone by himself is let go in vain. Of too many, the oldest is let go at once.
        """
        if caller.how not in ("session", "token"):
            return
        live = Live(caller, lambda: self._let_go(live, let_go))
        self._held[live] = None
        self._live.add(live)
        if len(self._held) > _MOST_HELD:
            next(iter(self._held)).end()

    async def change(self, edit: Callable[[Book], T]) -> T:
        """Change the accounts, without keeping anybody waiting for the disk."""
        return await asyncio.to_thread(self.accounts.change, edit)

    async def follow(self) -> None:
        """Let those go whose right has ended, as soon as it has, until cancelled."""
        if not self.login:
            return
        changes = _Changes(self.accounts)
        try:
            while True:
                await changes.wait(self._next_end_s())
                self._look_at_all()
        finally:
            changes.close()

    def _let_go(self, live: Live, let_go: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        self._held.pop(live, None)
        self._live.discard(live)
        task = asyncio.get_running_loop().create_task(let_go())
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    def _by_header(self, text: str) -> Caller:
        scheme, _, rest = text.strip().partition(" ")
        match scheme.lower():
            case "bearer":
                return self._by_key("token", digest(rest.strip()))
            case "basic":
                user, _, password = _decoded(rest.strip()).partition(":")
                if user != BASIC_USER:
                    words = f"Basic wants the user {BASIC_USER!r} and a token as password, not the login's"
                    return Caller(None, problem=words)
                return self._by_key("token", digest(password))
        return Caller(None, problem="Authorization: allowed are Bearer and Basic, with a token")

    def _by_key(self, how: Literal["session", "token"], key: str) -> Caller:
        book, now_ns = self.accounts.book(), self._now_ns()
        return self._of_session(book, key, now_ns) if how == "session" else self._of_token(book, key, now_ns)

    def _of_session(self, book: Book, key: str, now_ns: int) -> Caller:
        session = book.session(key, now_ns)
        if session is None:
            return Caller(None, problem="the session has ended: log in again")
        if now_ns - session.seen_utc_ns > SEEN_NS:
            self._note(key)
        user = book.users[session.user]
        return Caller(user.role, session.user, "session", key, user.must_change)

    def _of_token(self, book: Book, key: str, now_ns: int) -> Caller:
        role = book.token_role(key, now_ns)
        if role is None:
            return Caller(None, problem="this token is not known, or has expired")
        token = book.tokens[key]
        if token.last_used_utc_ns is None or now_ns - token.last_used_utc_ns > SEEN_NS:
            self._note(key)
        return Caller(role, token.user, "token", key)

    def _note(self, key: str) -> None:
        """Keep that it was used, behind the scenes: many requests are one change of the file."""
        self._used.add(key)
        if self._noting is None or self._noting.done():
            self._noting = asyncio.get_running_loop().create_task(self._note_used())

    async def _note_used(self) -> None:
        while self._used:
            used, self._used = self._used, set()
            try:
                await self.change(partial(_mark_used, keys=used, now_ns=self._now_ns()))
            except NeedsPerson as error:
                log.warning("%s", error)

    def _now_ns(self) -> int:
        return self.accounts.clock.utc_ns()

    def _look_at_all(self) -> None:
        try:
            ended = [live for live in self._live if self.again(live.caller) != live.caller]
        except NeedsPerson as error:
            log.error("nobody is known any more: %s", error)
            ended = list(self._live)
        for live in ended:
            live.end()

    def _next_end_s(self) -> float:
        """How long until the first of those who look or listen has to go, at most."""
        try:
            book, now_ns = self.accounts.book(), self._now_ns()
        except NeedsPerson:
            return _LOOK_AGAIN_UNTOLD_S
        ends = [_end_of(book, live.caller) for live in self._live]
        waits = [(end - now_ns) / NS_PER_S for end in ends if end is not None]
        return max(_SOONEST_S, min([_LOOK_AGAIN_S, *waits]))


class _Changes:
    """Waits for a change of the accounts, by whomever."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self._told = asyncio.Event()
        self._watch: FolderWatch | None = None
        self._begin()

    async def wait(self, most_s: float) -> None:
        """Until they have changed, or `most_s` seconds have passed."""
        if self._watch is None:
            self._begin()
        limit_s = most_s if self._watch else min(most_s, _LOOK_AGAIN_UNTOLD_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self._told.wait()
        self._told.clear()

    def close(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            asyncio.get_running_loop().remove_reader(watch.fd)
            watch.close()

    def _begin(self) -> None:
        try:
            self._watch = FolderWatch(make_private(self._accounts.folder))
        except (OSError, AttributeError, NeedsPerson) as error:
            log.debug("changes of the accounts are looked for every %g s: %s", _LOOK_AGAIN_UNTOLD_S, error)
        else:
            asyncio.get_running_loop().add_reader(self._watch.fd, self._tell)

    def _tell(self) -> None:
        assert self._watch is not None
        if self._watch.drain():
            self.close()
        self._told.set()


def is_secure(scope: Scope) -> bool:
    """Whether it came by TLS."""
    return scope["scheme"] in ("https", "wss")


def _mark_used(book: Book, keys: Iterable[str], now_ns: int) -> None:
    for key in keys:
        if (session := book.sessions.get(key)) is not None:
            session.seen_utc_ns = now_ns
        if (token := book.tokens.get(key)) is not None:
            token.last_used_utc_ns = now_ns


def _end_of(book: Book, caller: Caller) -> int | None:
    """When a caller's right ends by itself, UTC in ns; None: never."""
    if caller.how == "session":
        session: Session | None = book.sessions.get(caller.key)
        return session.ends_utc_ns() if session else 0
    if caller.how == "token":
        token = book.tokens.get(caller.key)
        return token.expires_utc_ns if token else 0
    return None


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, ValueError):
        return ""
