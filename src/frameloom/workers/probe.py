"""Looks at cameras that are no part of a site yet: `python -m frameloom.workers.probe`, one question, one answer.

The question is a JSON object on standard input, the answer one on standard output; `longest_s` is the time there is.
What is asked may hang, lie or be hostile, so this process has little time and memory, writes no file and ends with who
asked. Asking is the business of `frameloom.site.probe`.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import json
import math
import os
import re
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from frameloom.model.clock import SystemClock
from frameloom.model.errors import FrameloomError
from frameloom.sources import open_source
from frameloom.sources.settings import Kind, SourceSettings

_MOST_BYTES = 1 << 30
_PR_SET_PDEATHSIG = 1

_CONNECT_S, _SILENCE_S = 8.0, 6.0
_PATIENCE = 0.8  # of the time that there is: the rest is for the answer
_MOST_PACKETS, _MEASURE_S = 50, 1.0
_PICTURE_WIDTH = 640

Json = dict[str, Any]


def main() -> None:
    """Answer, and leave at once: threads of libraries must not keep the process."""
    question = json.load(sys.stdin)
    _limit(float(question["longest_s"]))
    with open(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)  # what libraries print is no part of the answer
        json.dump(answer(question), out)
    os._exit(0)


def answer(question: Json) -> Json:
    """`ask` says which question it is. Never raises for what the other side does."""
    return _ANSWERS[question["ask"]](question)


def picture(question: Json) -> Json:
    """One picture of the source that `settings` describe; relative paths start at `base_dir`."""
    try:
        settings = _settings(question["settings"], question.get("base_dir", "."))
    except ValidationError as error:
        return _bad(error.errors(include_url=False, include_input=False)[0]["msg"])
    try:
        return _Look(settings, float(question.get("longest_s", 15))).answer()
    except FrameloomError as error:
        return _bad(_in_words(str(error), settings))
    except MemoryError:
        return _bad("its pictures need more memory than a test may take")
    except Exception as error:
        return _bad(f"it cannot be read ({type(error).__name__})")


def found(question: Json) -> Json:
    """The webcams of this machine and the ONVIF cameras of the network, in `wait_s` seconds."""
    from frameloom.sources import onvif_discovery

    places = [(str(host), int(port)) for host, port in question.get("places", [])] or None
    with ThreadPoolExecutor(1) as pool:
        searching = pool.submit(onvif_discovery.discover, float(question.get("wait_s", 3.0)), places)
        devices = webcams(question.get("root", "/dev"))
        return {"webcams": devices, "onvif": [one.to_json() for one in searching.result()]}


def webcams(root: str = "/dev") -> list[Json]:
    """Those that give pictures, and those of which it cannot be known."""
    from frameloom.sources import v4l2

    return [
        {
            "url": device.path,
            "name": device.name or device.path,
            "sizes": _sizes(device.formats),
            "problem": device.problem,
        }
        for device in v4l2.list_devices(root)
        if device.capture or device.problem
    ]


def onvif(question: Json) -> Json:
    """The streams of the ONVIF camera at `address`, as seen by `user`."""
    from frameloom.sources import onvif as client

    try:
        device = client.Device(question["address"], question.get("user", ""), question.get("password", ""))
        return {"ok": True, "streams": [stream.to_json() for stream in device.streams()]}
    except FrameloomError as error:
        return _bad(str(error))


_ANSWERS: dict[str, Callable[[Json], Json]] = {"picture": picture, "found": found, "onvif": onvif}


class _Look:
    """Opens one source, reads until there is a picture and a rate is known, and closes it."""

    def __init__(self, settings: SourceSettings, longest_s: float) -> None:
        self._settings = settings
        self._until_s = _STARTED_S + _PATIENCE * longest_s
        self._clock = SystemClock()
        self._jpeg = b""
        self._size = (0, 0)
        self._times_ns: list[int] = []

    def answer(self) -> Json:
        from frameloom.sources.decode import Decoder

        source = open_source("camera", self._settings, self._clock)
        try:
            format = source.open()
            decoder = Decoder(format)
            for packet in source.packets():
                self._times_ns.append(packet.pts_ns)
                self._look_at(decoder.decode(packet))
                if self._is_enough() or self._is_late():
                    break
            self._look_at(decoder.flush())
        finally:
            source.close()
        if not self._jpeg:
            return _bad(self._why_nothing())
        width, height = self._size
        picture = "data:image/jpeg;base64," + base64.b64encode(self._jpeg).decode()
        return {
            "ok": True,
            "codec": format.codec,
            "width": width,
            "height": height,
            "fps": self._fps(),
            "picture": picture,
        }

    def _look_at(self, pictures: Sequence[Any]) -> None:
        """Keep the first, as JPEG."""
        if self._jpeg or not pictures:
            return
        import numpy as np

        from frameloom.model.frame import Frame
        from frameloom.pixels import to_jpeg

        format = pictures[0].format
        data = np.empty(format.nbytes, np.uint8)
        pictures[0].fill([plane.of(data) for plane in format.planes])
        self._size = format.width, format.height
        self._jpeg = bytes(to_jpeg(Frame(data, format), 80, _PICTURE_WIDTH))
        self._since_s = time.monotonic()

    def _is_enough(self) -> bool:
        """Whether there is a picture, and enough of them to tell their rate, or no patience for more."""
        if not self._jpeg:
            return False
        return len(self._times_ns) >= _MOST_PACKETS or time.monotonic() - self._since_s > _MEASURE_S

    def _is_late(self) -> bool:
        return time.monotonic() > self._until_s

    def _why_nothing(self) -> str:
        if not self._times_ns:
            return "it sends no pictures"
        return "it can be reached, and sends nothing that can be decoded to a picture"

    def _fps(self) -> float | None:
        """Pictures a second by their own times; None where there are too few to tell."""
        times = sorted(set(self._times_ns))
        if len(times) < 3 or times[-1] <= times[0]:
            return None
        return round((len(times) - 1) * 1e9 / (times[-1] - times[0]), 2)


def _settings(values: Json, base_dir: str) -> SourceSettings:
    settings = SourceSettings.model_validate(values)
    limits: Json = {
        "connect_s": min(settings.connect_s, _CONNECT_S),
        "silence_s": min(settings.silence_s, _SILENCE_S),
        "loop": False,
    }
    if settings.kind is Kind.FILE:
        limits |= {"url": str(Path(base_dir) / settings.path), "pace": "unpaced"}
    return settings.model_copy(update=limits)


def _in_words(message: str, settings: SourceSettings) -> str:
    """Without the name that we gave it, and without any part of where it is."""
    message = re.sub(r"^'camera': ", "", message)
    for secret in (*settings.secrets, settings.path if settings.kind is Kind.FILE else ""):
        message = re.sub(rf":? ?{re.escape(secret)}", "", message) if secret else message
    return message


def _sizes(formats: Sequence[Any]) -> list[Json]:
    """Each size once, the largest first, with its highest rate."""
    best: dict[tuple[int, int], float | None] = {}
    for format in formats:
        for size in (*format.sizes, *([format.size_range.largest] if format.size_range else [])):
            rates = [*size.rates_fps, best.get((size.width, size.height)) or 0]
            best[size.width, size.height] = round(max(rates), 2) or None
    ordered = sorted(best.items(), key=lambda item: item[0][0] * item[0][1], reverse=True)
    return [{"width": width, "height": height, "fps": fps} for (width, height), fps in ordered]


def _bad(message: str) -> Json:
    return {"ok": False, "message": message.removeprefix("Value error, ")}


def _limit(longest_s: float) -> None:
    """Whatever a camera sends: no more than so much time and memory, no file, no life without who asked."""
    limits = {
        resource.RLIMIT_CPU: math.ceil(longest_s),
        resource.RLIMIT_DATA: _MOST_BYTES,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
    }
    for what, most in limits.items():
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(what, (most, most))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, longest_s + 1)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    threading.stack_size(1 << 20)


_STARTED_S = time.monotonic()

if __name__ == "__main__":
    main()
