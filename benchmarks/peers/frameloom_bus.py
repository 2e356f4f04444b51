"""Frameloom's bus: a slot of a sealed memfd, a message over a Unix socket."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from frameloom.bus.publisher import FramePublisher
from frameloom.bus.subscriber import Subscription
from frameloom.model.frame import PictureFormat, PixelFormat

from . import Array, Run

NAME = "Frameloom"
HOW = "`FramePublisher(can_wait=True)` and `Subscription(policy='every')`, all else by default"
PACKAGE = "frameloom"
FAST = True
_WAIT_S = 30.0


def shared(context: Any, readers: int) -> None:
    return None


class _Out:
    def __init__(self, run: Run) -> None:
        self._format = picture_format(run.nbytes)
        self._readers = run.readers
        self.publisher = FramePublisher("bench", can_wait=True)
        self._slot = self.publisher.reserve(self._format)

    def ready(self) -> bool:
        return len(self.publisher.readers()) == self._readers

    def send(self, picture: Array | None, stamp_ns: int) -> None:
        publisher, slot = self.publisher, self._slot
        if picture is not None:
            np.copyto(slot.data, picture)
        publisher.publish(slot, pts_ns=stamp_ns, captured_ns=stamp_ns, captured_at_ns=0)
        if not publisher.wait_ready(_WAIT_S):
            raise TimeoutError("a reader does not go on")
        self._slot = publisher.reserve(self._format)


@contextlib.contextmanager
def publish(run: Run) -> Iterator[_Out]:
    _at_home(run)
    out = _Out(run)
    with out.publisher:
        yield out


def read(run: Run, index: int) -> Iterator[tuple[Array, int]]:
    _at_home(run)
    with Subscription("bench", policy="every", client=f"reader {index}") as frames:
        for frame in frames:
            yield frame.data, frame.pts_ns
            del frame


def picture_format(nbytes: int) -> PictureFormat:
    """BGR, 16:9, of so many bytes."""
    height = round((nbytes / 3 * 9 / 16) ** 0.5)
    return PictureFormat(PixelFormat.BGR, nbytes // 3 // height, height)


def _at_home(run: Run) -> None:
    os.environ["FRAMELOOM_RUNTIME_DIR"] = f"{run.folder}/frameloom"
