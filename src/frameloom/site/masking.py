"""Hides the secrets of a site's text from who reads it elsewhere, and puts them back into the text that comes back.

A secret is what the model calls one (`format: password`), what stands under a key that sounds like one, the password
within a URL, and the same in comments. `***` stands for it. `${NAME}` is no secret: it is shown as it is.
Where the file is and who may write it belongs to `settings.py`.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from functools import lru_cache
from typing import Any

from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from .document import own_items, parse
from .edit import comment_places
from .problems import MASK, InvalidSite, Path, Problem, dotted
from .rules import SECTIONS
from .words import schema_at

_NOT_THERE = f"{MASK} stands for no secret that was here before: write the secret itself, or ${{NAME}}"

_KEY = r"(?:passw(?:or)?d|passphrase|pwd|secret|token|authorization|cookies?|headers?|(?:api|private|access)_?key)"
_SECRET_KEY = re.compile(rf"(?:.*[_-])?{_KEY}(?:[_-].*)?", re.IGNORECASE)
_REFERENCES = re.compile(r"(?:\$\{[A-Za-z_]\w*\})+")
_ANY_REFERENCE = re.compile(r"\$\{[^}]*\}")
_PARAMETER = re.compile(
    rf"(?i:(?:{_KEY}|pass|key|auth|sig(?:nature)?)=)(?P<secret>[^&;#\s\"',}}\]]+?)(?=_(?:channel|stream)=|[&;#\s\"',}}\]]|$)"
)
_USER = re.compile(r"://[^\s:/?#@]*:(?P<rest>\S*)")
_USER_OF_ALL = re.compile(
    r"\A.?[\w+.-]+://[^\s:/?#@]*:(?P<rest>.*)", re.DOTALL
)  # a password may have a space in it
_DECORATION = re.compile(r"(?:[&!]\S*\s+)+")
_TEXTS = ("tag:yaml.org,2002:str", "tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_NETWORK_END = re.compile(r"[/?#]")
_SAID = re.compile(
    rf"(?i:\b(?:[\w-]*[_-])?{_KEY}\b[\"']?)\s*[:=]\s*"
    r"(?P<secret>\"[^\"\n]*\"|'[^'\n]*'|[^\s,}\]#][^,}\]\n]*?)(?=\s*(?:[,}\]]|\s#|$))",
    re.MULTILINE,
)
_PLAIN_SECRET = re.compile(r"[\w.~%-]+", re.ASCII)

Span = tuple[int, int]


@lru_cache(maxsize=4)  # reading takes its time, and a text is asked for again and again
def masked(text: str) -> str:
    """`text` with `***` in the place of every secret; all else stays as it is, byte by byte."""
    return _Reading(text).masked


def restored(before: str, text: str) -> Restored:
    """`text`, in which `***` stands for what stood there in `before`, with the secrets in their places.

    A camera that has another name now, or its URL in a mapping of its own, keeps its secret. What cannot be put back
    is in `problems`.
    """
    result = Restored(text)
    old = _Reading(before)
    if MASK not in text:
        return result
    if old.scalars is None:
        _put_back_lines(old, result)
        return result
    new = _Reading(text)
    if new.scalars is not None:  # else it is not YAML, and the loader says so
        _PuttingBack(old, new, result).scalars()
        _put_back_comments(old, new, result)
        result.finish()
    return result


@dataclass(slots=True)
class Restored:
    """A text with its secrets. `shown` is the one that came; places of `text` can be told in it."""

    shown: str
    text: str = ""
    problems: list[Problem] = field(default_factory=list)
    _edits: list[tuple[int, int, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.text = self.shown

    def put(self, span: Span, secret: str) -> None:
        """Let `secret` stand at `span` of `shown`."""
        self._edits.append((*span, secret))

    def refuse(self, offset: int, path: Path) -> None:
        """Say that nothing is known that could stand there."""
        self.problems.append(Problem(*_place(self.shown, offset), dotted(path), _NOT_THERE))

    def finish(self) -> None:
        """Make `text` of what was put."""
        self._edits.sort()
        self.text = _replaced(self.shown, self._edits)

    def told(self, problem: Problem) -> Problem:
        """A problem of `text`, with the place where it stands in `shown`."""
        if not (self._edits and problem.line and problem.column):
            return problem
        offset = self._shown_offset(_offset(self.text, problem.line, problem.column))
        return Problem(*_place(self.shown, offset), problem.where, problem.message)

    def _shown_offset(self, offset: int) -> int:
        shift = 0
        for start, end, secret in self._edits:
            if offset <= start + shift:
                break
            if offset < start + shift + len(secret):
                return start
            shift += len(secret) - (end - start)
        return offset - shift


@dataclass(frozen=True, slots=True)
class _Scalar:
    """A value that may hold secrets: its place in the text, how it is quoted, and whether all of it is one."""

    path: Path
    start: int
    raw: str
    style: str | None
    value: str
    is_secret: bool

    @property
    def masked(self) -> str:
        if self.is_secret:
            quote = self.style if self.style in ("'", '"') else '"'
            return f"{quote}{MASK}{quote}"
        return _replaced(self.raw, [(*span, MASK) for span in self.slots.values()])

    @property
    def slots(self) -> dict[str, Span]:
        """Where passwords stand in it, by what they are: that of a URL is '', others have a name."""
        return _slots(self.raw)


class _Reading:
    """A text, its values that have secrets, and its comments. `scalars` is None if it is not YAML."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.scalars: dict[Path, _Scalar] | None = None
        self.data: Any = None
        self.comments: list[Span] = []
        try:
            document = parse(text, "")
        except InvalidSite:
            return
        self.data = document.data
        self.scalars = {one.path: one for one in _scalars(text, document.root, (), set())}
        self.comments = comment_places(text, document.root)

    @property
    def masked(self) -> str:
        if self.scalars is None:
            return "".join(_masked_words(line) for line in self.text.splitlines(keepends=True))
        edits = [(one.start, one.start + len(one.raw), one.masked) for one in self.scalars.values()]
        edits += [(*span, _masked_words(self.text[slice(*span)])) for span in self.comments]
        return _replaced(self.text, sorted(edits))


