"""Cameras of other makes through a whole site, and cameras that misbehave beside others that go on."""

from __future__ import annotations

import itertools
import json
import os
import re
import threading
import time
import urllib.request
from collections.abc import Iterator
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


def in_a_row(frames: Subscription, count: int) -> list[Frame]:
    """So many frames whose numbers follow each other; what was lost on the way before is nobody's fault."""
    row = [frame(frames)]
    while len(row) < count:
        row.append(frame(frames))
        if number(row[-1]) != (number(row[-2]) + 1) % FRAMES:
            row = row[-1:]
    return row


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
            seen = in_a_row(frames, 3 if name in LEFT_OUT_BY_ITS_SERVER else 15)
        for each in seen:
            assert (each.width, each.height) == (320, 240)
            assert_shows(each, LIGHTS)

    def test_its_worker_tells_of_it(self, other_makes: RunningSite, name: str) -> None:
        worker = other_makes.wait_worker(name, lambda w: bool(w["report"]) and w["report"]["fps"] > 1)
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


# --- cameras that misbehave --------------------------------------------------------------------------------------

STEADY = ("steady-one", "steady-two")
WRONG, RIGHT, TOKEN = "Wr0ng-pa55", "R1ght-pa55", "t0ken-of-the-path"
IMPATIENT = "silence_s: 1, connect_s: 3"


class Steady(threading.Thread):
    """Reads a camera that nothing is wrong with, and counts the pictures that its worker did not pass on."""

    def __init__(self, camera: str) -> None:
        super().__init__(daemon=True)
        self.camera = camera
        self.frames = 0
        self.missing = 0
        self.over = False
        self._frames = frames_of(camera, "trouble")

    def run(self) -> None:
        last: tuple[int, int] | None = None
        while not self.over:
            found = self._frames.get(0.2)
            if found is None:
                continue
            shown = number(found)
            if last is not None:
                # What this thread was too late for shows in the numbers of the frames.
                self.missing += (shown - last[1] - (found.seq - last[0])) % FRAMES
            last = found.seq, shown
            self.frames += 1
            del found
        self._frames.close()


class Trouble:
    """A site with cameras that will get into trouble, and the servers that make it."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.folder = folder
        film, long = (encode(COUNTER, folder / f"{gop}.mp4", gop=gop) for gop in (10, 25))
        hevc = encode(COUNTER, folder / "hevc.mkv", codec="hevc", gop=10)
        names = ["stalls", "drops", "refuses", "missing", "garbage", "resizes", "swells", "jumps"]
        films = dict.fromkeys([*STEADY, *names], film)
        films |= {"lossy-h264": long, "lossy-hevc": hevc}
        self.cameras = stack.enter_context(RtspServer(films, seed=5))
        guarded = {f"{TOKEN}/guarded": film, f"{TOKEN}/locked": film}
        self.guarded = stack.enter_context(RtspServer(guarded, users={"ann": RIGHT}))
        lines = {name: f"url: {self.cameras.url(name)}, {IMPATIENT}" for name in films}
        for name in ("lossy-h264", "lossy-hevc"):
            lines[name] += ", transport: udp"
        lines["guarded"] = f"url: {self.guarded.url(f'{TOKEN}/guarded', 'ann')}, {IMPATIENT}"
        locked = (
            f"url: {self.guarded.url(f'{TOKEN}/locked')}, username: ann, password: '${{CAMERA_PASSWORD}}'"
        )
        lines["locked"] = f"{locked}, {IMPATIENT}"
        file = folder / "site.yaml"
        file.write_text(yaml_of("trouble", lines, server=True))
        self.site = stack.enter_context(running_site(file, name="trouble", env={"CAMERA_PASSWORD": WRONG}))
        self.steady = [Steady(name) for name in STEADY]
        for each in self.steady:
            each.start()
        wait_until(lambda: all(each.frames > 5 for each in self.steady))

    def __getitem__(self, name: str) -> Any:
        """The switches of a camera."""
        return self.cameras[name]

    def told(self, name: str, state: str, words: str = "") -> str:
        """Wait for a camera's state, with these words about it; returns all of them."""
        worker = self.site.wait_worker(
            name, lambda worker: worker["state"] == state and re.search(words, worker["detail"]) is not None
        )
        return str(worker["detail"])

    def losses(self, name: str) -> int:
        return int(self.site.worker(name)["report"]["info"]["losses"])

    def close(self) -> None:
        for each in self.steady:
            each.over = True
            each.join(PATIENCE_S)


