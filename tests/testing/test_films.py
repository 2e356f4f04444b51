"""Films: the truth agrees with the picture."""

import itertools
import pickle
import subprocess
import sys

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frameloom.testing.films import (
    COUNTER_MODULUS,
    Walk,
    coloured_lights,
    counter,
    read_counter,
    rotating_tank,
    stamp_regions,
    walking_figures,
)
from tests.testing.pictures import gray

SCENES = [rotating_tank, walking_figures, coloured_lights, counter]


def test_importing_the_package_loads_no_codec_and_no_opencv():
    code = "import sys, frameloom.testing; print({'cv2', 'av', 'numpy', 'pytest'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


@pytest.mark.parametrize("scene", SCENES)
def test_same_arguments_give_the_same_pictures_also_in_another_process(scene):
    film = scene(seed=5, frames=20)
    again = pickle.loads(pickle.dumps(film))
    assert again == film
    assert [again.render(n).tobytes() for n in (0, 7, 19)] == [film.render(n).tobytes() for n in (0, 7, 19)]


@pytest.mark.parametrize("scene", [rotating_tank, walking_figures, coloured_lights])
def test_another_seed_gives_another_film(scene):
    assert scene(seed=1).render(30).tobytes() != scene(seed=2).render(30).tobytes()


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("size", [(320, 240), (161, 121), (720, 1280)])
def test_any_size_is_drawn_into_the_buffer_that_is_given(scene, size):
    width, height = size
    film = scene(width=width, height=height, stamp=True)
    out = np.full((height, width, 3), 77, np.uint8)
    film.render_into(12, out)
    assert read_counter(gray(out)) == 12
    assert (out != 77).mean() > 0.9


def test_a_wrong_buffer_is_refused_by_name():
    with pytest.raises(
        ValueError, match=r"film 'tank': want a \(240, 320, 3\) uint8 buffer, got \(240, 320\)"
    ):
        rotating_tank().render_into(0, np.zeros((240, 320), np.uint8))


def test_a_film_without_frames_is_refused():
    with pytest.raises(ValueError, match="film 'tank': want frames and fps above 0"):
        rotating_tank(frames=0)


@pytest.mark.parametrize("scene", SCENES)
def test_the_scene_repeats_and_the_stamp_counts_on(scene):
    film = scene(frames=25, stamp=True)
    first, later = film.render(3).copy(), film.render(28).copy()
    assert read_counter(gray(later)) == 28
    for x, y, width, height in stamp_regions(film.width, film.height):
        first[y : y + height, x : x + width] = later[y : y + height, x : x + width] = 0
    assert np.array_equal(first, later)


@pytest.mark.parametrize("scene", [rotating_tank, walking_figures, coloured_lights])
def test_the_jump_at_the_end_is_no_larger_than_any_other_step(scene):
    film = scene(frames=150, **({"rpm": 10.0} if scene is rotating_tank else {}))
    last, again = film.render(149).astype(int), film.render(150).astype(int)
    one, two = film.render(70).astype(int), film.render(71).astype(int)
    assert np.abs(last - again).mean() <= 1.5 * np.abs(one - two).mean()


# The stamp


@given(n=st.integers(0, COUNTER_MODULUS - 1), width=st.integers(160, 700), height=st.integers(72, 400))
def test_a_stamp_reads_as_it_was_written(n, width, height):
    from frameloom.testing import _stamp

    picture = np.zeros((height, width), np.uint8)
    _stamp.draw(picture, n)
    assert read_counter(picture) == n


def test_a_stamp_survives_scaling():
    picture = gray(counter(width=1280, height=720).render(123_456))
    for width, height in [(640, 360), (320, 180), (1000, 700), (1920, 1080)]:
        scaled = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
        assert read_counter(scaled) == 123_456


def test_a_torn_picture_does_not_read():
    film = counter()
    torn = np.vstack([gray(film.render(7))[:120], gray(film.render(8))[120:]])
    assert read_counter(torn) is None


def test_a_flipped_bit_does_not_read():
    picture = gray(counter().render(7))
    cell = 320 // 40
    for top in (0, 240 - 2 * cell):
        picture[top : top + cell, 6 * cell : 7 * cell] ^= 0xFF
    assert read_counter(picture) is None


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_picture_without_a_stamp_does_not_read(level):
    assert read_counter(np.full((240, 320), level, np.uint8)) is None
    assert read_counter(gray(rotating_tank().render(0))) is None


def test_a_picture_too_small_for_stamps_is_refused():
    with pytest.raises(ValueError, match=r"frame counters need a width of 160, .* got 128x96"):
        counter(width=128, height=96)
    with pytest.raises(ValueError, match="got 640x60"):
        counter(width=640, height=60)


# The tank


def measured_turn_deg(film, n):
    """How far the disc has turned since frame 0, counter-clockwise, by phase correlation in polar coordinates."""
    truth = film.truth(0)
    rings = []
    for frame in (0, n):
        picture = gray(film.render(frame)).astype(np.float32)
        polar = cv2.warpPolar(picture, (128, 1440), truth.centre, truth.radius, cv2.INTER_LINEAR)
        rings.append(polar[:, 10:115])  # without the hub, where a pixel is many degrees, and without the rim
    (_, rows), _ = cv2.phaseCorrelate(rings[0], rings[1], cv2.createHanningWindow((105, 1440), cv2.CV_32F))
    return -rows / 4


