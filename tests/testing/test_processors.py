"""The test kit for processors, and the processors that misbehave on purpose (in processes of their own)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest

from frameloom.model.errors import ParameterError
from frameloom.model.frame import PixelFormat
from frameloom.model.stages import Processor
from frameloom.processors import resolve
from frameloom.testing.clock import UTC_START_NS
from frameloom.testing.films import counter, read_counter
from frameloom.testing.processors import (
    CountFrames,
    Crash,
    Exit,
    Hang,
    Leak,
    Slow,
    frame_from,
    frames_from,
    run_processor,
)

PICTURE = np.full((24, 32, 3), 100, np.uint8)


def test_a_frame_has_the_array_and_the_times_one_gives_it():
    frame = frame_from(PICTURE, 1.5, stream="hall", seq=7, metadata={"a": 1})
    np.testing.assert_array_equal(frame.bgr, PICTURE)
    assert (frame.stream, frame.seq, frame.metadata) == ("hall", 7, {"a": 1})
    assert (frame.pts_ns, frame.captured_ns) == (1_500_000_000, 1_500_000_000)
    assert frame.captured_at_ns == UTC_START_NS + 1_500_000_000


def test_a_frame_is_a_copy_that_cannot_be_written_to():
    array = PICTURE.copy()
    frame = frame_from(array)
    array[:] = 0
    assert frame.bgr.min() == 100
    with pytest.raises(ValueError, match="read-only"):
        frame.bgr[:] = 0


def test_a_gray_array_is_full_range():
    frame = frame_from(np.full((4, 4), 7, np.uint8))
    assert frame.gray.max() == 7
    assert frame.bgr.max() == 7


def test_the_colour_order_can_be_told():
    array = np.zeros((2, 2, 3), np.uint8)
    array[..., 0] = 200
    assert frame_from(array, pixel=PixelFormat.RGB).bgr[0, 0].tolist() == [0, 0, 200]


def test_other_arrays_are_refused_with_what_was_read():
    with pytest.raises(
        ValueError, match=r"want \(height, width, 3\) or \(height, width\) uint8, got \(4, 6, 3\) float64"
    ):
        frame_from(np.zeros((4, 6, 3)))


def test_frames_of_arrays_count_and_keep_the_rate_exactly():
    frames = list(frames_from([PICTURE] * 3001, fps=Fraction(30000, 1001), start_s=2))
    assert [frame.seq for frame in frames[:3]] == [0, 1, 2]
    assert frames[3000].pts_ns == 2_000_000_000 + 100_100_000_000


@pytest.mark.parametrize(
    ("fps", "numbers"), [(25, list(range(20))), (12.5, list(range(0, 20, 2))), (50, None)]
)
def test_a_film_is_shown_at_any_rate(fps, numbers):
    film = counter(width=160, height=64, fps=25, frames=20)
    shown = [read_counter(frame.gray) for frame in frames_from(film, fps)]
    assert shown == (numbers or [n // 2 for n in range(40)])


def test_running_gives_each_result_between_start_and_stop():
    class Noting(Processor):
        def __init__(self) -> None:
            super().__init__()
            self.calls: list[str] = []

        def start(self) -> None:
            self.calls.append("start")

        def process(self, frame):
            self.calls.append("process")
            return {"level": int(frame.gray[0, 0])} if frame.seq else None

        def stop(self) -> None:
            self.calls.append("stop")

    processor = Noting()
    assert run_processor(processor, [PICTURE[..., 0]] * 2) == [None, {"level": 100}]
    assert processor.calls == ["start", "process", "process", "stop"]


def test_stop_is_called_after_an_error_too():
    class Failing(CountFrames):
        stopped = False

        def process(self, frame):
            raise KeyError("lost")

        def stop(self) -> None:
            self.stopped = True

    processor = Failing()
    with pytest.raises(KeyError):
        run_processor(processor, [PICTURE])
    assert processor.stopped


def test_counting():
    assert run_processor(CountFrames(), [PICTURE] * 2) == [{"seq": 0, "count": 1}, {"seq": 1, "count": 2}]


def test_crash_raises_after_some_frames():
    crash = Crash(after=2)
    frames = list(frames_from([PICTURE] * 3))
    assert [crash.process(frame)["seq"] for frame in frames[:2]] == [0, 1]
    with pytest.raises(RuntimeError, match="crashed on purpose after 2 frames"):
        crash.process(frames[2])


def test_leak_takes_memory_with_every_frame():
    lost = [values["lost_mb"] for values in run_processor(Leak(megabytes=0.5), [PICTURE] * 3)]
    assert lost == [0.5, 1.0, 1.5]


def test_slow_says_what_count_says():
    assert run_processor(Slow(seconds=0), [PICTURE]) == [{"seq": 0, "count": 1}]


@pytest.mark.parametrize("name", ["CountFrames", "Crash", "Exit", "Hang", "Leak", "Slow"])
def test_they_can_be_named_and_declare_what_they_take(name):
    cls = resolve(f"frameloom.testing.processors:{name}")
    assert all(parameter.description for parameter in cls.parameters.values())
    with pytest.raises(ParameterError, match="nonsense: no such parameter"):
        cls(nonsense=1)


CHILD = """
import numpy as np
from frameloom.testing.processors import *
for values in map(({processor}).process, frames_from([np.zeros((2, 2), np.uint8)] * 9)):
    print(values["seq"], flush=True)
"""


def child(processor: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD.format(processor=processor)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_exit_ends_its_process_with_its_code():
    with child("Exit(after=2, code=7)") as process:
        assert process.communicate()[0] == "0\n1\n"
        assert process.returncode == 7
    assert Exit.parameters["code"].default == 3


def test_hang_never_comes_back():
    with child("Hang(after=2)") as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == ["0\n", "1\n"]
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=0.5)
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert issubclass(Hang, CountFrames)
