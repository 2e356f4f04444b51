"""Media time from the stamps of real and odd containers."""

from __future__ import annotations

import itertools
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from frameloom.sources.timeline import Stamps, Timeline, Times

MS = 1_000_000
S = 1000 * MS
IN_MS = Fraction(1, 1000)


def at(ms: int | None, dts_ms: int | None = None, duration_ms: int | None = 40) -> Stamps:
    return Stamps(ms, ms if dts_ms is None else dts_ms, duration_ms)


def placed(timeline: Timeline, *stamps: Stamps, every_ms: int = 40) -> list[Times]:
    return [timeline.place(stamp, n * every_ms * MS) for n, stamp in enumerate(stamps)]


def pts_ms(times: list[Times]) -> list[float]:
    return [time.pts_ns / MS for time in times]


def test_it_starts_at_zero_wherever_the_container_does() -> None:
    timeline = Timeline(Fraction(1, 90_000), start=133_200)
    times = placed(timeline, Stamps(133_200, 126_000, 3600), Stamps(140_400, 129_600, 3600))
    assert pts_ms(times) == [0, 80]
    assert [time.dts_ns // MS for time in times] == [-80, -40]
    assert [time.duration_ns for time in times] == [40 * MS, 40 * MS]


def test_a_live_stream_starts_with_its_first_packet() -> None:
    assert pts_ms(placed(Timeline(IN_MS, live=True), at(5000), at(5040))) == [0, 40]


def test_a_first_packet_without_stamps_comes_before_the_others() -> None:
    """What FFmpeg gives for the first picture over RTSP."""
    timeline = Timeline(Fraction(1, 90_000), live=True, rate=Fraction(25))
    times = placed(timeline, Stamps(None, None, 3600), Stamps(3600, 3600, 3600), Stamps(7200, 7200, 3600))
    assert pts_ms(times) == [0, 40, 80]


def test_missing_decoding_times_are_put_before_those_that_are_known() -> None:
    """Matroska tells times of presentation only; FFmpeg works out the others, but not the first."""
    timeline = Timeline(IN_MS, start=0, rate=Fraction(25), reorder=2)
    stamps = [Stamps(0, None, 40), Stamps(120, None, 40), Stamps(40, 0, 40), Stamps(80, 40, 40)]
    times = placed(timeline, *stamps)
    assert pts_ms(times) == [0, 120, 40, 80]
    assert [time.dts_ns // MS for time in times] == [-80, -40, 0, 40]


def test_no_stamps_at_all_are_spaced_by_the_rate() -> None:
    timeline = Timeline(IN_MS, rate=Fraction(50))
    assert pts_ms(placed(timeline, *[Stamps(None, None, None)] * 3)) == [0, 20, 40]


def test_by_arrival_the_clock_counts() -> None:
    timeline = Timeline(IN_MS, live=True, by_arrival=True)
    assert pts_ms(placed(timeline, at(0), at(40), at(80), every_ms=1000)) == [0, 1000, 2000]


def test_variable_rates_are_kept() -> None:
    timeline = Timeline(IN_MS, start=0)
    assert pts_ms(placed(timeline, at(0), at(33), at(7000), at(7001))) == [0, 33, 7000, 7001]


def test_a_film_begins_again_right_after_its_last_picture() -> None:
    timeline = Timeline(IN_MS, start=100)
    first = placed(timeline, at(100, 20), at(220, 60), at(140, 100), at(180, 140))
    timeline.begin_again()
    second = placed(timeline, at(100, 20), at(220, 60))
    assert max(pts_ms(first)) == 120
    assert pts_ms(second) == [160, 280]
    assert [time.dts_ns for time in first + second] == sorted({time.dts_ns for time in first + second})


def test_a_server_that_begins_again_does_not_turn_time_back() -> None:
    timeline = Timeline(IN_MS, live=True)
    assert pts_ms(placed(timeline, at(60_000), at(60_040), at(0), at(40))) == [0, 40, 80, 120]


def test_a_live_clock_that_jumps_ahead_is_brought_back_to_the_hosts() -> None:
    timeline = Timeline(IN_MS, live=True)
    assert pts_ms(placed(timeline, at(0), at(40), at(3_600_080), at(3_600_120))) == [0, 40, 80, 120]


def test_a_real_pause_of_a_camera_stays_a_pause() -> None:
    timeline = Timeline(IN_MS, live=True)
    first = timeline.place(at(0), 0)
    later = timeline.place(at(60_000), 60 * S)
    assert later.pts_ns - first.pts_ns == 60 * S


def test_nonsense_durations_are_replaced_by_the_rates() -> None:
    """One tick is what AVI gives, and FFmpeg for motion JPEG over RTP."""
    timeline = Timeline(Fraction(1, 90_000), rate=Fraction(25))
    assert timeline.place(Stamps(0, 0, 1), 0).duration_ns == 40 * MS
    assert timeline.place(Stamps(3600, 3600, None), 0).duration_ns == 40 * MS


def test_long_media_times_keep_their_nanoseconds() -> None:
    timeline = Timeline(Fraction(1001, 30_000), start=0)
    day = 30_000 * 86_400 // 1001
    assert timeline.place(Stamps(day, day, 1), 0).pts_ns == day * 1001 * S // 30_000


stamp = st.one_of(st.none(), st.integers(-(2**40), 2**40))


@given(
    st.lists(st.tuples(stamp, stamp, stamp), max_size=30),
    st.booleans(),
    st.integers(0, 3),
    st.one_of(st.none(), st.integers(-1000, 1000)),
)
def test_decoding_time_always_grows_and_never_passes_presentation(
    stamps: list[tuple[int | None, int | None, int | None]], live: bool, reorder: int, start: int | None
) -> None:
    timeline = Timeline(IN_MS, start=start, rate=Fraction(25), reorder=reorder, live=live)
    times = placed(timeline, *(Stamps(*each) for each in stamps))
    dts = [time.dts_ns for time in times]
    assert all(a < b for a, b in itertools.pairwise(dts))
    assert all(time.dts_ns <= time.pts_ns for time in times)
    assert all(MS <= time.duration_ns <= 10 * S for time in times)
