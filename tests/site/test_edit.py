"""One change in a text, and not a character more. What a person wrote is compared with what is there afterwards."""

from __future__ import annotations

from typing import Any

import pytest

from frameloom.site import edit
from frameloom.site.document import parse
from frameloom.site.problems import Path
from frameloom.site.render import block, flow


def wanted(text: str, path: Path, value: Any) -> Any:
    data = parse(text, "").data
    place = data
    for part in path[:-1]:
        place[part] = place.get(part) or {}
        place = place[part]
    place[path[-1]] = value
    return data


def changed(text: str, dotted: str, value: Any) -> str:
    path: Path = tuple(dotted.split("."))
    data = wanted(text, path, value)
    after = edit.set_value(text, path, data)
    assert parse(after, "").data == data
    return after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a: 1", "a: 7"),
        ("a: 1  # one\n", "a: 7  # one\n"),
        ("# top\n\na:    1\nb: 2\n", "# top\n\na:    7\nb: 2\n"),
        ("a: 'x # y' # z\n", "a: 7 # z\n"),
        ("a: ${A:-1}\n", "a: 7\n"),
        ("a:\n", "a: 7\n"),
        ("a:   # nothing yet\nb: 2\n", "a: 7   # nothing yet\nb: 2\n"),
        ("a:\n  # inside\n  1\n", "# inside\na: 7\n"),
        ("a: |\n  one\n  # two\nb: 1\n", "a: 7\nb: 1\n"),
        ("a: [1, # one\n  2] # two\n", "# one\na: 7 # two\n"),
        ("a: # list\n  - 1 # one\n  - 2 # two\n# end\n", "# list\n# one\na: 7 # two\n# end\n"),
        ("a:\n- 1\n-\n# end\n", "a: 7\n# end\n"),
        ("a:\n  b: 1\n\n\n# end\nc: 2\n", "a: 7\n\n\n# end\nc: 2\n"),
        ("{a: 1}", "{a: 7}"),
        ("{b: 1, a: [1], c: 2} # x\n", "{b: 1, a: 7, c: 2} # x\n"),
        ("{\n  b: 1, # b\n  a: [1, # one\n   2], # two\n}\n", "{\n  b: 1, # b\n  # one\n  a: 7, # two\n}\n"),
        ("b: &b 1\na: *b # same\n", "b: &b 1\na: 7 # same\n"),
        ("b: &b 1\na: *b\nc: *b\n", "b: &b 1\na: 7\nc: *b\n"),
        ("a: 1\r\nb: 2\r\n", "a: 7\r\nb: 2\r\n"),
        ("{}", "{a: 7}"),
        ("{ } # nothing", "{ a: 7} # nothing"),
        ("{b: 1}", "{b: 1, a: 7}"),
        ("{b: 1, }", "{b: 1, a: 7, }"),
        ("{b}", "{b, a: 7}"),
        ("{b: }", "{b: , a: 7 }"),
        ("b: 1", "b: 1\na: 7\n"),
        ("b: 1 # one\n# end\n", "b: 1 # one\na: 7\n# end\n"),
        ("b:\n  c: [1,\n    2] # two\n\n# end", "b:\n  c: [1,\n    2] # two\na: 7\n\n# end"),
        ("b:\n# end\n", "b:\na: 7\n# end\n"),
        ("b:\n  c: 1\n  # of b\n\n # too\n\n# end\n", "b:\n  c: 1\n  # of b\n\n # too\na: 7\n\n# end\n"),
        ("b:\n  c: 1\n  # of b", "b:\n  c: 1\n  # of b\na: 7\n"),
        ("b: |\n  text\n\nc:\n", "b: |\n  text\n\nc:\na: 7\n"),
        ("b: 1\r\n", "b: 1\r\na: 7\r\n"),
        ("b: &b 1\nc: *b\n# end\n", "b: &b 1\nc: *b\na: 7\n# end\n"),
        ("--- # start\nb: 1\n...\n", "--- # start\nb: 1\na: 7\n...\n"),
        ("'a': 1\n", "'a': 7\n"),
        ("? a\n: 1\n", "? a\n: 7\n"),
    ],
)
def test_setting_a_value(before: str, after: str) -> None:
    assert changed(before, "a", 7) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("p:\n  m:\n    params:\n      t: 1 # one\n", "p:\n  m:\n    params:\n      t: 7 # one\n"),
        ("p:\n  m:\n    params: {t: 1, u: 2}\n", "p:\n  m:\n    params: {t: 7, u: 2}\n"),
        ("p:\n  m:\n    use: x\n", "p:\n  m:\n    use: x\n    params:\n      t: 7\n"),
        (
            "p:\n    m:\n        use: x # u\n",
            "p:\n    m:\n        use: x # u\n        params:\n            t: 7\n",
        ),
        ("p:\n  m: {use: x}\n", "p:\n  m: {use: x, params: {t: 7}}\n"),
        (
            "p:\n  m:\n    params: # none\n    use: x\n",
            "p:\n  m:\n    params: # none\n      t: 7\n    use: x\n",
        ),
        ("p:\n  m:\n    params: {}\n", "p:\n  m:\n    params: {t: 7}\n"),
        ("q: &q {t: 1}\np: {m: {params: *q}}\n", "q: &q {t: 1}\np: {m: {params: {t: 7}}}\n"),
        (
            "q: &q\n  t: 1\np:\n  m:\n    <<: *q\n",
            "q: &q\n  t: 1\np:\n  m:\n    <<: *q\n    params:\n      t: 7\n",
        ),
        (
            "q: &q {params: {u: 1}}\np: {m: {<<: *q}}\n",
            "q: &q {params: {u: 1}}\np: {m: {<<: *q, params: {u: 1, t: 7}}}\n",
        ),
        ("q: &q {t: 1}\np: {m: {params: {<<: *q}}}\n", "q: &q {t: 1}\np: {m: {params: {<<: *q, t: 7}}}\n"),
        ("# nothing\nsite: a\n", "# nothing\nsite: a\np:\n  m:\n    params:\n      t: 7\n"),
    ],
)
def test_setting_a_value_deep_inside(before: str, after: str) -> None:
    assert changed(before, "p.m.params.t", 7) == after


