"""Films into files: every codec, pixel format, container and oddity that a source must cope with.

Encoding for users (recordings, viewers) is not here: this aims at choice, not at speed.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Literal, cast

import av
import cv2
from av.codec.context import ThreadType
from av.container import OutputContainer
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from frameloom.testing._film import Film, Picture

CodecName = Literal["h264", "hevc", "mjpeg"]
Progress = Callable[[int, int], None]
"""Called with (frames done, frames in all)."""

_ENCODERS = {"h264": "libx264", "hevc": "libx265", "mjpeg": "mjpeg"}
_FORMATS = {
    ".mp4": "mp4",
    ".mkv": "matroska",
    ".ts": "mpegts",
    ".h264": "h264",
    ".h265": "hevc",
    ".mjpeg": "mjpeg",
    ".avi": "avi",
}
_TICKS_PER_S = 90_000
_BT601, _LIMITED, _FULL = 6, 1, 2  # as the codec writes them
_SWS_BT601 = 5  # as the converter calls the same thing


def encode(
    film: Film,
    path: Path,
    *,
    codec: CodecName = "h264",
    pix_fmt: str = "yuv420p",
    gop: int = 25,
    bframes: int = 0,
    preset: str = "ultrafast",
    crf: int = 23,
    bit_rate_bps: int | None = None,
    rotation_deg: float = 0,
    vfr_pts_s: Sequence[float] | None = None,
    slices: int = 1,
    threads: int = 0,
    progress: Progress | None = None,
) -> Path:
    """Render all of `film` into a file and return its path; the file appears only when it is complete.

    `path`'s suffix chooses the container: .mp4, .mkv, .ts, .avi, or the bare stream .h264, .h265, .mjpeg. `gop` is
    the distance of key frames, exactly kept; `bframes` the most B frames in a row. `crf` is the quality of h264
    and hevc (0 best, 51 worst), for mjpeg scaled to its own; `bit_rate_bps` overrides it. `rotation_deg`
    (counter-clockwise, as players turn the picture) is written as the display matrix. `vfr_pts_s` gives each
    frame's time in seconds, growing, one per frame: variable frame rate. `slices` is how many pieces each picture
    of h264 and hevc is coded in, as many cameras do. `threads` 0 lets the encoder choose.

    Raises ValueError for an unknown codec or suffix or times that do not fit; av.FFmpegError where the codec
    cannot take the size or pixel format (4:2:0 wants even sizes in h264 and hevc).
    """
    _check_times(film, vfr_pts_s)
    container_format = _chosen(_FORMATS, path.suffix, "suffix")
    encoder = _chosen(_ENCODERS, codec, "codec")
    options = _options(codec, gop, bframes, slices, preset, None if bit_rate_bps is not None else crf)
    with _appearing(path) as temporary, av.open(temporary, "w", format=container_format) as container:
        stream = _stream(container, film, encoder, pix_fmt, options)
        stream.codec_context.gop_size = gop
        stream.codec_context.max_b_frames = bframes
        stream.codec_context.thread_count = threads
        # The other way of using cores cuts pictures into as many slices as there are cores.
        stream.codec_context.thread_type = ThreadType.FRAME
        if bit_rate_bps is not None:
            stream.codec_context.bit_rate = bit_rate_bps
        if rotation_deg:
            stream.set_display_rotation(rotation_deg)
        _write(container, stream, film, vfr_pts_s, progress)
    return path


def _check_times(film: Film, vfr_pts_s: Sequence[float] | None) -> None:
    if vfr_pts_s is None:
        return
    if len(vfr_pts_s) != film.frames:
        raise ValueError(f"film {film.name!r}: want {film.frames} times, one a frame, got {len(vfr_pts_s)}")
    if any(later <= earlier for earlier, later in itertools.pairwise(vfr_pts_s)):
        raise ValueError(f"film {film.name!r}: times must grow from frame to frame")


def _chosen(choices: dict[str, str], key: str, what: str) -> str:
    if key not in choices:
        raise ValueError(f"unknown {what} {key!r}; one of: {', '.join(choices)}")
    return choices[key]


@contextmanager
def _appearing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it when the block ends well and removed when it does not."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _options(
    codec: CodecName, gop: int, bframes: int, slices: int, preset: str, crf: int | None
) -> dict[str, str]:
    """Options of the encoder; `crf` None where a bit rate decides."""
    if codec == "mjpeg":
        return _jpeg_options(crf)
    params = f"min-keyint={gop}:scenecut=0:open-gop=0:slices={slices}"
    if codec == "hevc":  # knows fewer of the general settings
        params += f":keyint={gop}:bframes={bframes}:log-level=error"
    names = {"h264": "x264-params", "hevc": "x265-params"}
    return {"preset": preset, names[codec]: params} | ({} if crf is None else {"crf": str(crf)})


def _jpeg_options(crf: int | None) -> dict[str, str]:
    # Standard Huffman tables, since RTP (RFC 2435) and some cameras' readers know no others.
    options = {"huffman": "default"}
    if crf is not None:
        level = str(max(2, min(31, crf // 4)))
        options |= {"qmin": level, "qmax": level}
    return options


def _stream(
    container: OutputContainer, film: Film, encoder: str, pix_fmt: str, options: dict[str, str]
) -> VideoStream:
    stream = cast(VideoStream, container.add_stream(encoder, rate=Fraction(film.fps), options=options))
    full_range = encoder == "mjpeg" or pix_fmt.startswith("yuvj")
    stream.width, stream.height = film.width, film.height
    stream.pix_fmt = f"yuvj{pix_fmt[3:]}" if encoder == "mjpeg" and pix_fmt.startswith("yuv4") else pix_fmt
    stream.codec_context.time_base = Fraction(1, _TICKS_PER_S)
    stream.codec_context.colorspace = _BT601
    stream.codec_context.color_range = _FULL if full_range else _LIMITED
    return stream


def _write(
    container: OutputContainer,
    stream: VideoStream,
    film: Film,
    vfr_pts_s: Sequence[float] | None,
    progress: Progress | None,
) -> None:
    convert = _Converter(film, str(stream.pix_fmt))
    for n in range(film.frames):
        frame = convert(film.render(n))
        time_s = Fraction(n) / Fraction(film.fps) if vfr_pts_s is None else Fraction(vfr_pts_s[n])
        frame.pts = round(time_s * _TICKS_PER_S)
        frame.time_base = Fraction(1, _TICKS_PER_S)
        container.mux(stream.encode(frame))
        if progress is not None:
            progress(n + 1, film.frames)
    container.mux(stream.encode(None))


class _Converter:
    """BGR pictures to the encoder's pixel format; OpenCV's way is twice as fast where it fits."""

    def __init__(self, film: Film, pix_fmt: str) -> None:
        self._pix_fmt = pix_fmt
        self._reformatter = VideoReformatter()
        self._direct = pix_fmt == "yuv420p" and film.width % 2 == 0 and film.height % 2 == 0

    def __call__(self, picture: Picture) -> av.VideoFrame:
        if self._direct:
            planes = cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420)
            return av.VideoFrame.from_ndarray(cast(Picture, planes), format="yuv420p")
        frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
        return self._reformatter.reformat(frame, format=self._pix_fmt, dst_colorspace=_SWS_BT601)
