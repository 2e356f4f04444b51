"""What is drawn on pictures: where it belongs, to be seen on any ground, whatever a processor says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from frameloom.annotate import COLOURS, Canvas, Layer, draw
from frameloom.model.frame import Array, Frame, PictureFormat, PixelFormat

BOX = [0.25, 0.5, 0.125, 0.25]


def picture(level: Any = 128, width: int = 320, height: int = 240) -> Array:
    return np.full((height, width, 3), level, np.uint8)


def drawn(values: dict[str, Any], ground: Array | None = None, number: int = 0) -> Array:
    """The ground with one layer on it."""
    out = picture() if ground is None else ground.copy()
    draw(out, [Layer("motion", number, values)])
    return out


def places_of(out: Array, colour: tuple[int, int, int]) -> Any:
    """Columns and rows of the pixels that have nearly this colour."""
    rows, columns = np.nonzero(np.abs(out.astype(int) - colour).max(axis=2) < 60)
    return columns, rows


@pytest.mark.parametrize(("width", "height"), [(320, 240), (1280, 720), (161, 97), (3840, 2160)])
def test_a_box_is_where_it_is(width: int, height: int) -> None:
    out = drawn({"boxes": [BOX], "labels": [""]}, picture(128, width, height))
    columns, rows = places_of(out, COLOURS[0])
    line = max(1, height / 240)
    assert (columns.min() + columns.max() + 1) / 2 == pytest.approx(width * (0.25 + 0.375) / 2, abs=1)
    assert (rows.min() + rows.max() + 1) / 2 == pytest.approx(height * (0.5 + 0.75) / 2, abs=1)
    assert np.ptp(columns) + 1 == pytest.approx(width * 0.125 + line, abs=2)
    assert np.ptp(rows) + 1 == pytest.approx(height * 0.25 + line, abs=2)


@pytest.mark.parametrize("ground", [(0, 0, 0), (255, 255, 255), (128, 128, 128), *COLOURS])
@pytest.mark.parametrize("number", range(len(COLOURS)))
def test_it_can_be_seen_on_every_ground(ground: tuple[int, int, int], number: int) -> None:
    """The line itself, or the dark rim on both sides of it."""
    before = picture(ground)
    out = drawn({"boxes": [BOX]}, before, number)
    difference = np.abs(out.astype(int) - before).max(axis=2)
    row, left = 150, 80
    assert difference[row, left - 4 : left + 5].max() > 90
    assert difference[100:118, 80:130].max() > 90, "and so can its caption"
    assert not difference[:, :70].any() and not difference[200:].any()


def test_each_processor_has_its_colour_and_its_name() -> None:
    values = {"boxes": [BOX]}
    one, other = drawn(values, number=0), drawn(values, number=1)
    assert len(places_of(one, COLOURS[0])[0]) > 50 < len(places_of(other, COLOURS[1])[0])
    named = picture()
    draw(named, [Layer("people", 0, values)])
    assert not np.array_equal(named[:119], one[:119]), "the caption"
    assert np.array_equal(named[125:], one[125:]), "and nothing else"
    assert not np.array_equal(drawn({**values, "labels": ["a cat"]})[:119], one[:119])


def test_regions_are_closed_and_trails_are_open() -> None:
    corners = [[0.25, 0.25], [0.75, 0.25], [0.75, 0.75]]
    region, trail = drawn({"regions": [corners]}), drawn({"trails": [corners]})
    between = (slice(118, 123), slice(157, 163))  # in the middle of the last side
    assert (region[between] != 128).any() and (trail[between] == 128).all()
    assert (trail[58:63, 160] != 128).any()


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"boxes": None, "regions": 7, "trails": "x", "labels": 3},
        {"boxes": [[0.1], ["a", 0, 0, 0], [float("nan"), 0, 1, 1], None, [True, 0, 1, 1], {}]},
        {"regions": [[[0.5, 0.5]], [3, 4], [[None, 1], [0.2, 0.2]]], "trails": [[]]},
    ],
)
def test_what_is_no_shape_is_passed_over(values: dict[str, Any]) -> None:
    assert (drawn(values) == 128).all()


@pytest.mark.parametrize(
    "values",
    [
        {"boxes": [[-1e300, -1e300, 1e300, 1e300], [1e9, 0.5, 1, 1], [0.5, 0.5, -0.2, -0.2]]},
        {"boxes": [BOX] * 5000, "labels": ["ÄÖ\n\0" * 1000, None, 7]},
        {"trails": [[[n / 1e5, 0.5] for n in range(100_000)]] * 3},
    ],
)
def test_nothing_that_is_said_makes_it_fail(values: dict[str, Any]) -> None:
    assert drawn(values).shape == (240, 320, 3)


@pytest.mark.parametrize("pixel", list(PixelFormat))
def test_the_frame_itself_stays_as_it_is(pixel: PixelFormat) -> None:
    format = PictureFormat(pixel, 64, 48, full_range=True)
    data = np.full(format.nbytes, 128, np.uint8)
    times = {"seq": 3, "pts_ns": 5, "captured_ns": 7, "captured_at_ns": 11, "metadata": {"number": 1}}
    frame = Frame(data, format, stream="hall", **times)
    canvas = Canvas()
    out = canvas.draw(frame, [Layer("motion", 0, {"boxes": [BOX]})], 1280)
    assert (data == 128).all()
    assert (out.format.pixel, out.width, out.height, out.stream) == (PixelFormat.BGR, 64, 48, "hall")
    assert {name: getattr(out, name) for name in times} == times
    assert len(places_of(out.bgr, COLOURS[0])[0]) > 10
    again = canvas.draw(frame, [], 1280)
    assert np.shares_memory(again.data, out.data) and (again.bgr == again.bgr[0, 0]).all(), (
        "the memory, and no line"
    )


def test_no_wider_than_wanted() -> None:
    frame = Frame.from_array(picture())
    assert Canvas().draw(frame, [], 161).bgr.shape == (121, 161, 3)
