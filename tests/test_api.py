"""`frameloom.open`, `attach` and `run`, with real films, cameras and processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import psutil
import pytest

import frameloom
from frameloom.model.errors import NeedsPerson, SourceLost, SourceMisconfigured, StreamEnded
from frameloom.testing.films import encode, read_counter, walking_figures
from frameloom.testing.rtsp_server import RtspServer

FRAMES = 60

pytestmark = pytest.mark.usefixtures("runtime_dir")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("films") / "walkers.mp4"
    encode(walking_figures(width=320, height=240, fps=25, frames=FRAMES, stamp=True), path, gop=10)
    return path


class Numbers(frameloom.Processor):
    """Says the number that is written into each picture."""

    plus = frameloom.Integer(0, minimum=0, maximum=1000, description="Added to each number")

    def process(self, frame: frameloom.Frame) -> dict[str, int | None]:
        number = read_counter(frame.gray)
        return {"number": None if number is None else number + self.plus}


class Breaks(frameloom.Processor):
    """Cannot be started."""

    def start(self) -> None:
        raise NeedsPerson("no model at /nowhere")

    def process(self, frame: frameloom.Frame) -> None:
        return None


def test_film_gives_every_frame_in_order_and_ends(film: Path) -> None:
    with frameloom.open(film) as capture:
        numbers = [read_counter(frame.gray) for frame in capture]
        assert numbers == list(range(FRAMES))
        with pytest.raises(StreamEnded):
            capture.get()
    assert capture.stats.dropped == 0


def test_kept_frames_never_change(film: Path) -> None:
    """More are kept than the publisher has slots; each still shows its own picture at the end."""
    with frameloom.open(film) as capture:
        kept = list(capture)
    assert [read_counter(frame.gray) for frame in kept] == list(range(FRAMES))
    assert any(frame.shared for frame in kept)
    assert any(not frame.shared for frame in kept)
    assert all(not frame.gray.flags.writeable for frame in kept)


def test_media_time_of_a_film(film: Path) -> None:
    with frameloom.open(film) as capture:
        times = [frame.pts_ns for frame in capture]
    assert np.allclose(np.diff(times), 40_000_000, atol=1000)


def test_slow_reader_of_a_camera_gets_the_newest(film: Path) -> None:
    """After a while of not asking, the next frame is new, not the one after the last."""
    with RtspServer({"walkers": film}) as server, frameloom.open(server.url("walkers")) as capture:
        first = capture.get(30)
        assert first is not None
        with frameloom.open(server.url("walkers"), policy="every") as other:  # as a clock: 20 frames pass
            for _ in range(20):
                assert other.get(30) is not None
        late = capture.get(30)
        assert late is not None
        assert late.seq - first.seq > 10
        assert capture.stats.dropped == late.seq - first.seq - 1


def workers() -> list[psutil.Process]:
    """Those of this program; the interpreter may have children of its own."""
    return [child for child in psutil.Process().children() if "frameloom.workers" in child.cmdline()]


def test_decoder_that_dies_is_replaced(film: Path) -> None:
    with RtspServer({"walkers": film}) as server, frameloom.open(server.url("walkers")) as capture:
        assert capture.get(30) is not None
        (worker,) = workers()
        worker.send_signal(signal.SIGKILL)
        for _ in range(20):
            assert capture.get(30) is not None
        assert capture.stats.joins == 2


def test_closing_ends_the_process(film: Path) -> None:
    with frameloom.open(film, pace="realtime", loop=True) as capture:
        assert capture.get(30) is not None
        (worker,) = workers()
        capture.close()
        capture.close()
        assert not worker.is_running()


@pytest.mark.parametrize(
    ("source", "error", "words"),
    [
        ("/no/such/film.mp4", SourceMisconfigured, "no such file"),
        (__file__, SourceMisconfigured, "not a video"),
        ("ftp://somewhere/x", SourceMisconfigured, "allowed: rtsp://"),
        (77, SourceLost, "/dev/video77 has gone"),
        ("rtsp://127.0.0.1:1/secret", SourceLost, "refused"),
    ],
)
def test_source_that_cannot_be_had_is_said(source: str | int, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as caught, frameloom.open(source, wait_s=5) as capture:
        capture.get()
    assert "secret" not in str(caught.value)


def test_wrong_password_is_said_and_not_shown(film: Path) -> None:
    with RtspServer({"walkers": film}, users={"ann": "right"}) as server:
        url = server.url("walkers", user="ann").replace("right", "wrong-one")
        with pytest.raises(SourceMisconfigured, match="password") as caught, frameloom.open(url) as capture:
            capture.get()
        assert "wrong-one" not in str(caught.value)
        with frameloom.open(server.url("walkers", user="ann")) as capture:
            assert capture.get(30) is not None


def test_processor_on_a_film_says_every_result(film: Path) -> None:
    results = list(frameloom.run(Numbers, film, params={"plus": 100}))
    assert [result["number"] for result in results] == [100 + n for n in range(FRAMES)]
    assert results[0].pts_ns == 0


def test_processor_that_cannot_start_is_said(film: Path) -> None:
    with pytest.raises(NeedsPerson, match="no model at /nowhere"):
        list(frameloom.run(Breaks, film))


def test_unfit_parameter_is_said(film: Path) -> None:
    with pytest.raises(NeedsPerson, match="plus: read 5000"):
        list(frameloom.run(Numbers, film, params={"plus": 5000}))


def test_five_line_script(film: Path, tmp_path: Path) -> None:
    """A processor in the script itself, as the README shows it."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""
        import frameloom
        class Mean(frameloom.Processor):
            def process(self, frame): return {{"mean": float(frame.gray.mean())}}
        if __name__ == "__main__":
            print(sum(1 for result in frameloom.run(Mean, {str(film)!r}) if result["mean"] > 1))
        """)
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=100, check=True)
    assert done.stdout.split() == [str(FRAMES)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_program_that_ends_leaves_nothing(film: Path, tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C, kill and kill -9 of a program that reads frames: its worker goes with it, and no shared memory stays."""
    script = tmp_path / "script.py"
    script.write_text(
        "import frameloom\n"
        f"with frameloom.open({str(film)!r}, pace='realtime', loop=True) as camera:\n"
        "    for frame in camera:\n        print(frame.seq, flush=True)\n"
    )
    before = _ours_in_shm()
    program = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert program.stdout
    assert program.stderr
    program.stdout.readline()
    workers = psutil.Process(program.pid).children(recursive=True)
    assert len(workers) == 1
    program.send_signal(number)
    program.communicate(timeout=30)
    assert psutil.wait_procs(workers, timeout=10)[1] == []
    assert _ours_in_shm() <= before


def _ours_in_shm() -> set[str]:
    """What of ours stands in /dev/shm; other programs come and go there."""
    return {name for name in os.listdir("/dev/shm") if name.startswith(("fl", "psm_"))}


def test_attach_says_which_site_is_missing() -> None:
    with pytest.raises(NeedsPerson, match="no site is running"):
        frameloom.attach("hall")


def test_names_of_the_package() -> None:
    for name in frameloom.__all__:
        assert getattr(frameloom, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = frameloom.nothing
