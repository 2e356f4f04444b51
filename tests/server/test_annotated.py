"""`?annotated=1`: the pictures that the view has drawn on, and no others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .bench import HALL, PATIENCE_S, Camera, processor, until

Server = Callable[..., Any]
LIVE = "/streams/hall/live.mjpg"


@pytest.fixture
def drawn(runtime_dir: Path) -> Iterator[Camera]:
    """What the view draws on; longer than the plain pictures."""
    camera = Camera(nbytes=3000, part="annotated")
    yield camera
    camera.close()


async def until_read(answer: AsyncIterator[bytes], jpeg: bytes) -> None:
    """Read the answer until it has brought this picture."""
    read = b""
    async with asyncio.timeout(PATIENCE_S):
        while jpeg not in read:
            read += await anext(answer)


@pytest.mark.parametrize("value", ["1", "true"])
async def test_annotated_pictures(server: Server, camera: Camera, drawn: Camera, value: str) -> None:
    async with server(HALL, processor("motion")) as bench:
        async with bench.http.stream("GET", f"{LIVE}?annotated={value}") as answer:
            assert answer.headers["content-type"].startswith("multipart/x-mixed-replace")
            await drawn.until_watched()
            assert not camera.readers, "nobody looks at the plain ones"
            parts = answer.aiter_raw()
            for _ in range(3):
                await until_read(parts, drawn.show())
            assert bench.app.state.annotated.viewers == 1
        await drawn.until_alone()


@pytest.mark.parametrize("query", ["", "?annotated=0", "?annotated=false"])
async def test_plain_pictures(server: Server, camera: Camera, query: str) -> None:
    async with server() as bench, bench.http.stream("GET", LIVE + query) as answer:
        await camera.until_watched()
        await until_read(answer.aiter_raw(), camera.show())


async def test_many_viewers_share_what_is_drawn_once(server: Server, drawn: Camera) -> None:
    async with (
        server() as bench,
        bench.http.stream("GET", f"{LIVE}?annotated=1") as one,
        bench.http.stream("GET", f"{LIVE}?annotated=1") as other,
    ):
        await until(lambda: bench.app.state.annotated.viewers == 2)
        await drawn.until_watched()
        assert drawn.readers == 1
        jpeg = drawn.show()
        for answer in (one, other):
            await until_read(answer.aiter_raw(), jpeg)


@pytest.mark.parametrize("path", ["live.mjpg", "snapshot.jpg"])
@pytest.mark.parametrize("value", ["", "2", "yes", "True", "-1", "%00"])
async def test_anything_else_is_refused(server: Server, path: str, value: str) -> None:
    async with server() as bench:
        answer = await bench.http.get(f"/streams/hall/{path}?annotated={value}")
        assert answer.status_code == 422
        assert "annotated" in answer.json()["error"]["message"]


async def test_the_server_that_stops_lets_them_go(server: Server, drawn: Camera) -> None:
    async with server() as bench, bench.http.stream("GET", f"{LIVE}?annotated=1") as answer:
        await drawn.until_watched()
        bench.app.state.annotated.close()
        assert (await answer.aread()).endswith(b"--frame\r\n")
