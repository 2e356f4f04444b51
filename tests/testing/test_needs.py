"""A missing component skips by name, and fails where nothing may be skipped."""

import shutil

import pytest

from frameloom.testing import needs


def test_a_program_that_is_there_is_found():
    assert needs.require_program("sh", package="dash") == shutil.which("sh")


def test_a_missing_program_skips_and_says_what_to_install(monkeypatch):
    monkeypatch.delenv("FRAMELOOM_REQUIRE_ALL", raising=False)
    with pytest.raises(
        pytest.skip.Exception, match="no-such-program is not installed: apt-get install nothing"
    ):
        needs.require_program("no-such-program", package="nothing")


def test_a_missing_program_fails_where_all_is_required(monkeypatch):
    monkeypatch.setenv("FRAMELOOM_REQUIRE_ALL", "1")
    with pytest.raises(pytest.fail.Exception, match="no-such-program is not installed"):
        needs.require_program("no-such-program", package="nothing")


def test_an_unavailable_camera_skips_too(monkeypatch):
    monkeypatch.delenv("FRAMELOOM_REQUIRE_ALL", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no camera here"), needs.required():
        raise needs.Unavailable("no camera here")
