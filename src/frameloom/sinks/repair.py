"""Takes away what a recorder that was killed in the midst of writing has left behind a file's last whole fragment.

Only the sizes of boxes are looked at (ISO/IEC 14496-12, 4.2); what is in them is libavformat's business.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from .names import found_in, results_of
from .segment import is_being_written

_NEWEST = 3  # a clock may have been set meanwhile
_LONGEST_LINE = 4 << 20

log = logging.getLogger(__name__)


def repair_newest(folder: Path, camera: str) -> None:
    """Look at the newest recordings of a camera; raises nothing: they are no worse than they were."""
    for segment in sorted(found_in(folder, camera))[-_NEWEST:]:
        if is_being_written(segment.path):
            continue
        try:
            if cut_bytes := repair(segment.path):
                log.warning("%s: %d bytes after the last whole fragment removed", segment.path, cut_bytes)
            repair_results(segment.path)
        except OSError as error:
            log.warning("%s: cannot be repaired: %s", segment.path, error.strerror)


def repair(path: Path) -> int:
    """Cut `path` after its last whole fragment, or remove it if there is none; returns the bytes cut off."""
    with path.open("r+b") as file:
        whole_bytes, size_bytes = _whole_bytes(file), os.fstat(file.fileno()).st_size
        if 0 < whole_bytes < size_bytes:
            file.truncate(whole_bytes)
            os.fsync(file.fileno())
    if whole_bytes == 0:
        path.unlink()
    return size_bytes - whole_bytes


def repair_results(film: Path) -> None:
    """Cut what stands beside a film after its last whole line, or remove it if the film is gone."""
    path = results_of(film)
    with suppress(FileNotFoundError):
        if not film.exists():
            path.unlink()
            return
        with path.open("r+b") as file:
            size_bytes = os.fstat(file.fileno()).st_size
            begin = max(0, size_bytes - _LONGEST_LINE)
            file.seek(begin)
            whole_bytes = begin + file.read().rfind(b"\n") + 1
            if whole_bytes < size_bytes:
                file.truncate(whole_bytes)


def _whole_bytes(file: BinaryIO) -> int:
    """The end of the last box that can be the end of a file; 0 if there is no whole fragment."""
    size_bytes = os.fstat(file.fileno()).st_size
    at = whole = 0
    while (box := _box(file, at)) is not None and at + box[1] <= size_bytes:
        at += box[1]
        if box[0] == b"mdat" or (whole and box[0] != b"moof"):
            whole = at
    return whole


def _box(file: BinaryIO, at: int) -> tuple[bytes, int] | None:
    """Type and bytes of the box that begins there; None if none does."""
    file.seek(at)
    head = file.read(16)
    length = int.from_bytes(head[:4], "big")
    if length == 1:
        length = int.from_bytes(head[8:16], "big")
    return (head[4:8], length) if len(head) >= 8 and length >= 8 else None
