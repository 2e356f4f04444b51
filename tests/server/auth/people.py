"""Users for tests, and ways to log in as them."""

from __future__ import annotations

from functools import cache
from typing import Any

import httpx

from frameloom.accounts.roles import ROLES, Role
from frameloom.accounts.secrets import hash_password
from frameloom.accounts.store import Accounts
from tests.server.bench import PATIENCE_S, Bench

PASSWORDS: dict[str, str] = {f"{role}-person": f"the word of a {role}" for role in ROLES}


@cache
def hashed(password: str) -> str:
    return hash_password(password)


def with_people(accounts: Accounts) -> Accounts:
    """A user of each role: 'viewer-person', 'operator-person', 'admin-person'."""

    def edit(book: Any) -> None:
        for role in ROLES:
            name = f"{role}-person"
            book.add_user(name, role, hashed(PASSWORDS[name]), 0, must_change=False)

    accounts.change(edit)
    return accounts


def browser(bench: Bench) -> httpx.AsyncClient:
    """Another browser: cookies of its own. To be closed."""
    return httpx.AsyncClient(base_url=bench.url, timeout=PATIENCE_S)


async def log_in(http: httpx.AsyncClient, user: str, password: str = "") -> httpx.Response:
    """As one of the people, unless a password is given."""
    return await http.post("/api/login", json={"user": user, "password": password or PASSWORDS[user]})


def token_of(accounts: Accounts, role: Role, **more: Any) -> str:
    """A token of the site."""
    options = {"user": None, "expires_utc_ns": None, **more}
    return accounts.change(lambda book: book.add_token("test", role, accounts.clock.utc_ns(), **options)[0])


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def code_of(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of an error."""
    return answer.status_code, answer.json()["error"]["code"]
