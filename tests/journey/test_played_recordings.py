"""Recordings of a running site in a real browser: whole, growing, and cut by a kill; each can be sought in at once."""

from __future__ import annotations

import base64
import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import numpy as np
import pytest
from playwright.sync_api import Browser, Page

from frameloom.catalog.rows import SegmentRow
from frameloom.sinks.segment import is_being_written
from frameloom.testing.films import counter, encode, read_counter
from frameloom.testing.rtsp_server import RtspServer
from tests.sinks.parts import TICKS_PER_S, Played, played, probed, recordings
from tests.webui.interface import chromium

from .running import RunningSite, running_site, wait_until

pytestmark = pytest.mark.browser

GOP = 10
FRAMES = 120

LOAD = """async (url) => {
    const video = document.createElement("video");
    video.muted = true;
    document.body.append(video);
    const done = new Promise((resolve, reject) => {
        video.onloadeddata = resolve;
        video.onerror = () => reject(new Error(video.error.message));
    });
    video.src = url;
    await done;
    window.video = video;
    return [video.duration, video.seekable.length ? video.seekable.end(0) : 0];
}"""
SEEK = """async (second) => {
    const video = window.video;
    const shown = new Promise((resolve) => {
        const look = (_, picture) =>
            Math.abs(picture.mediaTime - second) < 0.02 ? resolve() : video.requestVideoFrameCallback(look);
        video.requestVideoFrameCallback(look);
    });
    video.currentTime = second;
    await shown;
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
    const context = canvas.getContext("2d");
    context.drawImage(video, 0, 0);
    const rgba = context.getImageData(0, 0, canvas.width, canvas.height).data;
    let gray = "";
    for (let at = 0; at < rgba.length; at += 4) gray += String.fromCharCode(rgba[at + 1]);
    return [canvas.width, canvas.height, btoa(gray)];
}"""


@dataclass(frozen=True)
class Filming:
    """The site, and the folder of its recordings."""

    site: RunningSite
    folder: Path

    def segments(self) -> list[dict[str, Any]]:
        with urlopen(f"{self.site.url}/api/recordings/hall") as answer:
            found: list[dict[str, Any]] = json.load(answer)["segments"]
            return found

    def wait(self, state: str, least: int = 1) -> list[dict[str, Any]]:
        """Wait until there are so many recordings in that state."""

        def look() -> list[dict[str, Any]] | None:
            found = [one for one in self.segments() if one["state"] == state]
            return found if len(found) >= least else None

        found: list[dict[str, Any]] = wait_until(look, lambda: str(self.segments()))
        return found

    def url(self, segment: dict[str, Any]) -> str:
        return f"{self.site.url}/api/recordings/hall/{segment['id']}/film.mp4"

    def file(self, segment: dict[str, Any]) -> Path:
        row = SegmentRow("hall", segment["id"], str(self.folder), 0, 0, 0, 0, "", "", 0, 0, "", False)
        assert row.path is not None
        return row.path


@pytest.fixture(scope="module")
def filming(tmp_path_factory: pytest.TempPathFactory, module_runtime_dir: Path) -> Iterator[Filming]:
    """A camera that shows a counter and is recorded in pieces of two seconds."""
    folder = tmp_path_factory.mktemp("filming")
    film = encode(counter(fps=25, frames=FRAMES), folder / "counter.mp4", gop=GOP)
    with pytest.MonkeyPatch.context() as patch, RtspServer({"hall": film}) as cameras:
        patch.setenv("FRAMELOOM_RUNTIME_DIR", str(module_runtime_dir))
        (folder / "site.yaml").write_text(
            "site: filming\nserver: {port: 0}\nlimits: {backoff_s: [0.05]}\n"
            f"cameras:\n  hall: {{url: '{cameras.url('hall')}'}}\n"
            "sinks:\n  hall-rec: {kind: record, stream: hall, segment_s: 2, reserve: 0}\n"
        )
        with running_site(folder / "site.yaml", "--quiet", name="filming") as site:
            yield Filming(site, folder / "recordings")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(filming: Filming, browser: Browser) -> Iterator[Page]:
    page = browser.new_page()
    page.goto(f"{filming.site.url}/api/recordings")
    yield page
    page.close()


