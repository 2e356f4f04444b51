"""Changes one value in a YAML text and leaves every other character as it is.

The nodes of the parsed text say where each value stands, so comments, order, quotes, blank lines and `${NAME}` that
nobody asked to change cannot be lost, whatever they look like. Whether the outcome says what was wanted is checked
by `save.py`, which refuses it otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ruamel.yaml.nodes import MappingNode, Node, ScalarNode

from .document import own_items, parse
from .problems import Path
from .render import STEP, block, flow

_COLON = re.compile(r"\s*:")
_ALIAS = re.compile(r"\s*\*[^\s,\[\]{}]+")
# Strictly a comment needs a space before it; the parser is content with a bracket or a comma.
_COMMENT = re.compile(r"(?:(?<=[\s,\[\]{}])|^)#[^\r\n]*", re.MULTILINE)
_COMMA = re.compile(r"[ \t]*,(?:[ \t]+(?![ \t#]))?")
_COMMENT_LINE = re.compile(r"(?:[ \t]*\r?\n)*(?P<indent> *)#[^\r\n]*(?:\r\n|\r|\n|\Z)")
_REST_OF_LINE = re.compile(r"[^\r\n]*(\r\n|\r|\n|\Z)")


@dataclass(frozen=True, slots=True)
class _Item:
    """One pair of a mapping, and the place of its value; offsets count characters."""

    key: Node
    value: Node
    colon_end: int
    end: int
    is_alias: bool

    @property
    def start(self) -> int:
        return int(self.key.start_mark.index)


def set_value(text: str, path: Path, wanted: Any) -> str:
    """`text` with the value at `path` as it is in `wanted`, the whole data after the change.

    `wanted` gives the rest where more than the value itself must be written: a mapping that is not there yet,
    or that stands elsewhere and is only referred to.
    """
    mapping, done = _root(text), 0
    while True:
        item = _find(text, mapping, path[done])
        here = path[: done + 1]
        if item is None:
            return _insert(text, mapping, str(path[done]), _at(wanted, here))
        if done + 1 == len(path) or not _may_enter(item):
            return _replace(text, mapping, item, _at(wanted, here))
        mapping, done = item.value, done + 1


def remove(text: str, path: Path, *, keep_comments: bool = False) -> str:
    """`text` without the key at `path`; the comments in its lines go with it, unless they are to be kept."""
    mapping, item = _way_to(text, path)
    if item is None:
        return text
    if _is_flow(mapping):
        return _remove_from_flow(text, mapping, item, keep_comments)
    return _remove_lines(text, item, keep_comments)


def lengthen(text: str, path: Path, key: str) -> str:
    """`text` with the scalar at `path` made a mapping in which it stands under `key`, written as it was."""
    mapping, item = _way_to(text, path)
    if item is None:
        return text  # it comes from a merge or an alias: `set_value` will write all of it
    start = item.value.start_mark.index
    if _is_flow(mapping) or item.is_alias:
        start = item.colon_end if item.is_alias else start
        return f"{text[:start]}{' ' * item.is_alias}{{{key}: {text[start : item.end].strip()}}}{text[item.end :]}"
    if _newline_in(text, item.colon_end, start):
        return f"{text[:start]}{key}: {text[start:]}"
    column = item.key.start_mark.column + _step(text)
    return f"{text[: item.colon_end]}{_newline(text)}{' ' * column}{key}: {text[start:]}"


def comments(text: str) -> list[str]:
    """Every comment of `text`, in order."""
    root = parse(text, "").root
    return (
        _comments_around(text, root, 0, len(text)) if root is not None else _comments_in(text, 0, len(text))
    )


def comment_places(text: str, root: Node | None) -> list[tuple[int, int]]:
    """Where the comments of `text` stand, in order: offsets of their first and behind their last character."""
    leaves = sorted(set(_leaves(root))) if root is not None else []
    gaps = zip([0, *(stop for _, stop in leaves)], [*(begin for begin, _ in leaves), len(text)], strict=True)
    return [
        (match.start(), match.start() + len(match[0].rstrip()))
        for begin, stop in gaps
        for match in _COMMENT.finditer(text, begin, max(begin, stop))
    ]


def _root(text: str) -> Node:
    root = parse(text, "").root
    assert isinstance(root, MappingNode)
    return root


def _way_to(text: str, path: Path) -> tuple[Node, _Item | None]:
    """The mapping that the key at `path` stands in, and its item; none where it does not stand in the text."""
    mapping = _root(text)
    for part in path[:-1]:
        item = _find(text, mapping, part)
        if item is None or not _may_enter(item):
            return mapping, None
        mapping = item.value
    return mapping, _find(text, mapping, path[-1])


def _at(data: Any, path: Path) -> Any:
    for part in path:
        data = data[part]
    return data


def _find(text: str, mapping: Node, key: str | int) -> _Item | None:
    for key_node, value in own_items(mapping):
        if key_node.value == key:
            return _item(text, key_node, value)
    return None


def _item(text: str, key: Node, value: Node) -> _Item:
    key_end = int(key.end_mark.index)
    colon = _COLON.match(text, key_end)
    colon_end = colon.end() if colon else key_end
    alias = _ALIAS.match(text, colon_end) if value.start_mark.index < colon_end else None
    end = alias.end() if alias else colon_end if _is_nothing(value) else _end(text, value)
    return _Item(key, value, colon_end, end, alias is not None)


def _end(text: str, node: Node) -> int:
    """Where the node's last character stands. YAML itself counts blank lines and comments after it as its own."""
    start, end = int(node.start_mark.index), int(node.end_mark.index)
    if isinstance(node, ScalarNode) or _is_flow(node):
        return start + len(text[start:end].rstrip())
    last = max((stop for _, stop in _leaves(node)), default=start)
    gap = _COMMENT.sub(lambda match: " " * len(match[0]), text[last:end])
    return last + len(gap.rstrip()) if gap.strip() else start + len(text[start:last].rstrip())


