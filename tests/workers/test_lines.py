"""Cutting a byte stream into lines and messages, whatever the stream is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frameloom.model.errors import PeerError
from frameloom.workers.lines import Line, Lines, from_line, to_line


@given(st.lists(st.binary(max_size=40), max_size=20), st.integers(min_value=1, max_value=12))
def test_any_stream_in_any_bites_gives_the_same_lines(bites: list[bytes], limit_bytes: int) -> None:
    lines = Lines(limit_bytes)
    found = [line for bite in bites for line in lines.feed(bite)] + lines.flush()
    *parts, rest = b"".join(bites).split(b"\n")
    expected = [
        Line(part[:limit_bytes], len(part) > limit_bytes) for part in parts + ([rest] if rest else [])
    ]
    assert found == expected


def test_an_endless_line_is_not_kept() -> None:
    lines = Lines(100)
    for _ in range(1000):
        assert lines.feed(b"x" * 1000) == []
    assert len(lines._begun) == 100
    assert lines.feed(b"\nnext\n") == [Line(b"x" * 100, True), Line(b"next", False)]


def test_a_message_comes_back_as_it_was() -> None:
    message = {"set": {"regions": [[0.5, 1]], "name": "Küche\n"}, "id": 3}
    line = to_line(message)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert from_line(line) == message


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"text",
        b"[]",
        b"5",
        b"{",
        b"\xff",
        b"[" * 100_000,
        b"1" * 5000,
        b'{"a": 1e999}',
        b'{"a": -Infinity}',
    ],
)
def test_what_is_no_message_is_told_in_short(line: bytes) -> None:
    with pytest.raises(PeerError, match="want a line with a JSON object, read b'") as caught:
        from_line(line)
    assert len(str(caught.value)) < 400


def test_what_json_cannot_say_is_not_sent() -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        to_line({"fps": float("nan")})
    with pytest.raises(TypeError):
        to_line({"frame": object()})
