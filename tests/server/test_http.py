"""HTTP: errors in words, headers, HEAD, limits, the description of it all."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
from fastapi.routing import APIWebSocketRoute

from frameloom.server import streams, workers

from .bench import HALL, PATIENCE_S, Bench, processor, until

Server = Any


async def problem(answer: httpx.Response) -> tuple[int, str, str]:
    """Status, code and message of an error, whose body is always of one shape."""
    body = answer.json()
    assert list(body) == ["error"] and list(body["error"]) == ["code", "message"]
    return answer.status_code, body["error"]["code"], body["error"]["message"]


async def test_unknown_paths_and_wrong_verbs(server: Server) -> None:
    async with server() as bench:
        for path in ("/api", "/api/nothing", "/nothing", "/static/nothing.js", "/static/../app.py", "/docs"):
            status, code, message = await problem(await bench.http.get(path))
            assert (status, code) == (404, "not-found") and message.startswith("there is nothing at '/")
        answer = await bench.http.put("/api/site")
        assert await problem(answer) == (
            405,
            "not-allowed",
            "PUT is not possible at '/api/site', allowed: GET",
        )
        assert answer.headers["allow"] == "GET"
        assert (await problem(await bench.http.get("/api/workers/hall/start")))[0] == 405
        assert (await problem(await bench.http.post("/")))[0] == 405


async def test_wrong_values_are_said_in_words(server: Server) -> None:
    async with server() as bench:
        status, code, message = await problem(await bench.http.get("/api/workers/hall/logs?lines=0"))
        assert (status, code) == (422, "invalid")
        assert message == "lines: read '0', allowed: greater than or equal to 1"
        status, code, message = await problem(await bench.http.post("/api/workers/hall/explode"))
        assert message == "verb: read 'explode', allowed: 'start', 'stop', 'restart' or 'clear'"
        for body in (b"{", b"[1]", b"null", b"\xff", b"[" * 5000):
            status, code, message = await problem(await patch(bench, body))
            assert (status, code) == (422, "invalid") and "want a JSON object" in message
        status, _, message = await problem(await patch(bench, b'{"threshold": NaN}'))
        assert status == 422 and "JSON" in message


async def patch(bench: Bench, body: bytes, name: str = "hall") -> httpx.Response:
    headers = {"Content-Type": "application/json"}
    return await bench.http.patch(f"/api/workers/{name}/parameters", content=body, headers=headers)


async def test_the_supervisor_s_refusals_have_a_status(server: Server) -> None:
    async with server() as bench:
        status, code, message = await problem(await bench.http.post("/api/workers/attic/start"))
        assert (status, code) == (404, "unknown-worker") and "there are: hall" in message
        status, code, _ = await problem(await patch(bench, b'{"threshold": 1}'))
        assert (status, code) == (409, "unknown-parameters")
        status, code, _ = await problem(await patch(bench, b"{}"))
        assert (status, code) == (422, "invalid")
        status, code, message = await problem(await bench.http.get("/streams/hall/snapshot.jpg"))
        assert (status, code) == (409, "not-running") and message == "camera 'hall' is stopped"


async def test_a_site_that_its_program_ends_is_not_ended_from_here(server: Server) -> None:
    async with server() as bench:
        status, code, message = await problem(await bench.http.post("/api/shutdown"))
        assert (status, code) == (409, "unsupported") and "ended by its program" in message
        assert (await bench.http.get("/api/site")).status_code == 200


STRANGE = [
    "%00",
    "..%2F..%2Fetc",
    "%F0%9F%90%9F",
    "x" * 3000,
    "a b",
    "%22%3Cscript%3E",
    "%FF",
    "..",
    "hall%2F",
]


async def test_strange_names(server: Server) -> None:
    async with server() as bench:
        for name in STRANGE:
            for method, path in (
                ("GET", f"/api/streams/{name}"),
                ("GET", f"/streams/{name}/snapshot.jpg"),
                ("GET", f"/streams/{name}/live.mjpg"),
                ("GET", f"/api/workers/{name}/logs"),
                ("POST", f"/api/workers/{name}/stop"),
            ):
                status, _, message = await problem(await bench.http.request(method, path))
                assert status in (404, 422) and len(message) < 500, path


async def test_head_is_get_without_a_body(server: Server) -> None:
    async with server() as bench:
        for path in (
            "/api/site",
            "/api/streams",
            "/streams/hall/live.mjpg",
            "/nothing",
        ):
            answer = await bench.http.head(path)
            assert answer.content == b""
            assert answer.status_code == (404 if path == "/nothing" else 200)
        assert bench.app.state.live.viewers == 0


async def test_security_headers_are_everywhere(server: Server) -> None:
    async with server() as bench:
        foreign = {"Origin": "http://evil.example"}
        answers = [await bench.http.get(path) for path in ("/openapi.json", "/api/site", "/nothing")]
        for answer in [*answers, await bench.http.post("/api/workers/hall/stop", headers=foreign)]:
            headers = answer.headers
            assert "default-src 'self'" in headers["content-security-policy"]
            assert "frame-ancestors 'none'" in headers["content-security-policy"]
            assert "unsafe" not in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "no-referrer"
            assert "server" not in headers


async def test_too_long_a_body_is_refused(server: Server) -> None:
    async with server() as bench:
        long = json.dumps({"label": "x" * 70_000}).encode()
        assert (await problem(await patch(bench, long)))[:2] == (413, "too-large")

        async def chunks() -> Any:
            for _ in range(100):
                yield b" " * 1000

        answer = await bench.http.patch("/api/workers/hall/parameters", content=chunks())
        assert (await problem(answer))[:2] == (413, "too-large")
        assert (await patch(bench, b" " * 60_000 + b'{"a": 1}')).status_code == 409, "64 KB are allowed"


async def test_the_description_says_what_each_resource_is_for(server: Server) -> None:
    async with server() as bench:
        described = (await bench.http.get("/openapi.json")).json()
        assert described["info"]["title"] == "Frameloom" and "live.ws" in described["info"]["description"]
        operations = [operation for path in described["paths"].values() for operation in path.values()]
        assert {"/api/site", "/api/streams", "/streams/{name}/live.mjpg"} <= described["paths"].keys()
        assert len({operation["operationId"] for operation in operations}) == len(operations)
        for operation in operations:
            assert operation["summary"] and operation["description"] and operation["tags"]
            for status, response in operation["responses"].items():
                assert response["description"] not in ("", "Successful Response", "Validation Error"), status
            for parameter in operation.get("parameters", []):
                assert parameter["description"], parameter


async def test_the_documents_name_every_resource(server: Server) -> None:
    documented = (Path(__file__).parents[2] / "docs" / "http.md").read_text()
    async with server() as bench:
        described = (await bench.http.get("/openapi.json")).json()["paths"]
        for path, operations in described.items():
            for method in operations:
                assert f"`{method.upper()} {path}`" in documented
    routes = [*streams.router.routes, *workers.router.routes]
    sockets = [route.path for route in routes if isinstance(route, APIWebSocketRoute)]
    assert len(sockets) == 4
    for path in sockets:
        assert f"| WebSocket `{path}` |" in documented


async def test_the_description_is_true(server: Server) -> None:
    """What is answered fits the models that are shown for it."""
    from frameloom.server import schema

    async with server(HALL, processor("motion")) as bench:
        site = schema.Site.model_validate((await bench.http.get("/api/site")).json())
        assert list(site.workers) == ["hall", "motion"]
        [camera] = [
            schema.Camera.model_validate(each) for each in (await bench.http.get("/api/streams")).json()
        ]
        assert camera.name == "hall" and list(camera.processors) == ["motion"] and camera.view is None
        one = (await bench.http.get("/api/streams/hall")).json()
        assert schema.Camera.model_validate(one) == camera
        stopped = (await bench.http.post("/api/workers/hall/stop")).json()
        assert schema.Done.model_validate(stopped).workers["hall"]["did"] == "already stopped"
        schema.Logs.model_validate((await bench.http.get("/api/workers/hall/logs")).json())


async def test_the_site_is_followed(server: Server) -> None:
    from websockets.asyncio.client import connect

    async with server(HALL) as bench, connect(f"ws://127.0.0.1:{bench.port}/api/watch") as watching:
        async with asyncio.timeout(PATIENCE_S):
            assert list(json.loads(await watching.recv())["workers"]) == ["hall"]
            await bench.want(HALL, processor("motion"))
            while list(json.loads(await watching.recv())["workers"]) != ["hall", "motion"]:
                pass


async def test_a_slow_follower_gets_the_newest_state(server: Server) -> None:
    """However many changes there were while it did not read."""
    async with server(HALL) as bench:
        lines = ["GET /api/watch HTTP/1.1", "Host: 127.0.0.1", "Connection: Upgrade", "Upgrade: websocket"]
        key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
        slow = await bench.raw(*lines, "Sec-WebSocket-Version: 13", key, receive_bytes=4096)
        before = bench.app.state.site.number
        await until(lambda: bench.app.state.site.number > before)
        assert (await bench.http.get("/api/site")).status_code == 200
        slow.close()


async def test_keep_alive_serves_many_requests(server: Server) -> None:
    async with server() as bench:
        for _ in range(5):
            assert (await bench.http.get("/api/streams")).status_code == 200
            assert (await bench.http.head("/api/streams")).status_code == 200
            assert (await patch(bench, b"{")).status_code == 422
