"""Films in files: every codec and container keeps every frame, and says what it was told to say."""

import multiprocessing

import av
import pytest

from frameloom.testing.films import (
    coloured_lights,
    counter,
    demo_films,
    encode,
    rotating_tank,
    walking_figures,
)
from tests.testing.pictures import counter_of, frames_of

FRAMES = 30

# name of the file, what encode is told, the pixel format that comes out
KINDS = [
    ("a.mp4", {}, "yuv420p"),
    ("a.mkv", {"bframes": 2, "preset": "veryfast"}, "yuv420p"),
    ("a.ts", {"pix_fmt": "yuvj420p"}, "yuvj420p"),
    ("a.h264", {"slices": 3}, "yuv420p"),
    ("b.mp4", {"codec": "hevc"}, "yuv420p"),
    ("b.mkv", {"codec": "hevc", "pix_fmt": "yuv420p10le", "bframes": 2}, "yuv420p10le"),
    ("b.h265", {"codec": "hevc", "slices": 2}, "yuv420p"),
    ("c.mp4", {"codec": "mjpeg"}, "yuvj420p"),
    ("c.avi", {"codec": "mjpeg", "pix_fmt": "yuv422p"}, "yuvj422p"),
    ("d.mp4", {"pix_fmt": "yuv420p10le"}, "yuv420p10le"),
    ("d.mkv", {"pix_fmt": "yuv422p"}, "yuv422p"),
    ("d.ts", {"pix_fmt": "yuv422p10le"}, "yuv422p10le"),
    ("e.mp4", {"bit_rate_bps": 400_000, "preset": "veryfast"}, "yuv420p"),
    ("f.mp4", {"crf": 32}, "yuv420p"),
    ("f.mkv", {"crf": 32, "codec": "hevc"}, "yuv420p"),
]


@pytest.mark.parametrize(("name", "told", "pix_fmt"), KINDS)
def test_every_counter_survives(tmp_path, name, told, pix_fmt):
    path = encode(counter(width=322, height=242, frames=FRAMES), tmp_path / name, **told)
    found = list(frames_of(path))
    assert [counter_of(frame) for frame in found] == list(range(FRAMES))
    assert {(frame.width, frame.height, frame.format.name) for frame in found} == {(322, 242, pix_fmt)}


@pytest.mark.parametrize(("codec", "pix_fmt"), [("mjpeg", "yuv420p"), ("h264", "yuv444p")])
def test_odd_sizes_where_the_codec_can(tmp_path, codec, pix_fmt):
    film = counter(width=321, height=241, frames=10)
    path = encode(film, tmp_path / "odd.mkv", codec=codec, pix_fmt=pix_fmt)
    found = list(frames_of(path))
    assert [counter_of(frame) for frame in found] == list(range(10))
    assert (found[0].width, found[0].height) == (321, 241)


@pytest.mark.parametrize("codec", ["h264", "hevc"])
@pytest.mark.parametrize(("gop", "bframes"), [(7, 0), (12, 2)])
def test_key_frames_stand_exactly_where_wanted(tmp_path, codec, gop, bframes):
    told = {"codec": codec, "gop": gop, "bframes": bframes, "preset": "veryfast"}
    path = encode(counter(frames=FRAMES), tmp_path / "film.mkv", **told)
    found = list(frames_of(path))
    assert [n for n, frame in enumerate(found) if frame.key_frame] == list(range(0, FRAMES, gop))
    kinds = {av.video.frame.PictureType(frame.pict_type).name for frame in found}
    assert ("B" in kinds) == (bframes > 0)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("rotation_deg", [90, 180, -90])
