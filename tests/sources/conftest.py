from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.sources.films import Films, Opener


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Films:
    return Films(tmp_path_factory.mktemp("films"))


@pytest.fixture
def source() -> Iterator[Opener]:
    opener = Opener()
    yield opener
    for made in opener.made:
        made.close()