def _may_enter(item: _Item) -> bool:
    return isinstance(item.value, MappingNode) and not item.is_alias and bool(item.value.value)


def _insert(text: str, mapping: Node, key: str, value: Any) -> str:
    """A new last pair, written as the mapping is written."""
    if _is_flow(mapping):
        return _insert_in_flow(text, mapping, key, value)
    last = _item(text, *mapping.value[-1])
    column = last.key.start_mark.column
    return _after_line(text, last.end, block(key, value, column, _step(text)), column + 1)


def _insert_in_flow(text: str, mapping: Node, key: str, value: Any) -> str:
    pair = f"{flow(key)}: {flow(value)}"
    if not mapping.value:
        place = text.rindex("}", 0, mapping.end_mark.index)
        return text[:place] + pair + text[place:]
    end = _item(text, *mapping.value[-1]).end
    space = " " if text[end - 1] == ":" else ""  # without it, the colon and the comma would be text
    return f"{text[:end]}{space}, {pair}{text[end:]}"


def _replace(text: str, mapping: Node, item: _Item, value: Any) -> str:
    """The pair with another value. Comments that stood within the old one move above it."""
    if not _is_flow(mapping) and isinstance(value, dict) and value and item.end == item.colon_end:
        column = item.key.start_mark.column
        return _after_line(text, item.end, block(item.key.value, value, column, _step(text))[1:])
    if item.is_alias or not _newline_in(text, item.colon_end, item.end):
        start = item.colon_end if item.is_alias or item.end == item.colon_end else item.value.start_mark.index
        space = " " if start == item.colon_end else ""
        return text[:start] + space + flow(value) + text[item.end :]
    return _replace_lines(text, item, value)


def _replace_lines(text: str, item: _Item, value: Any) -> str:
    kept = _comments_around(text, item.value, item.colon_end, item.end)
    newline, column = _newline(text), " " * item.key.start_mark.column
    above = "".join(f"{comment}{newline}{column}" for comment in kept)
    if kept and text[: item.start].rsplit("\n", 1)[-1].strip():
        above = f" {above}"  # within brackets: a comment needs a space before it
    return f"{text[: item.start]}{above}{text[item.start : item.colon_end]} {flow(value)}{text[item.end :]}"