class _PuttingBack:
    """Finds for each `***` in a value of `new` what stood there in `old`."""

    def __init__(self, old: _Reading, new: _Reading, result: Restored) -> None:
        self._old, self._new, self._result = old, new, result
        self._old_shown = parse(masked(old.text), "").data

    def scalars(self) -> None:
        for one in (self._new.scalars or {}).values():
            if MASK in one.raw:
                self._put(one)

    def _put(self, one: _Scalar) -> None:
        former = next((found for found in self._formers(one.path) if _fits(found, one)), None)
        if former is not None and former.masked == one.raw:
            self._result.put((one.start, one.start + len(one.raw)), former.raw)
        elif one.is_secret:
            self._put_whole(one, former)
        else:
            self._put_parts(one, former)

    def _put_whole(self, one: _Scalar, former: _Scalar | None) -> None:
        if one.value != MASK:
            return
        if former is None or not former.is_secret:
            self._result.refuse(one.start, one.path)
        else:
            self._result.put((one.start, one.start + len(one.raw)), former.raw)

    def _put_parts(self, one: _Scalar, former: _Scalar | None) -> None:
        for name, span in one.slots.items():
            if one.raw[slice(*span)] != MASK:
                continue
            secret = former.raw[slice(*former.slots[name])] if former and name in former.slots else None
            alike = former is not None and former.style == one.style
            if secret is None or not (alike or _PLAIN_SECRET.fullmatch(secret)):
                self._result.refuse(one.start + span[0], one.path)
            else:
                self._result.put((one.start + span[0], one.start + span[1]), secret)

    def _formers(self, path: Path) -> Iterator[_Scalar]:
        """What stood at `path`, or where it may have come from."""
        for way in (path, *self._renamed(path)):
            for place in (way, (*way, "url"), way[:-1] if way[-1:] == ("url",) else way):
                if (found := (self._old.scalars or {}).get(place)) is not None:
                    yield found

    def _renamed(self, path: Path) -> Iterator[Path]:
        """The same place in an entry that was called otherwise, if it can only have been that one."""
        if len(path) < 2:
            return
        section, name, *rest = path
        old, new = _entries(self._old_shown, section), _entries(self._new.data, section)
        if name in old:
            return
        alike = [other for other, entry in old.items() if entry == new.get(str(name))]
        ways: list[Path] = [(section, other, *rest) for other in alike]
        if len({self._secret_at(way) for way in ways}) == 1:
            yield ways[0]
        gone = [other for other in old if other not in new]
        if not alike and len(gone) == len([other for other in new if other not in old]) == 1:
            yield (section, gone[0], *rest)

    def _secret_at(self, path: Path) -> str:
        found = (self._old.scalars or {}).get(path)
        return found.raw if found else ""


def _fits(former: _Scalar, one: _Scalar) -> bool:
    """Whether the one has a secret where the other wants one."""
    if former.is_secret or one.is_secret:
        return former.is_secret and one.is_secret
    return former.masked == one.raw or any(name in former.slots for name in one.slots)


def _put_back_comments(old: _Reading, new: _Reading, result: Restored) -> None:
    texts = [old.text[slice(*span)] for span in old.comments]
    found = [new.text[slice(*span)] for span in new.comments]
    for at, text in _matched(texts, found):
        result.put(new.comments[at], text)


def _put_back_lines(old: _Reading, result: Restored) -> None:
    """Of a file that is not YAML, whole lines are recognised."""
    lines = result.shown.splitlines(keepends=True)
    starts = [sum(map(len, lines[:at])) for at in range(len(lines))]
    matched = _matched(old.text.splitlines(keepends=True), lines)
    for at, text in matched:
        result.put((starts[at], starts[at] + len(lines[at])), text)
    for at in {at for at, line in enumerate(lines) if MASK in line} - {at for at, _ in matched}:
        result.refuse(starts[at] + lines[at].index(MASK), ())
    result.finish()