@pytest.fixture(scope="class")
def all_trouble(runtime: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trouble]:
    with ExitStack() as stack:
        trouble = Trouble(stack, tmp_path_factory.mktemp("trouble"))
        stack.callback(trouble.close)
        yield trouble


@pytest.fixture
def trouble(all_trouble: Trouble) -> Iterator[Trouble]:
    """And meanwhile the other cameras go on as if nothing was."""
    yield all_trouble
    seen = [each.frames for each in all_trouble.steady]
    wait_until(
        lambda: all(each.frames > before + 5 for each, before in zip(all_trouble.steady, seen, strict=True))
    )
    for each in all_trouble.steady:  # on a busy machine, the server may be late
        assert each.missing <= all_trouble[each.camera].dropped_units


class TestTrouble:
    def test_a_camera_that_stalls(self, trouble: Trouble) -> None:
        with frames_of("stalls", "trouble") as frames:
            frame(frames)
            trouble["stalls"].stall()
            assert "trying again in" in trouble.told("stalls", "degraded", "no picture for 1 s")
            since_ns = trouble.site.worker("stalls")["since_utc_ns"]
            assert since_ns < time.time_ns()
            trouble["stalls"].resume()
            trouble.told("stalls", "running")
            assert len(in_a_row(frames, 5)) == 5

    def test_a_camera_that_drops_the_connection(self, trouble: Trouble) -> None:
        with frames_of("drops", "trouble") as frames:
            before = frame(frames)
            trouble["drops"].drop()
            wait_until(lambda: trouble.losses("drops") > 0)
            trouble.told("drops", "running")
            row = in_a_row(frames, 5)
            assert row[0].pts_ns > before.pts_ns

    def test_a_camera_that_refuses(self, trouble: Trouble) -> None:
        trouble["refuses"].refuse()
        trouble["refuses"].drop()
        trouble.told("refuses", "degraded", "'refuses': .*trying again in")
        wait_until(lambda: trouble.losses("refuses") > 2)
        trouble["refuses"].accept()
        trouble.told("refuses", "running")

    def test_a_path_that_is_not_there(self, trouble: Trouble) -> None:
        trouble["missing"].not_found()
        trouble["missing"].drop()
        assert "trying again in" in trouble.told("missing", "degraded", r"\(404\).*look up the stream's path")
        trouble["missing"].accept()
        trouble.site.call(
            "restart", names=["missing"]
        )  # a person has put it right, and does not want to wait
        trouble.told("missing", "running")

    def test_garbage(self, trouble: Trouble) -> None:
        with frames_of("garbage", "trouble") as frames:
            frame(frames)
            trouble["garbage"].garbage()
            trouble.told("garbage", "degraded")
            trouble["garbage"].resume()
            trouble.told("garbage", "running")
            assert len(in_a_row(frames, 5)) == 5

    @pytest.mark.parametrize(("name", "in_band"), [("resizes", False), ("swells", True)])
    def test_another_size(self, trouble: Trouble, name: str, in_band: bool) -> None:
        large = encode(counter(width=480, height=272, frames=FRAMES), trouble.folder / f"{name}.mp4", gop=10)
        with frames_of(name, "trouble") as frames:
            assert frame(frames).width == 320
            trouble[name].change(large, in_band=in_band)
            while frame(frames).width == 320:
                pass
            assert {(each.width, each.height) for each in in_a_row(frames, 5)} == {(480, 272)}
        trouble.site.wait_worker(name, lambda worker: worker["report"]["info"]["width"] == 480)
        assert trouble.losses(name) == (0 if in_band else 1)

    @pytest.mark.parametrize("codec", ["h264", "hevc"])
    def test_packets_lost_on_the_way_smear_nothing(self, trouble: Trouble, codec: str) -> None:
        """What cannot be shown as it was is not shown: there are gaps, but no picture is wrong."""
        name = f"lossy-{codec}"
        with frames_of(name, "trouble") as frames:
            frame(frames)
            trouble[name].lose(0.1)
            seen = []
            while trouble.site.worker(name)["report"]["info"]["withheld"] < 20:
                seen.append(frame(frames))
                assert_same(seen[-1], COUNTER)
            trouble[name].resume()
            for each in in_a_row(frames, 5):
                assert_same(each, COUNTER)
        numbers = [number(each) for each in seen]
        assert any(b != (a + 1) % FRAMES for a, b in itertools.pairwise(numbers))

    def test_clocks_that_jump(self, trouble: Trouble) -> None:
        """Neither the camera's clock nor its RTP time decides anything."""
        with frames_of("jumps", "trouble") as frames:
            seen = [frame(frames)]
            for clock, jump_s in itertools.product(("wall", "media", "both"), (3600, -3600)):
                trouble["jumps"].clock_jump(jump_s, clock)
                seen += [frame(frames) for _ in range(12)]
        steps_ns = [b.pts_ns - a.pts_ns for a, b in itertools.pairwise(seen)]
        assert all(0 < step_ns < 2_000_000_000 for step_ns in steps_ns)
        for a, b in itertools.pairwise(seen):
            assert (number(b) - number(a) - (b.seq - a.seq)) % FRAMES == 0
        assert trouble.losses("jumps") == 0

    def test_many_troubles_at_once(self, trouble: Trouble) -> None:
        names = ("stalls", "garbage", "refuses")
        trouble["stalls"].stall()
        trouble["garbage"].garbage("junk")
        trouble["refuses"].refuse()
        for name in (*names, "drops"):
            trouble[name].drop()
        for name in names:
            trouble.told(name, "degraded")
        for name in names:
            trouble[name].resume()
            trouble[name].accept()
        for name in (*names, "drops"):
            trouble.told(name, "running")

    def test_no_secret_comes_out_anywhere(self, trouble: Trouble) -> None:
        """Of a password that is wrong, of one that is right, and of a path that is one."""
        trouble.told("locked", "degraded", "refused user name or password")
        with frames_of("guarded", "trouble") as frames:
            frame(frames)
            trouble.guarded[f"{TOKEN}/guarded"].stall()
            trouble.told("guarded", "degraded", "no picture for 1 s")
            trouble.guarded[f"{TOKEN}/guarded"].drop()
            trouble.guarded[f"{TOKEN}/guarded"].garbage()
            trouble.guarded[f"{TOKEN}/guarded"].resume()
            trouble.told("guarded", "running")
        shown = "\n".join(everything_shown(trouble))
        for secret in (WRONG, RIGHT, TOKEN, "rtsp://"):
            assert secret not in shown
        assert "'guarded'" in shown  # the name is what stands for it


def everything_shown(trouble: Trouble) -> Iterator[str]:
    """All that a site tells: its state, its page, its output, the logs, names and arguments of its processes."""
    site = trouble.site
    status = site.call("status")
    yield json.dumps(status)
    yield site.output
    for name in status["workers"]:
        yield json.dumps(site.call("logs", name=name, lines=1000))
    for path in ("/", "/api/streams"):
        with urllib.request.urlopen(site.url + path, timeout=PATIENCE_S) as answer:
            yield answer.read().decode()
    for process in psutil.Process(site.process.pid).children(recursive=True):
        yield " ".join([process.name(), *process.cmdline()])
    for file in Path(os.environ["FRAMELOOM_RUNTIME_DIR"]).rglob("*"):
        if file.is_file():
            yield f"{file}: {file.read_text(errors='replace')}"


def assert_same(found: Frame, film: Film) -> None:
    """The picture of this number as it was drawn; nothing of another one is left in it."""
    drawn, shown = (np.asarray(each).astype(np.int16) for each in (film.render(number(found)), found.bgr))
    blocks = np.abs(shown - drawn).reshape(15, 16, 20, 16, 3).mean(axis=(1, 3))
    assert blocks.max() < 40, f"number {number(found)}: {blocks.max():.0f}"
