"""Boxes of ISO/IEC 14496-12: found in files and in bytes, and made. What is in them is `film`'s business."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

HEAD_BYTES = 16


class BadFilm(ValueError):
    """A file is not a recording, or not one that can be read; the message says why."""


class Box(NamedTuple):
    """Where a box stands: its first byte, the first of its content, and the one after it."""

    kind: bytes
    start: int
    body: int
    end: int


def boxes_of_file(fd: int, start: int, size: int) -> Iterator[Box]:
    """The boxes of a file that end before `size`, from `start` on, in order."""
    while (found := _box(os.pread(fd, HEAD_BYTES, start), 0, start)) and found.end <= size:
        yield found
        start = found.end


def boxes_in(data: bytes, start: int = 0, end: int | None = None) -> Iterator[Box]:
    """The boxes that stand one after the other in `data`. Raises `BadFilm` where one is cut short."""
    end = len(data) if end is None else end
    while start < end:
        found = _box(data, start, start)
        if found is None or found.end > end:
            raise BadFilm("a box is cut short")
        yield found
        start = found.end


def content(data: bytes, *path: bytes) -> bytes | None:
    """What is in the box that is reached by these kinds, the first of each; None where there is none."""
    start, end = 0, len(data)
    for kind in path:
        found = next((box for box in boxes_in(data, start, end) if box.kind == kind), None)
        if found is None:
            return None
        start, end = found.body, found.end
    return data[start:end]


def needed(data: bytes, *path: bytes) -> bytes:
    """As `content`; raises `BadFilm` where there is none."""
    found = content(data, *path)
    if found is None:
        raise BadFilm(f"there is no {'/'.join(kind.decode('latin-1') for kind in path)} in it")
    return found


def box(kind: bytes, *parts: bytes) -> bytes:
    """A box with this content."""
    return struct.pack(">I", 8 + sum(map(len, parts))) + kind + b"".join(parts)


def full(kind: bytes, version: int, flags: int, *parts: bytes) -> bytes:
    """A box that begins with a version and flags."""
    return box(kind, struct.pack(">I", version << 24 | flags), *parts)


def _box(data: bytes, at: int, start: int) -> Box | None:
    """The box whose head stands at `at` of `data`, and at `start` of the whole; None if none does."""
    if len(data) < at + 8:
        return None
    length, kind = struct.unpack_from(">I4s", data, at)
    head = 8
    if length == 1 and len(data) >= at + 16:
        head, length = 16, struct.unpack_from(">Q", data, at + 8)[0]
    return Box(kind, start, start + head, start + length) if length >= head else None
