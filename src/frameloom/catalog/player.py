"""A film that any player can seek in, made of recordings as they lie on the disk: a head, and pieces of files.

The fragments of a recording say nothing of its length, so browsers do not seek in it, and one that was cut has no end.
What is made here is a plain MP4 whose head names the place of every picture; pictures are neither decoded nor copied
before somebody reads them. Times are kept to the tick.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from frameloom.model.clock import NS_PER_S
from frameloom.sinks.names import utc_text

from .boxes import box, full
from .film import Film, Head, Samples

_FROM_1904_S = 2_082_844_800
_MATRIX = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
_FTYP = box(b"ftyp", b"isom\0\0\2\0isomiso2avc1mp41")
_BITE_BYTES = 256 << 10


class Piece(NamedTuple):
    """So many bytes of a file, from there on."""

    path: Path
    start: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Virtual:
    """A file that is nowhere: `head`, then the pieces."""

    head: bytes
    pieces: tuple[Piece, ...]

    @property
    def nbytes(self) -> int:
        """Its length."""
        return len(self.head) + sum(piece.nbytes for piece in self.pieces)

    def read(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Its bytes from `start` up to, and without, `end`, in bites. Raises `OSError`, also for a shorter file."""
        end = self.nbytes if end is None else end
        if start < len(self.head):
            yield self.head[start : min(end, len(self.head))]
        at = len(self.head)
        for piece in self.pieces:
            first, last = max(start - at, 0), min(end - at, piece.nbytes)
            if first < last:
                yield from _read(piece.path, piece.start + first, piece.start + last)
            at += piece.nbytes


class Take(NamedTuple):
    """Pictures of one file, as they go into a film; `piece` holds their bytes."""

    head: Head
    samples: Samples
    piece: Piece


def whole_film(path: Path, most_bytes: int | None = None) -> Virtual:
    """The recording at `path`, up to its last whole fragment within the first `most_bytes`.

    Times are those of the file. Raises `OSError`, or `BadFilm`.
    """
    with Film(path) as film:
        samples = film.samples(most_bytes)
        begin, end = film.head.end, int((samples.offset + samples.size).max())
        take = Take(film.head, samples, Piece(path, begin, end - begin))
    return film_of([take])


def film_of(takes: Sequence[Take], skip_ticks: int = 0, trim_ticks: int = 0) -> Virtual:
    """One film of pictures from several files, each following the one before without a gap.

    skip_ticks  so much of the beginning, from the first decoding on, is decoded and not shown
    trim_ticks  nor is so much of the end
    The takes have the same time scale, codec and size.
    """
    pieces = tuple(take.piece for take in takes)
    data_bytes = sum(piece.nbytes for piece in pieces)
    mdat = struct.pack(">I4sQ", 1, b"mdat", 16 + data_bytes)
    tables = _Tables(takes)
    shown = (skip_ticks, tables.length - skip_ticks - trim_ticks) if skip_ticks or trim_ticks else None
    place = len(_FTYP) + len(_moov(takes, tables, shown, 0)) + len(mdat)
    return Virtual(_FTYP + _moov(takes, tables, shown, place) + mdat, pieces)


class _Tables:
    """All pictures of the film, and their chunks: pictures whose bytes stand one after the other."""

    def __init__(self, takes: Sequence[Take]) -> None:
        self.entries = list(dict.fromkeys(take.head.entry for take in takes))
        columns: list[list[NDArray[np.int64]]] = [[], [], [], []]
        at = 0
        nexts: list[Samples | None] = [*(take.samples for take in takes[1:]), None]
        for take, following in zip(takes, nexts, strict=True):
            samples = take.samples
            columns[0].append(samples.offset - take.piece.start + at)
            columns[1].append(samples.size)
            columns[2].append(_durations(samples, following))
            columns[3].append(samples.shift)
            at += take.piece.nbytes
        self.offset, self.size, self.duration, self.shift = (np.concatenate(one) for one in columns)
        self.key = np.concatenate([take.samples.key for take in takes])
        kinds = [self.entries.index(take.head.entry) + 1 for take in takes]
        self.kind = np.repeat(np.array(kinds, np.int64), [len(take.samples.size) for take in takes])

    @property
    def length(self) -> int:
        """Ticks from the first decoding to the end of the last picture."""
        return int(self.duration.sum())

    def boxes(self, place: int) -> bytes:
        """What `stbl` holds, for data that begin at `place`."""
        first = np.flatnonzero(np.append(True, self._breaks()))  # of each chunk
        counts = np.diff(np.append(first, len(self.size)))
        return b"".join(
            (
                full(b"stsd", 0, 0, struct.pack(">I", len(self.entries)), *self.entries),
                _runs(b"stts", 0, self.duration, ">u4"),
                *([_runs(b"ctts", 1, self.shift, ">i4")] if self.shift.any() else []),
                *([] if self.key.all() else [_table(b"stss", np.flatnonzero(self.key) + 1, ">u4")]),
                _chunks(counts, self.kind[first]),
                full(b"stsz", 0, 0, struct.pack(">II", 0, len(self.size)), self.size.astype(">u4").tobytes()),
                _table(b"co64", self.offset[first] + place, ">u8"),
            )
        )

    def _breaks(self) -> NDArray[np.bool_]:
        apart: NDArray[np.bool_] = self.offset[1:] != self.offset[:-1] + self.size[:-1]
        others: NDArray[np.bool_] = self.kind[1:] != self.kind[:-1]
        return apart | others


