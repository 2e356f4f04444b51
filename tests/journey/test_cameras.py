"""Cameras of other makes through a whole site, and cameras that misbehave beside others that go on."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from frameloom.bus.subscriber import Subscription
from frameloom.model.frame import Frame
from frameloom.model.packet import Packet
from frameloom.testing.cameras import GstRtspCamera, MjpegHttpCamera, PipRtspCamera
from frameloom.testing.films import Film, coloured_lights, counter, encode, read_counter, stamp_regions
from frameloom.testing.needs import required
from frameloom.testing.rtsp_server import RtspServer

from .running import RunningSite, running_site, wait_until

PATIENCE_S = 60.0
FRAMES = 50
LIGHTS = coloured_lights(width=320, height=240, fps=25, frames=FRAMES, stamp=True)
COUNTER = counter(width=320, height=240, fps=25, frames=FRAMES)


@pytest.fixture(scope="class")
def runtime(module_runtime_dir: Path) -> Iterator[Path]:
    """The runtime folder, for this process and those that it starts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FRAMELOOM_RUNTIME_DIR", str(module_runtime_dir))
        yield module_runtime_dir


def frames_of(camera: str, site: str, policy: str = "every") -> Subscription:
    return Subscription(camera, site=site, policy=policy, leases=16)


def frame(frames: Subscription) -> Frame:
    found = frames.get(PATIENCE_S)
    assert isinstance(found, Frame)
    return found


def number(found: Frame) -> int:
    read = read_counter(found.gray)
    assert read is not None, "the number in the picture cannot be read"
    return read % FRAMES


def follows(numbers: list[int]) -> bool:
    return all(b == (a + 1) % FRAMES for a, b in itertools.pairwise(numbers))


def yaml_of(site: str, cameras: dict[str, str], server: bool = False) -> str:
    """A site file; `cameras` maps names to what stands between their braces."""
    lines = [f"site: {site}", f"server: {{port: 0, enabled: {str(server).lower()}}}", "cameras:"]
    return "\n".join(lines + [f"  {name}: {{{what}, view: false}}" for name, what in cameras.items()]) + "\n"


# --- cameras of other makes --------------------------------------------------------------------------------------

OTHER_MAKES = [
    "pip-tcp",
    "pip-udp",
    "gst-h264-tcp",
    "gst-h264-udp",
    "gst-hevc-tcp",
    "gst-hevc-udp",
    "gst-mjpeg-tcp",
    "gst-mjpeg-udp",
    "http-mjpeg",
]
LEFT_OUT_BY_ITS_SERVER = ("pip-tcp", "pip-udp")  # encodes as it goes: when it is late, it leaves pictures out


@pytest.fixture(scope="class")
def other_makes(runtime: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSite]:
    """A site with a camera of each kind, all showing the same film."""
    with ExitStack() as stack, required():
        pip = stack.enter_context(PipRtspCamera(LIGHTS))
        http = stack.enter_context(MjpegHttpCamera(LIGHTS, quality=95))
        cameras = {f"pip-{way}": f"url: {pip.url}, transport: {way}" for way in ("tcp", "udp")}
        cameras["http-mjpeg"] = f"url: {http.url}"
        for codec, way in itertools.product(("h264", "hevc", "mjpeg"), ("tcp", "udp")):
            gst = stack.enter_context(GstRtspCamera(LIGHTS, codec, way))  # type: ignore[arg-type]
            cameras[f"gst-{codec}-{way}"] = f"url: {gst.url}, transport: {way}"
        file = tmp_path_factory.mktemp("makes") / "site.yaml"
        file.write_text(yaml_of("makes", cameras))
        yield stack.enter_context(running_site(file, "--quiet", name="makes"))


@pytest.mark.parametrize("name", OTHER_MAKES)
class TestOtherMakes:
    def test_its_pictures_are_the_film(self, other_makes: RunningSite, name: str) -> None:
        """Each has the size, the number and the colours that it was drawn with."""
        with frames_of(name, "makes") as frames:
            seen = [frame(frames) for _ in range(15)]
        numbers = [number(each) for each in seen]
        if name not in LEFT_OUT_BY_ITS_SERVER:
            assert follows(numbers), numbers
        for each in seen[::5]:
            assert (each.width, each.height) == (320, 240)
            assert_shows(each, LIGHTS)

    def test_its_worker_tells_of_it(self, other_makes: RunningSite, name: str) -> None:
        worker = other_makes.wait_worker(name, lambda worker: worker["report"]["fps"] > 1)
        assert worker["state"] == "running"
        told = worker["report"]["info"]
        assert (told["width"], told["height"], told["decode_errors"]) == (320, 240, 0)
        assert told["codec"] == next((c for c in ("hevc", "mjpeg") if c in name), "h264")

    def test_its_packets_come_too(self, other_makes: RunningSite, name: str) -> None:
        with Subscription(f"{name}.packets", site="makes", policy="every") as packets:
            found = [packets.get(PATIENCE_S) for _ in range(10)]
        assert all(isinstance(packet, Packet) for packet in found)
        assert [packet.seq for packet in found] == list(range(found[0].seq, found[0].seq + 10))
        assert found[0].is_key
        assert all(a.pts_ns < b.pts_ns for a, b in itertools.pairwise(found))


def assert_shows(found: Frame, film: Film) -> None:
    """The picture that was drawn, but for what a codec takes away: nowhere smeared, no colour turned into another."""
    drawn = film.render(number(found)).astype(np.int16)
    shown = found.bgr.astype(np.int16)
    assert np.abs(shown - drawn).mean() < 8
    for left, top, width, height in stamp_regions(film.width, film.height):
        shown[top : top + height, left : left + width] = drawn[top : top + height, left : left + width] = 0
    blocks = np.abs(shown - drawn).reshape(15, 16, 20, 16, 3).mean(axis=(1, 3))
    assert blocks.max() < 40, blocks.max()
    for light in film.truth(number(found)).lights:  # type: ignore[attr-defined]
        spot = shown[round(light.y), round(light.x)]
        assert np.abs(spot - drawn[round(light.y), round(light.x)]).max() < 70
