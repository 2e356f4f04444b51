"""Who may call what: every route of the application, HTTP and WebSocket, is walked."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.routing import BaseRoute
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from frameloom.accounts.roles import ROLES, Role, may
from frameloom.accounts.store import Accounts
from frameloom.server.app import create_app
from frameloom.server.auth.rules import TABLE, WEBSOCKET, Need, need_of
from tests.server.bench import Bench

from .people import bearer, code_of, token_of

Guarded = Any
# What is open to everybody: a page cannot log anybody in before it is there.
OPEN = {
    ("GET", "/"),
    ("GET", "/static/{name}"),
    ("GET", "/api/me"),
    ("POST", "/api/login"),
    ("POST", "/api/logout"),
}


def routes_of(routes: list[Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Method and template of every route, those of routers within routers too."""
    for route in routes:
        if (inner := getattr(route, "original_router", None)) is not None:
            yield from routes_of(inner.routes, prefix + route.include_context.prefix)
        elif (methods := getattr(route, "methods", None)) is not None:
            yield from ((method, prefix + route.path) for method in sorted(methods - {"HEAD"}))
        else:
            assert isinstance(route, BaseRoute) and hasattr(route, "path"), route
            yield WEBSOCKET, prefix + route.path


@pytest.fixture(scope="module")
def routes(module_runtime_dir: Any) -> list[tuple[str, str]]:
    return sorted(set(routes_of(create_app("test").routes)))


def path_of(template: str) -> str:
    """A path that fits; of things that are not there."""
    return re.sub(r"\{[^}]+\}", "nothing", template)


def test_all_routes_are_found(routes: list[tuple[str, str]]) -> None:
    assert {("GET", "/openapi.json"), (WEBSOCKET, "/api/watch"), ("DELETE", "/api/users/{name}")} <= set(
        routes
    )
    described = create_app("test").openapi()["paths"]
    assert {(m.upper(), path) for path, operations in described.items() for m in operations} <= set(routes)
    sockets = [path for method, path in routes if method == WEBSOCKET]
    assert len(sockets) >= 4


def test_what_is_open_is_known_and_what_changes_is_not(routes: list[tuple[str, str]]) -> None:
    needs = {route: need_of(route[0], path_of(route[1])) for route in routes}
    assert {route for route, need in needs.items() if need == "open"} == OPEN
    reading = {"GET", "OPTIONS", WEBSOCKET}
    for (method, template), need in needs.items():
        if need == "viewer" and method not in reading:
            assert "whep" in template or template.startswith("/api/tokens"), (method, template)
        if template.startswith(("/api/users", "/api/settings", "/api/cameras", "/api/shutdown")):
            assert need == "admin", (method, template)


def test_a_route_that_nobody_has_declared_is_closed() -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE", "MOVE"):
        assert need_of(method, "/api/forgotten") == "admin"
        assert need_of(method, "/") == "admin"
    assert need_of("GET", "/api/forgotten") == need_of(WEBSOCKET, "/") == "viewer"


@pytest.mark.parametrize(
    ("method", "path", "need"),
    [
        ("GET", "/api/users\n", "admin"),
        ("GET", "/api/settings/x\ny", "admin"),
        ("GET", "/api/me\n", "viewer"),
        ("GET", "/api/me/", "viewer"),
        ("GET", "/static/../api/site", "viewer"),
        ("GET", "/static/", "viewer"),
        ("GET", "//", "viewer"),
        ("POST", "/api/login/x", "admin"),
        ("POST", "/api/workers/a/b/c", "admin"),
        ("POST", "/api/workers//stop", "admin"),
        ("POST", "/API/LOGIN", "admin"),
    ],
)
def test_a_path_that_is_not_quite_one_of_the_table_needs_no_less(method: str, path: str, need: Need) -> None:
    assert need_of(method, path) == need


def test_the_table_names_no_route_that_is_not_there(routes: list[tuple[str, str]]) -> None:
    """Except for those that are still to come."""
    shapes = {(method, re.sub(r"\{[^}]+\}", "{}", path)) for method, path in routes}
    missing = {f"{m} {p}" for m, p, _ in TABLE if (m, re.sub(r"\{[^}]+\}", "{}", p)) not in shapes}
    to_come = {
        "PATCH /streams/{name}/whep/{id}",
        "POST /api/streams/{name}/record",
        "DELETE /api/recordings/{camera}",
    }
    assert missing <= to_come


