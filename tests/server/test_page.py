"""The page's files as the server gives them: all of them, never an old one, and nothing that our own headers forbid."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from tools import web_build

from frameloom.server import page

Server = Any


@pytest.fixture(scope="module", autouse=True)
def built() -> Path:
    web_build.build()
    return web_build.BUILT


def files_of(built: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in built.iterdir()}


def script(built: Path) -> str:
    (name,) = re.findall(r'src="(/static/[^"]+\.js)"', (built / "index.html").read_text())
    return str(name)


async def test_nothing_old_is_shown_after_an_update(server: Server, built: Path) -> None:
    async with server() as bench:
        answer = await bench.http.get(script(built))
        assert answer.headers["cache-control"] == "no-cache"
        assert answer.headers["content-type"].startswith("text/javascript")
        tag = answer.headers["etag"]
        again = await bench.http.get(script(built), headers={"If-None-Match": tag})
        assert (again.status_code, again.content) == (304, b"")
        other = await bench.http.get(script(built), headers={"If-None-Match": '"something-else"'})
        assert other.status_code == 200 and other.content == answer.content
        assert (await bench.http.get("/api/site")).headers["cache-control"] == "no-store"


async def test_every_file_of_the_page_is_served(server: Server, built: Path) -> None:
    """And the page asks for nothing that the security headers forbid."""
    async with server() as bench:
        text = (await bench.http.get("/")).text
        assert "style=" not in text and "<style" not in text and "onclick" not in text
        for index in range(text.count("<script")):
            assert 'src="/static/' in text.split("<script")[index + 1].split(">")[0]
        for name, data in files_of(built).items():
            answer = await bench.http.get(f"/static/{name}")
            assert answer.status_code == 200 and answer.content == data, name
        answer = await bench.http.head("/")
        assert (answer.status_code, answer.content) == (200, b"")


async def test_what_is_not_of_the_page_is_not_served(server: Server) -> None:
    async with server() as bench:
        for path in ("/static/nothing.js", "/static/../page.py", "/static/%2e%2e%2fpage.py", "/static/"):
            assert (await bench.http.get(path)).status_code == 404, path


async def test_a_clone_that_was_not_built_says_what_to_do(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "_BUILT", tmp_path)
    async with server() as bench:
        answer = await bench.http.get("/")
        assert answer.status_code == 503
        assert (
            answer.json()["error"]["code"] == "not-built" and "make run" in answer.json()["error"]["message"]
        )
