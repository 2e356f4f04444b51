"""Reading YAML as plain values with places, and refusing what is no site file, quickly and without a word too much."""

from __future__ import annotations

from pathlib import Path

import pytest

from frameloom.site.document import LARGEST_BYTES, MOST_VALUES, Document, Mark, parse, read_text
from frameloom.site.problems import InvalidSite


def messages(text: str) -> str:
    """Everything that is wrong with `text`, whether it stops the reading or not."""
    try:
        document = parse(text, "s.yaml")
    except InvalidSite as error:
        return str(error)
    return "\n".join(problem.text("s.yaml") for problem in document.problems)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("1", 1),
        ("-1_000", -1000),
        ("0o17", 15),
        ("0xff", 255),
        ("1.5", 1.5),
        ("1e-05", 1e-05),
        ("true", True),
        ("False", False),
        ("on", "on"),
        ("~", None),
        ("null", None),
        ("", None),
        ("2024-01-01", "2024-01-01"),
        ("12:30:45", "12:30:45"),
        ("'1'", "1"),
        ('"a\\tb"', "a\tb"),
        ("[a, {b: 2}]", ["a", {"b": 2}]),
    ],
)
def test_values_are_what_a_person_means(written: str, read: object) -> None:
    document = parse(f"key: {written}", "s.yaml")
    assert document.data == {"key": read}
    assert type(document.data["key"]) is type(read)
    assert document.problems == []


def test_keys_are_always_text() -> None:
    assert parse("1: a\ntrue: b\nnull: c\n", "s.yaml").data == {"1": "a", "true": "b", "null": "c"}


@pytest.fixture
def document() -> Document:
    return parse("a:\n  b: 1\n  c:\n    - x\n    - {d: 2}\n", "s.yaml")


@pytest.mark.parametrize(
    ("path", "mark"),
    [
        ((), Mark(1, 1)),
        (("a",), Mark(1, 1)),
        (("a", "b"), Mark(2, 3)),
        (("a", "c", 0), Mark(4, 7)),
        (("a", "c", 1, "d"), Mark(5, 8)),
        (("a", "c", 1, "gone", "far"), Mark(5, 7)),
    ],
)
def test_every_value_has_its_place(document: Document, path: tuple[str | int, ...], mark: Mark) -> None:
    assert document.mark(path) == mark


def test_the_value_at_a_path(document: Document) -> None:
    assert document.value(("a", "c", 1, "d")) == 2
    assert document.value(("a", "not there")) is None
    assert document.value(("a", "c", 7)) is None


def test_a_short_form_stands_for_what_it_would_hold(document: Document) -> None:
    assert document.value(("a", "b", "url")) == 1


def test_aliases_and_merges_are_resolved() -> None:
    text = "base: &b {x: 1, y: 2}\nown: {<<: *b, y: 3}\nsame: *b\nmany: {<<: [*b, {z: 4}]}\n"
    data = parse(text, "s.yaml").data
    assert data["own"] == {"y": 3, "x": 1}
    assert data["same"] == data["base"]
    assert data["many"] == {"x": 1, "y": 2, "z": 4}


def test_what_is_merged_in_stands_at_its_anchor() -> None:
    document = parse("base: &b\n  x: 1\n  y: 1\nown:\n  <<: *b\n  y: 2\n", "s.yaml")
    assert document.mark(("own", "x")).line == 2
    assert document.mark(("own", "y")).line == 6


