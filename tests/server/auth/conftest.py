"""A server that wants a login, with a user of each role."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from frameloom.accounts.store import Accounts
from tests.server.bench import SITE, serving

from .people import with_people


@pytest.fixture
def accounts(state_dir: Path) -> Accounts:
    """Of the site that the bench runs: a user of each role, whose password is in PASSWORDS."""
    return with_people(Accounts(SITE))


@pytest.fixture
def guarded(accounts: Accounts, runtime_dir: Path) -> Callable[..., Any]:
    """Runs a server on loopback that wants a login: `async with guarded(spec, ...) as bench:`."""

    def start(*specs: Any, **options: Any) -> Any:
        return serving(*specs, **{"login": True, **options})

    return start
