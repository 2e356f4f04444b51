"""FFmpeg's chatter: off the terminal, kept for a report, without secrets."""

from __future__ import annotations

import subprocess
import sys
import threading

import av.logging
import pytest

from frameloom.sources import libav_log


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        ("Connection to tcp://10.0.0.5:554?timeout=0 failed", "Connection to … failed"),
        ("rtsp://bob:hunter2@cam/x: 401", "… 401"),
        ("no such user bob:hunter2@cam\n", "no such user …"),
        ("path /tok3n is gone", "path … is gone"),
        ("two\nlines", "two lines"),
    ],
)
def test_scrub(text: str, scrubbed: str) -> None:
    assert libav_log.scrub(text, ["/tok3n"]) == scrubbed


def test_lines_are_kept_scrubbed_and_few() -> None:
    libav_log.quieten(["tok3n"])
    for n in range(100):
        av.logging.log(av.logging.ERROR, "tcp", f"line {n} of http://u:p@h/tok3n and tok3n\n")
    lines = libav_log.recent_lines()
    assert lines[-1] == "tcp: line 99 of … and …"
    assert len(lines) <= 30


def test_what_is_no_error_is_not_kept() -> None:
    libav_log.quieten()
    av.logging.log(av.logging.ERROR, "h264", "first")
    av.logging.log(av.logging.INFO, "h264", "second")
    assert libav_log.recent_lines()[-1] == "h264: first"


def test_nothing_reaches_the_terminal() -> None:
    code = """
import logging
logging.basicConfig(level=0)
import av.logging
from frameloom.sources import libav_log
libav_log.quieten()
av.logging.log(av.logging.ERROR, "h264", "broken picture")
print(libav_log.recent_lines())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['h264: broken picture']"
    assert done.stderr == ""


def test_warnings_of_one_thread_can_be_listened_to_every_one_of_them() -> None:
    libav_log.quieten()
    with libav_log.Warnings() as warnings:
        for _ in range(3):
            av.logging.log(av.logging.WARNING, "rtsp", "RTP: missed 1 packets\n")
        other = threading.Thread(target=lambda: av.logging.log(av.logging.WARNING, "rtsp", "another's\n"))
        other.start()
        other.join()
        av.logging.log(av.logging.ERROR, "tcp", "gone\n")
        assert list(warnings.take()) == ["RTP: missed 1 packets\n"] * 3 + ["gone\n"]
        assert list(warnings.take()) == []
        av.logging.log(av.logging.ERROR, "tcp", "gone again\n")
    assert libav_log.recent_lines()[-2:] == ["tcp: gone", "tcp: gone again"]
    assert "missed" not in "".join(libav_log.recent_lines())
