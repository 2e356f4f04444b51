"""The file of accounts: who may read it, who writes it at the same time, and what happens when it is broken."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

import pytest

from frameloom.accounts.book import Book
from frameloom.accounts.paths import state_dir as dir_of
from frameloom.accounts.secrets import fits, hash_password, one_time_password
from frameloom.accounts.store import Accounts, first_admin
from frameloom.model.errors import CommandError, NeedsPerson


@pytest.fixture
def accounts(state_dir: Path) -> Accounts:
    return Accounts("test")


def add(accounts: Accounts, name: str) -> None:
    accounts.change(lambda book: book.add_user(name, "admin", "hash", 0, must_change=False))


def test_reading_makes_nothing(accounts: Accounts, state_dir: Path) -> None:
    assert accounts.book().users == {}
    assert not state_dir.exists()


def test_only_its_owner_may_read_it(accounts: Accounts, state_dir: Path) -> None:
    before = os.umask(0)
    try:
        add(accounts, "adam")
    finally:
        os.umask(before)
    assert accounts.path.stat().st_mode & 0o777 == 0o600
    assert accounts.folder.stat().st_mode & 0o777 == 0o700
    assert sorted(path.name for path in accounts.folder.iterdir()) == ["accounts.json", "accounts.lock"]


def test_a_change_is_seen_by_others_and_survives(accounts: Accounts) -> None:
    other = Accounts("test")
    assert other.book().users == {}
    add(accounts, "adam")
    assert list(other.book().users) == ["adam"] == list(Accounts("test").book().users)
    assert other.book() is other.book(), "read once"
    add(other, "eve")
    assert list(accounts.book().users) == ["adam", "eve"]
    assert Accounts("other").book().users == {}


def test_a_change_that_fails_changes_nothing(accounts: Accounts) -> None:
    add(accounts, "adam")
    before = accounts.path.read_bytes()
    with pytest.raises(CommandError):
        accounts.change(lambda book: (book.users.clear(), book.user("nobody")))
    assert accounts.path.read_bytes() == before and list(accounts.book().users) == ["adam"]
    assert sorted(path.name for path in accounts.folder.iterdir()) == ["accounts.json", "accounts.lock"]


def test_somebody_else_s_lock_on_the_folder_stops_nobody(accounts: Accounts) -> None:
    """As a running site has one on its runtime folder, which may be the same."""
    add(accounts, "adam")
    descriptor = os.open(accounts.folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        add(accounts, "eve")
    finally:
        os.close(descriptor)
    assert set(accounts.book().users) == {"adam", "eve"}


def test_two_who_write_at_once_lose_nothing(accounts: Accounts) -> None:
    """As the server and the command line do: the second waits until the first is done."""
    entered, may_go_on = threading.Event(), threading.Event()

    def slowly(book: Book) -> None:
        entered.set()
        assert may_go_on.wait(60)
        book.add_user("adam", "admin", "hash", 0, must_change=False)

    first = threading.Thread(target=accounts.change, args=(slowly,))
    second = threading.Thread(target=add, args=(Accounts("test"), "eve"))
    first.start()
    assert entered.wait(60)
    second.start()
    second.join(0.5)  # time enough to do what it must not do yet
    may_go_on.set()
    for thread in (first, second):
        thread.join(60)
    assert set(accounts.book().users) == {"adam", "eve"}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 2}', '{"users": {"eve": {"role": "root"}}}'])
def test_a_broken_file_is_said_and_not_written_over(accounts: Accounts, text: str) -> None:
    add(accounts, "adam")
    accounts.path.write_text(text)
    for attempt in (accounts.book, lambda: add(accounts, "eve"), lambda: first_admin(accounts)):
        with pytest.raises(NeedsPerson, match="it is not what was written there"):
            attempt()
    assert accounts.path.read_text() == text


def test_what_others_may_read_is_not_believed(accounts: Accounts) -> None:
    add(accounts, "adam")
    accounts.path.chmod(0o640)
    with pytest.raises(NeedsPerson, match="chmod 600"):
        Accounts("test").book()
    accounts.path.chmod(0o600)
    accounts.folder.chmod(0o755)
    with pytest.raises(NeedsPerson, match="nobody else may enter"):
        add(accounts, "eve")


def test_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("FRAMELOOM_STATE_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert dir_of("hall") == tmp_path / ".local/state/frameloom/hall"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    assert dir_of("hall") == tmp_path / "xdg/frameloom/hall"
    monkeypatch.setenv("FRAMELOOM_STATE_DIR", str(tmp_path / "own"))
    assert dir_of("hall") == tmp_path / "own/hall"
    for name in ("../hall", "a/b", "", "."):
        with pytest.raises(NeedsPerson):
            dir_of(name)


def test_a_folder_that_cannot_be_made_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("FRAMELOOM_STATE_DIR", str(tmp_path / "file"))
    with pytest.raises(NeedsPerson, match="set FRAMELOOM_STATE_DIR"):
        add(Accounts("test"), "adam")


def test_the_first_admin_is_made_once(accounts: Accounts) -> None:
    password = first_admin(accounts)
    assert password and first_admin(accounts) is None
    user = accounts.book().users["admin"]
    assert user.role == "admin" and user.must_change and fits(password, user.password_hash)
    assert password not in accounts.path.read_text()
    assert not fits(password + "x", user.password_hash) and not fits(password, "no hash at all")
    assert user.password_hash.startswith("$argon2id$") and hash_password(password) != user.password_hash
    assert len({one_time_password() for _ in range(100)}) == 100
