"""Films: paced, looped, turned, cut off, missing."""

from __future__ import annotations

import itertools
import shutil
import threading
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from frameloom.model.clock import SystemClock
from frameloom.model.errors import SourceLost, SourceMisconfigured
from frameloom.model.packet import Packet
from frameloom.sources import SourceSettings
from frameloom.sources.av_source import AvSource
from frameloom.sources.decode import Decoder
from frameloom.testing.cameras import HttpFileServer
from frameloom.testing.clock import FakeClock
from tests.sources.films import FRAMES, STEP_NS, Films, Opener, decoded, film

PATIENCE_S = 30.0
S = 1_000_000_000


def on(clock: FakeClock, path: Path, **settings: Any) -> AvSource:
    return AvSource("yard", SourceSettings(url=str(path), **settings), clock)


# --- pace ---


def test_a_film_is_paced_by_the_clock_that_it_is_given(films: Films) -> None:
    clock = FakeClock()
    source = on(clock, films("h264.mp4"))
    source.open()
    began_ns, began_at_ns = clock.monotonic_ns(), clock.utc_ns()
    packets = list(source.packets())
    assert [p.captured_ns - began_ns for p in packets] == pytest.approx([p.pts_ns for p in packets], abs=1000)
    assert [p.captured_at_ns - began_at_ns for p in packets] == pytest.approx(
        [p.pts_ns for p in packets], abs=1000
    )
    assert sum(clock.waits_s) == pytest.approx((FRAMES - 1) * STEP_NS / S, abs=1e-5)


def test_no_picture_of_a_film_with_b_frames_is_ahead_of_its_time(films: Films) -> None:
    clock = FakeClock()
    source = on(clock, films("b.mp4", bframes=2))
    decoder = Decoder(source.open())
    began_ns = clock.monotonic_ns()
    for packet in source.packets():
        for picture in decoder.decode(packet):
            assert clock.monotonic_ns() - began_ns >= picture.pts_ns - 1000
    source.close()


def test_variable_frame_rate_is_kept(films: Films) -> None:
    times_s = [0, 0.02, 0.04, 0.5, 0.51, 3.0, 60.0, 60.04]
    clock = FakeClock()
    source = on(clock, films("vfr.mp4", film(frames=8), vfr_pts_s=times_s))
    source.open()
    packets = list(source.packets())
    assert [packet.pts_ns / S for packet in packets] == pytest.approx(times_s, abs=1e-4)
    assert sum(clock.waits_s) == pytest.approx(60.04, abs=1e-3)


def test_unpaced_never_waits(films: Films) -> None:
    clock = FakeClock()
    source = on(clock, films("h264.mp4"), pace="unpaced")
    source.open()
    assert len(list(source.packets())) == FRAMES
    assert clock.waits_s == []
    assert not source.live