def test_rotation_is_written(tmp_path, suffix, rotation_deg):
    path = encode(counter(frames=3), tmp_path / f"film{suffix}", rotation_deg=rotation_deg)
    assert abs(next(frames_of(path)).rotation - rotation_deg) % 360 == 0


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("bframes", [0, 2])
def test_a_variable_frame_rate_is_kept(tmp_path, suffix, bframes):
    times_s = [n * 0.04 + (n % 3) * 0.01 for n in range(FRAMES)]
    film = counter(frames=FRAMES)
    path = encode(film, tmp_path / f"film{suffix}", vfr_pts_s=times_s, bframes=bframes, preset="veryfast")
    found = list(frames_of(path))
    assert [counter_of(frame) for frame in found] == list(range(FRAMES))
    assert [frame.time - found[0].time for frame in found] == pytest.approx(times_s, abs=0.001)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"codec": "vp9"}, "unknown codec 'vp9'; one of: h264, hevc, mjpeg"),
        ({"vfr_pts_s": [0.0, 1.0]}, "film 'counter': want 3 times, one a frame, got 2"),
        ({"vfr_pts_s": [0.0, 1.0, 1.0]}, "film 'counter': times must grow"),
    ],
)
def test_what_cannot_be_encoded_is_said(tmp_path, told, message):
    with pytest.raises(ValueError, match=message):
        encode(counter(frames=3), tmp_path / "film.mp4", **told)


def test_an_unknown_suffix_is_said(tmp_path):
    with pytest.raises(ValueError, match=r"unknown suffix '\.webm'; one of: \.mp4, "):
        encode(counter(frames=3), tmp_path / "film.webm")


def test_a_file_appears_only_when_it_is_complete(tmp_path):
    path = tmp_path / "film.mp4"

    def interrupt(done, total):
        assert not path.exists()
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode(counter(frames=10), path, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_progress_is_told_frame_by_frame(tmp_path):
    told = []
    encode(counter(frames=4), tmp_path / "film.mp4", progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


# The demo films, short and small here

SMALL = (rotating_tank(frames=50, rpm=30.0), walking_figures(frames=50), coloured_lights(frames=50))


def test_demo_films_are_made_once_and_kept(tmp_path):
    told = []
    films = demo_films(tmp_path / "cache", lambda *progress: told.append(progress), SMALL)
    assert list(films) == ["tank", "walkers", "lights"]
    assert told[:2] == [("tank", 1, 50), ("tank", 2, 50)]
    assert len(told) == 150
    assert demo_films(tmp_path / "cache", lambda *_: pytest.fail("made twice"), SMALL) == films


def test_demo_films_are_h264_without_b_frames_and_a_key_frame_a_second(tmp_path):
    for path in demo_films(tmp_path, films=SMALL).values():
        with av.open(path) as container:
            packets = [packet for packet in container.demux(video=0) if packet.size]
            assert container.streams.video[0].codec_context.name == "h264"
        assert [packet.pts for packet in packets] == [packet.dts for packet in packets]
        assert [n for n, packet in enumerate(packets) if packet.is_keyframe] == [0, 25]


def test_a_demo_film_with_other_parameters_is_another_file(tmp_path):
    one = demo_films(tmp_path, films=(counter(frames=5),))
    other = demo_films(tmp_path, films=(counter(frames=6),))
    assert one["counter"] != other["counter"]
    assert [len(list(frames_of(films["counter"]))) for films in (one, other)] == [5, 6]


def test_the_rest_of_a_killed_process_is_cleared_away(tmp_path):
    (tmp_path / ".counter-0123456789.mp4.77.part").write_bytes(b"half a film")
    films = demo_films(tmp_path, films=(counter(frames=5),))
    assert len(list(frames_of(films["counter"]))) == 5
    assert list(tmp_path.glob(".*.part")) == []


def make_demo_films(folder, barrier, results):
    made = []
    barrier.wait()
    films = demo_films(folder, lambda name, done, total: made.append(name), (counter(frames=40),))
    results.put((films["counter"], len(made)))


def test_two_processes_that_ask_at_once_get_one_film(tmp_path):
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(2), context.SimpleQueue()
    children = [context.Process(target=make_demo_films, args=(tmp_path, barrier, results)) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    (one, made_one), (other, made_other) = results.get(), results.get()
    assert one == other
    assert sorted([made_one, made_other]) == [0, 40]
    assert len(list(frames_of(one))) == 40
