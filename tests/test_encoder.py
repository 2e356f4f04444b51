"""H.264 for live viewers: what is drawn comes out again, at its time, in its colours, in a form that players take."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from frameloom import pixels
from frameloom.encoder import CannotEncode, LiveEncoder, LiveSettings, fitting
from frameloom.model.clock import NS_PER_S
from frameloom.model.frame import Array, ColorMatrix, Frame, PictureFormat, PixelFormat
from frameloom.model.packet import Packet
from frameloom.sources.decode import Decoder
from frameloom.testing.films import counter, read_counter
from frameloom.testing.needs import require_program

STEP_NS = 40_000_000
SMALL = PictureFormat(PixelFormat.YUV420P, 64, 48)
SPS, SLICE, IDR, PPS = 7, 1, 5, 8
DEFAULTS = LiveSettings()


def shot(bgr: Array, format: PictureFormat) -> Frame:
    """What a camera of this format would give of a scene, (height, width, 3) uint8 BGR."""
    frame = Frame(np.zeros(format.nbytes, np.uint8), format)
    if format.pixel in (PixelFormat.BGR, PixelFormat.RGB):
        frame.planes[0][:] = bgr if format.pixel is PixelFormat.BGR else bgr[..., ::-1]
        return frame
    kr, kb = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}[format.matrix]
    blue, green, red = (bgr[..., channel].astype(float) for channel in range(3))
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    scale, black, swing = (1.0, 0, 1.0) if format.full_range else (219 / 255, 16, 224 / 255)
    frame.planes[0][:] = np.rint(luma * scale + black)
    if format.pixel is not PixelFormat.GRAY:
        colours = [(blue - luma) / (2 - 2 * kb), (red - luma) / (2 - 2 * kr)]
        chroma = [np.clip(np.rint(plane[::2, ::2] * swing + 128), 0, 255) for plane in colours]
        rest = frame.planes[1:]
        for target, plane in zip(rest if len(rest) == 2 else np.moveaxis(rest[0], 2, 0), chroma, strict=True):
            target[:] = plane
    return frame


def at(frame: Frame, number: int, pts_ns: int | None = None) -> Frame:
    """The same frame as the `number`th of a stream."""
    frame.seq, frame.stream = number, "hall"
    frame.pts_ns = number * STEP_NS if pts_ns is None else pts_ns
    frame.captured_ns, frame.captured_at_ns = frame.pts_ns + 5, frame.pts_ns + 7
    return frame


def flat(level: int, number: int, format: PictureFormat = SMALL, pts_ns: int | None = None) -> Frame:
    return at(Frame(np.full(format.nbytes, level, np.uint8), format), number, pts_ns)


def noise(number: int, format: PictureFormat, pts_ns: int) -> Frame:
    rng = np.random.default_rng(number)
    return at(Frame(rng.integers(0, 256, format.nbytes, dtype=np.uint8), format), number, pts_ns)


def decoded(packets: Iterable[Packet]) -> list[Frame]:
    """The pictures, one per packet and at once, as a reader of the stream gets them."""
    frames: list[Frame] = []
    decoder: Decoder | None = None
    for packet in packets:
        if decoder is None or packet.format != decoder.format:
            assert packet.is_key
            decoder = Decoder(packet.format)
        pictures = decoder.decode(packet)
        assert len(pictures) == 1, "nothing is held back"
        slot = np.zeros(pictures[0].format.nbytes, np.uint8)
        pictures[0].fill([plane.of(slot) for plane in pictures[0].format.planes])
        frames.append(Frame(slot, pictures[0].format, pts_ns=pictures[0].pts_ns))
    return frames


def nals(packet: Packet) -> list[int]:
    """The kinds of its units, in order."""
    return [part[0] & 31 for part in bytes(packet.data).split(b"\0\0\1")[1:]]


def encoded(frames: Iterable[Frame], settings: LiveSettings = DEFAULTS) -> list[Packet]:
    encoder = LiveEncoder()
    return [encoder.encode(frame, settings) for frame in frames]


@pytest.mark.parametrize("pixel", PixelFormat)
@pytest.mark.parametrize(
    ("size", "max_width", "wanted"),
    [
        ((320, 240), 1280, (320, 240)),
        ((321, 241), 1280, (320, 240)),
        ((320, 240), 200, (200, 150)),
        ((323, 241), 201, (200, 150)),
        ((320, 240), 320, (320, 240)),
    ],
)
def test_every_picture_comes_out_with_its_number_and_times(
    pixel: PixelFormat, size: tuple[int, int], max_width: int, wanted: tuple[int, int]
) -> None:
    film = counter(width=size[0], height=size[1])
    format = PictureFormat(pixel, *size, full_range=pixel in (PixelFormat.BGR, PixelFormat.RGB))
    frames = [at(shot(film.render(n), format), n) for n in range(12)]
    packets = encoded(frames, LiveSettings(max_width=max_width))
    assert {(p.format.codec, p.format.width, p.format.height) for p in packets} == {("h264", *wanted)}
    shown = decoded(packets)
    assert [read_counter(np.ascontiguousarray(frame.gray)) for frame in shown] == list(range(12))
    assert [frame.pts_ns for frame in shown] == [frame.pts_ns for frame in frames]
    for frame, packet in zip(frames, packets, strict=True):
        assert packet.metadata == {"frame_seq": frame.seq}
        assert (packet.pts_ns, packet.dts_ns) == (frame.pts_ns, frame.pts_ns)
        assert (packet.captured_ns, packet.captured_at_ns) == (frame.captured_ns, frame.captured_at_ns)


@pytest.mark.parametrize("full_range", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("matrix", ColorMatrix)
@pytest.mark.parametrize("pixel", [PixelFormat.YUV420P, PixelFormat.NV12])
@pytest.mark.parametrize("max_width", [320, 160])
def test_colours_stay_and_are_told(
    pixel: PixelFormat, matrix: ColorMatrix, full_range: bool, max_width: int
) -> None:
    scene = colours(320, 240)
    format = PictureFormat(pixel, 320, 240, matrix, full_range)
    frame = at(shot(scene, format), 0)
    shown = decoded(encoded([frame], LiveSettings(max_width=max_width, quality=95)))[0]
    assert (shown.format.matrix, shown.format.full_range) == (matrix, full_range)
    assert_same_fields(shown.bgr, scene)


@pytest.mark.parametrize("pixel", [PixelFormat.BGR, PixelFormat.RGB])
@pytest.mark.parametrize("max_width", [320, 160])
def test_colours_of_packed_pictures(pixel: PixelFormat, max_width: int) -> None:
    scene = colours(320, 240)
    frame = at(shot(scene, PictureFormat(pixel, 320, 240, full_range=True)), 0)
    shown = decoded(encoded([frame], LiveSettings(max_width=max_width, quality=95)))[0]
    assert (shown.format.matrix, shown.format.full_range) == (ColorMatrix.BT601, True)
    assert_same_fields(shown.bgr, scene)


@pytest.mark.parametrize("full_range", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("max_width", [320, 160])
def test_gray_has_no_colour(full_range: bool, max_width: int) -> None:
    format = PictureFormat(PixelFormat.GRAY, 320, 240, full_range=full_range)
    scene = np.repeat(np.linspace(30, 220, 320).astype(np.uint8)[None], 240, 0)
    frame = at(Frame(scene.reshape(-1).copy(), format), 0)
    shown = decoded(encoded([frame], LiveSettings(max_width=max_width, quality=95)))[0]
    assert shown.format.full_range == full_range
    wanted = pixels.convert(frame, "gray", max_width, max_width * 3 // 4)
    assert np.abs(shown.gray.astype(int) - wanted).mean() < 2
    assert max(np.abs(plane.astype(int) - 128).max() for plane in shown.planes[1:]) <= 1


def test_fine_colours_of_packed_pictures_are_averaged() -> None:
    """Columns of red and blue, a pixel each: seen from afar they are purple, neither red nor blue."""
    scene = np.zeros((48, 64, 3), np.uint8)
    scene[:, ::2] = (0, 0, 255)
    scene[:, 1::2] = (255, 0, 0)
    shown = decoded(encoded([at(Frame.from_array(scene), 0)], LiveSettings(quality=95)))[0]
    blue, red = (float(plane.mean()) - 128 for plane in shown.planes[1:])
    assert abs(blue - (127.5 - 52.6) * 0.564) < 6 and abs(red - (127.5 - 52.6) * 0.713) < 6


def colours(width: int, height: int) -> Array:
    """Eight fields of flat colours, BGR."""
    fields = [(40, 40, 200), (40, 200, 40), (200, 40, 40), (200, 200, 200)]
    fields += [(30, 30, 30), (200, 180, 60), (60, 200, 200), (128, 128, 128)]
    block = np.array(fields, np.uint8).reshape(2, 4, 3)
    return np.ascontiguousarray(block.repeat(height // 2, 0).repeat(width // 4, 1))


def assert_same_fields(shown: Array, scene: Array) -> None:
    """The middle of each field has the colour that it was drawn with."""
    shown = np.asarray(cv2.resize(shown, scene.shape[1::-1], interpolation=cv2.INTER_AREA), np.uint8)
    for top in (0, 1):
        for left in range(4):
            height, width = scene.shape[0] // 2, scene.shape[1] // 4
            field = np.s_[
                top * height + 20 : (top + 1) * height - 20, left * width + 20 : (left + 1) * width - 20
            ]
            assert np.abs(shown[field].mean((0, 1)) - scene[field].mean((0, 1))).max() < 4


# --- the form of the stream ---


def test_packets_are_as_a_camera_sends_them() -> None:
    """Annex B, constrained baseline, parameter sets in the format and again before every key picture."""
    packets = encoded(flat(n, n) for n in range(0, 101, 25))
    sets = packets[0].format.extradata
    assert sets[:5] == b"\0\0\0\1" + bytes([0x67]) and sets.count(b"\0\0\0\1") == 2
    profile, constraints, level = sets[5:8]
    assert profile == 66 and constraints & 0x40 and level == 31
    assert [p.is_key for p in packets] == [True, False, True, False, True]
    for packet in packets:
        kinds = [kind for kind in nals(packet) if kind != 6]
        assert kinds == ([SPS, PPS, IDR] if packet.is_key else [SLICE])
        assert not packet.is_key or bytes(packet.data).startswith(packet.format.extradata)
        assert (packet.format.rotation_deg, packet.format.pixel) == (0, "")


def test_ffmpeg_takes_it(tmp_path: Path) -> None:
    ffmpeg, ffprobe = (require_program(name, package="ffmpeg") for name in ("ffmpeg", "ffprobe"))
    film, format = counter(), PictureFormat(PixelFormat.YUV420P, 320, 240, ColorMatrix.BT709, full_range=True)
    path = tmp_path / "live.h264"
    path.write_bytes(
        b"".join(bytes(p.data) for p in encoded(at(shot(film.render(n), format), n) for n in range(60)))
    )
    told = probed(ffprobe, path)
    assert (told["profile"], told["codec_name"]) == ("Constrained Baseline", "h264")
    assert (told["has_b_frames"], told["nb_read_frames"]) == (0, "60")
    assert (told["color_range"], told["pix_fmt"]) == ("pc", "yuvj420p")
    assert {told[what] for what in ("color_space", "color_transfer", "color_primaries")} == {"bt709"}
    command = [
        ffmpeg,
        "-v",
        "warning",
        "-xerror",
        "-err_detect",
        "explode",
        "-i",
        str(path),
        "-f",
        "null",
        "-",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def probed(ffprobe: str, path: Path) -> dict[str, Any]:
    command = [ffprobe, "-v", "error", "-count_frames", "-show_streams", "-of", "json", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""
    stream: dict[str, Any] = json.loads(done.stdout)["streams"][0]
    return stream


# --- key pictures and new beginnings ---


@pytest.mark.parametrize("fps", [1, 10, 25])
def test_a_key_picture_every_two_seconds_of_media_time(fps: int) -> None:
    times_ns = [NS_PER_S + n * NS_PER_S // fps for n in range(7 * fps)]
    packets = encoded(flat(n % 200, n, pts_ns=pts_ns) for n, pts_ns in enumerate(times_ns))
    keys_s = [(p.pts_ns - NS_PER_S) / NS_PER_S for p in packets if p.is_key]
    assert keys_s == [0, 2, 4, 6]
    assert [IDR in nals(p) for p in packets] == [p.is_key for p in packets]
    assert [float(f.gray.mean()) for f in decoded(packets)] == pytest.approx(
        [n % 200 for n in range(7 * fps)], abs=2
    )


def test_pictures_rarer_than_key_pictures_all_are_some() -> None:
    packets = encoded(flat(n, n, pts_ns=n * 5 * NS_PER_S) for n in range(4))
    assert all(p.is_key for p in packets)
    assert {p.format for p in packets[1:]} == {packets[1].format}


def test_a_key_picture_is_forced() -> None:
    encoder = LiveEncoder()
    packets = []
    for n in range(6):
        if n == 3:
            encoder.force_key()
        packets.append(encoder.encode(flat(n, n), LiveSettings()))
    assert [p.is_key for p in packets] == [True, False, False, True, False, False]
    assert len({p.format for p in packets}) == 1


def test_durations_are_those_of_the_picture_before() -> None:
    gaps_ns = [0, 40_000_000, 100_000_000, 20_000_000, 60 * NS_PER_S]
    packets = encoded(flat(n, n, pts_ns=int(pts)) for n, pts in enumerate(np.cumsum(gaps_ns)))
    assert [p.duration_ns for p in packets] == [40_000_000, *gaps_ns[1:4], 10 * NS_PER_S]


def changes() -> Sequence[Any]:
    one, other = LiveSettings(), PictureFormat(PixelFormat.YUV420P, 96, 48)
    gray = PictureFormat(PixelFormat.GRAY, 64, 48)
    return [
        pytest.param(SMALL, replace(one, quality=40), False, id="quality"),
        pytest.param(SMALL, replace(one, max_kbps=500), False, id="max_kbps"),
        pytest.param(SMALL, replace(one, max_width=32), True, id="max_width"),
        pytest.param(other, one, True, id="size"),
        pytest.param(replace(SMALL, full_range=True), one, True, id="range"),
        pytest.param(replace(SMALL, matrix=ColorMatrix.BT709), one, True, id="matrix"),
        pytest.param(gray, one, False, id="pixel format"),
    ]


@pytest.mark.parametrize(("format", "settings", "is_new"), changes())
def test_a_change_begins_anew_with_a_key_picture(
    format: PictureFormat, settings: LiveSettings, is_new: bool
) -> None:
    """The packets' format changes only with what a decoder must know."""
    encoder = LiveEncoder()
    packets = [encoder.encode(flat(100, n), LiveSettings()) for n in range(3)]
    packets += [encoder.encode(flat(100, n, format), settings) for n in range(3, 6)]
    assert [p.is_key for p in packets] == [True, False, False, True, False, False]
    assert (packets[3].format != packets[0].format) is is_new
    width, height = fitting(format, settings.max_width)
    assert (packets[3].format.width, packets[3].format.height) == (width, height)
    assert [float(frame.gray.mean()) for frame in decoded(packets)] == pytest.approx([100] * 6, abs=2)