def test_a_name_that_is_anchored_twice_is_legal() -> None:
    assert parse("a: &x 1\nb: &x 2\nc: *x\n", "s.yaml").data["c"] == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2\n", "s.yaml:2: a: the key is there already, in line 1"),
        ("a: {b: 1,\n  b: 2}\n", "s.yaml:2: a.b: the key is there already, in line 1"),
        ("a: [1\nb: 2\n", "s.yaml:2: not YAML: expected ',' or ']', but got ':'"),
        ("a:\n\t- b\n", "s.yaml:2: not YAML: found character '\\t' that cannot start any token"),
        ("a: 'x\n", "s.yaml:2: not YAML: found unexpected end of stream"),
        ("a: 1\n---\nb: 2\n", "s.yaml:2: not YAML: but found another document"),
        ("a: \x07\n", "s.yaml:1: a character that YAML does not allow (number 7)"),
        ("a: &x [*x]\n", "s.yaml:1: a[0]: an alias (*) to something that it is itself a part of"),
        (
            "a: !foo b\n",
            "s.yaml:1: a: a YAML tag (!) is not allowed; put quotes around a text that begins with '!'",
        ),
        ("a: !!set {b, c}\n", "s.yaml:1: a: a YAML tag (!) is not allowed"),
        ("a: !!binary aGk=\n", "s.yaml:1: a: a YAML tag (!) is not allowed"),
        ("? [a, b]\n: c\n", "s.yaml:1: a list or a mapping cannot be a key"),
        ("a: {<<: 3}\n", "s.yaml:1: a: '<<' takes a mapping or a list of mappings"),
        ("a: .nan\n", "s.yaml:1: a: read '.nan', allowed: a finite number"),
        ("a: 1e999\n", "s.yaml:1: a: read '1e999', allowed: a finite number"),
        (f"a: {'9' * 5000}\n", "s.yaml:1: a: read '9999999999999999999999999999999999999999…', allowed"),
    ],
)
def test_what_is_not_allowed_is_told_with_its_line(text: str, message: str) -> None:
    assert message in messages(text)


@pytest.mark.parametrize(
    "text", ["p: *hunter2\n", "p: !hunter2!x y\n", "p: &hunter2 &hunter2 x\n", "p: !hunter2 x\n"]
)
def test_a_password_without_its_quotes_is_not_repeated(text: str) -> None:
    told = messages(text)
    assert "s.yaml:1" in told
    assert "put quotes around" in told
    assert "hunter2" not in told


LAUGHS = "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "".join(
    f"{b}: &{b} {{<<: [{','.join([f'*{a}'] * 9)}]}}\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x, x, x]\n" + LAUGHS,
        "a: &a {x: 1}\n" + MERGES,
        "a: [" + "0," * (2 * MOST_VALUES) + "0]",
        "a:\n" * (2 * MOST_VALUES),
    ],
    ids=["aliases", "merges", "list", "duplicates"],
)
def test_a_text_of_too_many_values_is_refused(text: str) -> None:
    assert f"more than {MOST_VALUES:,} values: this is no site file" in messages(text)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "{a: " * 100_000,
        "".join(" " * depth + "a:\n" for depth in range(200)),
        "a0: &a0 [1]\n" + "".join(f"a{n + 1}: &a{n + 1} [*a{n}]\n" for n in range(60)),
    ],
    ids=["lists", "mappings", "lines", "aliases"],
)
def test_a_text_that_is_nested_too_deeply_is_refused(text: str) -> None:
    assert "nested too deeply" in messages(text)


def refused(path: Path) -> str:
    with pytest.raises(InvalidSite) as caught:
        read_text(path, "s.yaml")
    return str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    assert refused(tmp_path / "s.yaml") == "s.yaml: no such file"


def test_a_folder(tmp_path: Path) -> None:
    assert refused(tmp_path) == "s.yaml: is a folder, allowed: a YAML file"


def test_a_device_is_not_waited_for() -> None:
    assert refused(Path("/dev/zero")) == "s.yaml: is not a regular file, allowed: a YAML file"


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "loop"])
def test_a_file_that_cannot_be_opened(tmp_path: Path, name: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert refused(tmp_path / name).startswith("s.yaml: cannot be read: ")


@pytest.mark.skipif(
    not Path("/proc/self/mem").exists(), reason="needs /proc/self/mem, a file that fails when read"
)
def test_a_file_that_cannot_be_read() -> None:
    assert refused(Path("/proc/self/mem")) == "s.yaml: cannot be read: Input/output error"


def test_a_file_that_is_not_utf8_is_told_with_the_line(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_bytes(b"a: 1\nb: K\xf6ln\n")
    assert refused(tmp_path / "s.yaml") == "s.yaml:2: not UTF-8 text: save the file as UTF-8"


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_bytes(b"#" * (LARGEST_BYTES + 1))
    assert "is larger than 1,000,000 bytes" in refused(tmp_path / "s.yaml")


def test_line_ends_are_kept(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_bytes(b"a: 1\r\nb: 2\r\n")
    assert read_text(tmp_path / "s.yaml", "s.yaml") == "a: 1\r\nb: 2\r\n"
