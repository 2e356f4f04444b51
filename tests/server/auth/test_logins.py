"""Logging in and out: cookies, wrong passwords, too many of them, sessions that end, and what is under way then."""

from __future__ import annotations

import asyncio
import re
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from argon2 import PasswordHasher
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from frameloom.accounts.book import SESSION_IDLE_NS, SESSION_NS, Book
from frameloom.accounts.secrets import digest, hash_password, is_outdated
from frameloom.accounts.store import Accounts, first_admin
from frameloom.server.auth import access, attempts
from tests.server.bench import PATIENCE_S, Camera, serving, until

from .people import PASSWORDS, bearer, browser, code_of, log_in, token_of

Guarded = Any
OWN = "a password of my own"
EVIL = {"Origin": "http://evil.example"}


def cookie_of(http: httpx.AsyncClient) -> dict[str, str]:
    """As a header, for those that are not this client."""
    return {"Cookie": "; ".join(f"{name}={value}" for name, value in http.cookies.items())}


async def test_log_in_look_and_log_out(guarded: Guarded, accounts: Accounts) -> None:
    async with guarded() as bench:
        nobody = {"user": None, "role": None, "login": True, "must_change_password": False}
        assert (await bench.http.get("/api/me")).json() == nobody
        answer = await log_in(bench.http, "operator-person")
        somebody = {
            "user": "operator-person",
            "role": "operator",
            "login": True,
            "must_change_password": False,
        }
        assert (answer.status_code, answer.json()) == (200, somebody)
        assert (await bench.http.get("/api/me")).json() == somebody
        assert (await bench.http.get("/api/site")).status_code == 200
        kept = cookie_of(bench.http)
        assert (await bench.http.post("/api/logout")).status_code == 204
        assert (await bench.http.get("/api/me")).json() == nobody
        again = await bench.http.get("/api/site", headers=kept)
        assert code_of(again) == (401, "login-needed"), "it has ended in the server, too"
        assert accounts.book().sessions == {}


async def test_the_cookie_is_for_this_page_only(guarded: Guarded, accounts: Accounts) -> None:
    async with guarded() as bench:
        cookie = (await log_in(bench.http, "viewer-person")).headers["set-cookie"]
        name, _, secret = cookie.split(";")[0].partition("=")
        words = {word.strip().lower() for word in cookie.split(";")[1:]}
        assert name == "frameloom-test"
        assert {"httponly", "samesite=strict", "path=/"} <= words and "secure" not in words
        assert not any(word.startswith("domain") for word in words)
        assert len(secret) >= 43
        kept = accounts.path.read_text()
        assert secret not in kept and digest(secret) in kept


async def test_a_user_s_name_may_be_written_large(guarded: Guarded) -> None:
    async with guarded() as bench:
        answer = await log_in(bench.http, " Viewer-Person ", PASSWORDS["viewer-person"])
        assert answer.json()["user"] == "viewer-person"


async def test_a_wrong_name_and_a_wrong_password_look_the_same(guarded: Guarded) -> None:
    async with guarded() as bench:
        answers = [
            await log_in(bench.http, user, password)
            for user, password in (
                ("viewer-person", "wrong"),
                ("nobody", "wrong"),
                ("nobody", "x" * 999),
                ("", " "),
            )
        ]
        assert {code_of(answer) for answer in answers} == {(401, "wrong-login")}
        assert len({answer.text for answer in answers}) == 1
        assert not any("set-cookie" in answer.headers for answer in answers)


