"""Conversions of pictures: colours, sizes, JPEG. What `Frame.bgr`, `.rgb` and `.resized` stand on.

Every path is exact to two levels of 255, for every matrix and range and at any size. Each was chosen by
measurement: ms on one core for 1920x1080 to BGR, error against the standards' formula in float64.

    cv2.cvtColorTwoPlane     0.76   error <= 0.7, but BT.601 limited range and even sizes only
    merge, cv2.transform     1.15   error <= 0.6, every matrix, range and size
    swscale                  0.62   error <= 3.0, and 1.2 too dark on average: not used for colours
    swscale, accurate        6.7    error <= 0.6, but wraps around at illegal values: not used

Sizes are changed plane by plane and before colours, so that the chroma of a smaller picture is not halved
again. swscale does it, on gray: luma of 1920x1080 to 640x360 takes 0.28 ms with an error <= 0.6, where
cv2.INTER_AREA takes 0.85; to 1280x720 it is 0.55 and 3.3.

JPEG of 1280x720 is cv2's, from BGR, in 0.3 + 1.9 ms. simplejpeg from planes would take 0.25 + 1.7 and be one
more dependency; libav takes 2 to 8 with the noise of the picture.

Everything runs on the calling thread and nothing global is set: how many threads OpenCV may use is for the
process to say (`OPENCV_FOR_THREADS_NUM`). OpenCV and libav are loaded where a conversion first needs them.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from frameloom.model.frame import Array, ColorMatrix, Frame, PictureFormat, PixelFormat

if TYPE_CHECKING:
    from av.video.reformatter import VideoReformatter

OUTPUTS = ("bgr24", "rgb24", "gray")
LONGEST_SIDE = 16384

_KR_KB = {  # ITU-R BT.601-7 2.5.1, BT.709-6 3.2, BT.2020-2 table 4 (non-constant luminance)
    ColorMatrix.BT601: (0.299, 0.114),
    ColorMatrix.BT709: (0.2126, 0.0722),
    ColorMatrix.BT2020: (0.2627, 0.0593),
}
_STRIP_ROWS = 128  # even; a strip of a 4K picture is 1.5 MB of scratch, where the whole would be 25 MB
_SLACK_BYTES = 64
_AREA_LIMIT = 32  # swscale's filters lose precision beyond


def convert(frame: Frame, pixel: str, width: int, height: int) -> Array:
    """The picture as 'bgr24' or 'rgb24' (height, width, 3), full range, or as 'gray' (height, width); uint8.

    'gray' is luma as stored (16..235 where `frame.format.full_range` is False), and full-range BT.601 luma of
    a BGR or RGB stream. A smaller picture is averaged over areas, a larger one is interpolated linearly.

    The array is the caller's to write to and to keep, except where the frame already has this very picture:
    then it is a read-only view. Raises `ValueError` for another `pixel` or a size outside of 1 to 16384.
    """
    _check(pixel, width, height)
    if pixel == "gray":
        return _gray(frame, width, height)
    return _colour(frame, pixel == "bgr24", width, height)


def to_jpeg(frame: Frame, quality: int = 80, max_width: int | None = None) -> Array:
    """The picture as a JPEG file: a 1-D uint8 array, to be used as bytes. Full range BT.601, chroma halved.

    A picture wider than `max_width` pixels is made smaller. Raises `ValueError` for a `quality` outside of
    1 to 100.
    """
    import cv2

    if not 1 <= quality <= 100:
        raise ValueError(f"JPEG quality: read {quality}, allowed: 1 to 100")
    width, height = _fit(frame.format, max_width)
    as_seen = _full_range_gray if _is_gray(frame) else _bgr
    picture = as_seen(frame, width, height)
    _, encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return _bytes(encoded)


def _bytes(encoded: Any) -> Array:
    array: Array = encoded.reshape(-1)
    return array


def _check(pixel: str, width: int, height: int) -> None:
    if pixel not in OUTPUTS:
        raise ValueError(f"pixel: read {pixel!r}, allowed: {', '.join(OUTPUTS)}")
    if not (1 <= width <= LONGEST_SIDE and 1 <= height <= LONGEST_SIDE):
        raise ValueError(f"picture size: read {width}x{height}, allowed: 1 to {LONGEST_SIDE} each")


def _fit(picture: PictureFormat, max_width: int | None) -> tuple[int, int]:
    if max_width is None or picture.width <= max_width:
        return picture.width, picture.height
    if max_width < 1:
        raise ValueError(f"max_width: read {max_width}, allowed: 1 to {LONGEST_SIDE} pixels")
    return max_width, max(1, round(picture.height * max_width / picture.width))


def _is_gray(frame: Frame) -> bool:
    return frame.format.pixel is PixelFormat.GRAY


def _is_packed(frame: Frame) -> bool:
    return frame.format.pixel in (PixelFormat.BGR, PixelFormat.RGB)


# Gray


def _gray(frame: Frame, width: int, height: int) -> Array:
    luma = _luma_of_packed(frame) if _is_packed(frame) else frame.planes[0]
    if (frame.width, frame.height) == (width, height):
        return luma
    return _kept(_scaled(luma, width, height))


def _luma_of_packed(frame: Frame) -> Array:
    import cv2

    code = cv2.COLOR_BGR2GRAY if frame.format.pixel is PixelFormat.BGR else cv2.COLOR_RGB2GRAY
    luma = _mine.take((frame.height, frame.width))
    cv2.cvtColor(frame.planes[0], code, dst=luma)
    return luma


def _full_range_gray(frame: Frame, width: int, height: int) -> Array:
    import cv2

    luma = _gray(frame, width, height)
    if frame.format.full_range:
        return luma
    stretched = _mine.take(luma.shape)
    cv2.LUT(luma, _stretch(), dst=stretched)
    return stretched


@functools.cache
def _stretch() -> Array:
    levels = np.clip((np.arange(256) - 16) * (255 / 219), 0, 255)
    table: Array = np.rint(levels).astype(np.uint8)
    return table


# Colours


def _bgr(frame: Frame, width: int, height: int) -> Array:
    return _colour(frame, True, width, height)


def _colour(frame: Frame, bgr: bool, width: int, height: int) -> Array:
    same_size = (frame.width, frame.height) == (width, height)
    if _is_gray(frame):
        return _colour_of_gray(_full_range_gray(frame, width, height))
    if _is_packed(frame):
        return _colour_of_packed(frame, bgr, same_size, width, height)
    if not same_size:
        return _colour_of_scaled(frame, bgr, width, height)
    if _opencv_knows(frame.format):
        return _colour_by_opencv(frame, bgr)
    return _colour_by_matrix(frame, bgr)


def _colour_of_gray(luma: Array) -> Array:
    import cv2

    out = _mine.take((*luma.shape, 3))
    cv2.cvtColor(luma, cv2.COLOR_GRAY2BGR, dst=out)
    return out


def _colour_of_packed(frame: Frame, bgr: bool, same_size: bool, width: int, height: int) -> Array:
    import cv2

    stored, swap = frame.planes[0], bgr is not (frame.format.pixel is PixelFormat.BGR)
    if same_size and not swap:
        return stored
    out = _mine.take((height, width, 3))
    if same_size:
        cv2.cvtColor(stored, cv2.COLOR_BGR2RGB, dst=out)
        return out
    channels = [_scaled(channel, width, height) for channel in _split(stored)]
    cv2.merge(channels[::-1] if swap else channels, dst=out)
    return out


def _opencv_knows(picture: PictureFormat) -> bool:
    is_even = picture.width % 2 == 0 and picture.height % 2 == 0
    return is_even and picture.matrix is ColorMatrix.BT601 and not picture.full_range


def _colour_by_opencv(frame: Frame, bgr: bool) -> Array:
    import cv2

    luma, *chroma = frame.planes
    pairs = chroma[0] if len(chroma) == 1 else _paired(chroma[0], chroma[1])
    out = _mine.take((frame.height, frame.width, 3))
    cv2.cvtColorTwoPlane(luma, pairs, cv2.COLOR_YUV2BGR_NV12 if bgr else cv2.COLOR_YUV2RGB_NV12, dst=out)
    return out


def _colour_of_scaled(frame: Frame, bgr: bool, width: int, height: int) -> Array:
    import cv2

    planes = [_scaled(plane, width, height) for plane in _yuv(frame)]
    merged, out = _mine.take((height, width, 3)), _mine.take((height, width, 3))
    cv2.merge(planes, dst=merged)
    cv2.transform(merged, _turn(frame.format.matrix, frame.format.full_range, bgr), dst=out)
    return out


def _colour_by_matrix(frame: Frame, bgr: bool) -> Array:
    import cv2

    luma, cb, cr = _yuv(frame)
    wide = [_paired(plane, plane).reshape(len(plane), -1)[:, : frame.width] for plane in (cb, cr)]
    turn = _turn(frame.format.matrix, frame.format.full_range, bgr)
    out = _mine.take((frame.height, frame.width, 3))
    scratch = _mine.take((min(_STRIP_ROWS, frame.height), frame.width, 3))
    for top in range(0, frame.height, _STRIP_ROWS):
        strip = luma[top : top + _STRIP_ROWS]
        _merge_420(strip, [plane[top // 2 :] for plane in wide], scratch)
        # Not in place: with the same memory for both it takes a quarter longer.
        cv2.transform(scratch[: len(strip)], turn, dst=out[top : top + len(strip)])
    return out


def _merge_420(luma: Array, wide: Sequence[Array], out: Array) -> None:
    """Every row of chroma (already of the luma's width) goes to two rows of luma: odd and even rows apart."""
    import cv2

    for parity in (0, 1):
        rows = luma[parity::2]
        if len(rows):
            cv2.merge([rows, *(plane[: len(rows)] for plane in wide)], dst=out[parity : len(luma) : 2])


def _yuv(frame: Frame) -> Sequence[Array]:
    if frame.format.pixel is PixelFormat.NV12:
        luma, pairs = frame.planes
        return (luma, *_split(pairs))
    return frame.planes


def _paired(first: Array, second: Array) -> Array:
    """(height, width, 2) of two planes; of a plane and itself, it is the plane at twice the width."""
    import cv2

    out = _mine.take((*first.shape, 2))
    cv2.merge([first, second], dst=out)
    return out


def _split(packed: Array) -> list[Array]:
    import cv2

    channels = [_mine.take(packed.shape[:2]) for _ in range(packed.shape[2])]
    cv2.split(packed, channels)
    return channels


@functools.cache
def _turn(matrix: ColorMatrix, full_range: bool, bgr: bool) -> npt.NDArray[np.float32]:
    """3x4: from Y'CbCr codes and 1 to B'G'R' codes (R'G'B' where `bgr` is False)."""
    kr, kb = _KR_KB[matrix]
    kg = 1 - kr - kb
    luma, chroma, black = (1.0, 1.0, 0.0) if full_range else (255 / 219, 255 / 224, 16.0)
    to_blue, to_red = 2 * (1 - kb) * chroma, 2 * (1 - kr) * chroma
    rows = np.array(
        [
            [luma, to_blue, 0.0],
            [luma, -to_blue * kb / kg, -to_red * kr / kg],
            [luma, 0.0, to_red],
        ]
    )
    offsets = rows @ np.array([-black, -128.0, -128.0])
    turn = np.column_stack([rows, offsets]).astype(np.float32)
    return turn if bgr else turn[::-1].copy()


# Sizes


def _scaled(plane: Array, width: int, height: int) -> Array:
    """`plane` (height, width) at another size; its rows may be apart, and it is not for keeping."""
    rows, columns = plane.shape
    if (columns, rows) == (width, height):
        return plane
    if columns > width * _AREA_LIMIT or rows > height * _AREA_LIMIT:
        return _scaled_far(plane, width, height)
    return _scaled_by_libav(plane, width, height)


def _scaled_by_libav(plane: Array, width: int, height: int) -> Array:
    import av
    from av.video.reformatter import ColorRange, Interpolation

    rows, columns = plane.shape
    picture = _mine.reformatter((columns, rows, width, height)).reformat(
        av.VideoFrame.from_numpy_buffer(_with_slack(plane), "gray"),
        width,
        height,
        src_color_range=ColorRange.JPEG,  # the same on both sides: levels stay what they are
        dst_color_range=ColorRange.JPEG,
        interpolation=Interpolation.AREA | Interpolation.ACCURATE_RND,  # linear in a direction that grows
        threads=1,
    )
    scaled = picture.planes[0]
    flat = np.frombuffer(scaled, np.uint8, height * scaled.line_size)  # type: ignore[call-overload]
    return _bytes(flat).reshape(height, scaled.line_size)[:, :width]


def _scaled_far(plane: Array, width: int, height: int) -> Array:
    import cv2

    out = _mine.take((height, width))
    cv2.resize(plane, (width, height), dst=out, interpolation=cv2.INTER_AREA)
    return out


def _with_slack(plane: Array) -> Array:
    """The plane, if need be copied to memory that goes on behind it.

    swscale reads some bytes too many where a row is no multiple of its registers. At the very end of a
    mapping that is a segmentation fault.
    """
    rows, columns = plane.shape
    if columns % 16 == 0:
        return plane
    copy = _mine.take((plane.size + _SLACK_BYTES,))[: plane.size].reshape(rows, columns)
    np.copyto(copy, plane)
    return copy


def _kept(scaled: Array) -> Array:
    """A copy that the caller may keep: dense rows, and no hold on libav's padded buffer."""
    out = _mine.take(scaled.shape)
    np.copyto(out, scaled)
    return out


# Memory


def _holders(buffers: list[Array], index: int) -> int:
    return sys.getrefcount(buffers[index])


# Measured, because what the interpreter itself counts differs from version to version.
_ALONE = _holders([np.empty(0, np.uint8)], 0)
_BUFFERS = 12
_REFORMATTERS = 16


class _Mine(threading.local):
    """What one thread re-uses: output arrays that nobody refers to any more, and swscale's prepared filters.

    A new 6 MB array costs up to 9 ms of page faults, a used one none. An array is used again only when the
    list here holds the one reference to it: what the caller keeps, or a view of it, never changes.
    """

    def __init__(self) -> None:
        self._buffers: list[Array] = []
        self._reformatters: dict[tuple[int, int, int, int], VideoReformatter] = {}

    def take(self, shape: tuple[int, ...]) -> Array:
        """An array of this shape with any content, for the caller alone."""
        for index in reversed(range(len(self._buffers))):  # the one used last is warm in the cache
            if self._buffers[index].shape == shape and _holders(self._buffers, index) == _ALONE:
                self._buffers.append(self._buffers.pop(index))
                return self._buffers[-1][...]
        self._buffers.append(np.empty(shape, np.uint8))
        del self._buffers[:-_BUFFERS]
        # A view, so that what the caller does to its flags and shape stays with the caller.
        return self._buffers[-1][...]

    def reformatter(self, sizes: tuple[int, int, int, int]) -> VideoReformatter:
        """The reformatter for (columns, rows, width, height); preparing one takes longer than using it."""
        from av.video.reformatter import VideoReformatter

        if sizes not in self._reformatters:
            if len(self._reformatters) >= _REFORMATTERS:
                self._reformatters.pop(next(iter(self._reformatters)))
            self._reformatters[sizes] = VideoReformatter()
        return self._reformatters[sizes]


_mine = _Mine()
