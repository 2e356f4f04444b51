"""Test pictures with known truth, on a clock of our own."""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pytest

from frameloom.model.errors import SourceMisconfigured
from frameloom.sources import SourceSettings
from frameloom.sources.decode import Decoder
from frameloom.sources.synthetic import SyntheticSource, open_synthetic, read_counter
from frameloom.testing.clock import FakeClock
from frameloom.testing.films import rotating_tank
from tests.sources.films import filled, pictures, shown

S = 1_000_000_000


def synthetic(query: str, clock: FakeClock | None = None, **settings: object) -> SyntheticSource:
    made = SourceSettings.model_validate({"url": f"synthetic:{query}", **settings})
    return open_synthetic("yard", made, clock or FakeClock())


@pytest.mark.parametrize(("width", "height"), [(320, 240), (16, 16), (333, 77), (1920, 1080)])
def test_the_counter_counts(width: int, height: int) -> None:
    source = synthetic(f"counter?width={width}&height={height}&frames=300", pace="unpaced")
    decoder = Decoder(source.open())
    seen = shown(pictures(source.packets(), decoder), read_counter)
    assert seen.numbers == list(range(300))
    assert {(f.width, f.height) for f in seen.formats} == {(width, height)}


def test_the_counter_is_paced_by_its_clock() -> None:
    clock = FakeClock()
    source = synthetic("counter?fps=10", clock)
    source.open()
    began_ns = clock.monotonic_ns()
    packets = list(itertools.islice(source.packets(), 21))
    assert clock.monotonic_ns() - began_ns == 2 * S
    assert [packet.captured_ns - began_ns for packet in packets] == [packet.pts_ns for packet in packets]
    assert [packet.metadata["number"] for packet in packets] == list(range(21))
    assert source.live


def test_the_counter_has_no_end_unless_asked() -> None:
    source = synthetic("counter", pace="unpaced")
    source.open()
    assert len(list(itertools.islice(source.packets(), 1000))) == 1000


def test_a_film_is_what_it_renders() -> None:
    film = rotating_tank(width=320, height=240, frames=8, fps=50)
    source = synthetic("rotating_tank?width=320&height=240&frames=8&fps=50", pace="unpaced")
    decoder = Decoder(source.open())
    for n, picture in enumerate(pictures(source.packets(), decoder)):
        assert np.array_equal(filled(picture)[0], film.render(n))
        assert picture.pts_ns == n * S // 50


def test_packets_of_a_film_do_not_change_when_it_goes_on() -> None:
    source = synthetic("rotating_tank?width=320&height=240&frames=8", pace="unpaced")
    source.open()
    packets = list(source.packets())
    assert len({bytes(packet.data) for packet in packets}) == 8


def test_a_looped_film_goes_on() -> None:
    source = synthetic("rotating_tank?width=320&height=240&frames=4", loop=True, pace="unpaced")
    source.open()
    packets = list(itertools.islice(source.packets(), 9))
    assert bytes(packets[8].data) == bytes(packets[0].data)
    assert packets[8].pts_ns == 8 * S // 25


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ("unicorn", "there is no synthetic:unicorn"),
        ("encode", "synthetic:encode"),
        ("np", "there is no synthetic:np"),
        ("counter?speed=3", "url option 'speed', allowed: width, height, frames, fps"),
        ("counter?width=big", "width: read 'big', allowed: a number"),
        ("counter?width=4", "width: read 4, allowed: 16 to 16384"),
        ("counter?fps=0", "fps: read 0, allowed: above 0"),
        ("counter?fps=nan", "fps"),
        ("counter?frames=-1", "frames"),
        ("rotating_tank?wheels=3", "synthetic:rotating_tank"),
        ("rotating_tank?width=1", "want 32x32 pixels or more"),
    ],
)
def test_what_is_not_known_is_said(query: str, complaint: str) -> None:
    with pytest.raises(SourceMisconfigured) as caught:
        synthetic(query)
    assert complaint in str(caught.value)
    assert "'yard'" in str(caught.value)


def test_the_counter_needs_no_codec() -> None:
    code = """
import sys
from frameloom.model.clock import SystemClock
from frameloom.sources import SourceSettings, open_source
source = open_source("yard", SourceSettings(url="synthetic:counter?frames=3", pace="unpaced"), SystemClock())
source.open()
print(len(list(source.packets())), {"av", "cv2"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "3 set()"
