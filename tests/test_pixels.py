"""Conversions against the formulas of the standards in float64, at every size, matrix and range."""

from __future__ import annotations

import ctypes
import gc
import mmap
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frameloom import pixels
from frameloom.model.frame import Array, ColorMatrix, Frame, PictureFormat, PixelFormat

MAX_ERROR_LEVELS = 2.0
YUV_PIXELS = (PixelFormat.YUV420P, PixelFormat.NV12)
COLOURS = [(matrix, full_range) for matrix in ColorMatrix for full_range in (False, True)]
SIZES = [(64, 48), (66, 50), (65, 49), (1, 1), (2, 1), (1, 2), (3, 5), (33, 7), (130, 259)]


# The reference, written from the standards and not from the code under test.


def reference_bgr(y: Array, cb: Array, cr: Array, matrix: ColorMatrix, full_range: bool) -> np.ndarray:
    """B'G'R' in 0..255 as float64, from codes of equal shape.

    Rec. ITU-R BT.601-7 (2.5.1 to 2.5.3), BT.709-6 (items 3.2 to 3.5) and BT.2020-2 (table 4, non-constant
    luminance) define E'Y = Kr E'R + Kg E'G + Kb E'B and E'CB = (E'B - E'Y) / (2 (1 - Kb)), likewise CR, and in 8
    bits Y' = 219 E'Y + 16 and C' = 224 E'C + 128. Full range (Rec. ITU-T T.871, "JFIF") is Y' = 255 E'Y and
    C' = 255 E'C + 128.
    """
    kr, kb = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}[matrix]
    luma_steps, chroma_steps, black = (255.0, 255.0, 0.0) if full_range else (219.0, 224.0, 16.0)
    ey = (y.astype(np.float64) - black) / luma_steps
    ecb, ecr = ((c.astype(np.float64) - 128.0) / chroma_steps for c in (cb, cr))
    blue = ey + ecb * 2 * (1 - kb)
    red = ey + ecr * 2 * (1 - kr)
    green = (ey - kr * red - kb * blue) / (1 - kr - kb)
    return np.clip(np.stack([blue, green, red], axis=-1), 0.0, 1.0) * 255.0


def codes_of(bgr: np.ndarray, matrix: ColorMatrix, full_range: bool) -> list[Array]:
    """The three codes of B'G'R' in 0..255: the definitions of `reference_bgr` the other way round."""
    kr, kb = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}[matrix]
    blue, green, red = np.moveaxis(np.asarray(bgr, np.float64) / 255.0, -1, 0)
    ey = kr * red + (1 - kr - kb) * green + kb * blue
    ecb, ecr = (blue - ey) / (2 * (1 - kb)), (red - ey) / (2 * (1 - kr))
    luma_steps, chroma_steps, black = (255.0, 255.0, 0.0) if full_range else (219.0, 224.0, 16.0)
    codes = (ey * luma_steps + black, ecb * chroma_steps + 128.0, ecr * chroma_steps + 128.0)
    return [np.clip(np.rint(code), 0, 255).astype(np.uint8) for code in codes]


def over_blocks(chroma: Array, width: int, height: int) -> Array:
    """Each chroma sample stands for two by two pixels, cut at an odd edge."""
    return chroma.repeat(2, axis=0).repeat(2, axis=1)[:height, :width]


def yuv_frame(
    y: Array,
    cb: Array,
    cr: Array,
    pixel: PixelFormat,
    matrix: ColorMatrix,
    full_range: bool,
    data: Array | None = None,
) -> Frame:
    """A read-only frame with the planes laid into one buffer, as in a slot."""
    picture = PictureFormat(pixel, y.shape[1], y.shape[0], matrix, full_range)
    data = np.full(picture.nbytes, 77, np.uint8) if data is None else data[: picture.nbytes]
    planes = [plane.of(data) for plane in picture.planes]
    parts = (y, cb, cr) if pixel is PixelFormat.YUV420P else (y, np.stack([cb, cr], axis=-1))
    for plane, part in zip(planes, parts, strict=True):
        plane[...] = part
    data.flags.writeable = False
    return Frame(data, picture, stream="test")