@pytest.mark.parametrize("name", ["b.mp4", "b.mkv", "b.ts", "b.h264", "jpeg.avi"])
def test_a_looped_film_goes_on_without_a_seam(films: Films, name: str) -> None:
    options: dict[str, Any] = {"codec": "mjpeg"} if name == "jpeg.avi" else {"bframes": 2}
    source = on(FakeClock(), films(name, **options), loop=True, pace="unpaced")
    format = source.open()
    packets = list(itertools.islice(source.packets(), FRAMES * 5 // 2))
    source.close()
    seen = decoded(packets, Decoder(format))
    assert list(seen.numbers[: 2 * FRAMES]) == [*range(FRAMES)] * 2
    steps = [b - a for a, b in itertools.pairwise(seen.pts_ns[: 2 * FRAMES])]
    assert steps == pytest.approx([steps[0]] * len(steps), abs=1_000_000)
    assert all(a.dts_ns < b.dts_ns for a, b in itertools.pairwise(packets))


def test_a_looped_film_is_paced_over_its_end(films: Films) -> None:
    clock = FakeClock()
    source = on(clock, films("h264.mp4"), loop=True)
    source.open()
    packets = list(itertools.islice(source.packets(), 3 * FRAMES))
    source.close()
    assert len(packets) == 3 * FRAMES
    assert sum(clock.waits_s) == pytest.approx((3 * FRAMES - 1) * STEP_NS / S, abs=1e-4)


def test_a_loop_ends_when_another_film_takes_its_place(films: Films, tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    shutil.copy(films("h264.mp4"), path)
    source = on(FakeClock(), path, loop=True, pace="unpaced")
    source.open()
    packets = source.packets()
    next(packets)
    path.unlink()
    shutil.copy(films("small.mp4", film(160, 128)), path)
    with pytest.raises(SourceLost, match="another film"):
        list(packets)
    source.close()


class WatchedClock(SystemClock):
    """The real clock, that tells when somebody begins to wait."""

    def __init__(self) -> None:
        self.waiting = threading.Event()

    def wait(self, interrupt: threading.Event, timeout_s: float) -> bool:
        self.waiting.set()
        return super().wait(interrupt, timeout_s)


def test_close_ends_a_long_wait(films: Films) -> None:
    clock = WatchedClock()
    path = films("slow.mp4", film(frames=2), vfr_pts_s=[0, 9000.0])
    source = AvSource("yard", SourceSettings(url=str(path)), clock)
    source.open()
    packets = source.packets()
    next(packets)
    rest: list[Packet] = []
    reader = threading.Thread(target=lambda: rest.extend(packets), daemon=True)
    reader.start()
    assert clock.waiting.wait(PATIENCE_S)
    source.close()
    reader.join(PATIENCE_S)
    assert not reader.is_alive()
    assert rest == []


# --- what a container says ---


def test_extradata_is_as_the_container_gave_it(films: Films, source: Opener) -> None:
    in_mp4, in_ts = source(films("h264.mp4")).open(), source(films("h264.ts")).open()
    assert in_mp4.extradata[:1] == b"\1"
    assert in_ts.extradata.startswith((b"\0\0\1", b"\0\0\0\1"))


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize("rotation_deg", [0, 90, 180, 270])
def test_the_rotation_is_found_and_costs_no_packet(
    films: Films, source: Opener, rotation_deg: int, suffix: str
) -> None:
    made = source(
        films(f"turn-{rotation_deg}.{suffix}", rotation_deg=rotation_deg, bframes=2), pace="unpaced"
    )
    assert made.open().rotation_deg == rotation_deg
    packets = list(made.packets())
    assert len(packets) == FRAMES
    assert packets[0].is_key


@pytest.mark.parametrize("name", ["a:b.mp4", "10:30.mp4", "concat:x.mp4", "a b%20c.mp4", "ümläut.mp4"])
def test_a_path_is_a_path_and_nothing_else(films: Films, source: Opener, tmp_path: Path, name: str) -> None:
    shutil.copy(films("h264.mp4"), tmp_path / name)
    assert source(tmp_path / name).open().codec == "h264"


def test_a_relative_path_with_a_colon(
    films: Films, source: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(films("h264.mp4"), tmp_path / "pipe:0")
    monkeypatch.chdir(tmp_path)
    assert source("pipe:0").open().codec == "h264"


def test_sound_beside_the_pictures_is_left_out(source: Opener, tmp_path: Path) -> None:
    path = tmp_path / "both.mkv"
    write_sound(path, with_pictures=True)
    made = source(path, pace="unpaced")
    decoder = Decoder(made.open())
    assert len(decoded(made.packets(), decoder).numbers) == 5
    assert decoder.errors == 0


def write_sound(path: Path, with_pictures: bool) -> None:
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=48000)
        pictures = container.add_stream("libx264", rate=25) if with_pictures else None
        if pictures is not None:
            pictures.width, pictures.height, pictures.pix_fmt = 320, 240, "yuv420p"
        for n in range(5):
            silence = av.AudioFrame.from_ndarray(
                np.zeros((2, 1024), np.float32), format="fltp", layout="stereo"
            )
            silence.sample_rate, silence.pts = 48000, n * 1024
            container.mux(sound.encode(silence))
            if pictures is not None:
                container.mux(pictures.encode(av.VideoFrame.from_ndarray(film().render(n), format="bgr24")))
        container.mux(sound.encode(None))
        if pictures is not None:
            container.mux(pictures.encode(None))


# --- what is wrong with a file ---


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "not a video that can be read, or cut off"),
        (b"\x13\x77\x00\xff" * 5000, "not a video that can be read, or cut off"),
        (b"dear diary,\ntoday I saw a tank\n" * 40, "not a video"),
    ],
)
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "txt"])
def test_a_file_that_is_no_video(
    source: Opener, tmp_path: Path, suffix: str, content: bytes, complaint: str
) -> None:
    path = tmp_path / f"film.{suffix}"
    path.write_bytes(content)
    with pytest.raises(SourceMisconfigured, match=complaint) as caught:
        source(path).open()
    assert "'yard'" in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_file(source: Opener, tmp_path: Path) -> None:
    with pytest.raises(SourceMisconfigured, match=r"'yard': no such file: .*nowhere\.mp4"):
        source(tmp_path / "nowhere.mp4").open()


