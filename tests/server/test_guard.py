"""Other web pages are kept out: by the names that this server answers to, and by where a request comes from."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from frameloom.server.guard import Hosts, is_loopback

from .bench import Bench

Server = Any
EVIL = "http://evil.example"


def own(bench: Bench) -> str:
    return f"127.0.0.1:{bench.port}"


async def test_names_of_this_machine_are_served(server: Server) -> None:
    async with server() as bench:
        own_port = f":{bench.port}"
        for host in ("localhost", f"LOCALHOST{own_port}", "127.0.0.1", f"[::1]{own_port}", "127.8.8.8:9"):
            assert (await bench.http.get("/api/site", headers={"Host": host})).status_code == 200, host


FOREIGN_HOSTS = (
    "evil.example evil.example:8080 localhost.evil.example 127.0.0.1.evil.example 10.0.0.1 localhost@evil.example "
    "evil.example@localhost [::1 0.0.0.0:8080 localhost/x [::ffff:10.0.0.1]"
).split()


async def test_a_foreign_name_that_was_pointed_here_is_refused(server: Server) -> None:
    """DNS rebinding: to the browser, a foreign page and this server are then one site."""
    async with server() as bench:
        for host in [*FOREIGN_HOSTS, ""]:
            for path in ("/", "/api/site", "/streams/hall/live.mjpg"):
                answer = await bench.http.get(path, headers={"Host": host})
                assert answer.status_code == 403, host
                message = answer.json()["error"]["message"]
                assert message.startswith("Host header: read ") and "localhost, 127.0.0.1" in message


async def test_two_hosts_are_none(server: Server) -> None:
    async with server() as bench:
        connection = await bench.raw("GET / HTTP/1.1", f"Host: {own(bench)}", "Host: evil.example")
        answer = await asyncio.get_running_loop().sock_recv(connection, 1000)
        assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 403"))
        connection.close()


async def test_another_page_changes_nothing(server: Server) -> None:
    async with server() as bench:
        for origin in (
            EVIL,
            "null",
            "http://127.0.0.1:1",
            "http://localhost.evil.example",
            "",
            "http://[::1",
        ):
            for method, path in (
                ("POST", "/api/workers/hall/stop"),
                ("PATCH", "/api/workers/hall/parameters"),
            ):
                answer = await bench.http.request(method, path, headers={"Origin": origin})
                assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden"), origin
                assert "access-control-allow-origin" not in answer.headers


async def test_another_page_hears_and_sees_nothing(server: Server) -> None:
    async with server() as bench:
        for path in ("/api/watch", "/streams/hall/live.ws"):
            for origin in (EVIL, "null"):
                with pytest.raises(InvalidStatus) as refused:
                    async with connect(f"ws://{own(bench)}{path}", additional_headers={"Origin": origin}):
                        pass
                assert refused.value.response.status_code == 403
                assert b"Origin: read" in (refused.value.response.body or b"")


async def test_our_own_page_and_no_page_may(server: Server) -> None:
    async with server() as bench:
        for headers in ({}, {"Origin": f"http://{own(bench)}"}):
            assert (await bench.http.post("/api/workers/hall/stop", headers=headers)).status_code == 200
            async with connect(f"ws://{own(bench)}/api/watch", additional_headers=headers) as watching:
                assert await watching.recv()
        other = {"Host": f"[::1]:{bench.port}", "Origin": f"http://[::1]:{bench.port}"}
        assert (await bench.http.post("/api/workers/hall/stop", headers=other)).status_code == 200


async def test_reading_is_free_of_origin(server: Server) -> None:
    """A page of another origin cannot read the answer: browsers see to that, and it is told so."""
    async with server() as bench:
        answer = await bench.http.get("/api/site", headers={"Origin": EVIL})
        assert answer.status_code == 200 and "access-control-allow-origin" not in answer.headers
        assert answer.headers["cross-origin-resource-policy"] == "same-site"


async def test_a_server_for_everybody_answers_to_its_own_names(server: Server) -> None:
    async with server(address="0.0.0.0", login=False) as bench:
        own_name = socket.gethostname()
        for host in (own_name, f"{own_name}.local:80", "10.1.2.3", "[fe80::1]:8080", "localhost"):
            assert (await bench.http.get("/api/site", headers={"Host": host})).status_code == 200, host
        for host in ("evil.example", f"{own_name}.evil.example", ""):
            assert (await bench.http.get("/api/site", headers={"Host": host})).status_code == 403, host
        foreign = {"Host": "10.1.2.3", "Origin": EVIL}
        assert (await bench.http.post("/api/workers/hall/stop", headers=foreign)).status_code == 403


def test_a_name_in_site_yaml_is_answered_to() -> None:
    hosts = Hosts("cams.home.lan")
    assert hosts.allow("cams.home.lan:8080") and hosts.allow("192.168.1.5") and not hosts.allow("home.lan")
    assert "cams.home.lan" in str(hosts)


def test_names_of_the_certificate_are_answered_to() -> None:
    hosts = Hosts("0.0.0.0", ("Cams.example.org", "*.home.lan"))
    for good in ("cams.example.org", "CAMS.example.org:8443", "hall.home.lan"):
        assert hosts.allow(good), good
    for bad in (
        "example.org",
        "home.lan",
        "a.b.home.lan",
        "x.cams.example.org",
        "*.home.lan.evil.example",
        "*",
    ):
        assert not hosts.allow(bad), bad
    assert not Hosts("0.0.0.0").allow("cams.example.org")


async def test_nobody_comes_through_a_proxy_to_where_all_are_trusted(server: Server) -> None:
    """It stands on this machine, and brings people from anywhere. Who says so in site.yaml may have it."""
    for name in ("X-Forwarded-For", "Forwarded", "X-Real-IP"):
        headers = {name: "10.0.0.7"}
        async with server() as bench:
            answer = await bench.http.get("/api/site", headers=headers)
            assert answer.status_code == 403 and "server.login" in answer.json()["error"]["message"]
        async with server(login=False) as bench:
            assert (await bench.http.get("/api/site", headers=headers)).status_code == 200
        async with server(login=True) as bench:
            assert (await bench.http.get("/api/site", headers=headers)).status_code == 401


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.1.2.3"])
def test_loopback(host: str) -> None:
    assert is_loopback(host) and Hosts(host).is_loopback


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", ""])
def test_not_loopback(host: str) -> None:
    assert not is_loopback(host)