def random_planes(width: int, height: int, full_range: bool, seed: int = 1) -> tuple[Array, Array, Array]:
    """Codes of random colours that exist, chroma of its own for each block of two by two."""
    rng = np.random.default_rng(seed)
    half = ((height + 1) // 2, (width + 1) // 2)
    colours = rng.uniform(0, 255, (*half, 3))
    y, cb, cr = codes_of(colours, ColorMatrix.BT601, full_range)
    noise = rng.integers(-9, 10, (height, width))
    low, high = (0, 255) if full_range else (16, 235)
    return np.clip(over_blocks(y, width, height) + noise, low, high).astype(np.uint8), cb, cr


def error_of(got: Array, want: np.ndarray) -> float:
    return float(np.abs(got.astype(np.float64) - want).max())


# Colours


@pytest.mark.parametrize(("matrix", "full_range"), COLOURS)
@pytest.mark.parametrize("pixel", YUV_PIXELS)
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_colours_are_those_of_the_standard(width, height, pixel, matrix, full_range):
    y, cb, cr = random_planes(width, height, full_range)
    frame = yuv_frame(y, cb, cr, pixel, matrix, full_range)
    want = reference_bgr(
        y, over_blocks(cb, width, height), over_blocks(cr, width, height), matrix, full_range
    )
    for got in (frame.bgr, frame.rgb[..., ::-1]):
        assert (got.shape, got.dtype) == ((height, width, 3), np.uint8)
        assert error_of(got, want) <= MAX_ERROR_LEVELS


@pytest.mark.parametrize(("matrix", "full_range"), [c for c in COLOURS if c != (ColorMatrix.BT601, False)])
def test_codes_that_no_colour_has_are_clipped_and_never_wrap_around(matrix, full_range):
    """Sharpened edges and noise leave the legal range; BT.601 limited takes OpenCV's own way, tested below."""
    rng = np.random.default_rng(5)
    y, cb, cr = (rng.integers(0, 256, shape, np.uint8) for shape in ((90, 120), (45, 60), (45, 60)))
    frame = yuv_frame(y, cb, cr, PixelFormat.YUV420P, matrix, full_range)
    want = reference_bgr(y, over_blocks(cb, 120, 90), over_blocks(cr, 120, 90), matrix, full_range)
    assert error_of(frame.bgr, want) <= MAX_ERROR_LEVELS


def test_bt601_luma_below_black_is_black_of_that_chroma():
    """OpenCV clips luma at 16 before the matrix: a difference of at most what the illegal luma itself is off."""
    rng = np.random.default_rng(6)
    y, cb, cr = (rng.integers(0, 256, shape, np.uint8) for shape in ((90, 120), (45, 60), (45, 60)))
    frame = yuv_frame(y, cb, cr, PixelFormat.YUV420P, ColorMatrix.BT601, False)
    want = reference_bgr(
        np.maximum(y, 16), over_blocks(cb, 120, 90), over_blocks(cr, 120, 90), ColorMatrix.BT601, False
    )
    assert error_of(frame.bgr, want) <= MAX_ERROR_LEVELS


@pytest.mark.parametrize(("matrix", "full_range"), COLOURS)
def test_pure_colours_survive_a_round_trip(matrix, full_range):
    for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (128, 128, 128)):
        flat = np.broadcast_to(np.array(colour, np.uint8), (16, 32, 3))
        y, cb, cr = codes_of(flat, matrix, full_range)
        frame = yuv_frame(y, cb[::2, ::2], cr[::2, ::2], PixelFormat.YUV420P, matrix, full_range)
        assert error_of(frame.bgr, flat) <= MAX_ERROR_LEVELS, colour
        assert error_of(frame.resized(7, 5), flat[:5, :7]) <= MAX_ERROR_LEVELS, colour


@given(
    st.integers(1, 70),
    st.integers(1, 300),
    st.sampled_from(YUV_PIXELS),
    st.sampled_from(COLOURS),
    st.integers(0, 99),
)
def test_colours_at_any_size(width, height, pixel, colour, seed):
    matrix, full_range = colour
    y, cb, cr = random_planes(width, height, full_range, seed)
    frame = yuv_frame(y, cb, cr, pixel, matrix, full_range)
    want = reference_bgr(
        y, over_blocks(cb, width, height), over_blocks(cr, width, height), matrix, full_range
    )
    assert error_of(frame.bgr, want) <= MAX_ERROR_LEVELS


