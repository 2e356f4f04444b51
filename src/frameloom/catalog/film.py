"""What is in the file of a recording: codec, size, times, and where each picture stands. Nothing is decoded.

A file is read up to its last whole fragment, so one that is being written, or was cut by a kill, is as good as any.
Only what `frameloom.sinks.mp4` writes has to be understood: fragments of one track. Playing it is `player`'s business.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from frameloom.model.clock import NS_PER_S

from .boxes import BadFilm, Box, boxes_in, boxes_of_file, content, needed

CODECS = {b"avc1": "h264", b"hvc1": "hevc", b"hev1": "hevc", b"mp4v": "mjpeg", b"jpeg": "mjpeg"}
_LONGEST_HEAD = 1 << 20
_LONGEST_FRAGMENT_HEAD = 16 << 20
_UTC = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.(\d{9})Z", re.ASCII)
_NOT_KEY = 0x10000  # sample_is_non_sync_sample


class Samples(NamedTuple):
    """Pictures in the order of decoding, an array of each; times in ticks of the file's time scale.

    offset    of the first byte in the file, int64; `size` in bytes, int64
    dts       decoding time, int64; `duration` until the next one, int64
    shift     from decoding to presentation, int64
    key       whether a decoder can begin there, bool
    """

    offset: NDArray[np.int64]
    size: NDArray[np.int64]
    dts: NDArray[np.int64]
    duration: NDArray[np.int64]
    shift: NDArray[np.int64]
    key: NDArray[np.bool_]

    @property
    def pts(self) -> NDArray[np.int64]:
        """Presentation times in ticks."""
        return self.dts + self.shift

    @property
    def end(self) -> int:
        """When the last picture ends, in ticks: as was told of the last one that is decoded, else as the one before."""
        last = np.sort(self.pts)[-2:]
        told = int(self.duration[-1])
        return int(last[-1]) + (told if told > 1 or len(last) == 1 else int(last[-1] - last[0]))

    def part(self, first: int, last: int) -> Samples:
        """Those from `first` up to, and without, `last`."""
        columns: list[Any] = [column[first:last] for column in self]
        return Samples(*columns)


@dataclass(frozen=True, slots=True)
class Head:
    """What the beginning of a file says.

    end          where the first fragment begins, bytes
    entry        the sample entry, with all that a decoder must know
    timescale    ticks per second
    zero_utc_ns  UTC at time 0 of the file
    camera       the camera's name, or ''
    mime         what a browser is asked whether it can play it, as 'video/mp4; codecs="avc1.640028"'
    track        the track's `tkhd`, its turning included
    """

    end: int
    entry: bytes
    codec: str
    width: int
    height: int
    timescale: int
    zero_utc_ns: int
    camera: str
    mime: str
    track: bytes
    defaults: tuple[int, int, int]

    def utc_ns(self, ticks: int) -> int:
        """UTC of a time in the file."""
        return self.zero_utc_ns + ticks * NS_PER_S // self.timescale


class Film:
    """A recording that is open for reading; close it, or use it in a `with`.

    Raises `OSError` where it cannot be read, and `BadFilm` where it is no recording. Links are not followed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            self.head = _head(self._fd, self.nbytes)
        except BaseException:
            self.close()
            raise
        self.whole = self.head.end
        self.is_complete = False

    def __enter__(self) -> Film:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file. May be called twice."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    @property
    def nbytes(self) -> int:
        """Bytes of the file now."""
        return os.fstat(self._fd).st_size

    def fragments(self, most_bytes: int | None = None) -> Iterator[Samples]:
        """The pictures of each whole fragment that was not given before; of the first `most_bytes` of the file.

        After them `whole` is where the last of them ends, and `is_complete` tells whether the file was ended properly.
        """
        size = self.nbytes if most_bytes is None else min(most_bytes, self.nbytes)
        moof: Box | None = None
        for found in boxes_of_file(self._fd, self.whole, size):
            if found.kind == b"moof":
                moof = found
            elif found.kind == b"mdat" and moof is not None:
                yield self._samples(moof, found)
                self.whole, moof = found.end, None
            elif found.kind == b"mfra":
                self.is_complete, self.whole = True, found.end

    def samples(self, most_bytes: int | None = None) -> Samples:
        """All pictures of the first `most_bytes` of the file. Raises `BadFilm` if there is none."""
        self.whole = self.head.end
        parts = list(self.fragments(most_bytes))
        if not parts:
            raise BadFilm("there is no picture in it")
        return Samples(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    def _samples(self, moof: Box, mdat: Box) -> Samples:
        if moof.end - moof.start > _LONGEST_FRAGMENT_HEAD:
            raise BadFilm("the head of a fragment is too long")
        data = os.pread(self._fd, moof.end - moof.body, moof.body)
        samples = _fragment(data, moof.start, self.head.defaults)
        ends = samples.offset + samples.size
        if len(ends) == 0 or int(samples.offset.min()) < mdat.body or int(ends.max()) > mdat.end:
            raise BadFilm("a picture stands outside of its fragment")
        return samples


@dataclass(slots=True)
class Facts:
    """What an index keeps of a file. Times are UTC in ns: those of the first picture, and of the end of the last."""

    begin_utc_ns: int
    end_utc_ns: int
    frames: int
    nbytes: int
    is_complete: bool


class Survey:
    """Reads a file that may grow: each `look` reads what was added since the last one. Raises as `Film` does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.head: Head | None = None
        self._whole = self._frames = self._first = self._end = 0

    def look(self) -> Facts:
        """What is in the file now; raises `BadFilm` while there is no picture in it."""
        with Film(self.path) as film:
            if self.head is not None and self._whole <= film.nbytes:
                film.whole = self._whole
            else:
                self._frames = 0
            self.head = film.head
            for samples in film.fragments():
                self._add(samples)
            self._whole = film.whole
            if not self._frames:
                raise BadFilm("there is no picture in it")
            return self._facts(film)

    def _add(self, samples: Samples) -> None:
        self._first = min(self._first, int(samples.pts.min())) if self._frames else int(samples.pts.min())
        self._end = max(self._end, samples.end) if self._frames else samples.end
        self._frames += len(samples.size)

    def _facts(self, film: Film) -> Facts:
        begin, end = film.head.utc_ns(self._first), film.head.utc_ns(self._end)
        return Facts(begin, end, self._frames, film.nbytes, film.is_complete)


def _head(fd: int, size: int) -> Head:
    for found in boxes_of_file(fd, 0, size):
        if found.kind == b"moov":
            if found.end - found.start > _LONGEST_HEAD:
                raise BadFilm("its head is too long")
            return _read_head(os.pread(fd, found.end - found.body, found.body), found.end)
        if found.kind in (b"moof", b"mdat"):
            break
    raise BadFilm("there is no head at its beginning")


def _read_head(moov: bytes, end: int) -> Head:
    try:
        return _described(moov, end)
    except (struct.error, IndexError, UnicodeDecodeError, ZeroDivisionError) as error:
        raise BadFilm(f"its head cannot be read: {error}") from error


def _described(moov: bytes, end: int) -> Head:
    media = needed(moov, b"trak", b"mdia")
    entry = _first_entry(needed(media, b"minf", b"stbl", b"stsd"))
    kind = entry[4:8]
    if kind not in CODECS:
        raise BadFilm(f"its codec {kind.decode('latin-1')!r} is unknown here")
    width, height = struct.unpack_from(">HH", entry, 32)
    tags = _tags(moov)
    clock = needed(media, b"mdhd")
    timescale = struct.unpack_from(">I", clock, 20 if clock[0] else 12)[0]
    if not timescale:
        raise BadFilm("its time scale is 0")
    trex = needed(moov, b"mvex", b"trex")
    return Head(
        end,
        entry,
        CODECS[kind],
        width,
        height,
        timescale,
        _utc(tags.get("frameloom_utc", "")),
        tags.get("frameloom_camera", ""),
        f'video/mp4; codecs="{_codecs(kind, entry)}"',
        needed(moov, b"trak", b"tkhd"),
        struct.unpack_from(">III", trex, 12),
    )


def _first_entry(stsd: bytes) -> bytes:
    first = next(boxes_in(stsd, 8), None)
    if first is None or first.end - first.start < 86:
        raise BadFilm("it says nothing of its codec")
    return stsd[first.start : first.end]


def _tags(moov: bytes) -> dict[str, str]:
    """The texts of udta/meta with `mdta` keys, as libavformat writes them."""
    meta = content(moov, b"udta", b"meta")
    if meta is None:
        return {}
    keys, values = content(meta[4:], b"keys"), content(meta[4:], b"ilst")
    if keys is None or values is None:
        return {}
    names = [keys[one.body : one.end].decode() for one in boxes_in(keys, 8)]
    tags: dict[str, str] = {}
    for item in boxes_in(values):
        text = content(values[item.body : item.end], b"data")
        number = int.from_bytes(item.kind, "big")
        if text is not None and 1 <= number <= len(names):
            tags[names[number - 1]] = text[8:].decode()
    return tags


def _utc(text: str) -> int:
    found = _UTC.fullmatch(text)
    if found is None:
        raise BadFilm("it does not say when it was recorded (frameloom_utc)")
    try:
        moment = datetime.strptime(found[1], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        raise BadFilm("it does not say when it was recorded (frameloom_utc)") from None
    return int(moment.timestamp()) * NS_PER_S + int(found[2])


def _codecs(kind: bytes, entry: bytes) -> str:
    """As RFC 6381 has it, as far as browsers want it."""
    if kind == b"avc1" and (avcc := content(entry[86:], b"avcC")):
        return f"avc1.{avcc[1:4].hex()}"
    if kind in (b"hvc1", b"hev1") and (hvcc := content(entry[86:], b"hvcC")):
        return f"{kind.decode()}.{_hevc(hvcc)}"
    return kind.decode("latin-1")


def _hevc(hvcc: bytes) -> str:
    """Profile, compatibility, tier and level, constraints (ISO/IEC 14496-15, E.3)."""
    space, tier, profile = ("", "A", "B", "C")[hvcc[1] >> 6], "LH"[hvcc[1] >> 5 & 1], hvcc[1] & 31
    fits = int(f"{int.from_bytes(hvcc[2:6], 'big'):032b}"[::-1], 2)
    constraints = ".".join(f"{byte:X}" for byte in hvcc[6:12].rstrip(b"\0"))
    return f"{space}{profile}.{fits:X}.{tier}{hvcc[12]}" + (f".{constraints}" if constraints else "")


def _fragment(moof: bytes, start: int, defaults: tuple[int, int, int]) -> Samples:
    """The pictures of a fragment that begins at `start` of the file; `moof` is what is in its head."""
    try:
        traf = needed(moof, b"traf")
        base, (duration, size, flags) = _track_defaults(needed(traf, b"tfhd"), start, defaults)
        time = needed(traf, b"tfdt")
        dts: int = struct.unpack_from(">Q" if time[0] else ">I", time, 4)[0]
        runs = []
        for found in boxes_in(traf):
            if found.kind == b"trun":
                run = _run(traf[found.body : found.end], base, dts, (duration, size, flags))
                dts += int(run.duration.sum())
                runs.append(run)
        if not runs:
            raise BadFilm("there is no run of pictures in it")
        return Samples(*(np.concatenate(columns) for columns in zip(*runs, strict=True)))
    except (struct.error, ValueError) as error:
        raise BadFilm(f"a fragment cannot be read: {error}") from error


def _track_defaults(
    tfhd: bytes, start: int, defaults: tuple[int, int, int]
) -> tuple[int, tuple[int, int, int]]:
    """Where offsets count from, and the default duration, size and flags (8.8.7)."""
    flags = int.from_bytes(tfhd[1:4], "big")
    at = 8
    base = start
    if flags & 1:
        base, at = struct.unpack_from(">Q", tfhd, at)[0], at + 8
    at += 4 if flags & 2 else 0
    values = list(defaults)
    for index, bit in enumerate((0x8, 0x10, 0x20)):
        if flags & bit:
            values[index], at = struct.unpack_from(">I", tfhd, at)[0], at + 4
    return base, (values[0], values[1], values[2])


def _run(trun: bytes, base: int, dts: int, defaults: tuple[int, int, int]) -> Samples:
    """One run of pictures, whose data stand one after the other (8.8.8)."""
    flags, count = int.from_bytes(trun[1:4], "big"), int.from_bytes(trun[4:8], "big")
    if not flags & 1:
        raise BadFilm("it is not said where the data of a fragment stand")
    offset: int = base + struct.unpack_from(">i", trun, 8)[0]
    first_flags = struct.unpack_from(">I", trun, 12)[0] if flags & 4 else None
    bits = [bit for bit in (0x100, 0x200, 0x400, 0x800) if flags & bit]
    table = np.frombuffer(trun, ">u4", count * len(bits), 16 if flags & 4 else 12).reshape(count, len(bits))
    columns = {bit: table[:, index].astype(np.int64) for index, bit in enumerate(bits)}
    durations, sizes, marks = (
        columns.get(bit, np.full(count, default, np.int64))
        for bit, default in zip((0x100, 0x200, 0x400), defaults, strict=True)
    )
    if first_flags is not None and count:
        marks[0] = first_flags
    shifts = columns.get(0x800, np.zeros(count, np.int64))
    if trun[0]:  # signed in version 1
        shifts = shifts.astype(np.uint32).view(np.int32).astype(np.int64)
    return Samples(
        offset + _before(sizes), sizes, dts + _before(durations), durations, shifts, (marks & _NOT_KEY) == 0
    )


def _before(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """The sum of all that come before each."""
    return np.cumsum(values) - values