async def status_of(bench: Bench, method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
    """Status of the answer, and the code where it is an error; what has no end is left at its beginning."""
    if method == WEBSOCKET:
        return await handshake(bench, path, headers)
    async with bench.http.stream(method, path, headers=headers) as answer:
        if answer.status_code < 400:
            return answer.status_code, ""
        await answer.aread()
        return code_of(answer)


async def handshake(bench: Bench, path: str, headers: dict[str, str]) -> tuple[int, str]:
    try:
        async with connect(f"ws://127.0.0.1:{bench.port}{path}", additional_headers=headers):
            return 101, ""
    except InvalidStatus as refused:
        body = refused.response.body or b""
        code = re.search(rb'"code":"([\w-]+)"', body)
        return refused.response.status_code, code[1].decode() if code else ""


async def test_each_route_refuses_nobody_and_too_small_a_role(
    guarded: Guarded, accounts: Accounts, routes: list[tuple[str, str]]
) -> None:
    tokens: dict[Role, str] = {role: token_of(accounts, role) for role in ROLES}
    async with guarded() as bench:
        for method, template in routes:
            need, path = need_of(method, path_of(template)), path_of(template)
            if need == "open":
                assert (await status_of(bench, method, path, {}))[1] not in (
                    "login-needed",
                    "not-allowed-role",
                )
                continue
            assert await status_of(bench, method, path, {}) == (401, "login-needed"), (method, path)
            for role, token in tokens.items():
                if need != "self" and not may(role, need):
                    answer = await status_of(bench, method, path, bearer(token))
                    assert answer == (403, "not-allowed-role"), (method, path, role)
            if need == "viewer":
                _, code = await status_of(bench, method, path, bearer(tokens["viewer"]))
                assert code not in ("login-needed", "not-allowed-role"), (method, path)


async def test_each_role_may_what_it_is_for(guarded: Guarded, accounts: Accounts) -> None:
    async with guarded() as bench:
        for role in ROLES:
            headers = bearer(token_of(accounts, role))
            done = {
                "see": await bench.http.get("/api/streams", headers=headers),
                "order": await bench.http.post("/api/workers/hall/stop", headers=headers),
                "rule": await bench.http.get("/api/users", headers=headers),
            }
            allowed = {what for what, answer in done.items() if answer.status_code == 200}
            assert allowed == set(["see", "order", "rule"][: ROLES.index(role) + 1])


async def test_paths_that_lead_nowhere_tell_nothing_to_nobody(guarded: Guarded, accounts: Accounts) -> None:
    headers = bearer(token_of(accounts, "viewer"))
    async with guarded() as bench:
        for path in (
            "/nothing",
            "/metrics",
            "/api",
            "/static/x/y",
            "/docs",
            "/api/me/",
        ):
            for method in ("GET", "HEAD", "POST", "DELETE"):
                answer = await bench.http.request(method, path)
                assert answer.status_code == 401, (method, path)
            assert (await bench.http.get(path, headers=headers)).status_code in (403, 404)


async def test_head_and_options_are_no_way_around(guarded: Guarded) -> None:
    async with guarded() as bench:
        for path in ("/api/site", "/streams/hall/snapshot.jpg", "/api/users"):
            assert (await bench.http.head(path)).status_code == 401
            assert (await bench.http.options(path)).status_code == 401


async def test_without_a_login_all_is_as_it_was(guarded: Guarded) -> None:
    async with guarded(login="auto") as bench:
        assert (await bench.http.get("/api/me")).json() == {
            "user": None,
            "role": "admin",
            "login": False,
            "must_change_password": False,
        }
        assert (await bench.http.get("/api/users")).status_code == 200
        assert (await bench.http.post("/api/workers/hall/stop")).status_code == 200
        answer = await bench.http.post("/api/login", json={"user": "a", "password": "b"})
        assert code_of(answer) == (409, "no-login")
        assert "set-cookie" not in answer.headers
        async with asyncio.timeout(60), connect(f"ws://127.0.0.1:{bench.port}/api/watch") as watching:
            assert await watching.recv()


@pytest.mark.parametrize(
    ("address", "login", "needed"),
    [
        ("127.0.0.1", "auto", False),
        ("127.0.0.1", True, True),
        ("::1", "auto", False),
        ("0.0.0.0", "auto", True),
        ("0.0.0.0", False, False),
        ("::", "auto", True),
        ("192.168.1.5", "auto", True),
        ("cams.home.lan", "auto", True),
        ("cams.home.lan", "nonsense", True),
    ],
)
def test_when_a_login_is_needed(
    address: str, login: bool | str, needed: bool, runtime_dir: Any, state_dir: Any
) -> None:
    assert create_app("test", address=address, login=login).state.access.login is needed
