"""A YAML text as plain values, each with its line and column. Knows YAML, and nothing of sites.

Plain means JSON: mappings with text keys, lists, texts, numbers, true, false, nothing. Dates stay text, tags are
refused. Aliases and merges are resolved, within limits, so that a small file cannot become a huge one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from .problems import InvalidSite, Path, Problem, dotted, shown, whole_file

LARGEST_BYTES = 1_000_000
MOST_VALUES = 20_000
DEEPEST = 30

_TOO_MANY = f"more than {MOST_VALUES:,} values: this is no site file"
_TAG = "tag:yaml.org,2002:"
_CONTAINERS = {f"{_TAG}map", f"{_TAG}seq"}
# What a person wrote after '*', '&' or '!' may well be a password that lacks its quotes: it is not repeated.
_MARKS = {"alias": "an alias (*)", "anchor": "an anchor (&)", "tag": "a tag (!)"}


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the text, both counted from 1."""

    line: int
    column: int


@dataclass(slots=True)
class Document:
    """What a text says: `data` as plain values, `root` as nodes with their places, `problems` met on the way."""

    data: Any
    root: Node | None
    marks: dict[Path, Mark] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def mark(self, path: Path) -> Mark:
        """Where `path` stands, or what stands around it if it does not stand there itself."""
        while path and path not in self.marks:
            path = path[:-1]
        return self.marks.get(path, Mark(1, 1))

    def problem(self, path: Path, message: str) -> Problem:
        mark = self.mark(path)
        return Problem(mark.line, mark.column, dotted(path), message)

    def value(self, path: Path) -> Any:
        """What is written at `path`, or in short form in the place of what would hold it; None if nothing is."""
        value: Any = self.data
        for part in path:
            if not isinstance(value, dict | list):
                return value
            value = _held(value, part)
        return value


def _held(container: Any, part: str | int) -> Any:
    try:
        return container[part]
    except (LookupError, TypeError):
        return None


def read_text(path: FilePath, file: str) -> str:
    """The text of the file, line ends as they are; raises `InvalidSite` if it cannot be had, with what to do."""
    try:
        if path.is_dir():
            raise whole_file(file, "is a folder, allowed: a YAML file")
        if path.exists() and not path.is_file():
            raise whole_file(file, "is not a regular file, allowed: a YAML file")
        with path.open("rb") as stream:
            data = stream.read(LARGEST_BYTES + 1)
    except FileNotFoundError:
        raise whole_file(file, "no such file") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise whole_file(file, f"cannot be read: {reason}") from None
    return _decoded(data, file)


def parse(text: str, file: str) -> Document:
    """Read `text`; raises `InvalidSite` where it is not YAML. Lesser troubles are in `Document.problems`."""
    root = _compose(text, file)
    builder = _Builder(Document(None, root))
    if root is not None:
        builder.document.data = builder.build(root, ())
    return builder.document


def _decoded(data: bytes, file: str) -> str:
    if len(data) > LARGEST_BYTES:
        raise whole_file(file, f"is larger than {LARGEST_BYTES:,} bytes: this is no site file")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidSite(file, [Problem(line, 0, "", "not UTF-8 text: save the file as UTF-8")]) from None


def _compose(text: str, file: str) -> Node | None:
    yaml = YAML(typ="safe", pure=True)
    yaml.max_depth = DEEPEST
    yaml.Composer = _Composer
    try:
        root: Node | None = yaml.compose(text)
    except RecursionError:
        raise whole_file(file, "lists and mappings nested too deeply") from None
    except ReaderError as error:
        line = text.count("\n", 0, int(error.position)) + 1
        message = f"a character that YAML does not allow (number {error.character})"
        raise InvalidSite(file, [Problem(line, 0, "", message)]) from None
    except YAMLError as error:
        raise InvalidSite(file, [_syntax_problem(error)]) from None
    return root


def _syntax_problem(error: YAMLError) -> Problem:
    if not isinstance(error, MarkedYAMLError):
        return Problem(0, 0, "", "not YAML")
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
    return Problem(line, column, "", _syntax_words(str(error.problem or "")))


def _syntax_words(problem: str) -> str:
    if "maximum depth" in problem:
        return "lists and mappings nested too deeply"
    if problem == _TOO_MANY:
        return problem
    for word, what in _MARKS.items():
        if word in problem:
            return f"not YAML: {what} that is not valid here; put quotes around a text that begins so"
    return f"not YAML: {' '.join(problem.split())}"


class _Composer(Composer):
    """Gives up on a text of more than `MOST_VALUES` nodes before half a minute has gone into reading it."""

    def __init__(self, loader: Any = None) -> None:
        super().__init__(loader)
        self.warn_double_anchors = False  # defining one twice is odd, and legal
        self._nodes = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self._nodes += 1
        if self._nodes > 2 * MOST_VALUES:  # keys are nodes too
            raise MarkedYAMLError(problem=_TOO_MANY, problem_mark=self.parser.peek_event().start_mark)
        return super().compose_node(parent, index)


