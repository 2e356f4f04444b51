"""Tests that need cameras: the kernel's V4L2 test driver, in the guest that tests/v4l2/guest.py starts.

    python tests/v4l2/guest.py -- python -m pytest tests/v4l2/in_guest

Anywhere else nothing is collected here, so that no test ever touches a camera of the host. `test_vivid.py` is
about the listing of devices and about what FFmpeg makes of them; `test_av_source.py` is the place for
Frameloom's own source on these cameras. What cameras there are is said by VIVID in guest.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.v4l2.in_guest import vivid

collect_ignore_glob = [] if os.environ.get("FRAMELOOM_V4L2_GUEST") else ["test_*.py"]


@pytest.fixture
def camera() -> Iterator[str]:
    """Path of a webcam that works, and does so again after the test."""
    path = "/dev/video0"
    yield path
    for name in ("Percentage of Dropped Buffers", "Timestamp Source", "Test Pattern", "OSD Text Mode"):
        vivid.control(path, name, 0)
