"""What is a command and what is not, and how it is told."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frameloom.control import commands
from frameloom.model.errors import CommandError

GOOD: list[dict[str, Any]] = [
    {"command": "ping"},
    {"command": "status", "id": "a", "timeout_s": 60},
    {"command": "subscribe"},
    *({"command": verb, "names": ["hall"]} for verb in ("start", "stop", "restart", "clear")),
    {"command": "set", "name": "hall", "values": {"step": [1, {"a": None}]}},
    {"command": "tell", "name": "hall", "tell": "snapshot"},
    {"command": "logs", "name": "hall", "lines": 500, "after": 7},
    {"command": "reload"},
    {"command": "settings"},
    {"command": "preview", "text": "site: x"},
    {"command": "save", "text": "", "version": "1a"},
    {"command": "source", "name": "hall", "settings": {"url": "***"}},
    {"command": "add-camera", "name": "hall", "settings": {"url": "rtsp://h/x"}},
    {"command": "change-camera", "name": "hall", "settings": {"loop": None}},
    {"command": "remove-camera", "name": "hall", "dry_run": True},
    {"command": "add-recorder", "name": "hall"},
    {"command": "shutdown"},
]


@pytest.mark.parametrize("message", GOOD, ids=lambda message: message["command"])
def test_every_command_is_parsed_to_its_model(message: dict[str, Any]) -> None:
    command = commands.parse(message)
    assert command.command == message["command"]
    assert command.model_dump(exclude_unset=True) == message


def test_the_list_of_names_is_complete() -> None:
    assert set(commands.NAMES) == {message["command"] for message in GOOD}


@pytest.mark.parametrize(
    ("message", "code", "says"),
    [
        ({}, "unknown-command", "command: read None, allowed: ping, status"),
        ({"command": "explode"}, "unknown-command", "read 'explode'"),
        ({"command": ["set"]}, "unknown-command", r"read \['set'\]"),
        ({"command": "set", "values": {"a": 1}}, "invalid", "set: name is missing"),
        ({"command": "set", "name": "a", "values": {}}, "invalid", "set: values: .*at least 1"),
        ({"command": "set", "name": "a", "values": [1]}, "invalid", r"set: values: .*dict.*read \[1\]"),
        ({"command": "ping", "nonsense": 1}, "invalid", "ping: nonsense is not known here"),
        ({"command": "ping", "timeout_s": 0}, "invalid", "timeout_s: .*greater than 0.*read 0"),
        ({"command": "ping", "timeout_s": 61}, "invalid", "timeout_s: .*60"),
        ({"command": "ping", "timeout_s": float("nan")}, "invalid", "timeout_s"),
        ({"command": "start", "names": []}, "invalid", "names: .*at least 1"),
        ({"command": "start", "names": "hall"}, "invalid", "names: .*list.*read 'hall'"),
        ({"command": "logs", "name": "a", "lines": 1001}, "invalid", "lines: .*1000"),
        ({"command": "ping", "id": "x" * 65}, "invalid", "id"),
        ({"command": "save", "text": 1, "version": "1"}, "invalid", "save: text: .*string$"),
        ({"command": "add-camera", "name": "a", "settings": ["pw"]}, "invalid", "dictionary$"),
    ],
)
def test_what_is_wrong_is_told_with_what_was_read(message: dict[str, Any], code: str, says: str) -> None:
    with pytest.raises(CommandError, match=says) as caught:
        commands.parse(message)
    assert caught.value.code == code


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    ["id", "timeout_s", "name", "names", "values", "lines", "after", "args", "tell", "x"]
)


@given(st.dictionaries(FIELDS, JSON), st.sampled_from(commands.NAMES) | JSON)
def test_any_json_is_a_command_or_refused(fields: dict[str, Any], command: Any) -> None:
    message = {**fields, "command": command}
    json.dumps(commands.reply_id(message), allow_nan=False)
    try:
        parsed = commands.parse(message)
    except CommandError as error:
        refusal = error
    else:
        assert parsed.command == command
        return
    assert refusal.code in ("unknown-command", "invalid")
    assert len(str(refusal)) < 1000
