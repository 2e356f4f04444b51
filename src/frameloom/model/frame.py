"""A frame: one picture with its times. Conversions live in `frameloom.pixels`, memory in `frameloom.bus`."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from types import MappingProxyType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.uint8]
_ALIGN = 64
_NOTHING: Mapping[str, Any] = MappingProxyType({})


class PixelFormat(StrEnum):
    """How the planes of a picture are laid out. 8 bits a sample; deeper pictures are converted at the source."""

    GRAY = "gray"
    YUV420P = "yuv420p"
    NV12 = "nv12"
    BGR = "bgr24"
    RGB = "rgb24"


class ColorMatrix(StrEnum):
    """The matrix between Y'CbCr and R'G'B'."""

    BT601 = "bt601"
    BT709 = "bt709"
    BT2020 = "bt2020"


@dataclass(frozen=True, slots=True)
class Plane:
    """One plane in a slot: rows are contiguous, `height` x `width` samples of `channels` bytes from `offset`."""

    offset: int
    width: int
    height: int
    channels: int

    @property
    def nbytes(self) -> int:
        return self.width * self.height * self.channels

    def of(self, data: Array) -> Array:
        """View of this plane in `data` (1-D uint8): (height, width), or (height, width, channels) if > 1."""
        flat = data[self.offset : self.offset + self.nbytes]
        if self.channels == 1:
            return flat.reshape(self.height, self.width)
        return flat.reshape(self.height, self.width, self.channels)


@dataclass(frozen=True)
class PictureFormat:
    """Geometry and colour of a picture. Travels in the header of a stream, so that nobody types it twice.

    `full_range` is True for luma 0..255 ("JPEG"), False for 16..235.
    """

    pixel: PixelFormat
    width: int
    height: int
    matrix: ColorMatrix = ColorMatrix.BT601
    full_range: bool = False

    def __post_init__(self) -> None:
        if not (0 < self.width <= 16384 and 0 < self.height <= 16384):
            raise ValueError(f"picture size: read {self.width}x{self.height}, allowed: 1 to 16384 each")

    @cached_property
    def planes(self) -> tuple[Plane, ...]:
        """The planes in the decoder's order, each starting on a 64-byte boundary."""
        placed: list[Plane] = []
        offset = 0
        for width, height, channels in self._plane_shapes():
            placed.append(Plane(offset, width, height, channels))
            offset += -(-width * height * channels // _ALIGN) * _ALIGN
        return tuple(placed)

    @cached_property
    def nbytes(self) -> int:
        """Bytes of one picture, padding between the planes included."""
        last = self.planes[-1]
        return last.offset + last.nbytes

    def _plane_shapes(self) -> tuple[tuple[int, int, int], ...]:
        w, h = self.width, self.height
        half = ((w + 1) // 2, (h + 1) // 2)
        match self.pixel:
            case PixelFormat.GRAY:
                return ((w, h, 1),)
            case PixelFormat.YUV420P:
                return ((w, h, 1), (*half, 1), (*half, 1))
            case PixelFormat.NV12:
                return ((w, h, 1), (*half, 2))
            case PixelFormat.BGR | PixelFormat.RGB:
                return ((w, h, 3),)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(
            PixelFormat(data["pixel"]),
            int(data["width"]),
            int(data["height"]),
            ColorMatrix(data["matrix"]),
            bool(data["full_range"]),
        )


class Frame:
    """One picture with its times, read-only, valid as long as it or any array taken from it is kept.

    A frame that came over the bus is a lease on a slot of the publisher's memory. The lease goes back when the frame
    *and* every array that views it are gone, so what you keep never changes under your hands.

    stream          name of the stream
    seq             number of the frame in its stream, counted by the publisher: a gap is a dropped frame
    pts_ns          media time: when the picture is to be shown, in ns from the start of the stream
    captured_ns     host monotonic time of the last byte of the picture, ns
    captured_at_ns  the same moment in UTC, ns since 1970
    format          geometry and colour
    metadata        small values that travel with the frame; `camera_utc_ns` and `camera_utc_error_ns` where the
                    camera tells its own time
    """

    __slots__ = (
        "_data",
        "captured_at_ns",
        "captured_ns",
        "format",
        "metadata",
        "pts_ns",
        "seq",
        "shared",
        "stream",
    )

    def __init__(
        self,
        data: Array,
        format: PictureFormat,
        *,
        stream: str = "",
        seq: int = 0,
        pts_ns: int = 0,
        captured_ns: int = 0,
        captured_at_ns: int = 0,
        metadata: Mapping[str, Any] = _NOTHING,
        shared: bool = False,
    ) -> None:
        self._data: Array | None = data
        self.format = format
        self.stream = stream
        self.seq = seq
        self.pts_ns = pts_ns
        self.captured_ns = captured_ns
        self.captured_at_ns = captured_at_ns
        self.metadata = metadata
        self.shared = shared

    @classmethod
    def from_array(cls, array: Array, *, pixel: PixelFormat | None = None, **times: Any) -> Self:
        """A private frame from one array: (height, width) uint8 is gray, (height, width, 3) uint8 is BGR or RGB.

        Its values are full range, 0..255. Raises `ValueError` for any other shape or dtype, and says what was read.
        """
        picture = _picture_of(array, pixel)
        data = np.ascontiguousarray(array).reshape(-1)
        data = data.copy() if data.base is not None or data is array else data
        data.flags.writeable = False
        return cls(data, picture, **times)

    @property
    def data(self) -> Array:
        """All planes as stored: 1-D uint8 of `format.nbytes`, read-only."""
        if self._data is None:
            raise ValueError(f"stream {self.stream!r} frame {self.seq}: used after release()")
        return self._data

    @property
    def width(self) -> int:
        """Pixels."""
        return self.format.width

    @property
    def height(self) -> int:
        """Pixels."""
        return self.format.height

    @property
    def planes(self) -> tuple[Array, ...]:
        """Read-only views of the planes as decoded, uint8: (height, width), or (height, width, channels)."""
        return tuple(plane.of(self.data) for plane in self.format.planes)

    @property
    def gray(self) -> Array:
        """Luma, (height, width) uint8. A view that costs nothing, unless the stream is BGR or RGB.

        It is the camera's luma as stored: 16..235 where `format.full_range` is False.
        """
        if self.format.pixel in (PixelFormat.BGR, PixelFormat.RGB):
            return self._convert("gray")
        return self.format.planes[0].of(self.data)

    @property
    def bgr(self) -> Array:
        """(height, width, 3) uint8, blue first, full range. Converted at each call; a view if stored so."""
        if self.format.pixel is PixelFormat.BGR:
            return self.format.planes[0].of(self.data)
        return self._convert("bgr24")

    @property
    def rgb(self) -> Array:
        """(height, width, 3) uint8, red first, full range. Converted at each call; a view if stored so."""
        if self.format.pixel is PixelFormat.RGB:
            return self.format.planes[0].of(self.data)
        return self._convert("rgb24")

    def resized(self, width: int, height: int, pixel: str = "bgr24") -> Array:
        """The picture at another size, in 'bgr24', 'rgb24' (height, width, 3) or 'gray' (height, width), uint8."""
        if not (1 <= width <= 16384 and 1 <= height <= 16384):
            raise ValueError(f"size: read {width}x{height}, allowed: 1 to 16384 each")
        return self._convert(pixel, width, height)

    @property
    def captured_at(self) -> datetime:
        """`captured_at_ns` as an aware UTC datetime, cut to microseconds."""
        seconds, ns = divmod(self.captured_at_ns, 1_000_000_000)
        return datetime.fromtimestamp(seconds, UTC).replace(microsecond=ns // 1000)

    def copy(self) -> Frame:
        """The same frame in memory of its own; its lease, if it was the last, goes back."""
        data = self.data.copy()
        data.flags.writeable = False
        return self._with(data)

    def release(self) -> None:
        """Say early that the frame is no longer needed. Arrays taken from it stay valid; the frame does not."""
        self._data = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def __repr__(self) -> str:
        f = self.format
        return f"<Frame {self.stream!r} #{self.seq} {f.width}x{f.height} {f.pixel} pts {self.pts_ns / 1e9:.3f} s>"

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy of the pixels: a lease cannot travel. The bus is the way to pass frames on without one.
        times = (self.stream, self.seq, self.pts_ns, self.captured_ns, self.captured_at_ns)
        return _unpickled, (self.data.copy(), self.format, dict(self.metadata), *times)

    def _with(self, data: Array) -> Frame:
        return Frame(
            data,
            self.format,
            stream=self.stream,
            seq=self.seq,
            pts_ns=self.pts_ns,
            captured_ns=self.captured_ns,
            captured_at_ns=self.captured_at_ns,
            metadata=self.metadata,
        )

    def _convert(self, pixel: str, width: int = 0, height: int = 0) -> Array:
        # Resolved by name at first use: a process that only passes frames on must never load OpenCV or a codec.
        pixels = importlib.import_module("frameloom.pixels")
        converted: Array = pixels.convert(self, pixel, width or self.width, height or self.height)
        return converted


_FROM_ARRAYS = {2: (PixelFormat.GRAY,), 3: (PixelFormat.BGR, PixelFormat.RGB)}


def _picture_of(array: Array, pixel: PixelFormat | None) -> PictureFormat:
    allowed = _FROM_ARRAYS.get(array.ndim, ())
    fits = array.dtype == np.uint8 and allowed and (array.ndim == 2 or array.shape[2] == 3)
    if not fits:
        raise ValueError(f"want (height, width, 3) or (height, width) uint8, got {array.shape} {array.dtype}")
    if pixel is not None and pixel not in allowed:
        raise ValueError(
            f"pixel: read {pixel}, allowed for an array of {array.ndim} dimensions: {', '.join(allowed)}"
        )
    height, width = array.shape[:2]
    return PictureFormat(pixel or allowed[0], width, height, full_range=True)


def _unpickled(data: Array, format: PictureFormat, metadata: dict[str, Any], *times: Any) -> Frame:
    data.flags.writeable = False
    names = ("stream", "seq", "pts_ns", "captured_ns", "captured_at_ns")
    return Frame(data, format, metadata=metadata, **dict(zip(names, times, strict=True)))
