"""References to the environment: what they become, and what is told where they cannot be read."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frameloom.site.environment import escape, expand

ENVIRONMENT = {"USER": "ada", "EMPTY": "", "MONEY": "a$b${c}"}


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ("${USER}", "ada"),
        ("rtsp://${USER}:x@h", "rtsp://ada:x@h"),
        ("${USER}${USER}", "adaada"),
        ("${NONE:-guest}", "guest"),
        ("${NONE:-}", ""),
        ("${EMPTY}", ""),
        ("${EMPTY:-guest}", "guest"),
        ("${USER:-guest}", "ada"),
        ("$${USER}", "${USER}"),
        ("$$$${USER}", "$${USER}"),
        ("a$b$", "a$b$"),
        ("${MONEY}", "a$b${c}"),
    ],
)
def test_references(text: str, becomes: str) -> None:
    result = expand({"k": [text]}, ENVIRONMENT)
    assert result.data == {"k": [becomes]}
    assert result.troubles == []


def test_an_unset_variable_is_named_with_its_place() -> None:
    result = expand({"a": ["x", "${NONE}"]}, ENVIRONMENT)
    assert result.troubles == [(("a", 1), "the environment variable NONE is not set")]


@pytest.mark.parametrize("text", ["${", "${}", "${A B}", "${1A}", "${A:?no}", "x${A"])
def test_what_looks_like_a_reference_and_is_none(text: str) -> None:
    ((path, message),) = expand({"k": text}, {"A": "1"}).troubles
    assert path == ("k",)
    assert "${NAME:-default}" in message


def test_what_came_from_outside_is_remembered_and_defaults_are_not_secret() -> None:
    assert expand(["${USER}", "${NONE:-guest}"], ENVIRONMENT).secrets == {"ada"}


def test_other_values_and_keys_stay() -> None:
    data = {"${USER}": 1, "n": None, "t": True, "f": 1.5}
    assert expand(data, ENVIRONMENT).data == data


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet="$${}:-aA_ "),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(VALUES)
def test_what_is_escaped_comes_back(data: Any) -> None:
    result = expand(escape(data), {})
    assert result.data == data
    assert result.troubles == []