def test_a_folder(source: Opener, tmp_path: Path) -> None:
    with pytest.raises(SourceMisconfigured, match="a folder, not a video"):
        source(tmp_path).open()


def test_a_file_without_pictures(source: Opener, tmp_path: Path) -> None:
    write_sound(tmp_path / "sound.mp4", with_pictures=False)
    with pytest.raises(SourceMisconfigured, match="there are no pictures in it"):
        source(tmp_path / "sound.mp4").open()


def test_an_mp4_without_its_index_is_cut_off(films: Films, source: Opener, tmp_path: Path) -> None:
    path = tmp_path / "cut.mp4"
    whole = films("h264.mp4").read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SourceMisconfigured, match="or cut off"):
        source(path).open()


def with_index_first(path: Path, target: Path) -> Path:
    with av.open(str(path)) as film, av.open(str(target), "w", options={"movflags": "faststart"}) as out:
        stream = out.add_stream_from_template(film.streams.video[0])
        for packet in film.demux(video=0):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    return target


@pytest.mark.parametrize("name", ["b.mp4", "b.mkv", "b.ts", "b.h264"])
def test_a_cut_off_film_ends_with_its_last_whole_picture(
    films: Films, source: Opener, tmp_path: Path, name: str
) -> None:
    whole = films(name, bframes=2)
    if name == "b.mp4":
        whole = with_index_first(whole, tmp_path / "whole.mp4")
    path = tmp_path / f"cut-{name}"
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    made = source(path, pace="unpaced")
    decoder = Decoder(made.open())
    seen = decoded(made.packets(), decoder)
    assert 10 <= len(seen.numbers) < FRAMES
    assert seen.numbers == list(range(len(seen.numbers)))


def test_a_film_with_a_hole_goes_on_after_it(films: Films, source: Opener, tmp_path: Path) -> None:
    data = bytearray(films("h264.ts").read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4000] = bytes(4000)
    path = tmp_path / "hole.ts"
    path.write_bytes(data)
    made = source(path, pace="unpaced")
    seen = decoded(made.packets(), Decoder(made.open()))
    assert seen.numbers[0] == 0
    assert seen.numbers[-1] == FRAMES - 1
    assert len(seen.numbers) < FRAMES
    assert seen.pts_ns == sorted(seen.pts_ns)


def test_packets_before_open_are_none(films: Films, source: Opener) -> None:
    assert list(source(films("h264.mp4")).packets()) == []


# --- films over HTTP ---


def test_a_film_over_http_is_a_film(films: Films, source: Opener) -> None:
    with HttpFileServer(films("h264.mp4")) as server:
        made = source(server.url, pace="unpaced")
        decoder = Decoder(made.open())
        seen = decoded(made.packets(), decoder)
        assert seen.numbers == list(range(FRAMES))
        made.close()


def test_a_film_over_http_is_paced_unless_told_otherwise(films: Films) -> None:
    clock = FakeClock()
    with HttpFileServer(films("h264.mp4")) as server:
        source = AvSource("yard", SourceSettings(url=server.url), clock)
        source.open()
        assert len(list(source.packets())) == FRAMES
        assert sum(clock.waits_s) == pytest.approx((FRAMES - 1) * STEP_NS / S, abs=1e-5)
        source.close()


def test_a_film_over_http_waits_for_a_slow_reader(films: Films, source: Opener) -> None:
    long = film(frames=400)
    with HttpFileServer(films("long.mkv", long)) as server:
        made = source(server.url, pace="unpaced")
        format = made.open()
        packets = made.packets()
        first = next(packets)
        feed = made._feed  # type: ignore[attr-defined]
        with feed._changed:
            assert feed._changed.wait_for(lambda: len(feed._packets) == feed._depth, PATIENCE_S)
        seen = decoded([first, *packets], Decoder(format))
        assert seen.numbers == list(range(400))
        assert made.dropped == 0  # type: ignore[attr-defined]
