"""Parameters that change within a stream, as encoders and cameras write them."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import pytest

from frameloom.model.clock import SystemClock
from frameloom.model.packet import Packet, PacketFormat
from frameloom.sources import SourceSettings, open_source
from frameloom.sources.decode import Decoder
from frameloom.sources.in_band import InBand, jpeg_size
from tests.sources.films import Films, film


def packets_of(path: Path) -> tuple[PacketFormat, list[Packet]]:
    source = open_source("yard", SourceSettings(url=str(path), pace="unpaced"), SystemClock())
    format = source.open()
    packets = list(source.packets())
    source.close()
    return format, packets


def stream(
    films: Films, codec: Any, suffix: str, width: int, height: int
) -> tuple[PacketFormat, list[Packet]]:
    path = films(f"in-band-{codec}-{width}{suffix}", film(width, height, frames=20), codec=codec)
    return packets_of(path)


@pytest.mark.parametrize(("codec", "suffix"), [("h264", ".ts"), ("hevc", ".ts"), ("mjpeg", ".mjpeg")])
def test_a_change_of_size_is_seen_at_its_first_packet(films: Films, codec: str, suffix: str) -> None:
    format, small = stream(films, codec, suffix, 320, 240)
    _, large = stream(films, codec, suffix, 480, 272)
    watch = InBand(format)
    told = [watch.follow(packet) for packet in [*small, *large, *small]]
    assert [(f.width, f.height) for f in told] == [(320, 240)] * 20 + [(480, 272)] * 20 + [(320, 240)] * 20
    assert told[19] is format  # as long as nothing changes, nothing is told
    assert len({id(f) for f in told[20:40]}) == 1
    assert (told[20].codec, told[20].rotation_deg) == (codec, 0)


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_what_is_told_is_enough_for_a_decoder(films: Films, codec: str) -> None:
    """Also where the container's word was about other pictures."""
    format, _ = stream(films, codec, ".ts", 320, 240)
    _, large = stream(films, codec, ".ts", 480, 272)
    told = InBand(format).follow(large[0])
    decoder = Decoder(told)
    shown = [picture for packet in large for picture in decoder.decode(packet)] + list(decoder.flush())
    assert {(picture.format.width, picture.format.height) for picture in shown} == {(480, 272)}
    assert len(shown) == 20
    assert decoder.errors == 0
    context: Any = av.CodecContext.create(codec, "r")
    context.extradata = told.extradata
    context.open()  # the sets alone are sound


def test_a_container_that_keeps_the_sets_to_itself_is_believed(films: Films) -> None:
    format, packets = packets_of(films("in-band.mp4", film(frames=20)))
    assert format.extradata[:1] == b"\1"
    assert {id(InBand(format).follow(packet)) for packet in packets} == {id(format)}


def test_without_a_word_from_the_container_the_stream_is_asked(films: Films) -> None:
    format, packets = stream(films, "h264", ".ts", 320, 240)
    told = InBand(replace(format, extradata=b"", width=0, height=0)).follow(packets[0])
    assert (told.width, told.height) == (320, 240)
    assert told.extradata


def test_damaged_packets_do_no_harm(films: Films) -> None:
    for codec, suffix in (("h264", ".ts"), ("hevc", ".ts"), ("mjpeg", ".mjpeg")):
        format, _ = stream(films, codec, suffix, 320, 240)
        _, large = stream(films, codec, suffix, 480, 272)
        watch = InBand(format)
        whole = bytes(large[0].data)
        for cut in itertools.chain(range(0, min(200, len(whole)), 3), [len(whole) // 2]):
            watch.follow(replace(large[0], data=whole[:cut]))
            watch.follow(replace(large[0], data=b"\0\0\1" * 20 + whole[:cut][::-1]))
        assert watch.follow(large[0]).width == 480


def test_the_size_of_a_jpeg() -> None:
    head = bytes.fromhex("ffd8 ffe00004 0000 ffdb0003 00 ffc20011 08 0110 01e0 03".replace(" ", ""))
    assert jpeg_size(memoryview(head)) == (480, 272)
    for cut in range(len(head) - 4):
        assert jpeg_size(memoryview(head[:cut])) is None
    assert jpeg_size(memoryview(b"\xff\xd8\xff\xda" + bytes(20))) is None
    assert jpeg_size(memoryview(b"\xff\xd8" + b"\xff\xe0\0\2" * 100 + head[2:])) is None
