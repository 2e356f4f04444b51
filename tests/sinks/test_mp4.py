"""Packets in, a fragmented MP4 out: every picture, its time to the tick, playable up to each fragment."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from frameloom.model.clock import NS_PER_S
from frameloom.model.packet import Packet, PacketFormat
from frameloom.sinks.mp4 import CannotMux, Mp4
from tests.sinks.parts import FRAMES, GOP, camera, packets_of_film, played, sets_in, shown

KINDS = ["h264", "h264 with B frames", "hevc", "mjpeg", "vfr"]


def pieces(packets: list[Packet], **tags: str) -> list[bytes]:
    """What an `Mp4` gives, piece by piece."""
    mp4 = Mp4(packets[0], tags)
    given = [mp4.add(packet) for packet in packets]
    return [piece for piece in [*given, mp4.end()] if piece]


@pytest.mark.parametrize("kind", KINDS)
def test_all_pictures_at_their_times(films: dict[str, Path], kind: str) -> None:
    packets = camera(packets_of_film(films[kind]))
    found = played(b"".join(pieces(packets)))
    assert found.numbers == list(range(FRAMES))
    assert found.time_base == Fraction(1, 90_000)
    assert found.pts == shown(packets)


@pytest.mark.parametrize("kind", ["h264 with B frames", "hevc"])
def test_lengths_or_start_codes_make_the_same_file(films: dict[str, Path], kind: str) -> None:
    bare = packets_of_film(films[kind])
    boxed = packets_of_film(films[kind], annex_b=False)
    assert boxed[0].data != bare[0].data
    assert boxed[0].format.extradata[:1] == b"\1"
    assert played(b"".join(pieces(boxed))) == played(b"".join(pieces(bare)))


@pytest.mark.parametrize("kind", ["h264", "hevc", "h264 with B frames"])
def test_parameter_sets_that_the_camera_told_only_once(films: dict[str, Path], kind: str) -> None:
    """As in an RTSP description: in the extradata and in no packet."""
    packets = packets_of_film(films[kind])
    sets = sets_in(packets[0])
    form = replace(packets[0].format, extradata=sets)
    told_once = [replace(p, format=form, data=p.data.replace(sets, b"")) for p in packets]
    assert sets_in(told_once[0]) == b"" != sets
    assert played(b"".join(pieces(told_once))).numbers == list(range(FRAMES))


@pytest.mark.parametrize("kind", KINDS)
def test_it_plays_up_to_each_fragment(films: dict[str, Path], kind: str) -> None:
    """A writer that is killed leaves whole pieces, and perhaps a part of one more."""
    packets = packets_of_film(films[kind])
    given = pieces(packets)
    if kind != "mjpeg":
        assert len(given) == FRAMES // GOP
    for count in range(1, len(given)):
        whole = b"".join(given[:count])
        assert played(whole).numbers == list(range(GOP * count))
        cut = given[count][: len(given[count]) * 2 // 3]
        assert played(whole + cut).numbers[: GOP * count] == list(range(GOP * count))


def test_a_fragment_is_given_as_soon_as_the_next_group_has_begun(films: dict[str, Path]) -> None:
    packets = camera(packets_of_film(films["h264"]))
    mp4 = Mp4(packets[0], {})
    given = {packet.seq: mp4.given for packet in packets if mp4.add(packet)}
    assert given == {GOP + 2: GOP, 2 * GOP + 2: 2 * GOP, 3 * GOP + 2: 3 * GOP}
    assert (mp4.added, bool(mp4.end()), mp4.given) == (FRAMES, True, FRAMES)


def test_a_long_group_is_cut_into_fragments(films: dict[str, Path]) -> None:
    packets = packets_of_film(films["one group"])
    given = pieces(packets)
    assert len(given) == 3
    assert played(b"".join(given)).numbers == list(range(150))
    assert played(given[0] + given[1]).numbers == list(range(100))


def test_jpegs_share_fragments(films: dict[str, Path]) -> None:
    assert len(pieces(camera(packets_of_film(films["mjpeg"]), laps=4))) == 4


def test_metadata(films: dict[str, Path]) -> None:
    found = played(
        b"".join(pieces(packets_of_film(films["hevc"]), frameloom_utc="then", frameloom_camera="hall"))
    )
    assert (found.tags["frameloom_utc"], found.tags["frameloom_camera"]) == ("then", "hall")
    assert found.codec_tag == "hvc1"
    assert played(b"".join(pieces(packets_of_film(films["h264"])))).codec_tag == "avc1"


@pytest.mark.parametrize("rotation_deg", [90, 180, 270])
def test_a_camera_that_hangs_on_its_side(films: dict[str, Path], rotation_deg: int) -> None:
    packets = packets_of_film(films["h264"], rotation_deg=rotation_deg)
    assert played(b"".join(pieces(packets))).rotation_deg % 360 == rotation_deg


def test_times_that_are_too_close_still_grow(films: dict[str, Path]) -> None:
    packets = [
        replace(p, pts_ns=n * 100, dts_ns=n * 100) for n, p in enumerate(packets_of_film(films["h264"]))
    ]
    found = played(b"".join(pieces(packets)))
    assert (found.numbers, found.pts) == (list(range(FRAMES)), list(range(FRAMES)))


def test_hours_from_the_beginning_of_a_stream(films: dict[str, Path]) -> None:
    late_ns = 1000 * 3600 * NS_PER_S + 7
    packets = [
        replace(p, pts_ns=p.pts_ns + late_ns, dts_ns=p.dts_ns + late_ns)
        for p in packets_of_film(films["vfr"])
    ]
    assert played(b"".join(pieces(packets))).pts == shown(packets)


@pytest.mark.parametrize(
    ("form", "data", "message"),
    [
        (
            PacketFormat("rawvideo", 4, 4),
            b"x" * 24,
            "codec 'rawvideo' cannot be recorded as it comes, allowed: h264",
        ),
        (PacketFormat("h264", 4, 4, b"\1\x64\0\x28\xff\xe1\0\x99"), b"", "the parameter sets are cut short"),
        (PacketFormat("hevc", 4, 4, b"\1\x64"), b"", "the parameter sets are cut short"),
        (
            PacketFormat("h264", 4, 4, b"\1\x64\0\x28\xff\xe0\0"),
            b"\0\0\0\x09abc",
            "an access unit is cut short",
        ),
        (PacketFormat("h264", 4, 4), b"no picture at all", "no MP4 can begin with this key frame"),
        (PacketFormat("mjpeg", 4, 4), b"", "no MP4 can begin with this key frame"),
    ],
)
def test_what_cannot_be_recorded_is_said(form: PacketFormat, data: bytes, message: str) -> None:
    with pytest.raises(CannotMux, match=message):
        Mp4(Packet(data, form, 0, True, 0, 0), {})


def test_a_damaged_packet_in_the_midst_costs_nothing_else(films: dict[str, Path]) -> None:
    packets = packets_of_film(films["h264"], annex_b=False)
    mp4 = Mp4(packets[0], {})
    given = [mp4.add(packet) for packet in packets[:15]]
    with pytest.raises(CannotMux, match="cut short"):
        mp4.add(replace(packets[15], data=packets[15].data[:-5]))
    assert played(b"".join([*given, mp4.end()])).numbers == list(range(15))


def test_abandoned(films: dict[str, Path]) -> None:
    packets = packets_of_film(films["h264"])
    mp4 = Mp4(packets[0], {})
    mp4.add(packets[0])
    mp4.abandon()
    assert mp4.given == 0