def packed_frame(array: Array, pixel: PixelFormat) -> Frame:
    data = array.reshape(-1).copy()
    data.flags.writeable = False
    full_range = pixel is not PixelFormat.GRAY
    return Frame(data, PictureFormat(pixel, array.shape[1], array.shape[0], full_range=full_range))


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_bgr_and_rgb_streams_only_change_the_order(width, height):
    array = np.random.default_rng(2).integers(0, 256, (height, width, 3), np.uint8)
    stored_bgr, stored_rgb = (packed_frame(array, pixel) for pixel in (PixelFormat.BGR, PixelFormat.RGB))
    for same, swapped in ((stored_bgr.bgr, stored_bgr.rgb), (stored_rgb.rgb, stored_rgb.bgr)):
        np.testing.assert_array_equal(same, array)
        np.testing.assert_array_equal(swapped, array[..., ::-1])


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_gray_of_colours_is_full_range_bt601_luma(width, height):
    array = np.random.default_rng(3).integers(0, 256, (height, width, 3), np.uint8)
    luma = array.astype(np.float64) @ [0.114, 0.587, 0.299]
    assert error_of(packed_frame(array, PixelFormat.BGR).gray, luma) <= 1
    assert error_of(packed_frame(array[..., ::-1], PixelFormat.RGB).gray, luma) <= 1


def test_gray_of_yuv_is_the_stored_luma_itself():
    y, cb, cr = random_planes(40, 30, False)
    frame = yuv_frame(y, cb, cr, PixelFormat.NV12, ColorMatrix.BT709, False)
    assert np.shares_memory(frame.gray, frame.data)
    assert np.shares_memory(frame.resized(40, 30, "gray"), frame.data)
    np.testing.assert_array_equal(frame.gray, y)


@pytest.mark.parametrize("full_range", [False, True])
def test_colours_of_a_gray_stream_are_full_range(full_range):
    ramp = np.arange(256, dtype=np.uint8).reshape(8, 32)
    frame = Frame(ramp.reshape(-1), PictureFormat(PixelFormat.GRAY, 32, 8, full_range=full_range))
    want = ramp.astype(np.float64) if full_range else np.clip((ramp - 16.0) * 255 / 219, 0, 255)
    assert error_of(frame.bgr, np.stack([want] * 3, axis=-1)) <= 1
    assert error_of(frame.rgb, np.stack([want] * 3, axis=-1)) <= 1
    np.testing.assert_array_equal(frame.gray, ramp)


# Sizes


def reference_areas(plane: Array, width: int, height: int) -> np.ndarray:
    """Mean over the area that each new pixel covers, in float64: the integral of the picture, sampled."""

    def along(values: np.ndarray, count: int) -> np.ndarray:
        integral = np.concatenate([[np.zeros(values.shape[1])], np.cumsum(values, axis=0)])
        edges = np.arange(count + 1) * len(values) / count
        whole = np.minimum(edges.astype(int), len(values) - 1)
        at = integral[whole] + (edges - whole)[:, None] * values[whole]
        return np.diff(at, axis=0) * count / len(values)

    return along(along(plane.astype(np.float64), height).T, width).T


@pytest.mark.parametrize(
    ("width", "height"), [(320, 180), (640, 360), (100, 75), (333, 111), (639, 359), (3, 2), (1, 1)]
)
def test_a_smaller_picture_is_the_mean_of_areas(width, height):
    luma = np.random.default_rng(4).integers(0, 256, (360, 640), np.uint8)
    frame = packed_frame(luma, PixelFormat.GRAY)
    got = frame.resized(width, height, "gray")
    assert got.shape == (height, width)
    assert error_of(got, reference_areas(luma, width, height)) <= MAX_ERROR_LEVELS