def check_plays(page: Page, url: str, truth: Played) -> None:
    """Its length is known at once, and any picture is the one that a decoder of the file finds at that time."""
    length_s, seekable_s = page.evaluate(LOAD, url)
    end_s = (truth.pts[-1] + (truth.pts[1] - truth.pts[0])) / TICKS_PER_S
    assert length_s == pytest.approx(end_s, abs=0.01)
    assert seekable_s == pytest.approx(length_s)
    last = len(truth.pts) - 1
    for number in (last, 0, last // 2, 3, last - 4):
        width, height, gray = page.evaluate(SEEK, truth.pts[number] / TICKS_PER_S + 0.01)
        picture = np.frombuffer(base64.b64decode(gray), np.uint8).reshape(height, width)
        assert read_counter(picture) == truth.numbers[number]


def test_a_whole_one(filming: Filming, page: Page) -> None:
    segment = filming.wait("complete")[0]
    truth = played(filming.file(segment))
    assert len(truth.numbers) == segment["frames"]
    assert segment["frames"] % GOP == 0
    check_plays(page, filming.url(segment), truth)


def test_one_that_was_cut_by_a_kill(filming: Filming, page: Page) -> None:
    """Any player reads it; a browser seeks in it."""
    filming.wait("writing")
    wait_until(lambda: _killed_in_the_midst(filming))
    segment = filming.wait("cut")[0]
    path = filming.file(segment)
    assert probed(path) == ""
    truth = played(path)
    assert len(truth.numbers) == segment["frames"]
    assert segment["frames"] % GOP == 0
    check_plays(page, filming.url(segment), truth)


def _killed_in_the_midst(filming: Filming) -> bool:
    """Whether the recorder was writing a file when it was held; then it is killed, else it goes on."""
    pid = filming.site.pids()["hall-rec"]
    os.kill(pid, signal.SIGSTOP)
    is_writing = is_being_written(recordings(filming.folder)[-1])
    os.kill(pid, signal.SIGKILL if is_writing else signal.SIGCONT)
    return is_writing


def test_one_that_is_being_written(filming: Filming, page: Page, tmp_path: Path) -> None:
    """What is in it now, however it grows meanwhile."""
    fixed, data = wait_until(lambda: _fetched_while_written(filming))
    (tmp_path / "now.mp4").write_bytes(data)
    truth = played(tmp_path / "now.mp4")
    filming.wait("complete", len([one for one in filming.segments() if one["state"] == "complete"]) + 1)
    with urlopen(fixed) as answer:
        assert answer.read() == data, "whatever was written since"
    check_plays(page, fixed, truth)


def _fetched_while_written(filming: Filming) -> tuple[str, bytes] | None:
    """The address and the film of a recording that grows; nothing where it was finished meanwhile."""
    with urlopen(filming.url(filming.wait("writing")[-1])) as answer:
        return (answer.url, answer.read()) if "?bytes=" in answer.url else None


def test_recorded_by_one_click(filming: Filming) -> None:
    """A continuous recorder is stopped as a worker, and started again."""
    assert _record(filming, False) == {"camera": "hall", "recording": False, "recorders": ["hall-rec"]}
    assert filming.site.worker("hall-rec")["state"] == "idle"
    for _ in range(3):  # at once, and again: whoever answers must not go by what was so before
        assert _record(filming, True) == {"camera": "hall", "recording": True, "recorders": ["hall-rec"]}
        assert filming.site.worker("hall-rec")["enabled"]
        assert not _record(filming, False)["recording"]
        assert filming.site.worker("hall-rec")["state"] == "idle"
    assert _record(filming, True)["recording"]
    filming.wait("writing")


def _record(filming: Filming, on: bool) -> Any:
    order = Request(
        f"{filming.site.url}/api/streams/hall/record",
        json.dumps({"on": on}).encode(),
        {"Content-Type": "application/json"},
    )
    with urlopen(order) as answer:
        return json.load(answer)
