"""Motion against films and scenes whose truth is known, frame by frame."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from frameloom.model.clock import NS_PER_S
from frameloom.model.frame import Array, ColorMatrix, Frame, PictureFormat, PixelFormat
from frameloom.processors.motion import MOST_BOXES, Motion
from frameloom.testing.films import WalkersTruth, encode, walking_figures
from frameloom.testing.processors import frame_from, frames_from, run_processor
from tests.processors.scenes import HEIGHT, WIDTH, crossing, gray, noisy, scene, wall, with_square

Values = Mapping[str, Any]
EVERYWHERE = [[0, 0], [1, 0], [1, 1], [0, 1]]
LEFT_HALF = [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]
RIGHT_HALF = [[0.5, 0], [1, 0], [1, 1], [0.5, 1]]


def results(arrays: Iterable[Array], fps: float = 25, **parameters: Any) -> list[Values]:
    said = run_processor(Motion(**parameters), arrays, fps)
    return [values for values in said if values is not None]


def events(said: Iterable[Values]) -> list[tuple[str, float]]:
    return [(e["phase"], e["pts_ns"] / NS_PER_S) for values in said for e in values["events"]]


def seen(said: Iterable[Values]) -> list[bool]:
    return [bool(values["boxes"]) for values in said]


# Walking figures: truth boxes for each frame

SECONDS, FILM_FPS = 16, 25


@cache
def walkers(noise: float = 0.0, fps: float = FILM_FPS) -> tuple[list[Values], list[WalkersTruth]]:
    """What Motion says of a film at the rate `fps`, and the truth of those frames."""
    film = walking_figures(width=WIDTH, height=HEIGHT, frames=SECONDS * FILM_FPS, fps=FILM_FPS)
    numbers = [int(Fraction(n) * FILM_FPS / Fraction(fps)) for n in range(round(SECONDS * fps))]
    pictures = (noisy(film.render(n), noise, n) if noise else film.render(n).copy() for n in numbers)
    return results(pictures, fps), [film.truth(n) for n in numbers]


def shown(truth: WalkersTruth) -> float:
    """Share of the picture that the true boxes cover."""
    return sum(w * h for _, _, w, h in (box.normalised for box in truth.boxes))


def covered(boxes: Iterable[Iterable[float]]) -> np.ndarray:
    pixels = np.zeros((HEIGHT, WIDTH), bool)
    for left, top, width, height in boxes:
        rows = slice(round(top * HEIGHT), round((top + height) * HEIGHT))
        pixels[rows, round(left * WIDTH) : round((left + width) * WIDTH)] = True
    return pixels


@pytest.mark.parametrize("noise", [0.0, 6.0])
def test_whoever_is_well_in_the_picture_is_seen_and_nobody_else(noise):
    said, truths = walkers(noise)
    pairs = list(zip(seen(said), truths, strict=True))
    assert sum(truth.moving for _, truth in pairs) > 200
    assert not [truth.frame for found, truth in pairs if found and not truth.moving]
    assert not [truth.frame for found, truth in pairs if not found and shown(truth) > 0.015]


@pytest.mark.parametrize("noise", [0.0, 6.0])
def test_boxes_lie_over_the_figures(noise):
    said, truths = walkers(noise)
    recall, precision = [], []
    for values, truth in zip(said, truths, strict=True):
        if values["boxes"] and shown(truth) > 0.015:
            found, true = covered(values["boxes"]), covered(box.normalised for box in truth.boxes)
            recall.append((found & true).sum() / true.sum())
            precision.append((found & true).sum() / found.sum())
    assert np.mean(recall) > 0.95
    assert np.mean(precision) > 0.9
    assert np.percentile(recall, 5) > 0.9
    assert np.percentile(precision, 5) > 0.8


@pytest.mark.parametrize("fps", [25, 12.5, 8])
def test_events_begin_and_end_with_the_figures(fps):
    said, truths = walkers(fps=fps)
    moving = np.array([False, *(truth.moving for truth in truths), False])
    edges = np.flatnonzero(np.diff(moving.astype(int)))
    true_times = [(edge - (n % 2)) / fps for n, edge in enumerate(edges)]  # an end is its last frame
    phases, times = zip(*events(said), strict=True)
    # The film ends before `end_after_s` has passed once more, so the last end is not told.
    assert phases == ("start", "end", "start")
    assert np.abs(np.array(times) - true_times[:3]).max() <= 1.0


def test_the_rate_of_frames_does_not_move_the_events():
    times = [np.array([time for _, time in events(walkers(fps=fps)[0])]) for fps in (25, 12.5, 8)]
    for each in times[1:]:
        assert np.abs(each - times[0]).max() <= 0.25


# Small scenes


def test_the_result_is_json_with_four_keys():
    said = results(scene(4, 25, crossing(2, 3)))
    assert all(set(values) == {"score", "moving", "boxes", "events"} for values in said)
    assert json.loads(json.dumps(said)) == said


def test_a_square_is_measured_where_it_is():
    said = results(scene(4, 25, lambda t: (100, 60, 48, 36) if t >= 2 else None))
    assert said[50]["score"] == pytest.approx(48 * 36 / (WIDTH * HEIGHT), rel=0.15)
    [box] = said[50]["boxes"]
    assert box == pytest.approx([100 / WIDTH, 60 / HEIGHT, 48 / WIDTH, 36 / HEIGHT], abs=0.011)


def test_a_larger_picture_gives_the_same_shares():
    said = []
    for scale in (1, 3):
        background, square = wall(WIDTH * scale, HEIGHT * scale), [scale * n for n in (100, 60, 48, 36)]
        picture = with_square(background, (square[0], square[1], square[2], square[3]))
        said.append(results([background] * 30 + [picture])[-1])
    assert said[1]["score"] == pytest.approx(said[0]["score"], rel=0.1)
    np.testing.assert_allclose(said[1]["boxes"], said[0]["boxes"], atol=0.011)


def test_darker_counts_as_much_as_brighter():
    for level in (20, 200):
        assert seen(results(scene(3, 25, lambda t: (100, 60, 48, 36) if t >= 2 else None, level=level)))[50]


@pytest.mark.parametrize("sigma", [3, 8, 14])
def test_a_still_scene_with_noise_has_no_events(sigma):
    said = results(scene(6, 25, lambda _: None, noise=sigma))
    assert events(said) == []
    assert not any(seen(said))


def test_a_larger_picture_may_be_noisier_because_its_pixels_are_averaged():
    background = wall(960, 720)
    pictures = [noisy(background, 40, n) for n in range(40)]
    assert not any(seen(results(pictures)))
    assert any(seen(results(pictures, working_width=960)))


@pytest.mark.parametrize("level", [0, 100, 255])
def test_a_picture_of_one_level_is_fine(level):
    said = results([gray(level=level)] * 60)
    assert all(values == {"score": 0.0, "moving": False, "boxes": [], "events": []} for values in said)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (2, 3), (3, 200), (200, 3), (63, 47)])
def test_any_size_of_picture_is_fine(width, height):
    pictures = [gray(width, height, level) for level in [100] * 30 + [220] * 5]
    said = results(pictures, lighting_area=1)
    assert said[30]["score"] == 1
    assert said[30]["boxes"] == [[0, 0, 1, 1]]


@pytest.mark.parametrize("pixel", [PixelFormat.YUV420P, PixelFormat.NV12, PixelFormat.BGR, PixelFormat.RGB])
def test_every_kind_of_stream_is_looked_at(pixel):
    picture = PictureFormat(pixel, WIDTH, HEIGHT, ColorMatrix.BT709)
    processor, said = Motion(warm_up_s=0), []
    for n, level in enumerate([100, 100, 100, 200]):
        data = np.full(picture.nbytes, 100, np.uint8)
        picture.planes[0].of(data)[100:150, 100:160] = level
        data.flags.writeable = False
        said.append(processor.process(Frame(data, picture, pts_ns=n * 40_000_000)))
    assert seen(said) == [False, False, False, True]


def test_the_first_frame_and_the_warm_up_say_nothing():
    said = results(scene(4, 25, crossing(0, 3)), warm_up_s=2)
    assert not any(seen(said[:50]))
    assert any(seen(said[50:75]))


def test_without_a_warm_up_the_second_frame_can_be_motion():
    assert seen(results([wall(), with_square(wall(), (10, 10, 60, 60))], warm_up_s=0)) == [False, True]


def test_what_leaves_during_the_warm_up_leaves_no_hole_in_the_background():
    pictures = [with_square(wall(), (100, 60, 48, 36))] * 10 + [wall()] * 40
    assert not any(seen(results(pictures)))


def test_the_first_pictures_are_averaged_even_without_a_warm_up():
    """The noise of one picture alone would be added to that of every other for a long time."""
    pictures = [noisy(wall(), 12, n) for n in range(30)]
    said = results(pictures, warm_up_s=0, min_area=0, join_gap=0, background_s=1000)
    assert np.mean([values["score"] for values in said[10:]]) < 0.001


def test_small_areas_are_ignored_and_large_ones_are_not():
    size = int((0.01 * WIDTH * HEIGHT) ** 0.5)
    pictures = list(scene(3, 25, lambda t: (100, 60, size, size) if t >= 2 else None))
    assert not any(seen(results(pictures, min_area=0.02)))
    assert any(seen(results(pictures, min_area=0.005)))


def test_specks_near_each_other_are_not_made_large_by_joining():
    """Specks of 3x3 every 9 pixels: joined they cover a sixth of the picture, themselves a fiftieth."""
    dotted = wall().copy()
    for top in range(60, 150, 9):
        for left in range(60, 190, 9):
            dotted[top : top + 3, left : left + 3] = 200
    pictures = [wall()] * 30 + [dotted] * 5
    assert not any(seen(results(pictures, min_area=0.05)))
    assert len(results(pictures, min_area=0.005)[-1]["boxes"]) == 1


def test_a_smaller_change_than_the_threshold_is_none():
    pictures = [gray()] * 30 + [with_square(gray(), (100, 60, 60, 60), 120)] * 3
    assert not any(seen(results(pictures, threshold=25)))
    assert any(seen(results(pictures, threshold=15)))


def two_squares(gap: int) -> list[Array]:
    pair = with_square(with_square(wall(), (100, 60, 40, 40)), (140 + gap, 60, 40, 40))
    return [wall()] * 30 + [pair] * 2


def test_parts_near_each_other_are_one_box():
    assert [len(results(two_squares(12), join_gap=gap)[-1]["boxes"]) for gap in (0, 0.02, 0.08)] == [2, 2, 1]


def test_boxes_come_largest_first_and_not_without_end():
    left_large = with_square(with_square(wall(), (20, 60, 60, 60)), (200, 60, 20, 20))
    boxes = results([wall()] * 30 + [left_large])[-1]["boxes"]
    assert [round(box[2] * WIDTH / 10) for box in boxes] == [6, 2]
    crowd = wall().copy()
    for top in range(0, 240, 24):
        for left in range(0, 320, 24):
            crowd[top : top + 8, left : left + 8] = 220
    many = results([wall()] * 30 + [crowd], min_area=0, join_gap=0)[-1]
    assert len(many["boxes"]) == MOST_BOXES < 140
    assert many["score"] == pytest.approx(140 * 10 * 10 / (WIDTH * HEIGHT), rel=0.1)  # blurred: a pixel wider


# Regions


def at_left(time_s: float) -> tuple[int, int, int, int] | None:
    return (60 + round(time_s * 10), 100, 40, 40) if time_s >= 2 else None


@pytest.mark.parametrize(
    ("look", "ignore", "is_seen"),
    [
        ([], [], True),
        ([EVERYWHERE], [], True),
        ([LEFT_HALF], [], True),
        ([RIGHT_HALF], [], False),
        ([], [LEFT_HALF], False),
        ([], [RIGHT_HALF], True),
        ([LEFT_HALF, RIGHT_HALF], [], True),
        ([EVERYWHERE], [LEFT_HALF], False),
        ([LEFT_HALF], [LEFT_HALF], False),
        ([], [EVERYWHERE], False),
        ([], [[[0.1, 0.3], [0.5, 0.3], [0.5, 0.7], [0.1, 0.7]]], False),
    ],
)
def test_only_the_regions_that_are_looked_at_count(look, ignore, is_seen):
    said = results(scene(4, 25, at_left), look=look, ignore=ignore)
    assert any(seen(said)) is is_seen
    assert bool(events(said)) is is_seen


def test_of_what_is_partly_ignored_the_rest_is_boxed():
    pictures = [wall()] * 30 + [with_square(wall(), (140, 100, 40, 40))]
    [box] = results(pictures, ignore=[LEFT_HALF])[-1]["boxes"]
    assert box[0] == pytest.approx(0.5, abs=0.01)
    assert box[2] == pytest.approx(20 / WIDTH, abs=0.01)


# Live changes


def run_with_changes(
    pictures: Iterable[Array], changes: Mapping[int, dict[str, Any]], **parameters: Any
) -> tuple[Motion, list[Values]]:
    """Process pictures, and change parameters before the frames with those numbers."""
    processor, said = Motion(**parameters), []
    for frame in frames_from(pictures):
        if frame.seq in changes:
            processor.change(changes[frame.seq])
        said.append(processor.process(frame))
    return processor, said


def steady() -> Iterator[Array]:
    """A square that appears at 1.6 s, frame 40, and stays."""
    return scene(3, 25, lambda t: (60, 100, 40, 40) if t >= 1.6 else None)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"threshold": 200}, {"threshold": 20}),
        ({"min_area": 0.5}, {"min_area": 0.001}),
        ({"look": [RIGHT_HALF]}, {"look": [LEFT_HALF]}),
        ({"look": [RIGHT_HALF]}, {"look": []}),
        ({"ignore": [LEFT_HALF]}, {"ignore": []}),
    ],
)
def test_a_change_takes_effect_at_the_next_frame(before, after):
    _, said = run_with_changes(steady(), {50: after, 60: before}, **before)
    assert seen(said[40:70]) == [False] * 10 + [True] * 10 + [False] * 10


def test_the_times_of_events_can_be_changed_between_frames():
    _, said = run_with_changes(steady(), {50: {"start_after_s": 0.1}}, start_after_s=60)
    assert [values["moving"] for values in said[48:52]] == [False, False, True, True]
    assert events(said[:51]) == [("start", 1.6)]
    _, said = run_with_changes(scene(6, 25, crossing(1.6, 2.4)), {100: {"end_after_s": 0.5}}, end_after_s=100)
    assert [values["moving"] for values in said[98:102]] == [True, True, False, False]


def test_the_memory_of_the_background_can_be_changed_between_frames():
    _, slow = run_with_changes(steady(), {})
    _, fast = run_with_changes(steady(), {45: {"background_s": 0.5}})
    assert seen(slow)[-1]
    assert not seen(fast)[-1]


def test_the_working_width_can_be_changed_and_the_background_is_learnt_anew():
    processor, said = run_with_changes(
        scene(5, 25, crossing(1.6, 5)), {60: {"working_width": 64}}, start_after_s=0
    )
    assert seen(said)[50:60] == [True] * 10
    assert seen(said)[60:85] == [False] * 25  # the warm-up
    assert seen(said)[86:96] == [True] * 10
    assert processor.values["working_width"] == 64


def test_the_warm_up_can_be_changed_while_it_lasts():
    _, said = run_with_changes(scene(4, 25, crossing(1, 3)), {40: {"warm_up_s": 0}}, warm_up_s=50)
    assert seen(said)[38:42] == [False, False, True, True]


def test_parameters_can_be_changed_before_the_first_frame():
    processor = Motion()
    processor.change({"look": [LEFT_HALF], "working_width": 100})
    assert processor.process(frame_from(wall()))["score"] == 0


# Light, stillness, and streams that begin again


def lit(gain_at: Callable[[float], float], seconds: float, part: slice = slice(None)) -> Iterator[Array]:
    """A wall whose columns `part` are lit `gain_at(time)` times as bright."""
    for n in range(round(seconds * 25)):
        picture = wall().astype(np.int16)
        picture[:, part] = wall()[:, part] * gain_at(n / 25)
        yield noisy(picture, 2, n)


@pytest.mark.parametrize("gain", [1.8, 0.3])
def test_a_lamp_that_is_switched_is_no_motion(gain):
    said = results(lit(lambda t: gain if t >= 3 else 1, 8))
    assert events(said) == []
    assert not any(seen(said))


def test_a_lamp_that_is_nearer_to_one_side_is_no_motion():
    """No one factor tells that: it is the share of the picture that does."""
    shade = np.linspace(3, 1.3, WIDTH)
    bright = np.clip(wall() * shade, 0, 255).astype(np.uint8)
    said = results([wall()] * 50 + [bright] * 75 + [wall()] * 75)
    assert events(said) == []
    assert not any(seen(said))


@pytest.mark.parametrize("ramp_s", [0.2, 0.5, 1])
def test_a_lamp_that_takes_its_time_is_no_event(ramp_s):
    said = results(lit(lambda t: 1 + 0.8 * min(1.0, max(0.0, (t - 3) / ramp_s)), 8))
    assert events(said) == []


@pytest.mark.parametrize("gain_at", [lambda t: 1 + t / 40, lambda t: 1.5 - 0.4 * min(1, max(0, t - 3) / 3)])
def test_daylight_that_changes_within_seconds_is_no_motion(gain_at):
    assert not any(seen(results(lit(gain_at, 12))))


def test_what_moves_while_daylight_changes_is_seen():
    pictures = [
        np.clip(with_square(wall(), (n * 3, 100, 40, 40), 180) * (1 + n / 400), 0, 255).astype(np.uint8)
        if n >= 25
        else wall()
        for n in range(100)
    ]
    for n, values in list(enumerate(results(pictures)))[30:]:
        assert len(values["boxes"]) == 1, n
        assert values["boxes"][0][0] == pytest.approx(n * 3 / WIDTH, abs=0.03)


def test_what_moves_after_the_lamp_was_switched_is_seen():
    background = wall()
    bright = np.clip(background * 1.7, 0, 255).astype(np.uint8)
    pictures = [*[background] * 75, *[bright] * 50]
    pictures += [with_square(bright, (n * 4, 100, 40, 40), 20) for n in range(40)]
    said = results(pictures)
    assert not any(seen(said[:125]))
    assert sum(seen(said[125:])) >= 38


def test_with_the_lighting_rule_off_a_lamp_is_motion():
    said = results(lit(lambda t: 1.8 if t >= 3 else 1, 4), lighting_area=1)
    assert said[75]["score"] > 0.95


def test_a_lamp_over_a_part_of_the_picture_does_not_stay_motion_for_ever():
    said = results(lit(lambda t: 1.8 if t >= 3 else 1, 30, slice(0, WIDTH // 3)), background_s=5)
    [(first, start_s), (last, end_s)] = events(said)
    assert (first, last) == ("start", "end")
    assert start_s == pytest.approx(3, abs=0.1)
    assert end_s < 20


def test_what_stands_still_becomes_background_after_the_time_one_expects():
    """A square 100 levels brighter falls below 20 levels after background_s × ln(100 / 20)."""
    for background_s in (2.0, 4.0):
        pictures = [gray()] * 50 + [with_square(gray(), (100, 100, 40, 40), 200)] * 200
        said = seen(results(pictures, background_s=background_s, threshold=20))
        gone_s = (len(said) - 1 - said[::-1].index(True)) / 25 - 2
        assert gone_s == pytest.approx(background_s * np.log(100 / 20), abs=0.15)


@pytest.mark.parametrize("fps", [5, 50])
def test_how_long_that_takes_does_not_depend_on_the_rate(fps):
    pictures = [gray()] * (2 * fps) + [with_square(gray(), (100, 100, 40, 40), 200)] * (8 * fps)
    said = seen(results(pictures, fps, background_s=3, threshold=20))
    gone_s = (len(said) - 1 - said[::-1].index(True)) / fps - 2
    assert gone_s == pytest.approx(3 * np.log(5), abs=0.25)


def test_a_change_of_size_in_mid_stream_is_learnt_anew():
    small = list(scene(3, 25, lambda _: None))
    large = [wall(400, 200)] * 50 + [with_square(wall(400, 200), (100, 50, 60, 60))] * 5
    said = results([*small, *large])
    assert not any(seen(said[:125]))
    assert all(seen(said[125:]))


def frames_at(times_s: Iterable[float], pictures: Iterable[Array]) -> list[Frame]:
    pairs = enumerate(zip(times_s, pictures, strict=True))
    return [frame_from(picture, time_s, seq=seq) for seq, (time_s, picture) in pairs]


def look_at(processor: Motion, frames: Iterable[Frame]) -> list[Values]:
    return [processor.process(frame) for frame in frames]


def test_a_stream_that_begins_again_ends_the_event_and_is_learnt_anew():
    processor = Motion(start_after_s=0)
    said = look_at(processor, frames_from(scene(2, 25, crossing(1.5, 2)), start_s=100))
    assert events(said) == [("start", 101.48)] or events(said) == [("start", 101.52)]
    other_scene = [with_square(wall(), (0, 0, 160, 240), 220)] * 50
    again = look_at(processor, frames_from(other_scene))
    assert events(again[:1]) == [("end", pytest.approx(101.96))]
    assert again[0]["moving"] is False
    assert not any(seen(again))


def test_after_a_long_gap_the_background_is_learnt_anew():
    processor = Motion()
    look_at(processor, frames_from([wall()] * 50))
    other_scene = with_square(wall(), (0, 0, 100, 240), 220)
    said = look_at(processor, frames_from([other_scene] * 50, start_s=60))
    assert not any(seen(said))


def test_a_gap_ends_what_went_on_before_it():
    processor = Motion(start_after_s=0)
    look_at(processor, frames_from(scene(2, 25, crossing(1.5, 2))))
    assert events(look_at(processor, frames_from([wall()], start_s=300))) == [("end", pytest.approx(1.96))]


def test_frames_of_one_time_do_no_harm():
    said = look_at(Motion(warm_up_s=0), frames_at([0, 0, 0, 1, 1], [wall()] * 5))
    assert not any(seen(said))


def test_utc_comes_from_the_frames():
    said = results(scene(6, 25, crossing(2, 3)))
    [start, end] = [event for values in said for event in values["events"]]
    assert start["at_ns"] - end["at_ns"] == start["pts_ns"] - end["pts_ns"]
    assert end["id"] == start["id"]
    assert end["values"]["peak_score"] == max(values["score"] for values in said)


def test_a_frame_is_not_held_after_it_was_looked_at():
    """Its slot goes back to the publisher."""
    data = np.zeros(PictureFormat(PixelFormat.YUV420P, WIDTH, HEIGHT).nbytes, np.uint8)
    processor = Motion()
    before = sys.getrefcount(data)
    processor.process(Frame(data, PictureFormat(PixelFormat.YUV420P, WIDTH, HEIGHT)))
    assert sys.getrefcount(data) == before


# Through a real codec


def decoded(path: Path) -> Iterator[Frame]:
    with av.open(path) as container:
        for n, picture in enumerate(container.decode(video=0)):
            data = picture.to_ndarray().reshape(-1)
            yield Frame(
                data, PictureFormat(PixelFormat.YUV420P, picture.width, picture.height), pts_ns=n * 40_000_000
            )


def test_what_a_codec_does_to_a_still_picture_is_no_motion(tmp_path):
    """Its background shimmers, and changes a little at each key frame."""
    film = walking_figures(width=WIDTH, height=HEIGHT, frames=200, fps=25)
    encode(film, tmp_path / "film.mp4", crf=34, threads=1)
    said = look_at(Motion(), decoded(tmp_path / "film.mp4"))
    truths = [film.truth(n) for n in range(200)]
    assert len(said) == 200
    assert not [n for n, found in enumerate(seen(said)) if found and not truths[n].moving]
    assert not [n for n, found in enumerate(seen(said)) if not found and shown(truths[n]) > 0.02 and n > 25]
