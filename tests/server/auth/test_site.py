"""A whole site that wants a login: what is looked at by WebRTC ends with the right to it, too."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from frameloom.accounts.store import Accounts
from tests.server import sites
from tests.server.bench import PATIENCE_S
from tests.server.test_whep import Viewer, viewers

from .people import bearer, token_of, with_people


@pytest.fixture
def running(
    tmp_path: Path, runtime_dir: Path, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[sites.Watched]:
    wanting = sites.SITE.replace("server: {{port: 0}}", "server: {{port: 0, login: true}}")
    assert wanting != sites.SITE
    monkeypatch.setattr(sites, "SITE", wanting)
    with_people(Accounts("watched"))
    with sites.watched_site(tmp_path, runtime_dir) as watched:
        yield watched


async def test_who_loses_his_right_sees_no_more_by_webrtc(running: sites.Watched) -> None:
    accounts, url = Accounts("watched"), running.site.url.rstrip("/")
    tokens = [token_of(accounts, "viewer", user=f"{role}-person") for role in ("viewer", "operator")]
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE_S) as nobody:
        answer = await nobody.post(
            "/streams/hall/whep", content="v=0", headers={"Content-Type": "application/sdp"}
        )
        assert answer.status_code == 401
    https = [httpx.AsyncClient(base_url=url, timeout=PATIENCE_S, headers=bearer(token)) for token in tokens]
    lookers = [Viewer(http, "hall") for http in https]
    try:
        for looker in lookers:
            await looker.come()
            await looker.see(3)
        assert await asyncio.to_thread(seen_by, running, 2)
        await asyncio.to_thread(accounts.change, lambda book: book.remove_user("viewer-person"))
        assert await asyncio.to_thread(seen_by, running, 1)
        await lookers[1].see(30)
    finally:
        for looker, http in zip(lookers, https, strict=True):
            await looker.peer.close()
            await http.aclose()


def seen_by(running: sites.Watched, count: int) -> bool:
    """Wait until so many look."""
    running.site.wait_worker("webrtc", lambda worker: worker["report"]["info"]["viewers"] == count)
    return viewers(running) == count
