"""Pictures out of packets: right planes, right times, and nothing smeared after a loss."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from frameloom.model.frame import Array, ColorMatrix, Frame, PictureFormat, PixelFormat
from frameloom.model.packet import Packet, PacketFormat
from frameloom.sources.decode import Decoder
from frameloom.sources.picture import Picture
from frameloom.testing.films import read_counter
from tests.sources.films import FRAMES, STEP_NS, Films, Opener, decoded, filled, film, pictures

Recorded = tuple[PacketFormat, list[Packet]]
Record = Callable[[Path], Recorded]


@pytest.fixture
def record(source: Opener) -> Record:
    """All packets of a film."""

    def recorded(path: Path) -> Recorded:
        made = source(path, pace="unpaced")
        return made.open(), list(made.packets())

    return recorded


def as_frame(picture: Picture) -> Frame:
    slot = np.zeros(picture.format.nbytes, np.uint8)
    picture.fill([plane.of(slot) for plane in picture.format.planes])
    return Frame(slot, picture.format, pts_ns=picture.pts_ns)


def difference(one: Array, other: Array) -> float:
    return float(np.abs(one.astype(np.int16) - other).mean())


@pytest.mark.parametrize(
    ("suffix", "options", "pixel", "full_range"),
    [
        ("mp4", {"crf": 10}, PixelFormat.YUV420P, False),
        ("mp4", {"crf": 10, "codec": "hevc"}, PixelFormat.YUV420P, False),
        ("mkv", {"crf": 8, "codec": "mjpeg"}, PixelFormat.YUV420P, True),
        ("mkv", {"crf": 8, "codec": "mjpeg", "pix_fmt": "yuv422p"}, PixelFormat.YUV420P, True),
        ("mp4", {"crf": 10, "pix_fmt": "yuv422p"}, PixelFormat.YUV420P, False),
        ("mp4", {"crf": 10, "pix_fmt": "yuv444p"}, PixelFormat.YUV420P, False),
        ("mp4", {"crf": 10, "codec": "hevc", "pix_fmt": "yuv420p10le"}, PixelFormat.YUV420P, False),
        ("mp4", {"crf": 10, "pix_fmt": "yuv422p10le"}, PixelFormat.YUV420P, False),
        ("mp4", {"crf": 10, "pix_fmt": "yuvj420p"}, PixelFormat.YUV420P, True),
        ("mp4", {"crf": 10, "codec": "hevc", "pix_fmt": "gray"}, PixelFormat.GRAY, False),
    ],
)
def test_every_pixel_format_ends_in_one_that_a_frame_holds(
    films: Films, record: Record, suffix: str, options: dict[str, Any], pixel: PixelFormat, full_range: bool
) -> None:
    name = "-".join(str(value) for value in options.values())
    what = film(frames=8)
    format, packets = record(films(f"pixels-{name}.{suffix}", what, **options))
    frames = [as_frame(picture) for picture in pictures(packets, Decoder(format))]
    assert len(frames) == what.frames
    wanted = PictureFormat(pixel, 320, 240, ColorMatrix.BT601, full_range)
    for n, frame in enumerate(frames):
        assert frame.format == wanted
        assert read_counter(frame.gray) == n
        if pixel is not PixelFormat.GRAY:
            assert difference(frame.bgr, what.render(n)) < 3


def test_gray_jpegs_stay_gray() -> None:
    gray = cv2.cvtColor(film().render(5), cv2.COLOR_BGR2GRAY)
    format = PacketFormat("mjpeg", 320, 240)
    data = cv2.imencode(".jpg", gray)[1].tobytes()
    (picture,) = Decoder(format).decode(Packet(data, format, 0, True, 0, 0))
    assert picture.format == PictureFormat(PixelFormat.GRAY, 320, 240, ColorMatrix.BT601, True)
    assert difference(as_frame(picture).gray, gray) < 2


@pytest.mark.parametrize(
    ("codec", "pix_fmt"), [("mjpeg", "yuv420p"), ("h264", "yuv444p"), ("hevc", "yuv444p")]
)
@pytest.mark.parametrize(("width", "height"), [(321, 243), (320, 243), (321, 240)])
def test_odd_sizes_are_kept(
    films: Films, record: Record, codec: Any, pix_fmt: str, width: int, height: int
) -> None:
    what = film(width, height, frames=3)
    path = films(f"odd-{codec}-{width}-{height}.mkv", what, codec=codec, pix_fmt=pix_fmt, crf=10)
    format, packets = record(path)
    assert (format.width, format.height) == (width, height)
    for n, picture in enumerate(pictures(packets, Decoder(format))):
        frame = as_frame(picture)
        assert (frame.width, frame.height) == (width, height)
        assert [plane.shape for plane in frame.planes[1:]] == [((height + 1) // 2, (width + 1) // 2)] * 2
        assert difference(frame.bgr, what.render(n)) < 4


@pytest.mark.parametrize(
    ("colorspace", "height", "matrix"),
    [
        (1, 240, ColorMatrix.BT709),
        (5, 720, ColorMatrix.BT601),
        (6, 240, ColorMatrix.BT601),
        (9, 240, ColorMatrix.BT2020),
        (2, 240, ColorMatrix.BT601),
        (2, 720, ColorMatrix.BT709),
    ],
)
def test_the_colour_matrix_is_the_streams_or_the_usual_one(
    tmp_path: Path, record: Record, colorspace: int, height: int, matrix: ColorMatrix
) -> None:
    path = tmp_path / "colours.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 320, height, "yuv420p"
        stream.codec_context.colorspace = colorspace
        for packet in [*stream.encode(av.VideoFrame(320, height, "yuv420p")), *stream.encode(None)]:
            container.mux(packet)
    format, packets = record(path)
    (picture,) = pictures(packets, Decoder(format))
    assert picture.format.matrix is matrix


@pytest.mark.parametrize("rotation_deg", [90, 180, 270])
@pytest.mark.parametrize(("codec", "pix_fmt"), [("h264", "yuv420p"), ("h264", "yuv422p")])
def test_a_turned_film_comes_out_upright(
    films: Films, record: Record, rotation_deg: int, codec: Any, pix_fmt: str
) -> None:
    what = film(320, 200, frames=4)
    name = f"turned-{rotation_deg}-{pix_fmt}.mp4"
    format, packets = record(films(name, what, pix_fmt=pix_fmt, rotation_deg=rotation_deg, crf=10))
    assert format.rotation_deg == rotation_deg
    shapes = {90: (200, 320), 180: (320, 200), 270: (200, 320)}
    for n, picture in enumerate(pictures(packets, Decoder(format))):
        frame = as_frame(picture)
        assert (frame.width, frame.height) == shapes[rotation_deg]
        assert difference(frame.bgr, np.rot90(what.render(n), rotation_deg // 90)) < 3


def test_pictures_come_in_the_order_of_display_with_the_times_of_their_packets(
    films: Films, record: Record
) -> None:
    format, packets = record(films("b.mp4", bframes=2))
    assert [packet.pts_ns for packet in packets] != sorted(packet.pts_ns for packet in packets)
    for n, packet in enumerate(packets):
        packet.captured_ns, packet.metadata = n, {"pts": packet.pts_ns}
    out = list(pictures(packets, Decoder(format)))
    assert [picture.pts_ns for picture in out] == [n * STEP_NS for n in range(FRAMES)]
    assert all(picture.metadata["pts"] == picture.pts_ns for picture in out)
    assert all(packets[picture.captured_ns].pts_ns == picture.pts_ns for picture in out)
    assert [n for n, picture in enumerate(out) if picture.is_key] == [0, 10, 20, 30]


def test_a_bare_stream_with_b_frames_gets_its_times_in_order(films: Films, record: Record) -> None:
    format, packets = record(films("b.h264", bframes=2))
    seen = decoded(packets, Decoder(format))
    assert seen.numbers == list(range(FRAMES))
    steps = {b - a for a, b in zip(seen.pts_ns, seen.pts_ns[1:], strict=False)}
    assert len(steps) == 1
    assert steps.pop() > 0


def test_packets_from_elsewhere_are_as_good_as_the_sources_own(films: Films, record: Record) -> None:
    """Over the bus they are views of shared memory, without the padding that FFmpeg wants behind them."""
    format, packets = record(films("h264.mp4"))
    copies = [replace(packet, data=memoryview(bytes(packet.data))) for packet in packets]
    again = PacketFormat.from_json(format.to_json())
    assert decoded(copies, Decoder(again)).numbers == list(range(FRAMES))


def test_a_decoder_may_join_anywhere_and_starts_with_a_key(films: Films, record: Record) -> None:
    for name, codec in (("h264.mp4", "h264"), ("hevc.mkv", "hevc")):
        format, packets = record(films(name, codec=codec))
        decoder = Decoder(format)
        assert decoded(packets[3:], decoder).numbers == list(range(10, FRAMES))
        assert decoder.errors == 0


def test_flush_gives_what_is_left_and_leaves_a_fresh_decoder(films: Films, record: Record) -> None:
    format, packets = record(films("b.mp4", bframes=2))
    decoder = Decoder(format)
    for _ in range(2):
        assert decoded(packets, decoder).numbers == list(range(FRAMES))


def test_after_close_there_is_nothing(films: Films, record: Record) -> None:
    format, packets = record(films("h264.mp4"))
    decoder = Decoder(format)
    decoder.decode(packets[0])
    decoder.close()
    decoder.close()
    assert list(decoder.decode(packets[1])) == []
    assert list(decoder.flush()) == []


@pytest.mark.parametrize("threads", [2, 3])
def test_more_threads_give_the_same_pictures(films: Films, record: Record, threads: int) -> None:
    format, packets = record(films("b.mp4", bframes=2))
    decoder = Decoder(format, threads)
    seen = decoded(packets, decoder)
    assert seen.numbers == list(range(FRAMES))
    assert seen.pts_ns == [n * STEP_NS for n in range(FRAMES)]


def test_an_unknown_codec_is_refused() -> None:
    with pytest.raises(ValueError, match="codec: read 'h999'"):
        Decoder(PacketFormat("h999", 320, 240))


def test_a_change_of_size_in_the_stream_shows_in_the_pictures(films: Films, record: Record) -> None:
    """A camera that is set to another size, without a new connection: parameter sets come in the stream."""
    format, large = record(films("large.h264", film(320, 240)))
    _, small = record(films("small.h264", film(160, 128)))
    seen = decoded(large + small, Decoder(format))
    sizes = [(format.width, format.height) for format in seen.formats]
    assert sizes == [(320, 240)] * FRAMES + [(160, 128)] * FRAMES
    assert seen.numbers == list(range(FRAMES)) * 2


# --- losses ---


def without(packets: Sequence[Packet], *missing: int) -> list[Packet]:
    return [packet for n, packet in enumerate(packets) if n not in missing]


def with_data(packets: Sequence[Packet], at: int, change: Callable[[bytearray], None]) -> list[Packet]:
    data = bytearray(packets[at].data)
    change(data)
    return [*packets[:at], replace(packets[at], data=bytes(data)), *packets[at + 1 :]]


def truth(films: Films, record: Record, name: str, **options: Any) -> tuple[Recorded, list[Array]]:
    """A film's packets, and the luma of its pictures as decoded without a loss."""
    recorded = record(films(name, **options))
    return recorded, [filled(picture)[0] for picture in pictures(recorded[1], Decoder(recorded[0]))]


