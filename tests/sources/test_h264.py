"""Picture numbers in H.264, against streams that real encoders made."""

from __future__ import annotations

from pathlib import Path

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frameloom.sources.h264 import PictureNumbers, parse_sps
from tests.sources.films import FRAMES, Films


def units(path: Path) -> tuple[bytes, list[bytes]]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return stream.codec_context.extradata or b"", [
            bytes(packet) for packet in container.demux(stream) if packet.size
        ]


def gaps(extradata: bytes, some: list[bytes]) -> list[int]:
    numbers = PictureNumbers(extradata)
    return [n for n, unit in enumerate(some) if numbers.gap_before(memoryview(unit))]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("h264.mp4", {}),
        ("b.mp4", {"bframes": 2}),
        ("b.ts", {"bframes": 2}),
        ("slices.mp4", {"slices": 4}),
        ("high444.mp4", {"pix_fmt": "yuv444p"}),
        ("ten.mp4", {"pix_fmt": "yuv422p10le"}),
        ("medium.mp4", {"preset": "medium", "bframes": 3}),
        ("long.mp4", {"gop": 40}),
    ],
)
class TestEncodedStreams:
    def test_a_whole_stream_has_no_gap(self, films: Films, name: str, options: dict[str, object]) -> None:
        extradata, all_units = units(films(name, **options))
        assert len(all_units) == FRAMES
        assert gaps(extradata, all_units * 2) == []

    def test_a_missing_reference_picture_is_a_gap(
        self, films: Films, name: str, options: dict[str, object]
    ) -> None:
        extradata, all_units = units(films(name, **options))
        found = 0
        for n in range(1, FRAMES - 1):
            rest = all_units[:n] + all_units[n + 1 :]
            is_reference = _is_reference(all_units[n], extradata)
            next_is_key = _is_key(all_units[n + 1], extradata)
            assert gaps(extradata, rest) == ([n] if is_reference and not next_is_key else [])
            found += is_reference
        assert found >= 10

    def test_joining_in_the_middle_is_no_gap(
        self, films: Films, name: str, options: dict[str, object]
    ) -> None:
        extradata, all_units = units(films(name, **options))
        assert gaps(extradata, all_units[7:]) == []


def _first_slice(unit: bytes, extradata: bytes) -> int:
    """The header byte of the first slice, found by brute force."""
    prefixed = extradata[:1] == b"\1"
    at = 0
    while True:
        if prefixed:
            at, size = at + 4, int.from_bytes(unit[at : at + 4], "big")
        else:
            at, size = unit.index(b"\0\0\1", at) + 3, 0
        if unit[at] & 31 in (1, 5):
            return unit[at]
        at += size


def _is_reference(unit: bytes, extradata: bytes) -> bool:
    return bool(_first_slice(unit, extradata) & 0x60)


def _is_key(unit: bytes, extradata: bytes) -> bool:
    return _first_slice(unit, extradata) & 31 == 5


def test_the_parameter_set_may_come_in_the_stream_only(films: Films) -> None:
    _, all_units = units(films("b.ts", bframes=2))
    first_gap = next(n for n in range(12, 18) if _is_reference(all_units[n], b""))
    assert gaps(b"", all_units[:first_gap] + all_units[first_gap + 1 :]) == [first_gap]


def test_without_a_parameter_set_nothing_is_claimed(films: Films) -> None:
    extradata, all_units = units(films("h264.mp4"))
    assert gaps(extradata[:5], all_units[::3]) == []


def test_a_cut_off_parameter_set_is_an_error() -> None:
    with pytest.raises(IndexError):
        parse_sps(b"\x67\x64\x00")


@given(st.binary(max_size=60), st.lists(st.binary(max_size=80), max_size=8))
def test_garbage_does_not_raise(extradata: bytes, some: list[bytes]) -> None:
    gaps(extradata, some)
    gaps(extradata, [b"\0\0\1" + unit for unit in some])
    gaps(b"\1\x64\0\x1f\xff\xe1" + extradata, some)
