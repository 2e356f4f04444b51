"""Films that several modules record; encoded once."""

from __future__ import annotations

from pathlib import Path

import pytest

from frameloom.testing.clock import FakeClock
from frameloom.testing.films import counter, encode
from tests.sinks.parts import FPS, FRAMES, GOP, VFR_S


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Counters of FRAMES frames at FPS/s, 320x240, a key frame every GOP, by kind; and a smaller one."""
    folder = tmp_path_factory.mktemp("films")
    film = counter(fps=FPS, frames=FRAMES)
    small = counter(width=192, height=144, fps=FPS, frames=FRAMES)
    return {
        "h264": encode(film, folder / "h264.mp4", gop=GOP),
        "h264 with B frames": encode(film, folder / "bframes.mp4", gop=GOP, bframes=2),
        "hevc": encode(film, folder / "hevc.mp4", gop=GOP, codec="hevc"),
        "mjpeg": encode(film, folder / "mjpeg.mkv", codec="mjpeg"),
        "vfr": encode(film, folder / "vfr.mp4", gop=GOP, bframes=2, vfr_pts_s=VFR_S),
        "small": encode(small, folder / "small.mp4", gop=GOP),
        "one group": encode(counter(fps=FPS, frames=150), folder / "long.mp4", gop=150),
    }


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()
