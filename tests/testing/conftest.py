"""Encoded films that several modules serve; made once."""

import pytest

from frameloom.testing.films import counter, encode
from tests.testing.pictures import FRAMES, KINDS, RATE


@pytest.fixture(scope="session")
def films(tmp_path_factory):
    """Counters of FRAMES frames at RATE/s, 320x240, a key frame every 10, by kind; and a large one and a small one."""
    folder = tmp_path_factory.mktemp("films")
    paths = {}
    for kind, told in KINDS.items():
        paths[kind] = encode(counter(fps=RATE, frames=FRAMES), folder / f"{kind}.mkv", gop=10, **told)
    paths["small"] = encode(
        counter(width=192, height=144, fps=RATE, frames=FRAMES), folder / "small.mp4", gop=10
    )
    # Every picture a key frame and large, so that a client that does not read is soon behind.
    paths["heavy"] = encode(
        counter(width=640, height=480, fps=RATE, frames=FRAMES), folder / "heavy.mp4", gop=1, crf=1
    )
    return paths
