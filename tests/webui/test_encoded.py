"""A camera that sends what no browser plays: encoded once, played as any other, and not encoded when nobody looks."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from frameloom.testing.films import encode, walking_figures
from frameloom.testing.rtsp_server import RtspServer
from tests.journey.running import running_site

from .interface import named, shown, wait_frames

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("way", ["", "?player=mse"])
def test_a_camera_of_h265_is_played(
    browser: Browser, built: Path, tmp_path: Path, runtime_dir: Path, way: str
) -> None:
    film = walking_figures(width=320, height=240, fps=25, frames=50)
    path = encode(film, tmp_path / "hall.mp4", codec="hevc", gop=25)
    with RtspServer({"hall": path}) as cameras:
        file = tmp_path / "site.yaml"
        file.write_text(f"site: deep\nserver: {{port: 0}}\ncameras:\n  hall: {cameras.url('hall')}\n")
        with running_site(file, name="deep") as site:
            with shown(browser, f"{site.url}{way}", built) as watched:
                wait_frames(watched.page, "hall", 40)
                delivery = "MSE" if way else "WebCodecs"
                canvas = named(watched.page, "hall").locator("canvas").first
                expect(canvas).to_have_attribute("data-delivery", delivery)
                streams = site.worker("hall.view")["report"]["streams"]
                assert streams["hall.live"]["readers"] == ["server"]
                assert not streams["hall.view"]["readers"], "and no JPEG is made"
                assert watched.complaints == []
            site.wait_worker("hall.view", lambda worker: worker["detail"] == "nobody is watching")
            site.wait_worker("hall", lambda worker: not worker["report"]["info"]["decoding"])
