"""Checks passwords: in threads of its own, two at a time, and not as often as anybody likes.

A name that nobody has takes as long as one that somebody has, so that names cannot be found out.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from frameloom.accounts import secrets
from frameloom.accounts.book import Book, User
from frameloom.model.errors import CommandError, NeedsPerson

from .access import Access
from .attempts import Attempts

log = logging.getLogger(__name__)

_AT_ONCE = 2
_MOST_WAITING = 16
_NICE = 10
T = TypeVar("T")


class TooMany(CommandError):
    """Not now: `wait_s` says when."""

    def __init__(self, wait_s: float) -> None:
        super().__init__("too-many", f"too many attempts: try again in {wait_s:.0f} s")
        self.wait_s = wait_s


class Logins:
    """Checks and changes the passwords of a site."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._attempts = Attempts()
        self._threads = ThreadPoolExecutor(_AT_ONCE, "passwords", initializer=_behind_pictures)
        self._waiting = 0

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def begin(self, user: str, password: str, address: str) -> str:
        """The secret of a new session; raises `CommandError`."""
        kept = await self._check(user, password, address)
        return await self._access.change(lambda book: _begin(book, user, kept, self._now_ns()))

    async def change_password(self, user: str, old: str, new: str, address: str) -> str:
        """All sessions of that user end; returns the secret of a new one."""
        secrets.check_password(new, user)
        if new == old:
            raise CommandError("refused", "password: the new one must not be the old one")
        kept = await self._check(user, old, address)
        hashed = await self.hashed(new)

        def edit(book: Book) -> str:
            _refuse_changed(book, user, kept)
            book.set_password(user, hashed, must_change=False)
            return book.add_session(user, self._now_ns())

        return await self._access.change(edit)

    async def hashed(self, password: str) -> str:
        """What is to be kept of a password."""
        return await self._in_thread(lambda: secrets.hash_password(password))

    async def _check(self, user: str, password: str, address: str) -> str:
        """What is kept of the password, which is right; raises `CommandError`."""
        if wait_s := self._attempts.wait_s(user, address, time.monotonic()):
            raise TooMany(max(1.0, wait_s))
        found = self._users().get(user)
        kept = found.password_hash if found else None
        good = await self._in_thread(lambda: _fits(password, kept))
        if not good or kept is None:
            raise wrong_login()
        self._attempts.was_good(user, address, time.monotonic())
        return await self._renewed(user, password, kept) if secrets.is_outdated(kept) else kept

    async def _renewed(self, user: str, password: str, kept: str) -> str:
        """Hashes of old parameters are made anew when the password is at hand."""
        hashed = await self.hashed(password)

        def edit(book: Book) -> None:
            _refuse_changed(book, user, kept)
            book.users[user].password_hash = hashed

        await self._access.change(edit)
        return hashed

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._waiting >= _MOST_WAITING:
            raise TooMany(1.0)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1

    def _users(self) -> dict[str, User]:
        try:
            return self._access.accounts.book().users
        except NeedsPerson as error:  # which names files, and whoever asks here is nobody yet
            log.error("%s", error)
            message = "the accounts cannot be read; the server's log says why"
            raise CommandError("unreachable", message) from error

    def _now_ns(self) -> int:
        return self._access.accounts.clock.utc_ns()


def wrong_login() -> CommandError:
    """The same for a name that nobody has and for a password that is not right."""
    return CommandError("wrong-login", "user or password: not right")


def _fits(password: str, kept: str | None) -> bool:
    fitting = secrets.fits(password[: secrets.LONGEST], kept or secrets.hash_of_nobody())
    return fitting and kept is not None and len(password) <= secrets.LONGEST


def _begin(book: Book, user: str, kept: str, now_ns: int) -> str:
    _refuse_changed(book, user, kept)
    return book.add_session(user, now_ns)


def _refuse_changed(book: Book, user: str, kept: str) -> None:
    """The password was checked a moment ago, and may have been changed since."""
    found = book.users.get(user)
    if found is None or found.password_hash != kept:
        raise wrong_login()


def _behind_pictures() -> None:
    """On Linux a thread has a priority of its own: pictures come first."""
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
