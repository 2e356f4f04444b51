"""Cameras that send raw pictures or JPEG are encoded once, and recorded: all of the picture, at the right time."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import av
import pytest

from frameloom.sinks.names import results_of
from frameloom.sources.synthetic import read_counter as read_bits
from frameloom.testing.cameras import MjpegHttpCamera
from frameloom.testing.films import counter, read_counter
from tests.sinks.parts import recordings

from .running import RunningSite, running_site, wait_until

FPS = 25
SITE = """\
site: encoded
server: {{enabled: false}}
cameras:
  raw: {{url: 'synthetic:counter?fps={fps}', view: {{max_width: 160, quality: 30}}}}
  jpeg: {{url: '{jpeg}'}}
processors:
  count: {{use: frameloom.testing.processors:CountFrames, stream: raw, policy: every}}
sinks:
  raw-rec: {{kind: record, stream: raw, reserve: 0, segment_s: 1}}
  jpeg-rec: {{kind: record, stream: jpeg, reserve: 0}}
  sent-rec: {{kind: record, stream: jpeg, reserve: 0, folder: sent, as_sent: true}}
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningSite, Path]]:
    """The site, and its folder, when everything in it has been recorded for a while."""
    folder = tmp_path_factory.mktemp("encoded")
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setenv("FRAMELOOM_RUNTIME_DIR", str(tmp_path_factory.mktemp("run")))
        camera = stack.enter_context(MjpegHttpCamera(counter(fps=FPS, frames=200)))
        (folder / "site.yaml").write_text(SITE.format(fps=FPS, jpeg=camera.url))
        site = stack.enter_context(running_site(folder / "site.yaml", "--quiet", name="encoded", cwd=folder))
        for name in ("raw-rec", "jpeg-rec", "sent-rec"):
            wait_until(lambda name=name: info(site, name).get("packets", 0) >= 150)
        yield site, folder


def info(site: RunningSite, name: str) -> dict[str, Any]:
    report = site.worker(name)["report"]
    found: dict[str, Any] = report["info"] if report else {}
    return found


def film(path: Path) -> tuple[str, list[tuple[float, Any]]]:
    """The codec, and time and luma of each picture."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return stream.codec_context.name, [
            (frame.time or 0.0, frame.to_ndarray(format="gray")) for frame in container.decode(stream)
        ]


def test_raw_pictures_in_full_size_at_their_times(site: tuple[RunningSite, Path]) -> None:
    """Whatever its viewers get: they see it smaller."""
    running, folder = site
    paths = recordings(folder / "recordings", "raw")[:-1]
    kept: list[float] = []
    for path in paths:
        codec, pictures = film(path)
        numbers = [read_bits(gray) for _, gray in pictures]
        assert (codec, pictures[0][1].shape) == ("h264", (240, 320))
        for (time_s, _), number in zip(pictures, numbers, strict=True):
            assert time_s == pytest.approx((number - numbers[0]) / FPS, abs=1e-4)
        kept.append(len(numbers) / (numbers[-1] - numbers[0] + 1))
    assert max(kept) >= 0.8, "a busy machine may leave some out"
    assert info(running, "raw-rec")["lost"] == 0
    readers = running.worker("raw.view")["report"]["streams"]
    assert (readers["raw.live"]["readers"], readers["raw.view"]["readers"]) == (["raw-rec"], [])


def test_what_is_said_of_raw_pictures_is_beside_them(site: tuple[RunningSite, Path]) -> None:
    _, folder = site
    path = max(recordings(folder / "recordings", "raw")[:-1], key=lambda path: path.stat().st_size)
    pictures = {time_s: read_bits(gray) for time_s, gray in film(path)[1]}
    results = [json.loads(line) for line in results_of(path).read_text().splitlines()]
    assert len(results) >= 0.5 * len(pictures) > 10
    offsets = {pictures[result["film_s"]] - result["values"]["seq"] for result in results}
    assert len(offsets) == 1, "each is of the picture at its time"


def test_jpeg_as_h264_or_as_it_is_sent(site: tuple[RunningSite, Path]) -> None:
    running, folder = site
    for name, where, wanted in (("jpeg-rec", "recordings", "h264"), ("sent-rec", "sent", "mjpeg")):
        running.call("stop", names=[name])
        codec, pictures = film(max(recordings(folder / where, "jpeg"), key=lambda path: path.stat().st_size))
        assert codec == wanted
        numbers = [read_counter(gray) for _, gray in pictures]
        assert len(numbers) >= 40 and all(number is not None for number in numbers)
        steps = [(after - before) % 200 for before, after in itertools.pairwise(numbers)]  # type: ignore[operator]
        assert sum(step == 1 for step in steps) >= 0.5 * len(steps)
