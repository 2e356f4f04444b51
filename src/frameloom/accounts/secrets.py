"""Secrets: passwords that people choose, slow to guess (argon2id), and random ones, of which a digest is kept.

A random secret has 256 bits: nobody guesses it, so a fast digest (SHA-256) is enough, and finding it costs nothing.
"""

from __future__ import annotations

import hashlib
import secrets
from contextlib import suppress
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from frameloom.model.errors import CommandError

SHORTEST, LONGEST = 8, 200
TOKEN_MARK = "flt_"
"""Tokens begin with it, so that one that got lost is recognised."""

# 19 MiB and two passes (OWASP's second choice): 40 ms and little memory, also on a small machine beside its cameras.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1)
_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # nothing that looks like another


def hash_password(password: str) -> str:
    """What is kept of a password; takes tens of milliseconds of a core, without the interpreter's lock."""
    return _HASHER.hash(password)


def fits(password: str, kept: str) -> bool:
    """Whether `kept` was made of `password`; takes as long as `hash_password`."""
    with suppress(Argon2Error, InvalidHashError):
        return _HASHER.verify(kept, password)
    return False


def is_outdated(kept: str) -> bool:
    """Whether it was made with other parameters than a new one would be."""
    return _HASHER.check_needs_rehash(kept)


@cache
def hash_of_nobody() -> str:
    """What an unknown user's password is compared with, so that it takes as long as a known one's."""
    return hash_password(secrets.token_urlsafe())


def check_password(password: str, user: str) -> None:
    """Raise `CommandError` for a password that is no good."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise CommandError("refused", f"password: allowed are {SHORTEST} to {LONGEST} characters")
    if password.lower() == user.lower():
        raise CommandError("refused", "password: it must not be the name")


def one_time_password() -> str:
    """A password to be told once and changed at the first login, as 'k7mq-x2pe-n4vw-tb8c': 79 bits."""
    groups = ("".join(secrets.choice(_LETTERS) for _ in range(4)) for _ in range(4))
    return "-".join(groups)


def new_token() -> str:
    """A secret for a program: 256 random bits."""
    return TOKEN_MARK + secrets.token_urlsafe(32)


def new_session() -> str:
    """A secret for a browser: 256 random bits."""
    return secrets.token_urlsafe(32)


def digest(secret: str) -> str:
    """What is kept of a random secret."""
    return hashlib.sha256(secret.encode()).hexdigest()