def without(text: str, dotted: str) -> str:
    return edit.remove(text, tuple(dotted.split(".")))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("c:\n  a: 1 # one\n  b: 2\n", "c:\n  b: 2\n"),
        ("c:\n  b: 2\n  # of a\n  a: # x\n    d: 1 # y\n\n  # end\n", "c:\n  b: 2\n  # of a\n\n  # end\n"),
        ("c:\n  a:\n    - 1\n\n# next\nd: 1\n", "c:\n\n# next\nd: 1\n"),
        ("c:\n  a: 1\n    # of a\n\n   # too\n\n  # of b\n  b: 1\n", "c:\n\n  # of b\n  b: 1\n"),
        ("c:\n  a: 1\n    # of a", "c:\n"),
        ("c:\n  a: 1", "c:\n"),
        ("c:\r\n  a: 1\r\n  b: 2\r\n", "c:\r\n  b: 2\r\n"),
        ("c: {a: 1, b: 2}", "c: {b: 2}"),
        ("c: {b: 2, a: 1}", "c: {b: 2}"),
        ("c: {a: 1}", "c: {}"),
        ("c: {b: 2, a: 1, d: 3}", "c: {b: 2, d: 3}"),
        ("c: {\n  b: 2, # two\n  a: 1 # one\n}", "c: {\n  b: 2, # two\n   # one\n}"),
        ("c: {a: 1, # one\n  b: 2}", "c: { # one\n  b: 2}"),
        ("c: {b: 2}", "c: {b: 2}"),
        ("d: 1", "d: 1"),
    ],
)
def test_removing_a_key(before: str, after: str) -> None:
    assert without(before, "c.a") == after
    parse(after, "")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("c:\n  a: 1 # one\n  b: 2\n", "c:\n  # one\n  b: 2\n"),
        ("c:\n  a: # one\n    # two\n    - 1 # three\n", "c:\n  # one\n  # two\n  # three\n"),
        ("c:\n  b: 2\n  a: 1 # one", "c:\n  b: 2\n  # one"),
        ("c: {a: [1, # one\n  2], b: 2}\n", "c: { # one\n    b: 2}\n"),
        ("c: {b: 2, a: [1, # one\n  2] # two\n }\n", "c: {b: 2 # one\n           # two\n }\n"),
    ],
)
def test_removing_a_key_and_keeping_its_comments(before: str, after: str) -> None:
    assert edit.remove(before, ("c", "a"), keep_comments=True) == after
    parse(after, "")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("c:\n  a: u # x\n  b: v\n", "c:\n  a:\n    url: u # x\n  b: v\n"),
        ("c:\n    a: 'u'\n", "c:\n    a:\n        url: 'u'\n"),
        ("c:\n  a:\n    u # x\n", "c:\n  a:\n    url: u # x\n"),
        ("c: {a: 'u', b: v}", "c: {a: {url: 'u'}, b: v}"),
        ("x: &x u\nc:\n  a: *x # y\n", "x: &x u\nc:\n  a: {url: *x} # y\n"),
        ("c:\r\n  a: u\r\n", "c:\r\n  a:\r\n    url: u\r\n"),
    ],
)
def test_a_short_form_becomes_a_mapping(before: str, after: str) -> None:
    assert edit.lengthen(before, ("c", "a"), "url") == after
    data = parse(before, "").data
    data["c"]["a"] = {"url": data["c"]["a"]}
    assert parse(after, "").data == data


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("# one\n  # two\na: 1 # three\n# four", ["# one", "# two", "# three", "# four"]),
        ("a: 'x # no' # yes\nb: x#no\nc: \"# no\"\n", ["# yes"]),
        ("a: |\n  # no\n# yes\n", ["# yes"]),
        ("a: [ # one\n 1, # two\n 'x # no' # three\n ] # four\n", ["# one", "# two", "# three", "# four"]),
        (
            "a: &a [1] # one\nb: [*a, # two\n *a] # three\nc: *a # four\n",
            ["# one", "# two", "# three", "# four"],
        ),
        ("a: # one\n# two\nb:\n  # three\n", ["# one", "# two", "# three"]),
        ("a: {#one\n b: [1,#two\n 2]#three\n}", ["#one", "#two", "#three"]),
        ("#\r\na: 1 #x\r\n", ["#", "#x"]),
    ],
)
def test_comments_are_found_and_nothing_else(text: str, found: list[str]) -> None:
    assert edit.comments(text) == found


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("motion", "motion"),
        ("rtsp://10.0.0.5/x", "rtsp://10.0.0.5/x"),
        ("/dev/video0", "/dev/video0"),
        ("a b", '"a b"'),
        ("a: b", '"a: b"'),
        ("a:", '"a:"'),
        ("on", '"on"'),
        ("Null", '"Null"'),
        ("12", '"12"'),
        ("", '""'),
        ("x # y", '"x # y"'),
        ("$${A}", '"$${A}"'),
        ("ä\n\u2028\x7f", '"\\u00e4\\n\\u2028\\u007f"'.replace("\\u00e4", "ä")),
        ([[0, 0.5], []], "[[0, 0.5], []]"),
        ({"a": True, "b": None}, "{a: true, b: null}"),
        (1e-05, "1e-05"),
    ],
)
def test_values_are_written_as_a_person_would(value: Any, text: str) -> None:
    assert flow(value) == text
    assert parse(f"k: {text}\n", "").data == {"k": value}


def test_entries_are_written_in_lines() -> None:
    value = {"url": "x.mp4", "view": {"quality": 50}, "list": [1], "none": {}}
    lines = block("yard", value, 2)
    assert lines == [
        "  yard:",
        "    url: x.mp4",
        "    view:",
        "      quality: 50",
        "    list: [1]",
        "    none: {}",
    ]