class _TooMuch(Exception):
    """The aliases of the document multiply beyond all reason."""


class _Builder:
    """Turns nodes into plain values, and remembers places and troubles."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self._open: list[int] = []
        self._values = 0

    def build(self, node: Node, path: Path) -> Any:
        self.document.marks.setdefault(path, _mark_of(node))
        try:
            return self._build(node, path)
        except _TooMuch:
            if path:
                raise
            self._problem(path, node, _TOO_MANY)
            return None

    def _build(self, node: Node, path: Path) -> Any:
        self._values += 1
        if self._values > MOST_VALUES:
            raise _TooMuch
        if id(node) in self._open:
            return self._problem(path, node, "an alias (*) to something that it is itself a part of")
        if len(self._open) > DEEPEST:
            return self._problem(path, node, "lists and mappings nested too deeply")
        if isinstance(node, ScalarNode):
            return self._scalar(node, path)
        if str(node.tag) not in _CONTAINERS:
            return self._refuse_tag(node, path)
        self._open.append(id(node))
        try:
            return self._mapping(node, path) if isinstance(node, MappingNode) else self._sequence(node, path)
        finally:
            self._open.pop()

    def _sequence(self, node: Node, path: Path) -> list[Any]:
        return [self.build(item, (*path, index)) for index, item in enumerate(node.value)]

    def _mapping(self, node: Node, path: Path) -> dict[str, Any]:
        """Own keys in their order, then what is merged in and not there yet."""
        result: dict[str, Any] = {}
        for key, value in own_items(node):
            name = self._key(key, path)
            if name is None:
                continue
            if name in result:
                first = self.document.marks[(*path, name)].line
                self._problem((*path, name), key, f"the key is there already, in line {first}")
                continue
            self.document.marks.setdefault((*path, name), _mark_of(key))
            result[name] = self.build(value, (*path, name))
        for merged in self._merged(node, path):
            result = {**result, **{k: v for k, v in merged.items() if k not in result}}
        return result

    def _merged(self, node: Node, path: Path) -> Iterator[dict[str, Any]]:
        for key, value in node.value:
            if not is_merge(key):
                continue
            for part in value.value if isinstance(value, SequenceNode) else [value]:
                if isinstance(part, MappingNode):
                    yield self.build(part, path) or {}
                else:
                    self._problem(path, key, "'<<' takes a mapping or a list of mappings")

    def _key(self, node: Node, path: Path) -> str | None:
        if isinstance(node, ScalarNode):
            return str(node.value)
        self._problem(
            path, node, "a list or a mapping cannot be a key; put quotes around a text with brackets"
        )
        return None

    def _scalar(self, node: Node, path: Path) -> Any:
        text = str(node.value)
        match str(node.tag).removeprefix(_TAG):
            case "null":
                return None
            case "bool":
                return text.lower() in ("true", "yes", "on", "y")
            case "int":
                return self._integer(text, path, node)
            case "float":
                return self._float(text, path, node)
            case "str" | "timestamp" | "merge" | "value":
                return text
        return self._refuse_tag(node, path)

    def _integer(self, text: str, path: Path, node: Node) -> Any:
        try:
            return int(text.replace("_", ""), 0 if text.lstrip("+-")[:2] in ("0o", "0x", "0b") else 10)
        except ValueError:
            return self._problem(path, node, f"read {shown(text)}, allowed: a number that can be counted to")

    def _float(self, text: str, path: Path, node: Node) -> Any:
        try:
            number = float(text.replace("_", ""))
        except ValueError:
            number = math.inf
        if math.isfinite(number):
            return number
        return self._problem(path, node, f"read {shown(text)}, allowed: a finite number")

    def _refuse_tag(self, node: Node, path: Path) -> Any:
        return self._problem(
            path, node, "a YAML tag (!) is not allowed; put quotes around a text that begins with '!'"
        )

    def _problem(self, path: Path, node: Node, message: str) -> Any:
        """Note it; the value is None, so that the rest can be read and checked all the same."""
        mark = _mark_of(node)
        self.document.problems.append(Problem(mark.line, mark.column, dotted(path), message))
        return None


def own_items(node: Node) -> list[tuple[Node, Node]]:
    """The pairs that stand in the mapping itself, without '<<'."""
    return [(key, value) for key, value in node.value if not is_merge(key)]


def is_merge(key: Node) -> bool:
    """Whether this key is '<<'."""
    return str(key.tag) == f"{_TAG}merge"


def _mark_of(node: Node) -> Mark:
    return Mark(node.start_mark.line + 1, node.start_mark.column + 1)