def _durations(samples: Samples, following: Samples | None) -> NDArray[np.int64]:
    """From one decoding to the next; after the last one so that what follows is shown when the last picture ends."""
    durations = samples.duration.copy()
    delay = int(following.pts.min() - following.dts[0]) if following is not None else 0
    durations[-1] = max(1, samples.end - delay - int(samples.dts[-1]))
    return durations


def _runs(kind: bytes, version: int, values: NDArray[np.int64], form: str) -> bytes:
    """Runs of equal values: how many, and which."""
    first = np.flatnonzero(np.append(True, values[1:] != values[:-1]))
    counts = np.diff(np.append(first, len(values)))
    table = np.empty((len(first), 2), ">u4")
    table[:, 0] = counts
    table[:, 1] = values[first].astype(form).view(">u4")
    return full(kind, version, 0, struct.pack(">I", len(first)), table.tobytes())


def _chunks(counts: NDArray[np.int64], kinds: NDArray[np.int64]) -> bytes:
    """`stsc`: from which chunk on there are so many pictures in each, of which kind."""
    changes = (counts[1:] != counts[:-1]) | (kinds[1:] != kinds[:-1])
    first = np.flatnonzero(np.append(True, changes))
    table = np.stack([first + 1, counts[first], kinds[first]], axis=1).astype(">u4")
    return full(b"stsc", 0, 0, struct.pack(">I", len(first)), table.tobytes())


def _table(kind: bytes, values: NDArray[np.int64], form: str) -> bytes:
    return full(kind, 0, 0, struct.pack(">I", len(values)), values.astype(form).tobytes())


def _moov(takes: Sequence[Take], tables: _Tables, edit: tuple[int, int] | None, place: int) -> bytes:
    """`edit`: what is shown, as its begin and its length; None: all, with the times of the file."""
    skip, shown = edit or (0, tables.length)
    head, samples = takes[0].head, takes[0].samples
    # Time 0 of the film: the first decoding, or where it is shown from.
    zero_utc_ns = head.utc_ns(int(samples.dts[0]) + skip)
    began_utc_ns = zero_utc_ns if skip else head.utc_ns(int(samples.pts.min()))
    stamp = max(0, began_utc_ns // NS_PER_S) + _FROM_1904_S
    times = struct.pack(">QQIQIHHQ", stamp, stamp, head.timescale, shown, 0x10000, 0x0100, 0, 0)
    mvhd = full(b"mvhd", 1, 0, times, _MATRIX, bytes(24), b"\0\0\0\2")
    tkhd = full(b"tkhd", 1, 3, struct.pack(">QQIIQ", stamp, stamp, 1, 0, shown), look_of(head))
    edts = full(b"elst", 1, 0, struct.pack(">IQqHH", 1, shown, skip, 1, 0))
    trak = box(b"trak", tkhd, box(b"edts", edts) if edit else b"", _mdia(head, tables, stamp, place))
    return box(b"moov", mvhd, trak, _udta(began_utc_ns, zero_utc_ns, head.camera))


def _mdia(head: Head, tables: _Tables, stamp: int, place: int) -> bytes:
    language = 0x55C4  # undetermined
    mdhd = full(
        b"mdhd", 1, 0, struct.pack(">QQIQHH", stamp, stamp, head.timescale, tables.length, language, 0)
    )
    hdlr = full(b"hdlr", 0, 0, bytes(4) + b"vide" + bytes(12) + b"Frameloom\0")
    dref = full(b"dref", 0, 0, struct.pack(">I", 1) + full(b"url ", 0, 1))
    stbl = box(b"stbl", tables.boxes(place))
    return box(b"mdia", mdhd, hdlr, box(b"minf", full(b"vmhd", 0, 1, bytes(8)), box(b"dinf", dref), stbl))


def look_of(head: Head) -> bytes:
    """Layer, volume, matrix (how it is turned) and size: all after the duration in `tkhd` (8.3.2)."""
    return head.track[36:] if head.track[0] else head.track[24:]


def _udta(began_utc_ns: int, zero_utc_ns: int, camera: str) -> bytes:
    tags = {
        "creation_time": utc_text(began_utc_ns),
        "frameloom_utc": utc_text(zero_utc_ns),
        "frameloom_camera": camera,
    }
    keys = b"".join(box(b"mdta", name.encode()) for name in tags)
    data = b"".join(
        box(struct.pack(">I", number), box(b"data", struct.pack(">II", 1, 0), text.encode()))
        for number, text in enumerate(tags.values(), 1)
    )
    hdlr = full(b"hdlr", 0, 0, bytes(4) + b"mdta" + bytes(12) + b"\0")
    meta = full(
        b"meta", 0, 0, hdlr, full(b"keys", 0, 0, struct.pack(">I", len(tags)), keys), box(b"ilst", data)
    )
    return box(b"udta", meta)


def _read(path: Path, start: int, end: int) -> Iterator[bytes]:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        while start < end:
            data = os.pread(fd, min(_BITE_BYTES, end - start), start)
            if not data:
                raise OSError(f"{path.name}: the file has become shorter")
            yield data
            start += len(data)
    finally:
        os.close(fd)
