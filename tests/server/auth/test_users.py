"""Users and tokens as resources, and programs that come with a token: by header, and by user and password."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import cv2
import numpy as np
import pytest
from websockets.asyncio.client import connect

from frameloom.accounts.secrets import fits
from frameloom.accounts.store import Accounts
from tests.server.bench import Camera, until

from .people import PASSWORDS, bearer, browser, code_of, log_in, token_of

Guarded = Any


async def test_an_admin_makes_changes_and_removes_users(guarded: Guarded, accounts: Accounts) -> None:
    async with guarded() as bench, browser(bench) as other:
        await log_in(bench.http, "admin-person")
        made = await bench.http.post(
            "/api/users", json={"name": "Eve", "role": "viewer", "password": "eve's first"}
        )
        assert made.status_code == 201 and made.json()["one_time_password"] is None
        assert {key: made.json()[key] for key in ("name", "role", "must_change_password")} == {
            "name": "eve",
            "role": "viewer",
            "must_change_password": True,
        }
        names = [user["name"] for user in (await bench.http.get("/api/users")).json()["users"]]
        assert names == ["admin-person", "eve", "operator-person", "viewer-person"]
        assert (await log_in(other, "eve", "eve's first")).json()["must_change_password"] is True
        changed = await bench.http.patch("/api/users/eve", json={"role": "operator"})
        assert changed.json()["role"] == "operator"
        assert (await other.get("/api/me")).json()["role"] == "operator"
        await bench.http.patch("/api/users/eve", json={"password": "eve's second"})
        assert (await other.get("/api/me")).json()["user"] is None, "her sessions have ended"
        assert (await log_in(other, "eve", "eve's second")).status_code == 200
        assert (await bench.http.delete("/api/users/eve")).status_code == 204
        assert (await other.get("/api/me")).json()["user"] is None
        assert code_of(await log_in(other, "eve", "eve's second")) == (401, "wrong-login")


async def test_a_password_that_is_not_given_is_made(guarded: Guarded, accounts: Accounts) -> None:
    async with guarded() as bench:
        await log_in(bench.http, "admin-person")
        made = (await bench.http.post("/api/users", json={"name": "eve", "role": "viewer"})).json()
        assert fits(made["one_time_password"], accounts.book().users["eve"].password_hash)
        assert made["one_time_password"] not in (await bench.http.get("/api/users")).text


async def test_what_is_not_allowed_is_said(guarded: Guarded) -> None:
    async with guarded() as bench:
        await log_in(bench.http, "admin-person")
        good = {"name": "eve", "role": "viewer", "password": "long enough"}
        for change, expected in (
            ({"name": "viewer-person"}, (409, "name-taken")),
            ({"name": "../eve"}, (422, "refused")),
            ({"name": ""}, (422, "refused")),
            ({"role": "root"}, (422, "invalid")),
            ({"password": "short"}, (422, "refused")),
            ({"password": "x" * 201}, (422, "refused")),
            ({"name": "longname", "password": "LongName"}, (422, "refused")),
            ({"more": 1}, (422, "invalid")),
        ):
            answer = await bench.http.post("/api/users", json={**good, **change})
            assert code_of(answer) == expected, change
            assert str(change.get("password", "no password at all")) not in answer.text
        assert code_of(await bench.http.patch("/api/users/nobody", json={"role": "viewer"})) == (
            404,
            "unknown-name",
        )
        assert code_of(await bench.http.delete("/api/users/nobody")) == (404, "unknown-name")
        for answer in (
            await bench.http.delete("/api/users/admin-person"),
            await bench.http.patch("/api/users/admin-person", json={"role": "viewer"}),
        ):
            assert code_of(answer) == (409, "last-admin")


async def test_tokens_are_made_shown_once_and_removed(guarded: Guarded, accounts: Accounts) -> None:
    async with guarded() as bench, browser(bench) as program:
        await log_in(bench.http, "operator-person")
        wish = {"name": "the wall", "role": "viewer", "days": 2}
        made = (await bench.http.post("/api/tokens", json=wish)).json()
        secret = made.pop("token")
        assert made["user"] == "operator-person" and made["role"] == "viewer"
        assert made["expires_utc_ns"] - made["created_utc_ns"] == 2 * 86400 * 10**9
        listed = await bench.http.get("/api/tokens")
        assert listed.json() == {"tokens": [made]} and secret not in listed.text
        assert secret not in accounts.path.read_text()
        me = (await program.get("/api/me", headers=bearer(secret))).json()
        assert (me["user"], me["role"]) == ("operator-person", "viewer")
        answer = await program.post("/api/workers/hall/stop", headers=bearer(secret))
        assert code_of(answer) == (403, "not-allowed-role")
        assert (await bench.http.delete(f"/api/tokens/{made['id']}")).status_code == 204
        assert code_of(await program.get("/api/site", headers=bearer(secret))) == (401, "login-needed")
        assert code_of(await bench.http.delete(f"/api/tokens/{made['id']}")) == (404, "unknown-name")


async def test_nobody_makes_a_token_that_may_more(guarded: Guarded, accounts: Accounts) -> None:
    async with guarded() as bench, browser(bench) as program:
        await log_in(bench.http, "viewer-person")
        for role in ("operator", "admin"):
            answer = await bench.http.post("/api/tokens", json={"name": "x", "role": role})
            assert code_of(answer) == (403, "not-allowed-role")
        own = (await bench.http.post("/api/tokens", json={"name": "x"})).json()["token"]
        answer = await program.post("/api/tokens", json={"name": "y"}, headers=bearer(own))
        assert code_of(answer) == (403, "not-allowed-role"), "one that got lost makes no others"
        for days in (0, -1, 1e9, "soon"):
            answer = await bench.http.post("/api/tokens", json={"name": "x", "days": days})
            assert code_of(answer) == (422, "invalid")


async def test_other_people_s_tokens_are_not_seen(guarded: Guarded, accounts: Accounts) -> None:
    async with guarded() as bench, browser(bench) as other:
        await log_in(bench.http, "viewer-person")
        await log_in(other, "admin-person")
        theirs = (await other.post("/api/tokens", json={"name": "theirs"})).json()["id"]
        token_of(accounts, "viewer")
        own = (await bench.http.post("/api/tokens", json={"name": "own"})).json()["id"]
        assert [one["id"] for one in (await bench.http.get("/api/tokens")).json()["tokens"]] == [own]
        assert len((await other.get("/api/tokens")).json()["tokens"]) == 3
        assert code_of(await bench.http.delete(f"/api/tokens/{theirs}")) == (404, "unknown-name")
        assert (await other.delete(f"/api/tokens/{own}")).status_code == 204


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


async def test_user_and_password_in_a_header_are_a_token(guarded: Guarded, accounts: Accounts) -> None:
    token = token_of(accounts, "viewer")
    async with guarded() as bench:
        path = "/api/streams"
        assert (await bench.http.get(path, headers=basic("token", token))).status_code == 200
        refused = [
            basic("viewer-person", PASSWORDS["viewer-person"]),
            basic("token", PASSWORDS["viewer-person"]),
            basic("viewer-person", token),
            basic("token", token[:-1]),
            {"Authorization": "Basic ???"},
            {"Authorization": "Basic"},
            {"Authorization": f"Digest {token}"},
            {"Authorization": ""},
            {"Authorization": "Bearer"},
            bearer(token.upper()),
        ]
        for headers in refused:
            answer = await bench.http.get(path, headers=headers)
            assert code_of(answer) == (401, "login-needed"), headers
            assert token not in answer.text and PASSWORDS["viewer-person"] not in answer.text
        await log_in(bench.http, "viewer-person")
        assert (await bench.http.get(path)).status_code == 200
        answer = await bench.http.get(path, headers=bearer("flt_wrong"))
        assert answer.status_code == 401, "what is shown expressly counts"


async def test_a_token_in_the_address_is_none(guarded: Guarded, accounts: Accounts) -> None:
    """Addresses are written into logs, histories and bookmarks."""
    token = token_of(accounts, "admin")
    async with guarded() as bench:
        for query in (f"?token={token}", f"?access_token={token}", f"?Authorization=Bearer%20{token}"):
            assert (await bench.http.get(f"/api/site{query}")).status_code == 401


async def test_only_players_are_asked_for_a_password(guarded: Guarded) -> None:
    """A browser that is asked puts up a window of its own over the page."""
    async with guarded() as bench:
        for path, agent, wanted in (
            ("/streams/hall/live.mjpg", "Lavf/61", "Basic"),
            ("/streams/hall/snapshot.jpg", "VLC/3.0", "Basic"),
            ("/streams/hall/live.mjpg", "Mozilla/5.0 (X11)", "Bearer"),
            ("/api/site", "Lavf/61", "Bearer"),
        ):
            answer = await bench.http.get(path, headers={"User-Agent": agent})
            assert answer.headers["www-authenticate"].startswith(wanted), (path, agent)


async def test_programs_see_with_a_token(guarded: Guarded, accounts: Accounts, camera: Camera) -> None:
    """WebSockets with the header; OpenCV, which knows users and passwords only, with both in the URL."""
    token = token_of(accounts, "viewer")
    async with guarded() as bench:
        url = f"ws://127.0.0.1:{bench.port}/api/watch"
        for headers in (bearer(token), basic("token", token)):
            async with connect(url, additional_headers=headers) as watching:
                assert "hall" in json.loads(await watching.recv())["workers"]
        films = [
            f"http://{who}127.0.0.1:{bench.port}/streams/hall/live.mjpg" for who in (f"token:{token}@", "")
        ]
        opened, refused = await asyncio.gather(
            with_pictures(camera, films[0]), asyncio.to_thread(read_one, films[1])
        )
        assert opened is not None and opened.shape == (48, 64, 3) and refused is None


async def with_pictures(camera: Camera, url: str) -> Any:
    """What OpenCV reads, while the camera shows real pictures."""
    reading = asyncio.create_task(asyncio.to_thread(read_one, url))
    jpeg = cv2.imencode(".jpg", np.full((48, 64, 3), 90, np.uint8))[1].tobytes()
    while not reading.done():
        camera.show(jpeg=jpeg)
        await asyncio.wait([reading], timeout=0.02)
    return reading.result()


def read_one(url: str) -> Any:
    capture = cv2.VideoCapture(url)
    try:
        return capture.read()[1] if capture.isOpened() else None
    finally:
        capture.release()


async def test_behind_a_proxy_with_tls_the_cookie_is_secure(guarded: Guarded) -> None:
    async with guarded() as bench:
        words = {"user": "viewer-person", "password": PASSWORDS["viewer-person"]}
        headers = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "10.0.0.7"}
        cookie = (await bench.http.post("/api/login", json=words, headers=headers)).headers["set-cookie"]
        assert cookie.startswith("__Host-frameloom-test=") and "secure" in cookie.lower()


@pytest.mark.parametrize("many", [40])
async def test_users_are_not_made_without_end(guarded: Guarded, accounts: Accounts, many: int) -> None:
    """Hashing is the dear part: a crowd of wishes at once is told to come back."""
    async with guarded() as bench:
        headers = bearer(token_of(accounts, "admin"))
        wishes = [{"name": f"u{n}", "role": "viewer", "password": "long enough"} for n in range(many)]
        answers = await asyncio.gather(
            *(bench.http.post("/api/users", json=wish, headers=headers) for wish in wishes)
        )
        assert {answer.status_code for answer in answers} == {201, 429}
        made = sum(answer.status_code == 201 for answer in answers)
        await until(lambda: len(accounts.book().users) == made + 3)