def _matched(texts: Sequence[str], found: Sequence[str]) -> list[tuple[int, str]]:
    """For those of `found` that have `***`: their index, and which of `texts` they show."""
    shown = [_masked_words(text) for text in texts]
    result = {}
    for block in SequenceMatcher(None, shown, found, autojunk=False).get_matching_blocks():
        for step in range(block.size):
            result[block.b + step] = texts[block.a + step]
    for at, text in enumerate(found):
        if at not in result and text in shown:  # it was moved
            result[at] = texts[shown.index(text)]
    return [(at, text) for at, text in result.items() if MASK in found[at]]


def _scalars(text: str, node: Node | None, path: Path, seen: set[int]) -> Iterator[_Scalar]:
    """Every value with a secret or `***` in it, where it is written: an alias only refers to it."""
    if node is None or id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, ScalarNode):
        one = _scalar(text, node, path)
        if one is not None:
            yield one
    elif isinstance(node, MappingNode):
        for key, value in own_items(node):
            yield from _scalars(text, value, (*path, str(key.value)), seen)
        for key, value in node.value:  # '<<'
            yield from _scalars(text, value, (*path, str(key.value)), seen)
    elif isinstance(node, SequenceNode):
        for at, value in enumerate(node.value):
            yield from _scalars(text, value, (*path, at), seen)


def _scalar(text: str, node: ScalarNode, path: Path) -> _Scalar | None:
    start = int(node.start_mark.index)
    if decoration := _DECORATION.match(text, start):  # an anchor stays
        start = decoration.end()
    raw = text[start : int(node.end_mark.index)].rstrip()
    is_secret = str(node.tag) in _TEXTS and _is_secret(path, str(node.value))
    one = _Scalar(path, start, raw, node.style, str(node.value), is_secret)
    return one if raw and (one.is_secret or one.slots) else None


def _is_secret(path: Path, value: str) -> bool:
    if not value or _REFERENCES.fullmatch(value):
        return False
    keys = [part for part in path[2 if path[:1] and path[0] in SECTIONS else 1 :] if isinstance(part, str)]
    if any(_SECRET_KEY.fullmatch(key) for key in keys):
        return True
    return (schema_at(path) or {}).get("format") == "password"


def _slots(raw: str) -> dict[str, Span]:
    """Where passwords stand in a text with a URL; those that are `${NAME}` are none."""
    found: dict[str, Span] = {}
    if "://" in raw:
        for match in [*_USER_OF_ALL.finditer(raw), *_USER.finditer(raw)]:
            _add(found, "", _password_of(match))
        for match in _PARAMETER.finditer(raw):
            _add(found, match[0].partition("=")[0], match.span("secret"))
    slots = {name: span for name, span in found.items() if not _REFERENCES.fullmatch(raw[slice(*span)])}
    return dict(sorted(slots.items(), key=lambda item: item[1]))


def _add(found: dict[str, Span], name: str, span: Span | None) -> None:
    if span and not any(start < span[1] and span[0] < end for start, end in found.values()):
        count = sum(one.rstrip("0123456789") == name for one in found)
        found[f"{name}{count or ''}"] = span


def _password_of(match: re.Match[str]) -> Span | None:
    """Between user and host. A password with a slash in it breaks the URL, and is a password all the same."""
    rest, start = match["rest"], match.start("rest")
    end = _NETWORK_END.search(_ANY_REFERENCE.sub(lambda one: "x" * len(one[0]), rest))
    network = rest[: end.start()] if end else rest
    if "@" in network:
        return (start, start + network.rindex("@")) if network.rindex("@") else None
    if "@" in rest and network and not network.isdigit():
        return start, start + rest.rindex("@")
    return None


def _masked_words(text: str) -> str:
    """A comment, or a line of what is not YAML, without what looks like a secret."""
    spans = list(_slots(text).values())
    for match in _SAID.finditer(text):
        start, end = match.span("secret")
        if not _REFERENCES.fullmatch(match["secret"].strip("'\"")) and not any(
            start < b and a < end for a, b in spans
        ):
            spans.append((start, end))
    return _replaced(text, [(*span, MASK) for span in sorted(spans)])


def _replaced(text: str, edits: Sequence[tuple[int, int, str]]) -> str:
    """`text` with other texts at places that are in order and do not overlap."""
    parts, at = [], 0
    for start, end, other in edits:
        parts += [text[at:start], other]
        at = end
    return "".join([*parts, text[at:]])


def _entries(data: Any, section: str | int) -> dict[str, Any]:
    entries = data.get(section) if isinstance(data, dict) else None
    return entries if isinstance(entries, dict) else {}


def _place(text: str, offset: int) -> tuple[int, int]:
    """Line and column, from 1."""
    starts = _line_starts(text)
    line = bisect_right(starts, offset)
    return line, offset - starts[line - 1] + 1


def _offset(text: str, line: int, column: int) -> int:
    starts = _line_starts(text)
    return starts[min(line, len(starts)) - 1] + column - 1


def _line_starts(text: str) -> list[int]:
    return [0, *(match.end() for match in re.finditer(r"\r\n|\n|\r", text))]
