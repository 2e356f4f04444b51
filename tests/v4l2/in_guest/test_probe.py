"""Webcams that are found for somebody who has no site yet, and a picture of one."""

from __future__ import annotations

import asyncio
import base64

import cv2
import numpy as np

from frameloom.site.probe import ask

WEBCAM = "/dev/video0"


def test_the_webcams_are_found_and_one_gives_a_picture() -> None:
    found = asyncio.run(ask({"ask": "found", "wait_s": 0.1}, 200))
    webcams = {one["url"]: one for one in found["webcams"]}
    assert set(webcams) == {"/dev/video0", "/dev/video1", "/dev/video2"}, "and no other node"
    assert webcams[WEBCAM]["name"] == "vivid"
    assert webcams[WEBCAM]["problem"] is None
    sizes = webcams[WEBCAM]["sizes"]
    assert {"width": 320, "height": 180, "fps": 60.0} in sizes
    assert sizes == sorted(sizes, key=lambda size: -size["width"] * size["height"])
    settings = {"url": WEBCAM, "format": "yuyv422", "width": 320, "height": 180, "fps": 25}
    answer = asyncio.run(ask({"ask": "picture", "settings": settings}, 200))
    assert (answer["ok"], answer["codec"], answer["width"], answer["height"]) == (True, "rawvideo", 320, 180)
    jpeg = base64.b64decode(answer["picture"].partition(",")[2])
    assert cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).shape == (180, 320, 3)
