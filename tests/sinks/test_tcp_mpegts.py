"""MPEG-TS that begins at any key frame: decoded from its first byte, in the camera's own time."""

from __future__ import annotations

import io
import itertools
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import pytest

from frameloom.model.clock import NS_PER_S
from frameloom.model.packet import Packet, PacketFormat
from frameloom.sinks.tcp_mpegts import TICKS_PER_S, CannotMux, MpegTs
from frameloom.testing.films import counter, encode
from tests.sinks.parts import FPS, FRAMES, GOP, STEP_NS, camera, packets_of_film, played, sets_in, timed

LAP = list(range(FRAMES))
Film = Callable[..., list[Packet]]
WRAP_NS = (1 << 33) * NS_PER_S // TICKS_PER_S


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Film:
    folder = tmp_path_factory.mktemp("films")

    def packets(codec: str = "h264", annex_b: bool = True, bframes: int = 0) -> list[Packet]:
        path = folder / f"{codec}{bframes}.mp4"
        if not path.exists():
            encode(counter(fps=FPS, frames=FRAMES), path, gop=GOP, codec=codec, bframes=bframes)  # type: ignore[arg-type]
        return packets_of_film(path, annex_b=annex_b)

    return packets


def parts_of(packets: list[Packet], zero_ns: int = 0) -> tuple[MpegTs, list[bytes]]:
    mux = MpegTs("hall", packets[0], zero_ns)
    return mux, [mux.add(packet) for packet in packets]


def complaints(data: bytes, level: str = "warning") -> str:
    """What ffmpeg says of it when it decodes all of it."""
    command = ["ffmpeg", "-v", level, "-f", "mpegts", "-i", "-", "-f", "null", "-"]
    return subprocess.run(command, input=data, capture_output=True, check=True).stderr.decode()


def clocks(data: bytes) -> list[int]:
    """The clock of the stream (PCR) wherever it stands, in ticks."""
    found = []
    for at in range(0, len(data), 188):
        assert data[at] == 0x47
        if data[at + 3] & 0x20 and data[at + 4] and data[at + 5] & 0x10:
            found.append(int.from_bytes(data[at + 6 : at + 10], "big") << 1 | data[at + 10] >> 7)
    return found


