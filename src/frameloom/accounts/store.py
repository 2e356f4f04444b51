"""The file of a site's accounts: read when it has changed, written whole or not at all, one writer at a time.

The server and the command line change the same file, also at the same time; what one has written, the other sees at
its next look.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from frameloom.model.clock import Clock, SystemClock
from frameloom.model.errors import NeedsPerson

from .book import Book
from .paths import is_ours, make_private, state_dir
from .secrets import hash_password, one_time_password

FILE_NAME = "accounts.json"
LOCK_NAME = "accounts.lock"
T = TypeVar("T")
_Signature = tuple[int, int, int]


class Accounts:
    """The accounts of one site. May be used from several threads; every method may raise `NeedsPerson`."""

    def __init__(self, site: str, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self.folder = state_dir(site)
        self.path = self.folder / FILE_NAME
        self._lock = threading.Lock()
        self._known: tuple[_Signature | None, Book] = (None, Book())

    def book(self) -> Book:
        """What the file says now; to be read only. Costs one look at the file unless it has changed."""
        with self._lock:
            signature = _signature(self.path)
            if signature is None:
                return Book()
            if signature != self._known[0]:
                self._known = (signature, self._read())
            return self._known[1]

    def change(self, edit: Callable[[Book], T]) -> T:
        """Have `edit` change what the file says, and write that; what `edit` raises leaves all as it was.

        Waits for other writers and for the disk: not to be called on an event loop.
        """
        with _alone_in(make_private(self.folder)):
            book = self._read() if self.path.exists() else Book()
            answer = edit(book)
            book.prune(self.clock.utc_ns())
            self._write(book)
            return answer

    def _read(self) -> Book:
        try:
            with self.path.open("rb") as file:
                if not is_ours(os.fstat(file.fileno())):
                    raise NeedsPerson(f"{self.path}: others may read or own it: chmod 600, or remove it")
                return Book.model_validate_json(file.read())
        except OSError as error:
            raise NeedsPerson(f"{self.path}: cannot be read: {error.strerror}") from error
        except ValidationError:
            raise NeedsPerson(
                f"{self.path}: it is not what was written there; put back a copy, or remove it: all users and tokens"
                " are gone then"
            ) from None

    def _write(self, book: Book) -> None:
        try:
            descriptor, name = tempfile.mkstemp(prefix=f".{FILE_NAME}.", dir=self.folder)
            try:
                with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                    _give_to_owner(file.fileno(), self.folder)
                    file.write(book.model_dump_json(indent=1))
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(name, self.path)
            finally:
                Path(name).unlink(missing_ok=True)
        except OSError as error:
            raise NeedsPerson(f"{self.path}: not changed: {error.strerror}") from error


def first_admin(accounts: Accounts) -> str | None:
    """Where there is no user at all: make `admin`, and return the one-time password, which is kept nowhere."""
    if accounts.book().users:
        return None
    password = one_time_password()
    hashed = hash_password(password)

    def edit(book: Book) -> bool:
        if book.users:
            return False
        book.add_user("admin", "admin", hashed, accounts.clock.utc_ns(), must_change=True)
        return True

    return password if accounts.change(edit) else None


def _signature(path: Path) -> _Signature | None:
    """Another one for each file that was put in its place."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise NeedsPerson(f"{path}: cannot be read: {error.strerror}") from error
    return found.st_ino, found.st_mtime_ns, found.st_size


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """The kernel's lock, on a file of its own: whoever dies lets go of it. The folder itself others may have locked."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        descriptor = os.open(folder / LOCK_NAME, flags, 0o600)
    except OSError as error:
        raise NeedsPerson(f"{folder / LOCK_NAME}: cannot be opened: {error.strerror}") from error
    try:
        _give_to_owner(descriptor, folder)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
        _sync(folder)
    finally:
        os.close(descriptor)


def _sync(folder: Path) -> None:
    with contextlib.suppress(OSError):  # some file systems cannot do this
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _give_to_owner(descriptor: int, folder: Path) -> None:
    """What root writes stays readable for the user whose site it is."""
    if os.getuid() == 0:
        owner = folder.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
