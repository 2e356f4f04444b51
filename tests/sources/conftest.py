from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from frameloom.model.clock import SystemClock
from frameloom.model.stages import Source
from frameloom.sources import SourceSettings, open_source
from tests.sources.films import Films


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Films:
    return Films(tmp_path_factory.mktemp("films"))


class Opener:
    """Makes sources that are closed when the test is over."""

    def __init__(self) -> None:
        self.made: list[Source] = []

    def __call__(self, url: str | Path, **settings: object) -> Source:
        made = open_source("yard", SourceSettings.model_validate({"url": str(url), **settings}), SystemClock())
        self.made.append(made)
        return made


@pytest.fixture
def source() -> Iterator[Opener]:
    opener = Opener()
    yield opener
    for made in opener.made:
        made.close()
