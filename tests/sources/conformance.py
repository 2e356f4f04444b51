"""What every source promises, whatever it reads. A new kind of source adds a `Case` to `test_conformance.py`."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import pytest

from frameloom.model.clock import SystemClock
from frameloom.model.frame import Array, PixelFormat
from frameloom.model.packet import Packet
from frameloom.model.stages import Source
from frameloom.sources import SourceSettings, open_source
from frameloom.sources.decode import Decoder
from frameloom.testing.films import read_counter
from tests.sources.films import FRAMES, STEP_NS, Films, Shown, pictures, shown

SOME = 12
PATIENCE_S = 30


@dataclass(frozen=True)
class Case:
    """A kind of source that shows a counter film of 320 x 240 at 50 pictures a second.

    serve     given the films, a context in which the film can be had; gives the URL
    ends      whether it comes to a proper end, after `FRAMES` pictures
    live      whether it goes its own pace
    exact     whether media times are the film's own, or those of a clock that ran with it
    """

    name: str
    serve: Callable[[Films], AbstractContextManager[str]]
    codec: str
    settings: dict[str, Any] = field(default_factory=dict)
    ends: bool = False
    live: bool = True
    exact: bool = True
    pixel: PixelFormat = PixelFormat.YUV420P
    read: Callable[[Array], int | None] = read_counter


class Bench:
    """A case whose server is up; every source made here is closed at the end of its test."""

    def __init__(self, case: Case, url: str) -> None:
        self.case = case
        self.settings = SourceSettings(url=url, connect_s=PATIENCE_S, silence_s=PATIENCE_S, **case.settings)
        self._made: list[Source] = []

    def source(self) -> Source:
        self._made.append(open_source("yard", self.settings, SystemClock()))
        return self._made[-1]

    def see(self, count: int) -> Shown:
        """The first `count` pictures of a new source."""
        source = self.source()
        decoder = Decoder(source.open())
        seen = shown(itertools.islice(pictures(source.packets(), decoder), count), self.case.read)
        assert decoder.errors == 0
        assert len(seen.numbers) == count
        return seen

    def close(self) -> None:
        while self._made:
            self._made.pop().close()


class SourceConformance:
    """Subclass it beside a module-scoped fixture `served` that gives a `Bench`."""

    @pytest.fixture
    def bench(self, served: Bench) -> Iterator[Bench]:
        yield served
        served.close()

    def test_the_pictures_are_the_film(self, bench: Bench) -> None:
        """A camera on a busy machine may leave some out, but what it shows is what its media time says."""
        seen = bench.see(SOME)
        first, begin_ns = seen.numbers[0], seen.pts_ns[0]
        assert first is not None
        assert all(number is not None and number < FRAMES for number in seen.numbers)
        if bench.case.exact:
            passed = [round((pts_ns - begin_ns) / STEP_NS) for pts_ns in seen.pts_ns]
            assert seen.numbers == [(first + n) % FRAMES for n in passed]
        if bench.case.ends:
            assert seen.numbers == list(range(SOME))

    def test_media_time_grows_as_the_film_says(self, bench: Bench) -> None:
        seen = bench.see(SOME)
        steps = [b - a for a, b in itertools.pairwise(seen.pts_ns)]
        assert abs(seen.pts_ns[0]) < STEP_NS
        assert all(step > 0 for step in steps)
        if bench.case.exact:  # Matroska counts milliseconds
            assert all(abs(step - round(step / STEP_NS) * STEP_NS) <= 1_000_000 for step in steps)
        if bench.case.ends:
            assert round((seen.pts_ns[-1] - seen.pts_ns[0]) / STEP_NS) == SOME - 1

    def test_the_format_says_what_comes(self, bench: Bench) -> None:
        source = bench.source()
        format = source.open()
        assert (format.codec, format.width, format.height) == (bench.case.codec, 320, 240)
        source.close()  # a port is listened on by one at a time
        for picture in bench.see(2).formats:
            assert (picture.pixel, picture.width, picture.height) == (bench.case.pixel, 320, 240)
            assert picture.full_range is (bench.case.codec in ("mjpeg", "rawvideo"))

    def test_packets_bear_their_times_and_begin_with_a_key(self, bench: Bench) -> None:
        source = bench.source()
        before_ns, before_at_ns = time.monotonic_ns(), time.time_ns()
        format = source.open()
        packets = list(itertools.islice(source.packets(), SOME))
        after_ns, after_at_ns = time.monotonic_ns(), time.time_ns()
        assert packets[0].is_key
        assert all(packet.format is format for packet in packets)
        assert all(a.dts_ns < b.dts_ns for a, b in itertools.pairwise(packets))
        assert all(packet.dts_ns <= packet.pts_ns for packet in packets)
        assert all(packet.duration_ns > 0 for packet in packets)
        captured = [packet.captured_ns for packet in packets]
        assert captured == sorted(captured)
        assert captured[-1] <= after_ns
        assert captured[-1] >= before_ns
        assert before_at_ns <= packets[-1].captured_at_ns <= after_at_ns

    def test_packets_are_read_only_and_outlive_their_source(self, bench: Bench) -> None:
        source = bench.source()
        source.open()
        packets = list(itertools.islice(source.packets(), 4))
        copies = [bytes(packet.data) for packet in packets]
        source.close()
        del source
        assert [bytes(packet.data) for packet in packets] == copies
        assert all(memoryview(packet.data).readonly for packet in packets)

    def test_its_pace_is_as_described(self, bench: Bench) -> None:
        source = bench.source()
        source.open()
        assert source.live is bench.case.live

    def test_close_may_come_at_any_time_and_twice(self, bench: Bench) -> None:
        source = bench.source()
        source.close()
        source.open()
        source.close()
        source.close()
        assert list(source.packets()) == []

    def test_it_opens_again_after_close_and_begins_anew(self, bench: Bench) -> None:
        source = bench.source()
        for _ in range(2):
            source.open()
            packets = list(itertools.islice(source.packets(), 3))
            assert len(packets) == 3
            assert packets[0].is_key
            assert packets[0].pts_ns < STEP_NS
            source.close()

    def test_close_in_another_thread_ends_the_packets(self, bench: Bench) -> None:
        source = bench.source()
        source.open()
        packets = source.packets()
        next(packets)
        left: list[Packet] = []
        done = threading.Event()

        def read() -> None:
            left.extend(packets)
            done.set()

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        source.close()
        assert done.wait(PATIENCE_S)
        reader.join()
        assert len(left) <= FRAMES


class FilmConformance(SourceConformance):
    """For sources that come to an end by themselves."""

    def test_its_end_is_proper(self, bench: Bench) -> None:
        source = bench.source()
        decoder = Decoder(source.open())
        assert shown(pictures(source.packets(), decoder), bench.case.read).numbers == list(range(FRAMES))
        assert list(source.packets()) == []
