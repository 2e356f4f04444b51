"""Requests that nobody thought of, made from /openapi.json: the server says what is wrong, and never fails or hangs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings

from tests.journey.running import RunningSite, running_site

SITE = """\
site: anyone
server: {port: 0}
cameras:
  hall: {url: 'synthetic:counter?width=160&height=120&fps=10'}
processors:
  motion: {use: motion, stream: hall}
sinks:
  hall-rec: {kind: record, stream: hall, reserve: 0}
"""
WAIT_S = 60
EXAMPLES = 6
# One has no end, the other ends everything.
LEFT_OUT = {("GET", "/streams/{name}/live.mjpg"), ("POST", "/api/shutdown")}
NOT_NOW = (503, 504)  # said by us, in words


@schemathesis.serializer("application/sdp")
def as_text(context: Any, value: Any) -> bytes:
    return str(value).encode(errors="replace")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, module_runtime_dir: Path) -> Iterator[RunningSite]:
    """A site of its own: requests may stop, change and remove whatever is in it."""
    file = tmp_path_factory.mktemp("anyone") / "site.yaml"
    file.write_text(SITE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FRAMELOOM_RUNTIME_DIR", str(module_runtime_dir))
        with running_site(file, name="anyone") as running:
            running.wait_state("motion", "running")
            yield running


@pytest.mark.timeout(600)
def test_no_request_makes_it_fail(site: RunningSite) -> None:
    schema = schemathesis.openapi.from_url(f"{site.url}/openapi.json")
    operations = [result.ok() for result in schema.get_all_operations()]
    wanted = [each for each in operations if (each.method.upper(), each.path) not in LEFT_OUT]
    assert len(wanted) > 30
    for operation in wanted:
        ask(operation)
    assert site.call("ping") is not None
    assert site.process.poll() is None


def ask(operation: Any) -> None:
    """Some requests of one kind, good and bad."""

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def one(case: Any) -> None:
        answer = case.call(timeout=WAIT_S)
        what = f"{operation.method} {operation.path}: {answer.status_code} {answer.text[:300]}"
        assert answer.status_code < 500 or answer.status_code in NOT_NOW, what
        if answer.status_code >= 400:
            assert set(answer.json()["error"]) == {"code", "message"}, what

    one()
