"""A site whose index is in PostgreSQL, which goes away and returns: recording does not care, and nothing is missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

from frameloom.testing.films import counter, encode
from tests.catalog.postgres import running_postgres

from .running import running_site, wait_until

SITE = """\
site: shelved
database: {url}
server: {{port: 0}}
cameras:
  hall: {{url: film.mp4, loop: true, view: false}}
sinks:
  hall-rec: {{kind: record, stream: hall, segment_s: 1, reserve: 0}}
"""


def told(url: str) -> dict[str, Any]:
    """What is answered, be it an error."""
    try:
        with urlopen(url) as answer:
            found: dict[str, Any] = json.load(answer)
    except HTTPError as error:
        with error:
            found = json.load(error)
    return found


def test_a_database_that_goes_away_and_returns(tmp_path: Path, runtime_dir: Path) -> None:
    encode(counter(fps=25, frames=100), tmp_path / "film.mp4", gop=10)
    with running_postgres() as postgres:
        (tmp_path / "site.yaml").write_text(SITE.format(url=postgres.new_database()))
        with running_site(tmp_path / "site.yaml", "--quiet", name="shelved") as site:
            page = f"{site.url}/api/recordings/hall"
            wait_until(lambda: len(told(page)["segments"]) >= 2)
            postgres.stop()
            assert told(page)["error"]["code"] == "no-index"
            detail = site.wait_state("index", "degraded")["detail"]
            assert "trying again every 5 s" in detail
            recorded = site.worker("hall-rec")["report"]["info"]["packets"]
            site.wait_worker("hall-rec", lambda one: one["report"]["info"]["packets"] > recorded + 50)
            postgres.start()
            site.wait_state("index", "running")
            wait_until(lambda: sum(one["frames"] for one in told(page).get("segments", [])) >= recorded + 50)
            assert site.worker("hall-rec")["state"] == "running"
            assert site.worker("hall-rec")["report"]["info"]["lost"] == 0
            logs = [site.call("logs", name=name) for name in ("index", "server")]
            said = json.dumps([site.call("status"), *logs, told(page)]) + site.output
            assert postgres.password not in said
