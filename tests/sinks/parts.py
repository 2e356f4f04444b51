"""Packets of films with known truth, as a camera's worker publishes them, and what is to be seen in a recording."""

from __future__ import annotations

import io
import itertools
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error

from frameloom.model.clock import NS_PER_S
from frameloom.model.packet import Packet, PacketFormat
from frameloom.sinks.mp4 import TICKS_PER_S
from frameloom.sinks.names import found_in
from frameloom.testing.clock import UTC_START_NS
from frameloom.testing.films import read_counter

GOP = 10
FRAMES = 40
FPS = 25
STEP_NS = NS_PER_S // FPS
VFR_S = [n * 0.04 + (0.013 if n % 3 else 0.0) + (0.9 if n > 17 else 0.0) for n in range(FRAMES)]


def packets_of_film(path: Path, *, annex_b: bool = True, rotation_deg: int = 0) -> list[Packet]:
    """The film's packets. UTC of each picture is `UTC_START_NS` and its `pts_ns`.

    `annex_b`: start codes, as network cameras send them; else lengths, as in the film's own container.
    """
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        codec = stream.codec_context
        is_mpeg = codec.name in ("h264", "hevc")
        extradata = bytes(codec.extradata or b"") if is_mpeg else b""
        bare = annex_b and is_mpeg
        form = PacketFormat(
            codec.name, codec.width, codec.height, b"" if bare else extradata, rotation_deg=rotation_deg
        )
        filtered = av.BitStreamFilterContext(f"{codec.name}_mp4toannexb", stream) if bare else None
        return [_packet(one, form, filtered) for one in container.demux(stream) if one.size]


def _packet(one: Any, form: PacketFormat, filtered: Any) -> Packet:
    pts_ns, dts_ns = (round(stamp * one.time_base * NS_PER_S) for stamp in (one.pts, one.dts))
    is_key = one.is_keyframe
    data = bytes(filtered.filter(one)[0]) if filtered else bytes(one)
    return Packet(data, form, pts_ns, is_key, 0, 0, dts_ns, STEP_NS, "hall.packets", 0)


def camera(film: list[Packet], laps: int = 1) -> list[Packet]:
    """The film, again and again, numbered and timed as one stream."""
    lap_ns = max(packet.pts_ns for packet in film) + STEP_NS
    return [
        timed(packet, lap * len(film) + n + 1, lap * lap_ns)
        for lap in range(laps)
        for n, packet in enumerate(film)
    ]


def timed(packet: Packet, seq: int, later_ns: int = 0) -> Packet:
    """`packet` as number `seq` of its stream, so much later."""
    pts_ns = packet.pts_ns + later_ns
    return replace(
        packet,
        seq=seq,
        pts_ns=pts_ns,
        dts_ns=packet.dts_ns + later_ns,
        captured_ns=pts_ns,
        captured_at_ns=UTC_START_NS + pts_ns,
    )


@dataclass
class Played:
    """What a player finds in a file: numbers in the pictures and their times in the order of showing, metadata."""

    numbers: list[int | None]
    pts: list[int]
    sizes: set[tuple[int, int]]
    tags: dict[str, str]
    codec_tag: str
    time_base: Fraction
    rotation_deg: int


def played(file: Path | bytes) -> Played:
    """Decode all of it."""
    with av.open(io.BytesIO(file) if isinstance(file, bytes) else str(file)) as container:
        stream = container.streams.video[0]
        frames = list(_decoded(container, stream))
        assert stream.time_base is not None
        return Played(
            [read_counter(frame.to_ndarray(format="gray")) for frame in frames],
            [frame.pts for frame in frames if frame.pts is not None],
            {(frame.width, frame.height) for frame in frames},
            dict(container.metadata),
            stream.codec_context.codec_tag,
            stream.time_base,
            round(frames[0].rotation) if frames else 0,
        )


def _decoded(container: Any, stream: Any) -> Iterator[av.VideoFrame]:
    """All frames up to where the file is damaged."""
    with suppress(av.error.InvalidDataError):
        yield from container.decode(stream)


def shown(packets: Iterable[Packet]) -> list[int]:
    """The times at which the pictures of these packets are shown, in ticks of a recording from the first decoding."""
    some = list(packets)
    zero_ns = some[0].dts_ns
    return sorted(round((p.pts_ns - zero_ns) * TICKS_PER_S / NS_PER_S) for p in some)


def recordings(folder: Path, camera: str = "hall") -> list[Path]:
    """Files in order of time."""
    return [segment.path for segment in sorted(found_in(folder, camera))]


def numbers_in(folder: Path) -> list[int | None]:
    """The numbers in all pictures of all recordings."""
    return [number for path in recordings(folder) for number in played(path).numbers]


def probed(path: Path) -> str:
    """What ffprobe complains of when it reads the whole file; '' for a good one."""
    program = shutil.which("ffprobe")
    assert program is not None
    done = subprocess.run(
        [program, "-v", "error", "-count_frames", "-show_entries", "stream=nb_read_frames", str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stderr


def sets_in(packet: Packet) -> bytes:
    """The parameter sets before the first picture of a packet with start codes, as they stand there."""
    shift, mask, sets = (0, 31, (7, 8)) if packet.format.codec == "h264" else (1, 63, (32, 33, 34))
    data = bytes(packet.data)
    starts = [found.start() for found in re.finditer(b"\\0?\\0\\0\\x01", data)]
    units = [data[at:end] for at, end in itertools.pairwise([*starts, len(data)])]
    return b"".join(unit for unit in units if unit[unit.index(1) + 1] >> shift & mask in sets)
