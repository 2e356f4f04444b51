"""The process that looks at cameras for others: what it answers, and that it has its limits."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from frameloom.site.probe import NoAnswer, ask
from frameloom.sources.v4l2 import Format, Size, SizeRange
from frameloom.testing.onvif import OnvifCamera
from frameloom.workers import probe
from tests.journey.running import wait_until

FAKE_DEV = "import sys, json; json.load(sys.stdin); "


def fake(code: str) -> list[str]:
    return [sys.executable, "-c", FAKE_DEV + code]


def test_synthetic_pictures_and_films_are_sources_too() -> None:
    answer = asyncio.run(ask({"ask": "picture", "settings": {"url": "synthetic:counter"}}, 60))
    assert answer["ok"] and answer["picture"].startswith("data:image/jpeg;base64,/9j/")


def test_sound_alone_is_no_picture(tmp_path: Path) -> None:
    import av
    import numpy as np

    path = tmp_path / "sound.wav"
    with av.open(path, "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        frame.rate = 8000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    answer = asyncio.run(
        ask({"ask": "picture", "settings": {"url": "sound.wav"}, "base_dir": str(tmp_path)}, 60)
    )
    assert not answer["ok"]
    assert "video" in answer["message"] or "picture" in answer["message"]


def test_what_is_found_are_devices_and_cameras_that_answer(tmp_path: Path) -> None:
    with OnvifCamera(name="Gate") as camera:
        question = {"ask": "found", "wait_s": 0.3, "places": [camera.discovery], "root": str(tmp_path)}
        found = asyncio.run(ask(question, 60))
    assert found == {
        "webcams": [],
        "onvif": [{"address": f"http://{camera.address}/onvif/device_service", "name": "Gate"}],
    }


def test_an_onvif_camera_that_hangs_is_told_in_time() -> None:
    with OnvifCamera(fault="hang") as camera:
        answer = asyncio.run(ask({"ask": "onvif", "address": camera.address}))
    assert answer == {"ok": False, "message": "no answer for 5 s"}


def test_finding_loads_no_codec() -> None:
    code = (
        "import json, sys; from frameloom.workers import probe;"
        "probe.found({'wait_s': 0, 'places': [['127.0.0.1', 9]]});"
        "print(json.dumps([name for name in ('av', 'cv2', 'numpy') if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_time_and_memory_and_files_are_limited() -> None:
    code = (
        "import json, resource, os; from frameloom.workers import probe; probe._limit(15.0);"
        "print(json.dumps([resource.getrlimit(one) for one in"
        " (resource.RLIMIT_CPU, resource.RLIMIT_DATA, resource.RLIMIT_FSIZE, resource.RLIMIT_CORE)]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [[15, 15], [1 << 30, 1 << 30], [0, 0], [0, 0]]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import time; time.sleep(100)", "no answer within 0.5 s"),
        ("print('[1]')", "ended without an answer"),
        ("import os; os.abort()", "ended without an answer"),
        ("pass", "ended without an answer"),
    ],
)
def test_a_process_that_does_not_answer_is_ended(code: str, message: str) -> None:
    with pytest.raises(NoAnswer, match=message):
        asyncio.run(ask({}, 0.5 if "sleep" in code else 30, fake(code)))


def test_what_the_process_has_started_ends_with_it(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    code = (
        "import subprocess, time; child = subprocess.Popen(['sleep', '100']);"
        f"open({str(pid_file)!r}, 'w').write(str(child.pid)); time.sleep(100)"
    )

    async def cancelled() -> None:
        task = asyncio.create_task(ask({}, 60, fake(code)))
        await asyncio.to_thread(wait_until, lambda: pid_file.exists() and pid_file.read_text())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert not is_running(int(pid_file.read_text()))


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    ("said", "url", "told"),
    [
        ("'camera': no answer for 8 s", "rtsp://h/x", "no answer for 8 s"),
        ("'camera': no such file: /films/a.mp4", "/films/a.mp4", "no such file"),
        ("'camera': it said /secret/path?u=p", "rtsp://h/secret/path?u=p", "it said"),
    ],
)
def test_no_part_of_the_address_is_told(said: str, url: str, told: str) -> None:
    assert probe._in_words(said, probe.SourceSettings(url=url)) == told


def test_each_size_of_a_webcam_is_told_once_with_its_best_rate() -> None:
    sizes = (Size(640, 480, (30.0, 15.0)), Size(1920, 1080, (5.0,)))
    scaler = SizeRange(Size(16, 16), Size(4096, 2160), 2, 2)
    formats = [
        Format("YUYV", "", False, sizes),
        Format("MJPG", "", True, (Size(1920, 1080, (30.0003, 60.0)),)),
        Format("NV12", "", False, size_range=scaler),
    ]
    assert probe._sizes(formats) == [
        {"width": 4096, "height": 2160, "fps": None},
        {"width": 1920, "height": 1080, "fps": 60.0},
        {"width": 640, "height": 480, "fps": 30.0},
    ]
