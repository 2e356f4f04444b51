"""A site that a module of tests runs once: two RTSP cameras that show the same stamped film, motion on one of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from frameloom.testing.films import WalkingFigures, encode, stamp_regions, walking_figures
from frameloom.testing.rtsp_server import RtspServer
from tests.journey.running import RunningSite, running_site

WIDTH, HEIGHT = 320, 240
FRAMES = 150

SITE = """\
site: watched   # the name of the site
server: {{port: 0}}
limits: {{silent_s: 600}}   # here it is the supervisor that is stopped for a while
cameras:
  hall: {hall}
  yard: {yard}
processors:
  motion:
    use: motion
    stream: hall
    params:
      ignore: {ignore}   # the stamps
      warm_up_s: 0
{more}"""


@dataclass(frozen=True)
class Watched:
    """The site, its file, its cameras and their film."""

    site: RunningSite
    file: Path
    cameras: RtspServer
    film: WalkingFigures

    @property
    def port(self) -> int:
        return int(self.site.url.rsplit(":", 1)[1])


@contextlib.contextmanager
def watched_site(folder: Path, runtime_dir: Path, more: str = "") -> Iterator[Watched]:
    """Run it; `more` lines are added to the processors."""
    film = walking_figures(width=WIDTH, height=HEIGHT, fps=25, frames=FRAMES, stamp=True)
    path = folder / "walkers.mp4"
    encode(film, path, gop=25)
    file = folder / "site.yaml"
    with pytest.MonkeyPatch.context() as patch, RtspServer({"hall": path, "yard": path}) as cameras:
        patch.setenv("FRAMELOOM_RUNTIME_DIR", str(runtime_dir))
        urls = {name: cameras.url(name) for name in ("hall", "yard")}
        file.write_text(SITE.format(**urls, ignore=_stamps(), more=more))
        with running_site(file, name="watched") as site:
            site.wait_worker(
                "motion", lambda worker: bool(worker["report"]) and worker["report"]["frames"] > 0
            )
            site.wait_state("yard", "running")
            yield Watched(site, file, cameras, film)


def _stamps() -> list[list[list[float]]]:
    """Where the frame's number stands, as regions: it changes all the time, and is no motion."""
    return [_polygon(*rectangle) for rectangle in stamp_regions(WIDTH, HEIGHT)]


def _polygon(left: int, top: int, width: int, height: int) -> list[list[float]]:
    right, bottom = (left + width) / WIDTH, (top + height) / HEIGHT
    x, y = left / WIDTH, top / HEIGHT
    return [[x, y], [right, y], [right, bottom], [x, bottom]]
