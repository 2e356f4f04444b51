"""A film played for ever: which picture is due when, and which packets have gone before it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frameloom.rtsp.rtp import CLOCK_HZ
from frameloom.testing._timeline import EncodedFilm, Timeline, Unit, load
from frameloom.testing.films import counter, encode


def film(keys, packets=(3, 1, 2, 1, 3, 1, 1, 2), step=3600):
    units, before = [], 0
    for index, count in enumerate(packets):
        units.append(Unit((b"x",) * count, index * step, index * step, before, index in keys))
        before += count
    return EncodedFilm(tuple(units), len(packets) * step, "h264", 320, 240, 25.0, 96, ())


EIGHT = film(keys={0, 4})


def test_units_fall_due_one_after_the_other_round_after_round():
    timeline = Timeline(EIGHT, start_s=100.0)
    assert [timeline.due_s(position) for position in (0, 1, 8, 17)] == pytest.approx(
        [100, 100.04, 100.32, 100.68]
    )
    assert timeline.pts_ticks(17) == 17 * 3600


def test_packets_are_counted_through_all_rounds():
    timeline = Timeline(EIGHT, start_s=0.0)
    assert [timeline.packets_before(position) for position in (0, 1, 4, 8, 9)] == [0, 3, 7, 14, 17]


@given(now_s=st.floats(90, 200), keys=st.sets(st.integers(1, 7)))
def test_the_newest_key_is_the_last_one_that_is_due(now_s, keys):
    timeline = Timeline(film(keys=keys | {0}), start_s=100.0)
    key = timeline.newest_key(now_s)
    assert timeline.unit(key).is_key
    if now_s >= 100:
        tick = 1 / CLOCK_HZ
        assert timeline.due_s(key) <= now_s + tick
        assert timeline.due_s(timeline.next_key(key + 1)) > now_s - tick
    else:
        assert key == 0


@given(position=st.integers(0, 1000))
def test_the_next_key_is_the_first_from_there(position):
    timeline = Timeline(EIGHT, start_s=0.0)
    key = timeline.next_key(position)
    assert key >= position
    assert timeline.unit(key).is_key
    assert not any(timeline.unit(between).is_key for between in range(position, key))


def test_b_frames_are_sent_in_decoding_order_and_no_round_begins_before_the_last_ends(tmp_path):
    path = encode(counter(frames=20), tmp_path / "film.mp4", gop=10, bframes=2, preset="veryfast")
    loaded = load(path)
    shown = [unit.pts_ticks for unit in loaded.units]
    assert sorted(shown) == [n * 3600 for n in range(20)]
    assert shown != sorted(shown)
    assert [unit.send_ticks for unit in loaded.units] == [n * 3600 for n in range(20)]
    assert loaded.length_ticks == 20 * 3600
    assert loaded.keys == (0, 10)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".h264"])
def test_every_container_gives_the_same_packets(tmp_path, suffix):
    one = load(encode(counter(frames=20), tmp_path / "one.mp4"))
    other = load(encode(counter(frames=20), tmp_path / f"other{suffix}"))
    assert [unit.payloads for unit in other.units] == [unit.payloads for unit in one.units]
    assert other.sdp_lines == one.sdp_lines
    assert other.length_ticks == one.length_ticks


def test_a_variable_rate_is_sent_as_it_was(tmp_path):
    times_s = [0.0, 0.04, 0.14, 0.15, 0.3]
    path = encode(counter(frames=5), tmp_path / "film.mkv", vfr_pts_s=times_s)
    assert [unit.send_ticks / CLOCK_HZ for unit in load(path).units] == pytest.approx(times_s, abs=0.001)


def test_what_rtp_cannot_carry_is_refused_by_the_file_s_name(tmp_path):
    path = encode(counter(width=324, frames=2), tmp_path / "film.mkv", codec="mjpeg")
    with pytest.raises(ValueError, match=r"film\.mkv: JPEG over RTP wants multiples of 8"):
        load(path)