def assert_nothing_smeared(
    format: PacketFormat, packets: Sequence[Packet], wanted: list[Array], at_least: int
) -> Decoder:
    decoder, count = Decoder(format), 0
    for picture in pictures(packets, decoder):
        assert np.array_equal(filled(picture)[0], wanted[picture.pts_ns // STEP_NS])
        count += 1
    assert count >= at_least
    return decoder


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("loss.mp4", {}),
        ("loss.ts", {}),
        ("loss-b.mp4", {"bframes": 2}),
        ("loss-hevc.mp4", {"codec": "hevc"}),
        ("loss-slices.mp4", {"slices": 4}),
    ],
)
@pytest.mark.parametrize("missing", [[13], [13, 14, 15], [20], [11], [3, 33]])
def test_what_follows_a_missing_picture_is_withheld_until_a_key(
    films: Films, record: Record, name: str, options: dict[str, Any], missing: list[int]
) -> None:
    (format, packets), wanted = truth(films, record, name, **options)
    assert_nothing_smeared(format, without(packets, *missing), wanted, at_least=18)


def test_what_was_decoded_before_the_loss_is_not_withheld(films: Films, record: Record) -> None:
    """Pictures wait for their turn to be shown: some come out after the loss of a later packet."""
    format, packets = record(films("loss-b.mp4", bframes=2))
    for missing in range(11, 19):
        decoder = Decoder(format)
        shown_ns = {picture.pts_ns for picture in pictures(without(packets, missing), decoder)}
        assert shown_ns >= {packet.pts_ns for packet in packets[:missing]}