@pytest.mark.parametrize("rpm", [10.0, -10.0, 33.3])
@pytest.mark.parametrize("n", [1, 3, 8])
def test_the_disc_has_turned_as_far_as_the_truth_says(rpm, n):
    film = rotating_tank(width=480, height=360, rpm=rpm, dots=0)
    wanted = 360 * rpm / 60 * n / 25
    assert film.truth(n).angle_deg == pytest.approx(wanted)
    assert measured_turn_deg(film, n) == pytest.approx(wanted, abs=0.15)


@pytest.mark.parametrize("centre", [(160.0, 120.0), (163.4, 117.7), (150.25, 125.6)])
def test_the_rim_is_where_the_truth_says(centre):
    film = rotating_tank(centre=centre, radius=90.0, dots=0)
    rows, columns = np.nonzero(gray(film.render(5)) > 175)
    (x, y), _, _ = cv2.fitEllipse(np.stack([columns, rows], axis=1).astype(np.float32))
    assert film.truth(5).centre == centre
    assert (x, y) == pytest.approx(centre, abs=0.15)
    assert np.hypot(columns - x, rows - y).mean() == pytest.approx(90.0, abs=0.5)


def test_every_dot_is_where_the_truth_says():
    film = rotating_tank(width=960, height=720, dots=12, seed=3)
    checked = 0
    for n in (0, 17, 60):
        yellow = cv2.inRange(film.render(n), (40, 200, 210), (130, 255, 255))
        _, _, _, found = cv2.connectedComponentsWithStats(yellow)
        dots = np.array(film.truth(n).dots)
        for dot in dots:
            if sorted(np.hypot(*(dots - dot).T))[1] > 15:  # two that touch are one spot
                assert np.hypot(*(found[1:] - dot).T).min() < 0.5
                checked += 1
    assert checked > 25


# The walkers


def boxes_seen(film, n, empty):
    """Boxes (left, top, width, height) of all that differs from the empty scene, in one piece or not."""
    differs = np.abs(film.render(n).astype(int) - empty.astype(int)).max(axis=2) > 24
    return cv2.boundingRect(differs.astype(np.uint8))


def test_a_walker_is_where_the_box_says():
    film = walking_figures(walks=(Walk(0.1, 0.9, rightwards=False, depth=0.7),), frames=120)
    empty = film.render(0).copy()
    checked = 0
    for n in range(120):
        truth = film.truth(n)
        if truth.moving and truth.boxes[0].width_px > 8:
            assert boxes_seen(film, n, empty) == pytest.approx(truth.boxes[0].pixels, abs=2)
            checked += 1
    assert checked > 70


def test_nobody_is_seen_exactly_when_the_truth_says_so():
    film = walking_figures(frames=100)
    empty = film.render(0).tobytes()
    for n in range(100):
        assert film.truth(n).moving == (film.render(n).tobytes() != empty)


def test_quiet_spans_are_the_frames_without_anybody():
    film = walking_figures(frames=200)
    quiet = {n for first, last in film.quiet_spans() for n in range(first, last + 1)}
    assert quiet == {n for n in range(200) if not film.truth(n).moving}
    assert len(film.quiet_spans()) == 3
    assert 0 in quiet
    assert 199 in quiet


def test_a_box_is_told_in_pixels_and_in_shares_of_the_picture():
    film = walking_figures(frames=100)
    for box in itertools.chain.from_iterable(film.truth(n).boxes for n in range(100)):
        x, y, width, height = box.normalised
        assert min(x, y, width, height) >= 0
        assert x + width <= 1
        assert y + height <= 1
        assert (x * 320, y * 240, width * 320, height * 240) == pytest.approx(box.pixels)


# The lights


def test_every_light_is_where_the_truth_says_in_its_colour():
    film = coloured_lights(width=640, height=480, lights=7, seed=4)
    checked = 0
    for n in range(0, 100, 9):
        picture = film.render(n).astype(np.float64)
        lights = film.truth(n).lights
        assert len({light.colour for light in lights}) == 7
        for light in lights:
            reach = 5 * light.sigma_px
            others = (o for o in lights if o is not light)
            if any(np.hypot(o.x - light.x, o.y - light.y) < 2 * reach for o in others):
                continue  # two lights in one place have one centre
            check_light(picture, light, int(reach) - 2)
            checked += 1
    assert checked > 40


def check_light(picture, light, reach):
    left, top = max(0, round(light.x) - reach), max(0, round(light.y) - reach)
    patch = picture[top : round(light.y) + reach + 1, left : round(light.x) + reach + 1]
    weight = np.clip(patch.sum(axis=2) - 150, 0, None)
    rows, columns = np.mgrid[0 : patch.shape[0], 0 : patch.shape[1]]
    seen = left + np.average(columns, weights=weight), top + np.average(rows, weights=weight)
    assert seen == pytest.approx((light.x, light.y), abs=0.2)
    core = picture[round(light.y), round(light.x)]
    assert np.abs(core - light.colour).max() < 45