def test_media_time_that_steps_back_begins_anew() -> None:
    frames = [flat(10 * n, n, pts_ns=pts) for n, pts in enumerate([NS_PER_S, NS_PER_S + STEP_NS, 0, STEP_NS])]
    packets = encoded(frames)
    assert [p.is_key for p in packets] == [True, False, True, False]
    assert len({p.format for p in packets}) == 1
    assert [p.pts_ns for p in packets] == [frame.pts_ns for frame in frames]


def test_a_camera_that_was_lost_for_a_while_is_no_slow_one() -> None:
    """What a decoder must know stays the same, and so does what a picture may take."""
    times_ns = [n * STEP_NS + (n >= 60) * 30 * NS_PER_S + (n >= 130) * NS_PER_S for n in range(220)]
    packets = encoded(flat(n % 200, n, pts_ns=pts_ns) for n, pts_ns in enumerate(times_ns))
    assert packets[60].is_key
    assert len({p.format for p in packets}) == 1


# --- what it costs, and what cannot be done ---


@pytest.mark.parametrize("fps", [5, 15, 50])
def test_the_bit_rate_is_kept_whatever_the_rate_of_pictures(fps: int) -> None:
    """Of noise, which is the worst; from the second group of pictures on, when the rate is known."""
    format = PictureFormat(PixelFormat.GRAY, 160, 120, full_range=True)
    frames = (noise(n, format, n * NS_PER_S // fps) for n in range(6 * fps))
    packets = encoded(frames, LiveSettings(max_kbps=200))
    kbps = sum(len(p.data) for p in packets if p.pts_ns >= 2 * NS_PER_S) * 8 / 4 / 1000
    assert 140 < kbps < 260, "the cap, and a second of it that was saved before"


def test_better_quality_takes_more() -> None:
    film, format = counter(), PictureFormat(PixelFormat.YUV420P, 320, 240)
    sizes = []
    for quality in (20, 50, 80, 95):
        frames = [at(shot(film.render(n), format), n) for n in range(5)]
        sizes.append(sum(len(p.data) for p in encoded(frames, LiveSettings(quality=quality))))
    assert sizes == sorted(sizes) and sizes[-1] > 2 * sizes[0]


@pytest.mark.parametrize("size", [(1, 1), (1, 48), (64, 1)])
def test_too_small_a_picture_is_refused_and_the_next_one_taken(size: tuple[int, int]) -> None:
    encoder = LiveEncoder()
    encoder.encode(flat(1, 0), LiveSettings())
    with pytest.raises(
        CannotEncode, match=f"'hall': a picture of {size[0]}x{size[1]} cannot be encoded: .* 2x2"
    ):
        encoder.encode(flat(1, 1, PictureFormat(PixelFormat.YUV420P, *size)), LiveSettings())
    again = encoder.encode(flat(90, 2), LiveSettings())
    assert again.is_key and abs(float(decoded([again])[0].gray.mean()) - 90) < 2


def test_after_close_it_begins_anew() -> None:
    encoder = LiveEncoder()
    encoder.encode(flat(1, 0), LiveSettings())
    encoder.close()
    encoder.close()
    assert encoder.encode(flat(1, 1), LiveSettings()).is_key


@pytest.mark.parametrize(
    ("size", "max_width", "wanted"),
    [
        ((1920, 1080), 1280, (1280, 720)),
        ((1921, 1081), 1921, (1920, 1080)),
        ((640, 480), 1280, (640, 480)),
        ((1920, 1080), 333, (332, 186)),
        ((7680, 3), 160, (160, 2)),
        ((3, 3), 1280, (2, 2)),
        ((1, 9), 1280, (0, 8)),
    ],
)
def test_fitting(size: tuple[int, int], max_width: int, wanted: tuple[int, int]) -> None:
    assert fitting(PictureFormat(PixelFormat.GRAY, *size), max_width) == wanted