def test_a_missing_picture_smears_where_nobody_is_strict(films: Films, record: Record) -> None:
    """The reason why there is a strict decoder at all."""
    (format, packets), wanted = truth(films, record, "loss.mp4")
    decoder = Decoder(format, strict=False)
    out = [(p.pts_ns // STEP_NS, filled(p)[0]) for p in pictures(without(packets, 13), decoder)]
    assert len(out) == FRAMES - 1
    assert {n for n, luma in out if not np.array_equal(luma, wanted[n])} == set(range(14, 20))
    assert decoder.withheld == 0


def test_the_withheld_are_counted(films: Films, record: Record) -> None:
    (format, packets), wanted = truth(films, record, "loss.mp4")
    decoder = assert_nothing_smeared(format, without(packets, 13), wanted, at_least=FRAMES - 7)
    assert decoder.withheld == 6


@pytest.mark.parametrize(
    ("name", "options"),
    [("loss.mp4", {}), ("loss-hevc.mp4", {"codec": "hevc"}), ("loss-b.mp4", {"bframes": 2})],
)
def test_a_cut_off_packet_is_an_error_and_decoding_goes_on(
    films: Films, record: Record, name: str, options: dict[str, Any]
) -> None:
    (format, packets), wanted = truth(films, record, name, **options)

    def cut(data: bytearray) -> None:
        del data[len(data) // 2 :]

    decoder = assert_nothing_smeared(format, with_data(packets, 13, cut), wanted, at_least=FRAMES - 12)
    assert decoder.errors >= 1


def test_damaged_bits_are_noticed(films: Films, record: Record) -> None:
    (format, packets), wanted = truth(films, record, "loss.ts")

    def damage(data: bytearray) -> None:
        middle = len(data) // 2
        data[middle : middle + 40] = bytes(255 - byte for byte in data[middle : middle + 40])

    decoder = assert_nothing_smeared(format, with_data(packets, 13, damage), wanted, at_least=FRAMES - 12)
    assert decoder.errors >= 1


@pytest.mark.parametrize("name", ["h264.mp4", "hevc.mkv", "jpeg.mkv"])
def test_garbage_never_raises_and_is_counted(films: Films, record: Record, name: str) -> None:
    codec = {"h264.mp4": "h264", "hevc.mkv": "hevc", "jpeg.mkv": "mjpeg"}[name]
    format, packets = record(films(name, codec=codec))
    noise = np.random.default_rng(7)
    bad = [replace(packet, data=noise.bytes(len(packet.data))) for packet in packets]
    decoder = Decoder(format)
    assert decoded(bad, decoder).numbers == []
    assert decoder.errors >= FRAMES - 10
    assert decoded(packets, decoder).numbers == list(range(FRAMES))


def test_a_packet_that_the_container_calls_damaged_is_not_believed(films: Films, record: Record) -> None:
    (format, packets), wanted = truth(films, record, "loss.mp4")
    packets[13].metadata = {"damaged": True}
    decoder = assert_nothing_smeared(format, packets, wanted, at_least=FRAMES - 7)
    assert decoder.withheld == 7


# --- planes ---


def test_fill_allocates_nothing_of_a_pictures_size(films: Films, record: Record) -> None:
    format, packets = record(films("big.mp4", film(1280, 720, frames=6)))
    decoder = Decoder(format)
    picture = next(pictures(packets, decoder))
    slot = np.zeros(picture.format.nbytes, np.uint8)
    planes = [plane.of(slot) for plane in picture.format.planes]
    picture.fill(planes)
    gc.collect()
    tracemalloc.start()
    try:
        picture.fill(planes)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 20_000


def test_fill_says_which_shape_it_wants(films: Films, record: Record) -> None:
    format, packets = record(films("h264.mp4"))
    picture = next(pictures(packets, Decoder(format)))
    planes = [np.zeros((241, 320), np.uint8), np.zeros((120, 160), np.uint8), np.zeros((120, 160), np.uint8)]
    with pytest.raises(ValueError, match="want a plane of 240 x 320, got \\(241, 320\\)"):
        picture.fill(planes)


# --- plain pixels ---


def raw(
    pixel: str, width: int, height: int, data: bytes, rotation_deg: int = 0
) -> tuple[PacketFormat, Packet]:
    format = PacketFormat("rawvideo", width, height, rotation_deg=rotation_deg, pixel=pixel)
    return format, Packet(data, format, pts_ns=7, is_key=True, captured_ns=1, captured_at_ns=2)


def packed(picture: av.VideoFrame) -> bytes:
    """What FFmpeg's rawvideo encoder makes of a picture: rows without padding."""
    encoder = av.CodecContext.create("rawvideo", "w")
    encoder.width, encoder.height, encoder.pix_fmt = picture.width, picture.height, picture.format.name
    encoder.time_base = Fraction(1, 25)
    return b"".join(bytes(packet) for packet in encoder.encode(picture))


def pixels_of(width: int, height: int, name: str) -> av.VideoFrame:
    rendered = av.VideoFrame.from_ndarray(film(width, height).render(3), format="bgr24")
    return rendered.reformat(format=name, dst_colorspace=5)


@pytest.mark.parametrize(("width", "height"), [(320, 240), (321, 243)])
@pytest.mark.parametrize(
    ("name", "pixel", "full_range"),
    [
        ("gray", PixelFormat.GRAY, True),
        ("yuv420p", PixelFormat.YUV420P, False),
        ("nv12", PixelFormat.NV12, False),
        ("bgr24", PixelFormat.BGR, True),
        ("rgb24", PixelFormat.RGB, True),
        ("yuyv422", PixelFormat.YUV420P, False),
        ("uyvy422", PixelFormat.YUV420P, False),
        ("yuv422p", PixelFormat.YUV420P, False),
        ("bgr0", PixelFormat.BGR, True),
        ("rgb565le", PixelFormat.BGR, True),
    ],
)
def test_plain_pixels_of_devices(
    name: str, pixel: PixelFormat, full_range: bool, width: int, height: int
) -> None:
    format, packet = raw(name, width, height, packed(pixels_of(width, height, name)))
    decoder = Decoder(format)
    (picture,) = decoder.decode(packet)
    frame = as_frame(picture)
    assert frame.format == PictureFormat(pixel, width, height, ColorMatrix.BT601, full_range)
    assert (picture.pts_ns, picture.captured_ns, picture.captured_at_ns, picture.is_key) == (7, 1, 2, True)
    assert read_counter(frame.gray) == 3
    if pixel is not PixelFormat.GRAY:
        assert difference(frame.bgr, film(width, height).render(3)) < 5
    assert decoder.errors == 0


@pytest.mark.parametrize("rotation_deg", [90, 180, 270])
@pytest.mark.parametrize("name", ["gray", "yuv420p", "nv12", "bgr24"])
def test_every_layout_can_be_turned(name: str, rotation_deg: int) -> None:
    format, packet = raw(name, 320, 200, packed(pixels_of(320, 200, name)), rotation_deg)
    (picture,) = Decoder(format).decode(packet)
    frame = as_frame(picture)
    upright = np.rot90(film(320, 200).render(3), rotation_deg // 90)
    assert (frame.height, frame.width) == upright.shape[:2]
    if name == "gray":
        assert (
            difference(frame.gray, np.rot90(pixels_of(320, 200, "gray").to_ndarray(), rotation_deg // 90))
            == 0
        )
    else:
        assert difference(frame.bgr, upright) < 4


def test_plain_pixels_of_the_wrong_size_are_an_error() -> None:
    format, packet = raw("gray", 320, 240, bytes(320 * 240 - 1))
    decoder = Decoder(format)
    assert list(decoder.decode(packet)) == []
    assert decoder.errors == 1


def test_plain_pixels_need_no_codec() -> None:
    """The picture is looked at where it is: not even a copy is made before `fill`."""
    data = np.arange(64 * 48, dtype=np.uint64).astype(np.uint8)
    format, packet = raw("gray", 64, 48, data.data)
    (picture,) = Decoder(format).decode(packet)
    data[5] = 77
    assert filled(picture)[0][0, 5] == 77


def test_decoders_that_are_forgotten_do_not_hang(films: Films, record: Record) -> None:
    """FFmpeg waits for its threads when a decoder is freed; they must have come to rest by then."""
    format, packets = record(films("h264.mp4"))

    def forget() -> Iterator[Picture]:
        decoder = Decoder(format, threads=2)
        for packet in packets[:15]:
            yield from decoder.decode(packet)

    for _ in range(5):
        assert len([None for _ in forget()]) >= 10
        gc.collect()
