"""What tests of films and cameras share: reading pictures back and judging counters."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import av
import cv2
import numpy as np

from frameloom.testing.films import Picture, read_counter

FRAMES = 50
RATE = 50

KINDS: dict[str, dict[str, Any]] = {
    "h264": {},
    "h264-b": {"bframes": 2, "preset": "veryfast"},
    "h264-slices": {"slices": 4},
    "hevc": {"codec": "hevc"},
    "hevc-b": {"codec": "hevc", "bframes": 2},
    "mjpeg": {"codec": "mjpeg"},
}
"""What the films of the fixture `films` are encoded with; each has FRAMES frames at RATE a second."""


def gray(picture: Picture) -> Picture:
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), np.uint8)


def counter_of(frame: av.VideoFrame) -> int | None:
    return read_counter(frame.to_ndarray(format="gray"))


def counters(url: str, count: int, transport: str = "tcp", timeout_s: float = 30.0) -> list[int | None]:
    """The counters of the first `count` frames of an RTSP camera."""
    with av.open(url, options={"rtsp_transport": transport}, timeout=timeout_s) as camera:
        return [counter_of(frame) for frame in itertools.islice(camera.decode(video=0), count)]


def steps(found: Iterable[int | None], frames: int) -> set[int | None]:
    """By how much counters grow from frame to frame, in a film of `frames` that repeats; None where unreadable."""
    return {
        None if later is None or earlier is None else (later - earlier) % frames
        for earlier, later in itertools.pairwise(found)
    }


def frames_of(path: object) -> Iterator[av.VideoFrame]:
    """Every frame of a file."""
    with av.open(str(path)) as container:
        yield from container.decode(video=0)
