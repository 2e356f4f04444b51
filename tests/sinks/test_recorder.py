"""A recorder with real films, real files and a clock of its own: nothing is lost that is not counted."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from frameloom.model.clock import NS_PER_S
from frameloom.model.packet import BEGINS, Packet
from frameloom.sinks.recorder import RETRY_S, SILENCE_S, Limits, Recorder
from frameloom.testing.clock import UTC_START_NS, FakeClock
from tests.sinks.parts import (
    FPS,
    FRAMES,
    GOP,
    STEP_NS,
    camera,
    numbers_in,
    packets_of_film,
    played,
    probed,
    recordings,
    shown,
    timed,
)
from tests.sinks.test_segment import no_file_larger_than

LAP = list(range(FRAMES))
Make = Callable[..., Recorder]


@pytest.fixture
def film(films: dict[str, Path]) -> list[Packet]:
    return packets_of_film(films["h264"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "recordings"


@pytest.fixture
def make(folder: Path, clock: FakeClock) -> Make:
    def made(**limits: object) -> Recorder:
        recorder = Recorder("hall", folder, Limits(**{"reserve": "0", **limits}), clock)  # type: ignore[arg-type]
        recorder.start()
        return recorder

    return made


def take(recorder: Recorder, packets: list[Packet], clock: FakeClock | None = None) -> None:
    """Give it the packets, each a frame's time after the one before."""
    for packet in packets:
        if clock is not None:
            clock.advance(1 / FPS)
        recorder.take(packet)
        recorder.tick()


def all_accounted(recorder: Recorder, sent: int) -> bool:
    return recorder.counts.packets + recorder.counts.lost == sent


# --- segments ---


def test_cut_at_the_first_key_frame_after_the_time(make: Make, folder: Path, film: list[Packet]) -> None:
    recorder = make(segment_s=1)  # 25 pictures: the third group has ended by then
    take(recorder, camera(film, laps=3))
    recorder.stop()
    found = [played(path).numbers for path in recordings(folder)]
    assert [len(numbers) for numbers in found] == [30, 30, 30, 30]
    assert [number for numbers in found for number in numbers] == 3 * LAP
    assert all(probed(path) == "" for path in recordings(folder))
    counts = recorder.counts
    assert (counts.segments, counts.packets, counts.lost, counts.gaps) == (4, 120, 0, 0)
    assert counts.nbytes == sum(path.stat().st_size for path in recordings(folder))
    assert counts.duration_ns == 4 * 29 * STEP_NS