async def test_a_wrong_name_costs_as_much_as_a_wrong_password(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by the clock, which other work disturbs: by what is computed."""
    verified: list[str] = []
    real = PasswordHasher.verify

    def verify(self: PasswordHasher, kept: str, password: str) -> bool:
        verified.append(re.sub(r"\$[^$]+\$[^$]+$", "", kept))
        return real(self, kept, password)

    monkeypatch.setattr(PasswordHasher, "verify", verify)
    async with guarded() as bench:
        for user in ("viewer-person", "nobody"):
            await log_in(bench.http, user, "wrong")
    assert len(verified) == 2 and verified[0] == verified[1]


async def test_what_is_sent_is_never_repeated(guarded: Guarded) -> None:
    async with guarded() as bench:
        for body in (
            {"user": "eve", "password": ["my secret"]},
            {"user": "eve", "password": "my secret", "pasword": "my secret"},
            {"user": {"my secret": 1}, "password": "x"},
            {"password": "my secret"},
            "my secret",
        ):
            answer = await bench.http.post("/api/login", json=body)
            assert code_of(answer) == (422, "invalid") and "secret" not in answer.text


async def test_passwords_cannot_be_tried_for_ever(guarded: Guarded) -> None:
    async with guarded() as bench:
        answers = [await log_in(bench.http, "admin-person", f"guess {n}") for n in range(attempts.TRIES + 2)]
        codes = [code_of(answer) for answer in answers]
        assert codes[: attempts.TRIES] == [(401, "wrong-login")] * attempts.TRIES
        assert codes[attempts.TRIES :] == [(429, "too-many")] * 2
        assert 1 <= int(answers[-1].headers["retry-after"]) <= attempts.REFILL_S
        assert code_of(await log_in(bench.http, "admin-person")) == (429, "too-many"), "the right one, too"


async def test_many_at_once_are_a_few_at_a_time(guarded: Guarded) -> None:
    """Pictures are served meanwhile: hashing is done by two threads, and a crowd is sent away."""
    async with guarded() as bench:
        tried = [log_in(bench.http, f"user-{n}", "wrong") for n in range(40)]
        answers = await asyncio.gather(*tried, bench.http.get("/api/me"))
        codes = [answer.status_code for answer in answers[:-1]]
        assert set(codes) == {401, 429} and answers[-1].status_code == 200
        assert codes.count(401) <= attempts.TRIES
        assert all("retry-after" in answer.headers for answer in answers if answer.status_code == 429)


async def test_another_page_cannot_log_anybody_in_or_out(guarded: Guarded) -> None:
    async with guarded() as bench:
        words = {"user": "viewer-person", "password": PASSWORDS["viewer-person"]}
        answer = await bench.http.post("/api/login", json=words, headers=EVIL)
        assert code_of(answer) == (403, "forbidden") and "set-cookie" not in answer.headers
        await log_in(bench.http, "admin-person")
        for method, path in (("POST", "/api/logout"), ("POST", "/api/users"), ("DELETE", "/api/users/x")):
            assert code_of(await bench.http.request(method, path, headers=EVIL)) == (403, "forbidden")
        assert (await bench.http.get("/api/me")).json()["user"] == "admin-person"


async def test_a_one_time_password_is_good_for_changing_it(state_dir: Path, runtime_dir: Path) -> None:
    one_time = first_admin(Accounts("test"))
    assert one_time and first_admin(Accounts("test")) is None
    async with serving(login=True) as bench:
        answer = await log_in(bench.http, "admin", one_time)
        assert answer.json() | {"login": 1} == {
            "user": "admin",
            "role": "admin",
            "login": 1,
            "must_change_password": True,
        }
        for path in ("/api/site", "/api/users", "/streams/hall/snapshot.jpg", "/openapi.json"):
            assert code_of(await bench.http.get(path)) == (403, "must-change-password")
        assert (await bench.http.get("/api/me")).json()["must_change_password"] is True
        for new in (one_time, "short", "x" * 201, ""):
            wish = {"old": one_time, "new": new}
            assert (await bench.http.post("/api/password", json=wish)).status_code == 422
        answer = await bench.http.post("/api/password", json={"old": one_time, "new": OWN})
        assert answer.status_code == 200 and answer.json()["must_change_password"] is False
        assert (await bench.http.get("/api/site")).status_code == 200
        assert code_of(await log_in(bench.http, "admin", one_time)) == (401, "wrong-login")
        assert (await log_in(bench.http, "admin", OWN)).status_code == 200


async def test_another_password_ends_the_other_sessions(guarded: Guarded) -> None:
    async with guarded() as bench, browser(bench) as other:
        await log_in(bench.http, "viewer-person")
        await log_in(other, "viewer-person")
        before = cookie_of(bench.http)
        wrong = {"old": "not this", "new": OWN}
        assert code_of(await bench.http.post("/api/password", json=wrong)) == (401, "wrong-login")
        right = {"old": PASSWORDS["viewer-person"], "new": OWN}
        assert (await bench.http.post("/api/password", json=right)).status_code == 200
        assert (await bench.http.get("/api/site")).status_code == 200
        assert cookie_of(bench.http) != before
        assert code_of(await other.get("/api/site")) == (401, "login-needed")
        assert code_of(await bench.http.get("/api/site", headers=before)) == (401, "login-needed")


async def test_a_token_is_no_password(guarded: Guarded, accounts: Accounts) -> None:
    async with guarded() as bench:
        headers = bearer(token_of(accounts, "admin", user="admin-person"))
        wish = {"old": PASSWORDS["admin-person"], "new": OWN}
        answer = await bench.http.post("/api/password", json=wish, headers=headers)
        assert code_of(answer) == (409, "no-login")


async def test_sessions_outlive_the_server(guarded: Guarded) -> None:
    async with guarded() as bench:
        await log_in(bench.http, "viewer-person")
        cookie = cookie_of(bench.http)
    async with guarded() as bench:
        assert (await bench.http.get("/api/me", headers=cookie)).json()["user"] == "viewer-person"
        forged = {"Cookie": f"frameloom-test={'x' * 43}"}
        assert (await bench.http.get("/api/me", headers=forged)).json()["user"] is None


@pytest.mark.parametrize(
    ("created_ns", "seen_ns", "good"),
    [
        (0, 0, True),
        (SESSION_IDLE_NS, SESSION_IDLE_NS, False),
        (SESSION_NS, 0, False),
        (SESSION_NS - 10**12, 10**12, True),
    ],
)
async def test_sessions_end_by_themselves(
    guarded: Guarded, accounts: Accounts, created_ns: int, seen_ns: int, good: bool
) -> None:
    """So long ago it was begun, and used last."""
    async with guarded() as bench:
        await log_in(bench.http, "viewer-person")

        def age(book: Book) -> None:
            (session,) = book.sessions.values()
            session.created_utc_ns -= created_ns
            session.seen_utc_ns -= seen_ns

        await asyncio.to_thread(accounts.change, age)
        assert ((await bench.http.get("/api/site")).status_code == 200) is good


async def test_that_it_is_used_is_noted_to_the_hour(guarded: Guarded, accounts: Accounts) -> None:
    async with guarded() as bench:
        await log_in(bench.http, "viewer-person")
        token = token_of(accounts, "viewer")

        def age(book: Book) -> None:
            (session,) = book.sessions.values()
            session.seen_utc_ns -= 2 * 3600 * 10**9

        def sessions_seen_ns() -> int:
            (session,) = accounts.book().sessions.values()
            return session.seen_utc_ns

        new_ns = sessions_seen_ns()
        accounts.change(age)
        assert (await bench.http.get("/api/site")).status_code == 200
        await until(lambda: sessions_seen_ns() >= new_ns)
        for _ in range(3):
            await bench.http.get("/api/site", headers=bearer(token))
            await until(lambda: all(one.last_used_utc_ns for one in accounts.book().tokens.values()))
        (kept,) = accounts.book().tokens.values()
        first_ns = kept.last_used_utc_ns
        await bench.http.get("/api/site", headers=bearer(token))
        (kept,) = accounts.book().tokens.values()
        assert kept.last_used_utc_ns == first_ns


async def test_a_hash_of_old_parameters_is_made_anew(guarded: Guarded, accounts: Accounts) -> None:
    password = PASSWORDS["viewer-person"]
    old = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(password)
    assert is_outdated(old) and not is_outdated(hash_password("any"))

    def weaken(book: Book) -> None:
        book.users["viewer-person"].password_hash = old

    accounts.change(weaken)
    async with guarded() as bench:
        assert (await log_in(bench.http, "viewer-person")).status_code == 200
        assert not is_outdated(accounts.book().users["viewer-person"].password_hash)
        assert (await log_in(bench.http, "viewer-person")).status_code == 200


# What is under way when a right ends.


async def ended(connection: Any) -> int | None:
    async with asyncio.timeout(PATIENCE_S):
        try:
            while True:
                await connection.recv()
        except ConnectionClosed:
            code: int | None = connection.close_code
            return code


async def test_logging_out_ends_what_is_looked_at(guarded: Guarded, camera: Camera) -> None:
    """WebSockets by a close code, multipart pictures by their end; other people's go on."""
    async with guarded() as bench, browser(bench) as other:
        await log_in(bench.http, "viewer-person")
        await log_in(other, "operator-person")
        cookie = cookie_of(bench.http)
        url = f"ws://127.0.0.1:{bench.port}"
        theirs = cookie_of(other)
        async with (
            connect(f"{url}/api/watch", additional_headers=cookie) as watching,
            connect(f"{url}/streams/hall/live.ws", additional_headers=cookie) as viewer,
            connect(f"{url}/api/watch", additional_headers=theirs) as another,
            browser(bench) as player,
            player.stream("GET", "/streams/hall/live.mjpg", headers=cookie) as pictures,
        ):
            await watching.recv()
            await another.recv()
            assert pictures.status_code == 200
            assert (await bench.http.post("/api/logout")).status_code == 204
            assert [await ended(one) for one in (watching, viewer)] == [4401, 4401]
            async with asyncio.timeout(PATIENCE_S):
                assert b"".join([chunk async for chunk in pictures.aiter_raw()]).endswith(b"--frame\r\n")
            await camera.until_alone()
            assert (await bench.http.get("/api/me")).json()["user"] is None
            assert another.close_code is None and (await other.get("/api/site")).status_code == 200
        with pytest.raises(InvalidStatus) as refused:
            async with connect(f"{url}/api/watch", additional_headers=cookie):
                pass
        assert refused.value.response.status_code == 401


async def test_what_the_command_line_takes_away_is_gone_at_once(guarded: Guarded, accounts: Accounts) -> None:
    """The file is changed by another process: no request is needed for the server to notice."""
    async with guarded() as bench:
        token = token_of(accounts, "viewer", user="viewer-person")
        url = f"ws://127.0.0.1:{bench.port}/api/watch"
        async with connect(url, additional_headers=bearer(token)) as watching:
            await watching.recv()
            await asyncio.to_thread(accounts.change, lambda book: book.remove_user("viewer-person"))
            assert await ended(watching) == 4401
        answer = await bench.http.get("/api/site", headers=bearer(token))
        assert code_of(answer) == (401, "login-needed")


async def test_a_token_that_runs_out_ends_what_is_looked_at(guarded: Guarded, accounts: Accounts) -> None:
    async with guarded() as bench:
        soon_ns = accounts.clock.utc_ns() + 10**9
        token = token_of(accounts, "viewer", expires_utc_ns=soon_ns)
        url = f"ws://127.0.0.1:{bench.port}/api/watch"
        async with connect(url, additional_headers=bearer(token)) as watching:
            assert await ended(watching) == 4401
        assert accounts.clock.utc_ns() >= soon_ns


async def test_a_smaller_role_takes_effect_at_once(guarded: Guarded, accounts: Accounts) -> None:
    async with guarded() as bench:
        await log_in(bench.http, "operator-person")
        assert (await bench.http.post("/api/workers/hall/stop")).status_code == 200
        await asyncio.to_thread(accounts.change, lambda book: book.set_role("operator-person", "viewer"))
        assert code_of(await bench.http.post("/api/workers/hall/stop")) == (403, "not-allowed-role")


async def test_accounts_that_cannot_be_read_let_nobody_in(guarded: Guarded, accounts: Accounts) -> None:
    async with guarded() as bench:
        await log_in(bench.http, "admin-person")
        text = accounts.path.read_text()
        for spoil in (lambda: accounts.path.write_text("{"), lambda: accounts.path.chmod(0o644)):
            spoil()
            answer = await bench.http.get("/api/site")
            assert code_of(answer) == (401, "login-needed") and "the server's log says why" in answer.text
            assert str(accounts.path) not in answer.text
            answer = await log_in(bench.http, "admin-person")
            assert code_of(answer) == (503, "unreachable") and str(accounts.path) not in answer.text
            assert (await bench.http.get("/api/me")).json()["role"] is None
            accounts.path.chmod(0o600)
            accounts.path.write_text(text)
        assert (await bench.http.get("/api/site")).status_code == 200


async def test_what_goes_on_after_its_request_is_ended_too(
    guarded: Guarded, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, and of too many the oldest at once; what nobody has logged in for is not."""
    monkeypatch.setattr(access, "_MOST_HELD", 2)
    ended_ones: list[int] = []

    async def let_go(number: int) -> None:
        ended_ones.append(number)

    async with guarded() as bench:
        held = bench.app.state.access
        secret = token_of(accounts, "viewer")
        caller = held.caller({"headers": [(b"authorization", f"Bearer {secret}".encode())]})
        held.hold(access.EVERYBODY, lambda: let_go(0))
        for number in (1, 2, 3):
            held.hold(caller, partial(let_go, number))
        await until(lambda: ended_ones == [1])
        await asyncio.to_thread(accounts.change, lambda book: book.tokens.clear())
        await until(lambda: sorted(ended_ones) == [1, 2, 3])