def _remove_lines(text: str, item: _Item, keep_comments: bool) -> str:
    rest = _REST_OF_LINE.match(text, item.end)
    end, newline = (rest.end(), rest[1]) if rest else (item.end, "")
    column = item.key.start_mark.column
    end = end if keep_comments else _end_of_comments(text, end, column + 1)
    kept = _comments_around(text, item.value, item.colon_end, end) if keep_comments else []
    lines = newline.join(" " * column + comment for comment in kept)
    return text[: item.start - column] + lines + (newline if kept else "") + text[end:]


def _end_of_comments(text: str, offset: int, least_column: int) -> int:
    """Where the comments end that stand so far to the right that they belong to what is above them."""
    for line in _COMMENT_LINE.finditer(text, offset):
        if line.start() != offset or len(line["indent"]) < least_column:
            break
        offset = line.end()
    return offset


def _remove_from_flow(text: str, mapping: Node, item: _Item, keep_comments: bool) -> str:
    kept = _comments_around(text, item.value, item.colon_end, item.end) if keep_comments else []
    inside = "".join(f" {comment}{_newline(text)}{' ' * item.key.start_mark.column}" for comment in kept)
    after = _COMMA.match(text, item.end)
    if after:
        return text[: item.start] + inside + text[after.end() :]
    before = re.search(r",[ \t]*\Z", text[mapping.start_mark.index : item.start])
    start = item.start - len(before[0]) if before else item.start
    return text[:start] + inside + text[item.end :]


def _after_line(text: str, offset: int, lines: list[str], comment_column: int = 1 << 20) -> str:
    """`lines` below the line that `offset` is in, and below comments that stand as far right as `comment_column`."""
    newline = _newline(text)
    rest = _REST_OF_LINE.match(text, offset)
    end = _end_of_comments(text, rest.end() if rest else len(text), comment_column)
    lead = "" if text[:end].endswith(("\n", "\r")) else newline
    return text[:end] + lead + "".join(line + newline for line in lines) + text[end:]


def _leaves(node: Node) -> Iterator[tuple[int, int]]:
    """The places of all scalars below `node`, in order: a '#' in between begins a comment."""
    if isinstance(node, ScalarNode):
        if not _is_nothing(node):
            yield int(node.start_mark.index), int(node.end_mark.index)
        return
    place = node.start_mark.index
    for child in (
        (one for pair in node.value for one in pair) if isinstance(node, MappingNode) else node.value
    ):
        if child.start_mark.index >= place:  # else an alias: the node stands elsewhere, under its anchor
            place = child.start_mark.index
            yield from _leaves(child)


def _is_flow(node: Node) -> bool:
    """Whether it is written between brackets."""
    return bool(getattr(node, "flow_style", False))


def _is_nothing(node: Node) -> bool:
    """Whether the value is not written at all. Its place is that of whatever comes next then."""
    return bool(node.start_mark.index == node.end_mark.index)


def _comments_around(text: str, node: Node, start: int, end: int) -> list[str]:
    """The comments from `start` to `end` that stand before, between and after the scalars of `node`."""
    leaves = list(_leaves(node))
    gaps = zip([start, *(stop for _, stop in leaves)], [*(begin for begin, _ in leaves), end], strict=True)
    return [comment for begin, stop in gaps for comment in _comments_in(text, begin, stop)]


def _comments_in(text: str, start: int, end: int) -> list[str]:
    return [match[0].rstrip() for match in _COMMENT.finditer(text[start:end])]


def _step(text: str) -> int:
    """How far the first line that is indented is indented: that is the file's habit."""
    first = re.search(r"^[^\s#-][^\n]*:[^\n]*\n(?:\s*(?:#[^\n]*)?\n)*( {1,8})[^\s#-]", text, re.MULTILINE)
    return len(first[1]) if first else STEP


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _newline_in(text: str, start: int, end: int) -> bool:
    return "\n" in text[start:end] or "\r" in text[start:end]
