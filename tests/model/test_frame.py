"""Pictures and their planes, frames from arrays, and what a frame lets one do with it."""

from __future__ import annotations

import json
import pickle
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frameloom.model.frame import ColorMatrix, Frame, PictureFormat, PixelFormat, Plane

PICTURES = st.builds(
    PictureFormat,
    st.sampled_from(PixelFormat),
    st.integers(1, 16384),
    st.integers(1, 16384),
    st.sampled_from(ColorMatrix),
    st.booleans(),
)


# Pictures


@given(PICTURES)
def test_planes_are_aligned_in_order_and_do_not_overlap(picture):
    end = 0
    for plane in picture.planes:
        assert plane.offset % 64 == 0
        assert 0 <= plane.offset - end < 64
        end = plane.offset + plane.nbytes
    assert picture.nbytes == end


@given(PICTURES)
def test_planes_hold_every_sample(picture):
    luma, *chroma = picture.planes
    assert (luma.width, luma.height) == (picture.width, picture.height)
    samples = sum(plane.nbytes for plane in chroma)
    half = -(-picture.width // 2) * -(-picture.height // 2)
    match picture.pixel:
        case PixelFormat.YUV420P:
            assert [plane.channels for plane in picture.planes] == [1, 1, 1]
            assert samples == 2 * half
        case PixelFormat.NV12:
            assert [plane.channels for plane in picture.planes] == [1, 2]
            assert samples == 2 * half
        case PixelFormat.GRAY:
            assert (luma.channels, chroma) == (1, [])
        case _:
            assert (luma.channels, chroma) == (3, [])


@given(PICTURES)
def test_a_picture_comes_back_through_json(picture):
    back = PictureFormat.from_json(json.loads(json.dumps(picture.to_json())))
    assert back == picture
    assert hash(back) == hash(picture)
    assert back.planes == picture.planes


@pytest.mark.parametrize(("width", "height"), [(0, 5), (5, 0), (-1, 5), (16385, 5), (5, 16385)])
def test_an_impossible_size_is_refused(width, height):
    with pytest.raises(ValueError, match=rf"picture size: read {width}x{height}, allowed: 1 to 16384 each"):
        PictureFormat(PixelFormat.GRAY, width, height)


def test_a_plane_is_a_view_of_its_part():
    data = np.arange(100, dtype=np.uint8)
    assert Plane(10, 3, 2, 1).of(data).tolist() == [[10, 11, 12], [13, 14, 15]]
    assert Plane(10, 2, 2, 2).of(data).tolist() == [[[10, 11], [12, 13]], [[14, 15], [16, 17]]]
    assert np.shares_memory(Plane(10, 3, 2, 1).of(data), data)


@given(st.sampled_from(PixelFormat), st.integers(1, 40), st.integers(1, 40))
def test_writing_every_plane_leaves_only_padding(pixel, width, height):
    picture = PictureFormat(pixel, width, height)
    data = np.zeros(picture.nbytes, np.uint8)
    for plane in picture.planes:
        plane.of(data)[...] += 1
    assert data.max() == 1
    assert data.sum() == sum(plane.nbytes for plane in picture.planes)


# Frames from arrays


SHAPES = st.tuples(st.integers(1, 30), st.integers(1, 30)) | st.tuples(
    st.integers(1, 30), st.integers(1, 30), st.just(3)
)


@given(SHAPES, st.sampled_from(["plain", "fortran", "reversed", "strided", "read-only"]))
def test_any_array_becomes_a_frame_with_memory_of_its_own(shape, layout):
    array = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    array = {
        "plain": lambda: array,
        "fortran": lambda: np.asfortranarray(array),
        "reversed": lambda: array[::-1],
        "strided": lambda: np.repeat(array, 2, axis=1)[:, ::2],
        "read-only": lambda: np.frombuffer(array.tobytes(), np.uint8).reshape(shape),
    }[layout]()
    before = array.copy()
    frame = Frame.from_array(array)
    picture = frame.gray if array.ndim == 2 else frame.bgr
    np.testing.assert_array_equal(picture, before)
    assert not np.shares_memory(frame.data, array)
    assert (frame.width, frame.height) == (shape[1], shape[0])
    assert frame.data.shape == (frame.format.nbytes,)
    assert not frame.data.flags.writeable
    if array.flags.writeable:
        array[...] = 0
        np.testing.assert_array_equal(picture, before)


def test_the_order_of_colours_can_be_told():
    array = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    frame = Frame.from_array(array, pixel=PixelFormat.RGB)
    np.testing.assert_array_equal(frame.rgb, array)
    np.testing.assert_array_equal(frame.bgr, array[..., ::-1])


@pytest.mark.parametrize(
    "array",
    [np.zeros((4, 6, 3)), np.zeros((4, 6), np.uint16), np.zeros(24, np.uint8), np.zeros((4, 6, 4), np.uint8)],
    ids=lambda array: f"{array.shape} {array.dtype}",
)
def test_other_arrays_are_refused_with_what_was_read(array):
    with pytest.raises(ValueError, match="want") as caught:
        Frame.from_array(array)
    assert str(caught.value) == (
        f"want (height, width, 3) or (height, width) uint8, got {array.shape} {array.dtype}"
    )


def test_an_empty_array_is_refused():
    with pytest.raises(ValueError, match=r"picture size: read 6x0, allowed: 1 to 16384 each"):
        Frame.from_array(np.zeros((0, 6), np.uint8))


# Frames


def a_frame() -> Frame:
    array = np.arange(24, dtype=np.uint8).reshape(4, 6)
    times = {"pts_ns": 1_500_000_000, "captured_ns": 5, "captured_at_ns": 1_767_225_600_123_456_789}
    return Frame.from_array(array, stream="hall", seq=7, **times)


def test_a_frame_cannot_be_written_to():
    frame = a_frame()
    for array in (frame.data, frame.gray, frame.planes[0]):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_gray_and_planes_are_views_and_cost_no_copy():
    frame = a_frame()
    assert np.shares_memory(frame.gray, frame.data)
    assert np.shares_memory(frame.planes[0], frame.data)


def test_a_released_frame_says_which_it_was():
    frame = a_frame()
    kept = frame.gray
    frame.release()
    for use in (lambda: frame.data, lambda: frame.gray, lambda: frame.bgr, lambda: frame.planes, frame.copy):
        with pytest.raises(ValueError, match=r"stream 'hall' frame 7: used after release\(\)"):
            use()
    assert kept[3, 5] == 23
    frame.release()


def test_a_with_block_releases():
    with a_frame() as frame:
        assert frame.gray[0, 1] == 1
    with pytest.raises(ValueError, match="used after release"):
        _ = frame.gray


def test_a_copy_has_everything_in_memory_of_its_own():
    frame = a_frame()
    copy = frame.copy()
    assert not np.shares_memory(copy.data, frame.data)
    np.testing.assert_array_equal(copy.data, frame.data)
    for name in ("stream", "seq", "pts_ns", "captured_ns", "captured_at_ns", "metadata", "format"):
        assert getattr(copy, name) == getattr(frame, name)
    frame.release()
    assert copy.gray[3, 5] == 23
    with pytest.raises(ValueError, match="read-only"):
        copy.gray[0, 0] = 1


def test_the_time_of_capture_is_an_aware_utc_time():
    assert a_frame().captured_at == datetime(2026, 1, 1, 0, 0, 0, 123456, UTC)


def test_what_a_frame_prints():
    assert repr(a_frame()) == "<Frame 'hall' #7 6x4 gray pts 1.500 s>"


def test_metadata_is_empty_and_cannot_be_written_to_unless_given():
    with pytest.raises(TypeError):
        a_frame().metadata["x"] = 1  # type: ignore[index]


def test_a_resized_frame_keeps_the_order_of_width_and_height():
    frame = a_frame()
    assert frame.resized(3, 2, "gray").shape == (2, 3)
    assert frame.resized(12, 5).shape == (5, 12, 3)


def test_black_and_white_of_an_array_stay_what_they_are():
    array = np.array([[0, 10, 245, 255]], np.uint8)
    np.testing.assert_array_equal(Frame.from_array(array).bgr[..., 0], array)


@pytest.mark.parametrize(
    ("shape", "pixel"),
    [
        ((4, 6), PixelFormat.BGR),
        ((4, 6, 3), PixelFormat.GRAY),
        ((4, 6, 3), PixelFormat.YUV420P),
        ((4, 6), PixelFormat.NV12),
    ],
)
def test_a_pixel_format_that_is_not_that_of_the_array_is_refused(shape, pixel):
    with pytest.raises(ValueError, match="pixel: read"):
        Frame.from_array(np.zeros(shape, np.uint8), pixel=pixel)


def test_a_size_of_nothing_is_refused():
    with pytest.raises(ValueError, match="size: read 0x5"):
        a_frame().resized(0, 5)


def test_a_frame_can_be_pickled():
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(a_frame())).gray, a_frame().gray)