@pytest.mark.parametrize("kind", ["h264 with B frames", "hevc", "mjpeg", "vfr"])
def test_every_kind_keeps_its_times_in_every_segment(
    make: Make, folder: Path, films: dict[str, Path], kind: str
) -> None:
    packets = camera(packets_of_film(films[kind]), laps=2)
    recorder = make(segment_s=1)
    take(recorder, packets)
    recorder.stop()
    files = recordings(folder)
    assert len(files) >= 2
    assert numbers_in(folder) == 2 * LAP
    rest = packets
    for path in files:
        found = played(path)
        ours, rest = rest[: len(found.pts)], rest[len(found.pts) :]
        assert found.pts == shown(ours)
        assert path.name == f"hall-{_stamp(ours[0].captured_at_ns)}.mp4"
        zero_ns = _utc_ns(found.tags["frameloom_utc"])
        utc_ns = sorted(packet.captured_at_ns for packet in ours)
        assert (
            max(
                abs(zero_ns + pts * NS_PER_S // 90_000 - at)
                for pts, at in zip(found.pts, utc_ns, strict=True)
            )
            < 12_000
        )


def _stamp(utc_ns: int) -> str:
    moment = datetime.fromtimestamp(utc_ns // NS_PER_S, UTC)
    return f"{moment:%Y%m%dT%H%M%S}.{utc_ns // 1_000_000 % 1000:03}Z"


def _utc_ns(text: str) -> int:
    whole, _, ns = text.removesuffix("Z").partition(".")
    return int(datetime.fromisoformat(f"{whole}+00:00").timestamp()) * NS_PER_S + int(ns)


def test_a_recording_grows_while_it_is_made(make: Make, folder: Path, film: list[Packet]) -> None:
    recorder = make()
    take(recorder, camera(film)[:1])
    assert recorder.file is None
    take(recorder, camera(film)[1 : 2 * GOP + 2])
    assert recorder.file is not None
    assert played(recorder.file).numbers == LAP[: 2 * GOP]
    assert recorder.counts.packets == 2 * GOP


def test_nothing_is_recorded_before_start_and_after_stop(
    make: Make, folder: Path, film: list[Packet]
) -> None:
    packets = camera(film, laps=3)
    recorder = make()
    recorder.stop()
    take(recorder, packets[:45])
    recorder.start()
    take(recorder, packets[45:85])
    assert recorder.since_ns == packets[50].captured_at_ns, "the first key frame"
    recorder.stop()
    take(recorder, packets[85:])
    assert numbers_in(folder) == [*range(10, 40), *range(5)]
    assert (recorder.counts.lost, recorder.counts.packets) == (0, 35)


# --- breaks ---


def test_lost_packets_cost_no_more_than_a_group(make: Make, folder: Path, film: list[Packet]) -> None:
    packets = camera(film, laps=2)
    missing = packets[:13] + packets[16:]
    recorder = make()
    take(recorder, missing)
    recorder.stop()
    files = recordings(folder)
    assert [played(path).numbers for path in files] == [LAP[:13], [*range(20, 40), *LAP]]
    assert (recorder.counts.lost, recorder.counts.gaps) == (7, 1)
    assert all_accounted(recorder, len(packets))


def test_a_camera_that_is_another_one(make: Make, folder: Path, film: list[Packet]) -> None:
    """Its worker was started again: numbers and media time begin anew."""
    recorder = make()
    take(recorder, camera(film)[:15])
    recorder.lost_camera()
    take(recorder, camera(film)[5:])
    recorder.stop()
    assert [played(path).numbers for path in recordings(folder)] == [LAP[:15], LAP[10:]]
    assert (recorder.counts.lost, recorder.counts.gaps) == (5, 1)


def test_a_camera_that_was_connected_anew(make: Make, folder: Path, film: list[Packet]) -> None:
    """It was back so soon that its times tell nothing: its first packet does."""
    packets = camera(film, laps=2)
    packets[40] = replace(packets[40], metadata={BEGINS: True})
    recorder = make()
    take(recorder, packets)
    recorder.stop()
    assert [played(path).numbers for path in recordings(folder)] == [LAP, LAP]
    assert (recorder.counts.lost, recorder.counts.gaps) == (0, 1)


def test_a_gap_in_time_ends_the_segment(make: Make, folder: Path, film: list[Packet]) -> None:
    packets = camera(film)
    later = [timed(packet, packet.seq, 3 * NS_PER_S) for packet in packets]
    recorder = make()
    take(recorder, packets[:15] + later[15:])
    recorder.stop()
    assert [played(path).numbers for path in recordings(folder)] == [LAP[:15], LAP[20:]]
    assert (recorder.counts.lost, recorder.counts.gaps) == (5, 1)


@pytest.mark.parametrize(("pause_s", "at", "files"), [(1, 20, 2), (1, 25, 1), (0.4, 20, 1)])
def test_a_short_pause_costs_no_picture(
    make: Make, folder: Path, film: list[Packet], pause_s: float, at: int, files: int
) -> None:
    """A camera that is joined again begins with a key frame, and so does a file."""
    packets = camera(film)
    later = [timed(packet, packet.seq, round(pause_s * NS_PER_S)) for packet in packets]
    recorder = make()
    take(recorder, packets[:at] + later[at:])
    recorder.stop()
    assert len(recordings(folder)) == files
    assert numbers_in(folder) == LAP
    assert recorder.counts.lost == 0


def test_pictures_that_are_rare_by_nature_are_no_gap(
    make: Make, folder: Path, films: dict[str, Path]
) -> None:
    """One each five seconds; the first time it may be a loss."""
    packets = [
        replace(packet, pts_ns=n * 5 * NS_PER_S, dts_ns=n * 5 * NS_PER_S)
        for n, packet in enumerate(camera(packets_of_film(films["mjpeg"])))
    ]
    recorder = make(segment_s=3600)
    take(recorder, packets)
    recorder.stop()
    assert [played(path).numbers for path in recordings(folder)] == [[0], LAP[1:]]
    assert recorder.counts.lost == 0


def test_another_format(make: Make, folder: Path, films: dict[str, Path], film: list[Packet]) -> None:
    small, hevc = packets_of_film(films["small"]), packets_of_film(films["hevc"])
    streams = [*camera(film)[:25], *camera(small, laps=2)[45:70], *camera(hevc)]
    lap_ns = [n * STEP_NS for n in range(len(streams))]
    packets = [
        replace(packet, seq=n + 1, pts_ns=at_ns, dts_ns=at_ns, captured_at_ns=UTC_START_NS + at_ns)
        for n, (packet, at_ns) in enumerate(zip(streams, lap_ns, strict=True))
    ]
    recorder = make()
    take(recorder, packets)
    recorder.stop()
    found = [played(path) for path in recordings(folder)]
    assert [(one.sizes, one.codec_tag) for one in found] == [
        ({(320, 240)}, "avc1"),
        ({(192, 144)}, "avc1"),
        ({(320, 240)}, "hvc1"),
    ]
    assert [one.numbers for one in found] == [LAP[:25], LAP[10:30], LAP]
    assert (recorder.counts.lost, recorder.counts.gaps) == (5, 2)


def test_a_silent_camera_has_its_segment_finished(
    make: Make, folder: Path, film: list[Packet], clock: FakeClock
) -> None:
    recorder = make()
    take(recorder, camera(film)[:17], clock)
    clock.advance(SILENCE_S - 1)
    recorder.tick()
    assert numbers_in(folder) == LAP[:GOP], "the group under way is not written yet"
    clock.advance(2)
    recorder.tick()
    assert recorder.file is None
    assert numbers_in(folder) == LAP[:17]


def test_a_damaged_packet(make: Make, folder: Path, films: dict[str, Path]) -> None:
    packets = camera(packets_of_film(films["h264"], annex_b=False))
    packets[15] = replace(packets[15], data=packets[15].data[:-5])
    recorder = make()
    take(recorder, packets)
    recorder.stop()
    assert [played(path).numbers for path in recordings(folder)] == [LAP[:15], LAP[20:]]
    assert all_accounted(recorder, len(packets))


def test_a_codec_that_no_mp4_holds_is_said(make: Make, film: list[Packet]) -> None:
    form = replace(film[0].format, codec="rawvideo")
    recorder = make()
    take(recorder, [replace(packet, format=form) for packet in camera(film)[:5]])
    assert (
        recorder.trouble
        == "camera 'hall': codec 'rawvideo' cannot be recorded as it comes, allowed: h264, hevc, mjpeg"
    )
    take(recorder, camera(film)[10:25])
    assert recorder.trouble == ""


# --- clocks ---


def test_a_clock_that_is_set_back_overwrites_nothing(make: Make, folder: Path, film: list[Packet]) -> None:
    """Each segment is said to begin at the same moment, and then an hour earlier."""
    packets = camera(film, laps=3)
    stuck = [replace(packet, captured_at_ns=UTC_START_NS) for packet in packets[:80]]
    back = [replace(packet, captured_at_ns=UTC_START_NS - 3600 * NS_PER_S) for packet in packets[80:]]
    recorder = make(segment_s=1)
    take(recorder, stuck + back)
    recorder.stop()
    names = {path.name: played(path).numbers for path in recordings(folder)}
    assert names == {
        "hall-20251231T230000.000Z.mp4": LAP[10:],
        "hall-20260101T000000.000Z.mp4": LAP[:30],
        "hall-20260101T000000.000Z-2.mp4": [*LAP[30:], *LAP[:20]],
        "hall-20260101T000000.000Z-3.mp4": [*LAP[20:], *LAP[:10]],
    }
    assert recorder.counts.lost == 0


def test_a_recorder_that_is_started_again_overwrites_nothing(
    make: Make, folder: Path, film: list[Packet]
) -> None:
    for _ in range(3):
        recorder = make()
        take(recorder, camera(film))
        recorder.stop()
    assert [path.name for path in recordings(folder)] == [
        f"hall-20260101T000000.000Z{end}.mp4" for end in ("", "-2", "-3")
    ]
    assert numbers_in(folder) == 3 * LAP


# --- disks ---


def test_a_full_disk(make: Make, folder: Path, film: list[Packet], clock: FakeClock) -> None:
    """What was written plays; what was not is counted; it goes on by itself at a key frame."""
    packets = camera(film, laps=10)
    recorder = make()
    group_bytes = sum(len(packet.data) for packet in packets[:GOP])
    with no_file_larger_than(round(2.6 * group_bytes)):
        take(recorder, packets[:80], clock)
    assert recorder.trouble == f"{folder}: File too large; trying again every {RETRY_S:g} s"
    first = recordings(folder)[0]
    assert played(first).numbers == LAP[:20]
    assert all_accounted(recorder, 80)
    take(recorder, packets[80:], clock)
    assert recorder.trouble == ""
    recorder.stop()
    assert all_accounted(recorder, len(packets))
    later = played(recordings(folder)[-1]).numbers
    assert later[0] is not None
    assert later[0] % GOP == 0
    assert later[-1] == FRAMES - 1
    assert len(later) > 100


def test_not_tried_again_before_its_time(
    make: Make, folder: Path, film: list[Packet], clock: FakeClock
) -> None:
    recorder = make(reserve="900PB")
    take(recorder, camera(film)[:1])
    assert "are free, and 900 PB are to stay free (reserve); trying again every 5 s" in recorder.trouble
    assert recorder.trouble.startswith(f"{folder}: ")
    recorder.limits.reserve = "0"
    packets = camera(film, laps=6)
    for packet in packets[1:100]:
        recorder.take(packet)
    assert recorder.trouble != ""
    clock.advance(RETRY_S)
    take(recorder, packets[100:])
    assert recorder.trouble == ""
    recorder.stop()
    assert (recorder.counts.lost, recorder.counts.packets) == (100, len(packets) - 100)


def test_the_reserve_is_looked_at_while_it_records(
    make: Make, folder: Path, film: list[Packet], clock: FakeClock
) -> None:
    packets = camera(film, laps=2)
    recorder = make()
    take(recorder, packets[:15], clock)
    recorder.limits.reserve = "900PB"
    take(recorder, packets[15:], clock)
    assert "are to stay free" in recorder.trouble
    numbers = numbers_in(folder)
    assert numbers == LAP[: len(numbers)], "the group under way was written too"
    assert 15 <= len(numbers) <= 41
    assert all_accounted(recorder, len(packets))


def test_a_folder_that_is_removed_and_comes_back(
    make: Make, folder: Path, film: list[Packet], clock: FakeClock
) -> None:
    packets = camera(film, laps=20)
    recorder = make()
    take(recorder, packets[:25], clock)
    shutil.rmtree(folder)
    take(recorder, packets[25:200], clock)
    assert recorder.trouble == f"{folder}: No such file or directory; trying again every 5 s"
    assert not folder.exists()
    folder.mkdir()
    take(recorder, packets[200:], clock)
    recorder.stop()
    assert recorder.trouble == ""
    numbers = numbers_in(folder)
    assert len(numbers) > 300
    assert numbers[-1] == FRAMES - 1


def test_a_file_that_somebody_deletes(make: Make, folder: Path, film: list[Packet], clock: FakeClock) -> None:
    packets = camera(film, laps=4)
    recorder = make()
    take(recorder, packets[:25], clock)
    recordings(folder)[0].unlink()
    take(recorder, packets[25:], clock)
    recorder.stop()
    numbers = numbers_in(folder)
    assert numbers[-1] == FRAMES - 1
    assert len(numbers) >= 100
    assert recorder.trouble == ""


def test_a_disk_that_is_not_mounted_is_said(film: list[Packet], tmp_path: Path, clock: FakeClock) -> None:
    recorder = Recorder("hall", tmp_path / "usb" / "recordings", Limits(reserve="0"), clock)
    recorder.start()
    take(recorder, camera(film))
    assert recorder.trouble == f"{tmp_path}/usb/recordings: No such file or directory; trying again every 5 s"
    assert list(tmp_path.iterdir()) == []
    assert recorder.counts.lost == FRAMES


def test_retention(make: Make, folder: Path, film: list[Packet], clock: FakeClock) -> None:
    packets = camera(film, laps=10)
    lap_bytes = sum(len(packet.data) for packet in film)
    recorder = make(segment_s=1, keep_bytes=str(3 * lap_bytes))
    take(recorder, packets, clock)
    recorder.stop()
    files = recordings(folder)
    assert sum(path.stat().st_size for path in files) <= 3 * lap_bytes
    assert len(files) + recorder.deleted == recorder.counts.segments
    assert recorder.deleted >= 9
    numbers = numbers_in(folder)
    assert numbers == (10 * LAP)[-len(numbers) :], "those that are left are the newest"
