"""What a site knows of its users: plain data with the rules that hold between them. Times are UTC, in ns, and given.

UTC decides here, although it may jump: a session has to outlive a restart of the machine. Reading and writing belong
to `store.py`.
"""

from __future__ import annotations

import re
import secrets as random
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from frameloom.model.clock import NS_PER_S
from frameloom.model.errors import CommandError

from .roles import ROLES, Role, lesser
from .secrets import digest, new_session, new_token

DAY_NS = 86400 * NS_PER_S
SESSION_IDLE_NS = 7 * DAY_NS
SESSION_NS = 30 * DAY_NS
SEEN_NS = 3600 * NS_PER_S
"""How coarse it is known when a session or token was used last: a file is written for it."""

NAME_ALLOWED = "1 to 48 of a-z, 0-9, '.', '_', '-' and '@', beginning with a letter or digit"
_NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,47}")
_LABEL = re.compile(r"[^\x00-\x1f\x7f]{1,64}")
_MOST_USERS, _MOST_TOKENS, _MOST_SESSIONS_EACH = 500, 500, 50


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class User(_Entry):
    """Somebody with a password. `must_change`: it was given by somebody else, and is good for changing it only."""

    role: Role
    password_hash: str = Field(repr=False)
    must_change: bool = False
    created_utc_ns: int = 0


class Token(_Entry):
    """A secret of a program. `user` is whose it is: it may no more than that one, and goes with that one."""

    id: str
    name: str
    role: Role
    user: str | None = None
    created_utc_ns: int = 0
    last_used_utc_ns: int | None = None
    expires_utc_ns: int | None = None


class Session(_Entry):
    """A browser in which somebody has logged in."""

    user: str
    created_utc_ns: int
    seen_utc_ns: int

    def ends_utc_ns(self) -> int:
        return min(self.created_utc_ns + SESSION_NS, self.seen_utc_ns + SESSION_IDLE_NS)


class Book(_Entry):
    """Users by name, tokens and sessions by the digest of their secret. Changes raise `CommandError`."""

    version: Literal[1] = 1
    users: dict[str, User] = {}
    tokens: dict[str, Token] = Field(default={}, repr=False)
    sessions: dict[str, Session] = Field(default={}, repr=False)

    def user(self, name: str) -> User:
        if (found := self.users.get(name)) is None:
            raise CommandError("unknown-name", f"no user {name[:48]!r}")
        return found

    def add_user(self, name: str, role: Role, password_hash: str, now_ns: int, *, must_change: bool) -> User:
        if not _NAME.fullmatch(name):
            raise CommandError("refused", f"user name: read {name[:60]!r}, allowed: {NAME_ALLOWED}")
        if name in self.users:
            raise CommandError("name-taken", f"there is a user {name!r} already")
        _refuse_more_than(_MOST_USERS, len(self.users), "users")
        user = User(role=role, password_hash=password_hash, must_change=must_change, created_utc_ns=now_ns)
        self.users[name] = user
        return user

    def set_password(self, name: str, password_hash: str, *, must_change: bool) -> None:
        """Every session of that user ends."""
        user = self.user(name)
        user.password_hash, user.must_change = password_hash, must_change
        self._end_sessions_of(name)

    def set_role(self, name: str, role: Role) -> None:
        user = self.user(name)
        if role != "admin":
            self._keep_an_admin(name)
        user.role = role

    def remove_user(self, name: str) -> None:
        """With all tokens and sessions."""
        self.user(name)
        self._keep_an_admin(name)
        del self.users[name]
        self._end_sessions_of(name)
        self.tokens = {key: token for key, token in self.tokens.items() if token.user != name}

    def add_token(
        self, name: str, role: Role, now_ns: int, *, user: str | None, expires_utc_ns: int | None
    ) -> tuple[str, Token]:
        """The secret, which is told once and not kept, and what is kept."""
        if not _LABEL.fullmatch(name):
            raise CommandError("refused", f"token name: read {name[:70]!r}, allowed: 1 to 64 characters")
        if user is not None:
            role = lesser(role, self.user(user).role)
        _refuse_more_than(_MOST_TOKENS, len(self.tokens), "tokens")
        secret = new_token()
        token = Token(
            id=random.token_hex(6),
            name=name,
            role=role,
            user=user,
            created_utc_ns=now_ns,
            expires_utc_ns=expires_utc_ns,
        )
        self.tokens[digest(secret)] = token
        return secret, token

    def remove_token(self, id: str) -> Token:
        for key, token in self.tokens.items():
            if token.id == id:
                del self.tokens[key]
                return token
        raise CommandError("unknown-name", f"no token {id[:20]!r}")

    def token_role(self, key: str, now_ns: int) -> Role | None:
        """What the token with digest `key` may do now; None if it is none."""
        token = self.tokens.get(key)
        if token is None or (token.expires_utc_ns is not None and token.expires_utc_ns <= now_ns):
            return None
        if token.user is None:
            return token.role
        owner = self.users.get(token.user)
        return lesser(token.role, owner.role) if owner else None

    def add_session(self, user: str, now_ns: int) -> str:
        """The secret of a new session. Of too many, the one that was used least lately ends."""
        self.user(user)
        own = sorted(
            (session.seen_utc_ns, key) for key, session in self.sessions.items() if session.user == user
        )
        for _, key in own[: max(0, len(own) - _MOST_SESSIONS_EACH + 1)]:
            del self.sessions[key]
        secret = new_session()
        self.sessions[digest(secret)] = Session(user=user, created_utc_ns=now_ns, seen_utc_ns=now_ns)
        return secret

    def session(self, key: str, now_ns: int) -> Session | None:
        """The session with digest `key`, unless it has ended."""
        session = self.sessions.get(key)
        if session is None or session.user not in self.users or session.ends_utc_ns() <= now_ns:
            return None
        return session

    def prune(self, now_ns: int) -> None:
        """Forget what has ended."""
        self.sessions = {key: one for key, one in self.sessions.items() if self.session(key, now_ns)}
        self.tokens = {
            key: one
            for key, one in self.tokens.items()
            if one.expires_utc_ns is None or one.expires_utc_ns > now_ns
        }

    def _end_sessions_of(self, name: str) -> None:
        self.sessions = {key: session for key, session in self.sessions.items() if session.user != name}

    def _keep_an_admin(self, name: str) -> None:
        others = (user for other, user in self.users.items() if other != name)
        if self.users[name].role == "admin" and not any(user.role == "admin" for user in others):
            raise CommandError("last-admin", f"{name!r} is the last admin: make another one first")


def check_role(text: str) -> Role:
    """`text` as a role; raises `CommandError`."""
    for role in ROLES:
        if role == text:
            return role
    raise CommandError("refused", f"role: read {text[:20]!r}, allowed: one of {', '.join(ROLES)}")


def _refuse_more_than(most: int, present: int, what: str) -> None:
    if present >= most:
        raise CommandError("refused", f"there are {most} {what} already, and no more are allowed")
