"""What one more reader costs the process that publishes: CPU of the publishing thread per frame, 0 to 8 readers.

Readers take the newest frame (`latest`) and do nothing with it. The frames are slots of 1080p BGR that nobody fills:
the copy or the decoding, which is the same for any number of readers, is not what is asked here.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from . import report
from .report import Goal, Part
from .teams import scratch

COUNTS = (0, 1, 2, 4, 8)
PACED_FPS = 200.0
AIM_US = 10.0
_WARM = 20


@dataclass(frozen=True)
class Cost:
    """CPU per frame, in microseconds: of the publishing thread, and of its whole process; and frames a second."""

    thread_us: float
    process_us: float
    rate: float


Key = tuple[str, int]  # 'paced' or 'saturated', readers


def run(quick: bool) -> Part:
    """Measure, and tell."""
    part = Part("What a reader costs the publisher")
    rounds, duration_s, counts = (1, 0.1, COUNTS[:3]) if quick else (4, 1.0, COUNTS)
    costs: dict[Key, list[Cost]] = {}
    with scratch() as folder, _crew(folder, counts[-1]) as (publisher, readers):
        for round_ in range(rounds):
            print(f"readers: round {round_ + 1} of {rounds}", file=sys.stderr, flush=True)
            for number in counts if round_ % 2 == 0 else counts[::-1]:
                _with_readers(publisher, readers[:number], duration_s, costs, part)
    _tell(part, costs, counts, rounds, duration_s)
    if not quick:
        part.goals.append(_goal(costs, counts))
    return part


def _with_readers(
    publisher: Any, readers: list[Any], duration_s: float, costs: dict[Key, list[Cost]], part: Part
) -> None:
    for reader in readers:
        reader.send("read")
    for mode in ("paced", "saturated"):
        publisher.send((mode, len(readers), duration_s))
        cost, frames = _hear(publisher)
        costs.setdefault((mode, len(readers)), []).append(cost)
    publisher.send("end")
    for index, reader in enumerate(readers):
        if not 0 < _hear(reader) <= frames:
            part.troubles.append(
                f"{len(readers)} readers: reader {index} got nothing, or more than was published"
            )
    _hear(publisher)


def _hear(end: Any) -> Any:
    if not end.poll(60):
        raise TimeoutError("no answer within 60 s")
    return end.recv()


@contextlib.contextmanager
def _crew(folder: str, readers: int) -> Iterator[tuple[Any, list[Any]]]:
    context = multiprocessing.get_context("spawn")
    processes, ends = [], []
    for target in [_publish, *[_read] * readers]:
        ours, theirs = context.Pipe()
        processes.append(context.Process(target=target, args=(f"{folder}/frameloom", theirs), daemon=True))
        processes[-1].start()
        ends.append(ours)
    try:
        yield ends[0], ends[1:]
        for end in ends:
            end.send(None)
    finally:
        for process in processes:
            process.join(10)
            process.kill()


def _slope_us(costs: dict[Key, list[Cost]], mode: str, counts: tuple[int, ...]) -> float:
    """Least squares through the medians, from one reader on: CPU of the publishing thread for one more and a frame."""
    counts = tuple(number for number in counts if number)
    medians = [statistics.median(cost.thread_us for cost in costs[mode, number]) for number in counts]
    return statistics.linear_regression(counts, medians).slope


def _tell(
    part: Part, costs: dict[Key, list[Cost]], counts: tuple[int, ...], rounds: int, duration_s: float
) -> None:
    part.say(
        f"CPU in us per frame of `reserve` and `publish` together, medians of {rounds} rounds of {duration_s:g} s, in "
        "brackets the lowest and the highest round. Saturated: as many frames as the publisher can, readers get the "
        "newest when they ask. The whole process counts the thread that answers the socket, too, and the publisher's "
        "own sleeping."
    )
    for mode in ("paced", "saturated"):
        title = f"{PACED_FPS:.0f} frames/s" if mode == "paced" else "saturated"
        rows = [_row(number, costs[mode, number]) for number in counts]
        part.say(report.table((f"readers, {title}", "publishing thread", "whole process", "frames/s"), rows))
        part.say(
            f"One more reader: {report.at_most(_slope_us(costs, mode, counts), 1)} us (least squares, 1 and more)."
        )


def _row(number: int, costs: list[Cost]) -> list[str]:
    thread, process, rate = zip(
        *((cost.thread_us, cost.process_us, cost.rate) for cost in costs), strict=True
    )
    figures = (report.median_and_range(thread, 1), report.median_and_range(process, 1))
    return [str(number), *figures, report.median_and_range(rate)]


def _goal(costs: dict[Key, list[Cost]], counts: tuple[int, ...]) -> Goal:
    slopes = {mode: _slope_us(costs, mode, counts) for mode in ("paced", "saturated")}
    reached = ", ".join(f"{report.at_most(us, 1)} us {mode}" for mode, us in slopes.items())
    what = "publishing: CPU per extra `latest` reader and frame"
    return Goal(what, f"below {AIM_US:.0f} us", reached, max(slopes.values()) < AIM_US)


# --- inside of the processes -----------------------------------------------------------------------------------------


def _publish(folder: str, connection: Any) -> None:
    os.environ["FRAMELOOM_RUNTIME_DIR"] = folder
    from frameloom.bus.publisher import FramePublisher

    while (asked := connection.recv()) is not None:
        with FramePublisher("readers", slots=32) as publisher:
            while asked != "end":
                mode, readers, duration_s = asked
                _wait_for(publisher, readers)
                connection.send(_measure(publisher, PACED_FPS if mode == "paced" else 0, duration_s))
                asked = connection.recv()
            publisher.end()
            publisher.wait_ended(30)
        connection.send("closed")


def _wait_for(publisher: Any, readers: int) -> None:
    while len(publisher.readers()) != readers:
        time.sleep(0.002)


def _measure(publisher: Any, fps: float, duration_s: float) -> tuple[Cost, int]:
    """The cost of a frame, and the number of the last one."""
    _send(publisher, fps, _WARM / PACED_FPS)
    process_ns, began_ns = time.process_time_ns(), time.monotonic_ns()
    frames, thread_ns, seq = _send(publisher, fps, duration_s)
    process_ns, took_ns = time.process_time_ns() - process_ns, time.monotonic_ns() - began_ns
    return Cost(thread_ns / 1e3 / frames, process_ns / 1e3 / frames, frames / took_ns * 1e9), seq


def _send(publisher: Any, fps: float, duration_s: float) -> tuple[int, int, int]:
    """Frames published, CPU of this thread spent in the calls, in ns, and the last frame's number."""
    from frameloom.model.frame import PictureFormat, PixelFormat

    picture = PictureFormat(PixelFormat.BGR, 1920, 1080)
    frames, thread_ns, seq, due_s = 0, 0, 0, time.monotonic()
    end_s = due_s + duration_s
    while due_s < end_s:
        began_ns = time.thread_time_ns()
        slot = publisher.reserve(picture)
        seq = publisher.publish(slot, pts_ns=0, captured_ns=0, captured_at_ns=0)
        thread_ns += time.thread_time_ns() - began_ns
        frames += 1
        due_s = due_s + 1 / fps if fps else time.monotonic()
        if fps:
            time.sleep(max(0.0, due_s - time.monotonic()))
    return frames, thread_ns, seq


def _read(folder: str, connection: Any) -> None:
    os.environ["FRAMELOOM_RUNTIME_DIR"] = folder
    from frameloom.bus.subscriber import Subscription

    while connection.recv() is not None:
        with Subscription("readers") as frames:
            for frame in frames:
                del frame
            connection.send(frames.stats.received)