@pytest.mark.parametrize(("width", "height"), [(641, 363), (960, 540), (1280, 720)])
def test_a_larger_picture_is_interpolated_linearly(width, height):
    luma = np.random.default_rng(4).integers(0, 256, (360, 640), np.uint8)
    got = packed_frame(luma, PixelFormat.GRAY).resized(width, height, "gray")
    want = cv2.resize(luma.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    assert error_of(got, want) <= MAX_ERROR_LEVELS


@pytest.mark.parametrize(("width", "height"), [(960, 120), (213, 540)])
def test_one_side_may_grow_while_the_other_shrinks(width, height):
    luma = np.random.default_rng(4).integers(0, 256, (360, 640), np.uint8)
    got = packed_frame(luma, PixelFormat.GRAY).resized(width, height, "gray")
    shrunk = reference_areas(luma, min(width, 640), min(height, 360)).astype(np.float32)
    want = cv2.resize(shrunk, (width, height), interpolation=cv2.INTER_LINEAR)
    assert error_of(got, want) <= MAX_ERROR_LEVELS


@pytest.mark.parametrize(("matrix", "full_range"), COLOURS)
@pytest.mark.parametrize("pixel", YUV_PIXELS)
@pytest.mark.parametrize(("width", "height"), [(48, 36), (100, 60), (31, 17), (16, 12), (200, 170)])
def test_resized_colours_are_those_of_the_standard(width, height, pixel, matrix, full_range):
    """Large patches of one colour each: what lies in their middle has that very colour at any size."""
    rng = np.random.default_rng(7)
    colours = rng.uniform(0, 255, (3, 4, 3))
    y, cb, cr = codes_of(colours, matrix, full_range)
    big = [plane.repeat(n, axis=0).repeat(n, axis=1) for plane, n in ((y, 40), (cb, 20), (cr, 20))]
    frame = yuv_frame(big[0], big[1], big[2], pixel, matrix, full_range)
    rows = ((np.arange(3) + 0.5) * height / 3).astype(int)
    columns = ((np.arange(4) + 0.5) * width / 4).astype(int)
    want = reference_bgr(y, cb, cr, matrix, full_range)
    assert error_of(frame.resized(width, height)[np.ix_(rows, columns)], want) <= MAX_ERROR_LEVELS
    assert (
        error_of(frame.resized(width, height, "rgb24")[np.ix_(rows, columns)][..., ::-1], want)
        <= MAX_ERROR_LEVELS
    )


@pytest.mark.parametrize("pixel", [PixelFormat.BGR, PixelFormat.RGB])
@pytest.mark.parametrize(("width", "height"), [(48, 36), (160, 20), (640, 480)])
def test_bgr_and_rgb_streams_are_resized_channel_by_channel(pixel, width, height):
    array = np.random.default_rng(8).integers(0, 256, (120, 160, 3), np.uint8)
    frame = packed_frame(array, pixel)
    shrinks = width <= 160 and height <= 120
    want = np.stack(
        [
            reference_areas(channel, width, height)
            if shrinks
            else cv2.resize(channel.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
            for channel in np.moveaxis(array, -1, 0)
        ],
        axis=-1,
    )
    stored, other = ("bgr24", "rgb24") if pixel is PixelFormat.BGR else ("rgb24", "bgr24")
    assert error_of(frame.resized(width, height, stored), want) <= MAX_ERROR_LEVELS
    assert error_of(frame.resized(width, height, other), want[..., ::-1]) <= MAX_ERROR_LEVELS


@given(st.integers(1, 200), st.integers(1, 60), st.integers(1, 200), st.integers(1, 60), st.integers(0, 255))
def test_a_picture_of_one_level_keeps_it_at_any_size(from_width, from_height, width, height, level):
    frame = packed_frame(np.full((from_height, from_width), level, np.uint8), PixelFormat.GRAY)
    got = frame.resized(width, height, "gray")
    assert got.shape == (height, width)
    assert error_of(got, np.full((height, width), float(level))) <= 1


def test_a_thousandfold_shrink_is_still_a_mean():
    luma = np.random.default_rng(9).integers(0, 256, (2048, 1100), np.uint8)
    got = packed_frame(luma, PixelFormat.GRAY).resized(2, 2, "gray")
    assert error_of(got, reference_areas(luma, 2, 2)) <= MAX_ERROR_LEVELS


# Memory


def a_frame(
    seed: int = 1, width: int = 66, height: int = 50, matrix: ColorMatrix = ColorMatrix.BT709
) -> Frame:
    y, cb, cr = random_planes(width, height, False, seed)
    return yuv_frame(y, cb, cr, PixelFormat.YUV420P, matrix, False)


WAYS = {
    "bgr": lambda frame: frame.bgr,
    "rgb": lambda frame: frame.rgb,
    "resized": lambda frame: frame.resized(40, 30),
    "gray": lambda frame: frame.resized(40, 30, "gray"),
    "odd": lambda frame: frame.resized(41, 31, "gray"),
}


@pytest.mark.parametrize("matrix", [ColorMatrix.BT601, ColorMatrix.BT709])
@pytest.mark.parametrize("way", WAYS)
def test_an_array_that_is_kept_never_changes(way, matrix):
    frames = [a_frame(seed, matrix=matrix) for seed in range(40)]
    kept = [WAYS[way](frame) for frame in frames]
    copies = [array.copy() for array in kept]
    for frame in frames:
        WAYS[way](frame)
    for array, copy in zip(kept, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize(
    "keep",
    [
        lambda array: array[10:20, ::2],
        lambda array: array.reshape(-1)[5:].reshape(-1),
        memoryview,
        lambda array: memoryview(array).cast("B")[100:],
        lambda array: array.T,
        lambda array: np.frombuffer(array, np.uint8),
    ],
    ids=["slice", "flat", "memoryview", "cast", "transposed", "frombuffer"],
)
def test_a_view_of_an_array_keeps_it_too(keep):
    kept = keep(a_frame(1).bgr)
    copy = np.array(kept)
    for seed in range(2, 40):
        _ = a_frame(seed).bgr
    np.testing.assert_array_equal(np.asarray(kept), copy)


def address_of(array: Array) -> int:
    return int(array.__array_interface__["data"][0])


@pytest.mark.parametrize("way", WAYS)
def test_memory_nobody_refers_to_is_used_again(way):
    frame = a_frame()
    addresses = {address_of(WAYS[way](frame)) for _ in range(20)}
    assert len(addresses) <= 2


@pytest.mark.parametrize("size", [(40, 30), (41, 31), (70, 90)])
@pytest.mark.parametrize("pixel", pixels.OUTPUTS)
def test_rows_lie_next_to_each_other(size, pixel):
    assert a_frame().resized(*size, pixel).flags.c_contiguous


def test_what_a_caller_does_to_its_array_stays_with_the_caller():
    frame = a_frame()
    expected = frame.bgr.copy()
    array = frame.bgr
    array[...] = 0
    array.flags.writeable = False
    del array
    again = frame.bgr
    assert again.flags.writeable
    np.testing.assert_array_equal(again, expected)


def test_arrays_of_two_threads_never_share_memory():
    frame, arrays, together = a_frame(), [], threading.Barrier(4)

    def convert() -> None:
        together.wait()
        arrays.append([frame.bgr for _ in range(5)])

    threads = [threading.Thread(target=convert) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    addresses = [address_of(array) for of_one in arrays for array in of_one]
    assert len(set(addresses)) == 20


def test_threads_that_convert_at_the_same_time_get_right_pictures():
    frames = [a_frame(seed, width=320, height=240) for seed in range(4)]
    wants = [(frame.bgr.copy(), frame.resized(100, 75).copy()) for frame in frames]
    wrong: list[int] = []

    def convert(index: int) -> None:
        for _ in range(30):
            got = frames[index].bgr, frames[index].resized(100, 75)
            if not all(np.array_equal(a, b) for a, b in zip(got, wants[index], strict=True)):
                wrong.append(index)

    threads = [threading.Thread(target=convert, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("way", [*WAYS, "jpeg"])
def test_a_conversion_keeps_no_hold_on_the_frame(way):
    """A held frame is a held slot of the publisher's memory."""
    data = np.zeros(PictureFormat(PixelFormat.YUV420P, 64, 48).nbytes, np.uint8)
    frame = Frame(data, PictureFormat(PixelFormat.YUV420P, 64, 48, ColorMatrix.BT709))
    gone = weakref.ref(data)
    result = pixels.to_jpeg(frame) if way == "jpeg" else WAYS[way](frame)
    del frame, data
    gc.collect()
    assert gone() is None
    assert result.size > 0


@pytest.fixture
def end_of_mapping() -> Iterator[Array]:
    """64 KiB of memory behind which every access is a segmentation fault."""
    size = 16 * mmap.PAGESIZE
    mapping = mmap.mmap(-1, size + mmap.PAGESIZE)
    memory = np.frombuffer(mapping, np.uint8)
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    behind = ctypes.c_void_p(address_of(memory) + size)
    assert protect(behind, mmap.PAGESIZE, mmap.PROT_NONE if hasattr(mmap, "PROT_NONE") else 0) == 0
    yield memory[:size]
    assert protect(behind, mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_WRITE) == 0


@pytest.mark.parametrize("pixel", list(PixelFormat))
def test_nothing_behind_the_last_plane_is_read(pixel, end_of_mapping):
    """A slot may end where the mapping ends: one byte more and the process is dead."""
    for width, height in [(w, h) for w in (*range(1, 42), 63, 64, 65) for h in (1, 2, 5, 9)]:
        picture = PictureFormat(pixel, width, height, ColorMatrix.BT709)
        frame = Frame(end_of_mapping[end_of_mapping.size - picture.nbytes :], picture)
        shapes = [
            frame.resized(w, h).shape for w, h in ((width // 2 + 1, 3), (2 * width, 2 * height), (7, 5))
        ]
        assert [*shapes, frame.bgr.shape][2:] == [(5, 7, 3), (height, width, 3)]


# JPEG


def decoded(jpeg: Array) -> Array:
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return np.asarray(picture, np.uint8)


@pytest.mark.parametrize(("matrix", "full_range"), COLOURS)
def test_a_jpeg_has_the_right_colours(matrix, full_range):
    colours = np.array(
        [[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[0, 0, 0], [255, 255, 255], [90, 150, 200]]]
    )
    y, cb, cr = codes_of(colours, matrix, full_range)
    big = [plane.repeat(n, axis=0).repeat(n, axis=1) for plane, n in ((y, 32), (cb, 16), (cr, 16))]
    frame = yuv_frame(big[0], big[1], big[2], PixelFormat.YUV420P, matrix, full_range)
    picture = decoded(pixels.to_jpeg(frame, quality=95))
    assert picture.shape == (64, 96, 3)
    assert error_of(picture[16::32, 16::32], reference_bgr(y, cb, cr, matrix, full_range)) <= 4


@pytest.mark.parametrize("pixel", [PixelFormat.BGR, PixelFormat.RGB, PixelFormat.GRAY])
def test_every_kind_of_stream_becomes_a_jpeg(pixel):
    array = np.full((48, 64) if pixel is PixelFormat.GRAY else (48, 64, 3), 60, np.uint8)
    picture = decoded(pixels.to_jpeg(packed_frame(array, pixel), quality=90))
    want = (60 - 16) * 255 / 219 if pixel is PixelFormat.GRAY else 60
    assert error_of(picture, np.full((48, 64, 3), float(want))) <= 2


def test_a_jpeg_is_bytes_and_changes_with_quality():
    frame = a_frame(width=160, height=120)
    fine, coarse = pixels.to_jpeg(frame, 95), pixels.to_jpeg(frame, 20)
    assert bytes(fine[:3]) == b"\xff\xd8\xff"
    assert bytes(memoryview(fine)[-2:]) == b"\xff\xd9"
    assert len(coarse) < len(fine)


@pytest.mark.parametrize(
    ("max_width", "size"), [(None, (640, 360)), (640, (640, 360)), (320, (320, 180)), (321, (321, 181))]
)
def test_a_jpeg_is_made_no_wider_than_told(max_width, size):
    frame = a_frame(width=640, height=360)
    picture = decoded(pixels.to_jpeg(frame, 80, max_width))
    assert (picture.shape[1], picture.shape[0]) == size


def test_a_jpeg_of_a_very_flat_picture_keeps_a_row():
    frame = packed_frame(np.zeros((1, 500), np.uint8), PixelFormat.GRAY)
    assert decoded(pixels.to_jpeg(frame, 80, 100)).shape == (1, 100, 3)


# Refusals and imports


@pytest.mark.parametrize("quality", [0, 101, -1])
def test_a_jpeg_quality_outside_of_the_range_is_refused(quality):
    with pytest.raises(ValueError, match=rf"JPEG quality: read {quality}, allowed: 1 to 100"):
        pixels.to_jpeg(a_frame(), quality)


@pytest.mark.parametrize("max_width", [0, -5])
def test_a_width_that_is_none_is_refused(max_width):
    with pytest.raises(ValueError, match=rf"max_width: read {max_width}, allowed: 1 to 16384 pixels"):
        pixels.to_jpeg(a_frame(), 80, max_width)


def test_an_unknown_pixel_format_is_refused():
    with pytest.raises(ValueError, match=r"pixel: read 'yuv444p', allowed: bgr24, rgb24, gray"):
        a_frame().resized(10, 10, "yuv444p")


@pytest.mark.parametrize(("width", "height"), [(-1, 10), (10, 16385)])
def test_an_impossible_size_is_refused(width, height):
    with pytest.raises(ValueError, match=rf"size: read {width}x{height}, allowed: 1 to 16384 each"):
        a_frame().resized(width, height)


IMPORTS = """
import sys
import numpy as np
from frameloom import pixels
from frameloom.model.frame import Frame, PictureFormat, PixelFormat
def loaded():
    return [name for name in ("av", "cv2") if name in sys.modules]
picture = PictureFormat(PixelFormat.YUV420P, 64, 48)
frame = Frame(np.zeros(picture.nbytes, np.uint8), picture)
seen = [loaded()]
frame.gray
seen.append(loaded())
frame.bgr
seen.append(loaded())
frame.resized(32, 24)
seen.append(loaded())
print(seen)
"""


def test_codecs_are_loaded_only_by_the_conversion_that_needs_them():
    done = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[[], [], ['cv2'], ['av', 'cv2']]"
