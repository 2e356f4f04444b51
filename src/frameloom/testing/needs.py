"""What a test does when a real component that it needs is not installed.

It skips, naming what is missing and how to get it; where nothing may be skipped (FRAMELOOM_REQUIRE_ALL=1, as in
continuous integration) it fails. Only tests call this: nothing here decides what the product does.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn


class Unavailable(RuntimeError):
    """A real component is not installed; the message names it and says how to install it."""


def missing(what: str) -> NoReturn:
    """Skip the running test for lack of `what`, or fail it where FRAMELOOM_REQUIRE_ALL is 1."""
    import pytest  # users who only want the films need no pytest

    if os.environ.get("FRAMELOOM_REQUIRE_ALL") == "1":
        pytest.fail(f"{what} (and FRAMELOOM_REQUIRE_ALL=1 allows no skipping)", pytrace=False)
    pytest.skip(what)


def require_program(program: str, package: str) -> str:
    """The path of an installed program; without it the test is skipped, naming the Debian package."""
    path = shutil.which(program)
    if path is None:
        missing(f"{program} is not installed: apt-get install {package}")
    return path


@contextmanager
def required() -> Iterator[None]:
    """Turn `Unavailable` raised inside the block into a skip (or a failure, see `missing`)."""
    try:
        yield
    except Unavailable as error:
        missing(str(error))