@pytest.mark.parametrize("codec", ["h264", "hevc"])
@pytest.mark.parametrize("annex_b", [True, False], ids=["start codes", "lengths"])
@pytest.mark.parametrize("bframes", [0, 2])
def test_every_packet_is_given_out_at_once(film: Film, codec: str, annex_b: bool, bframes: int) -> None:
    packets = camera(film(codec, annex_b, bframes), 2)
    _, parts = parts_of(packets)
    assert all(part and len(part) % 188 == 0 for part in parts)
    seen = played(b"".join(parts))
    assert seen.numbers == 2 * LAP
    steps = {b - a for a, b in itertools.pairwise(seen.pts)}
    assert steps == {STEP_NS * TICKS_PER_S // NS_PER_S}
    assert complaints(b"".join(parts)) == ""


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_it_begins_at_any_key_frame(film: Film, codec: str) -> None:
    packets = camera(film(codec, annex_b=False))
    mux, parts = parts_of(packets)
    data = mux.joining(parts[2 * GOP]) + b"".join(parts[2 * GOP + 1 :])
    assert played(data).numbers == LAP[2 * GOP :]
    assert data[1] & 0x1F == 0, "the table of programs comes first"
    with av.open(io.BytesIO(data), format="mpegts") as container:
        assert container.streams.video[0].codec_context.extradata, "the parameter sets are there"


def test_parameter_sets_are_not_sent_twice(film: Film) -> None:
    """Where a camera sends them before each key frame they go as they came."""
    with_sets = camera(film())
    assert sets_in(with_sets[0])
    _, parts = parts_of(with_sets)
    sets = sets_in(with_sets[0])
    bare = [replace(packet, data=bytes(packet.data).replace(sets, b"")) for packet in with_sets]
    formats = replace(with_sets[0].format, extradata=sets)
    _, added = parts_of([replace(packet, format=formats) for packet in bare])
    for data in (b"".join(parts), b"".join(added)):
        assert played(data).numbers == LAP
        assert data.count(sets[4:12]) == FRAMES // GOP


def test_what_is_left_out_leaves_no_trace_but_its_gap(film: Film) -> None:
    """A client that was too slow: a whole picture is the last one before the gap, and nobody complains."""
    mux, parts = parts_of(camera(film(), 2))
    data = b"".join(parts[:15]) + mux.joining(parts[30]) + b"".join(parts[31:])
    assert played(data).numbers == [*LAP[:15], *LAP[30:], *LAP]
    assert complaints(data) == ""
    unmarked = b"".join(parts[:15]) + b"".join(parts[30:])
    assert _broken_numbering(unmarked) == 1, "what the mark is for"
    assert _broken_numbering(data) == 0


def _broken_numbering(data: bytes) -> int:
    """How often ffmpeg finds that packets of the pictures' own are missing."""
    return complaints(data, "debug").count("Continuity check failed for pid 256")


def test_the_clock_stands_in_every_picture_and_ahead_of_it(film: Film) -> None:
    packets = camera(film(bframes=2), 2)
    _, parts = parts_of(packets)
    stamps = [clocks(part) for part in parts]
    with av.open(io.BytesIO(b"".join(parts)), format="mpegts") as container:
        decoded = [packet.dts for packet in container.demux(video=0) if packet.size]
    assert len(decoded) == len(packets)
    assert stamps == [[dts - TICKS_PER_S // 10] for dts in decoded if dts is not None]


def test_the_clock_begins_anew_every_26_hours(film: Film) -> None:
    packets = camera(film(), 2)
    _, parts = parts_of(packets, zero_ns=WRAP_NS - 2 * NS_PER_S)
    data = b"".join(parts)
    stamps = clocks(data)
    assert max(stamps) < 1 << 33
    assert (wrap := stamps.index(min(stamps))) > 0
    assert stamps[wrap - 1] + 3600 - (1 << 33) == stamps[wrap]
    seen = played(data)
    assert seen.numbers == 2 * LAP
    assert {b - a for a, b in itertools.pairwise(seen.pts)} == {3600}, "players see one time"


def test_a_camera_whose_time_begins_anew(film: Film) -> None:
    """Its worker was started again: the stream's time goes on by the time that has passed."""
    first = camera(film())
    later_ns = first[-1].captured_ns + 3 * NS_PER_S
    again = [replace(packet, captured_ns=later_ns + packet.dts_ns) for packet in camera(film())]
    jumped = [
        replace(
            timed(packet, 0, 3600 * NS_PER_S), captured_ns=again[-1].captured_ns + STEP_NS + packet.dts_ns
        )
        for packet in film()
    ]
    _, parts = parts_of([*first, *again, *jumped])
    seen = played(b"".join(parts))
    assert seen.numbers == 3 * LAP
    steps = [b - a for a, b in itertools.pairwise(seen.pts)]
    assert steps[FRAMES - 1] == 3 * TICKS_PER_S
    assert steps[2 * FRAMES - 1] == 3600, "a clock that was set forward by an hour is no hour of waiting"
    assert set(steps[: FRAMES - 1]) == {3600}


def test_another_size_goes_on(film: Film, tmp_path: Path) -> None:
    small = camera(film())
    path = encode(counter(width=640, height=360, fps=FPS, frames=FRAMES), tmp_path / "large.mp4", gop=GOP)
    lap_ns = small[-1].pts_ns + STEP_NS
    large = [timed(packet, n, lap_ns) for n, packet in enumerate(packets_of_film(path, annex_b=False))]
    _, parts = parts_of([*small, *large])
    seen = played(b"".join(parts))
    assert seen.numbers == 2 * LAP
    assert seen.sizes == {(320, 240), (640, 360)}


def test_what_cannot_be_sent_is_told(film: Film) -> None:
    packets = film()
    jpeg = replace(packets[0], format=PacketFormat("mjpeg", 320, 240))
    with pytest.raises(CannotMux, match="codec 'mjpeg' is not sent as MPEG-TS, allowed: h264, hevc"):
        MpegTs("hall", jpeg)
    with pytest.raises(CannotMux, match="no MPEG-TS can begin with this key frame"):
        MpegTs("hall", replace(packets[0], data=b"nonsense"))
    mux = MpegTs("hall", packets[0])
    with pytest.raises(CannotMux, match="codec 'mjpeg' cannot go on a stream of 'h264'"):
        mux.add(jpeg)
    bad = film(annex_b=False)
    mux = MpegTs("hall", bad[0])
    with pytest.raises(CannotMux, match="cut short"):
        mux.add(replace(bad[0], data=bytes(bad[0].data)[:-3]))


def test_the_camera_s_name_is_shown(film: Film) -> None:
    mux, parts = parts_of(film())
    mux.close()
    assert b"hall" in parts[0]
