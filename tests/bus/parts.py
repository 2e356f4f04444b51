"""What the tests of the bus are made of: pictures with known bytes, and waiting for conditions."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from frameloom.bus.publisher import FramePublisher
from frameloom.bus.serving import Publisher
from frameloom.bus.subscriber import Subscription
from frameloom.model.frame import Array, Frame, PictureFormat, PixelFormat
from frameloom.model.packet import Packet, PacketFormat

GENEROUS_S = 20.0  # nothing here takes a hundredth of it, unless it never happens

SMALL = PictureFormat(PixelFormat.GRAY, 64, 48)
OTHER = PictureFormat(PixelFormat.YUV420P, 50, 38)
H264 = PacketFormat("h264", 64, 48)
MJPEG = PacketFormat("mjpeg", 64, 48)


def until(happened: Callable[[], Any], what: str = "") -> Any:
    """Wait for a condition that another thread or process brings about; returns its value."""
    deadline_s = time.monotonic() + GENEROUS_S
    while not (value := happened()):
        assert time.monotonic() < deadline_s, f"never happened: {what or happened}"
        time.sleep(0.001)
    return value


def readable(fd: int, timeout_s: float = GENEROUS_S) -> bool:
    """Wait until there is something to read from a descriptor."""
    return bool(select.select([fd], [], [], timeout_s)[0])


def pattern(seed: int, nbytes: int) -> Array:
    """Bytes that tell one frame from any other, wherever one looks."""
    step = 2 * (seed % 100) + 1
    return ((np.arange(nbytes, dtype=np.uint32) * step + seed * 37) & 0xFF).astype(np.uint8)


def publish(publisher: FramePublisher, seed: int, format: PictureFormat = SMALL, **options: Any) -> int:
    """Publish a frame whose bytes and times follow from `seed`; returns its number."""
    slot = publisher.reserve(format)
    slot.data[:] = pattern(seed, format.nbytes)
    times = {"pts_ns": seed, "captured_ns": time.monotonic_ns(), "captured_at_ns": seed + 1}
    return publisher.publish(slot, **{**times, **options})


def is_intact(frame: Frame) -> bool:
    """Whether a frame of `publish` still has its bytes."""
    return bool(np.array_equal(frame.data, pattern(frame.pts_ns, frame.format.nbytes)))


def take(subscription: Subscription, timeout_s: float = GENEROUS_S) -> Any:
    """The next item; it must come."""
    item = subscription.get(timeout_s)
    assert item is not None, f"no item within {timeout_s} s: {subscription.stats}"
    return item


def packet(seed: int, *, is_key: bool = True, nbytes: int = 1000, format: PacketFormat = H264) -> Packet:
    """A packet whose bytes and times follow from `seed`."""
    return Packet(
        pattern(seed, nbytes).tobytes(), format, seed, is_key, time.monotonic_ns(), seed + 1, seed - 1, 40
    )


def joined(publisher: Publisher, readers: int) -> None:
    """Wait until so many readers have said hello and not left."""
    until(lambda: len(publisher.readers()) == readers, f"{readers} readers")


def settle(publisher: Publisher) -> None:
    """Have the publisher hear all that its readers have said, as it would when it publishes."""
    with publisher._lock:
        for reader in list(publisher._readers.values()):
            publisher._hear_all(reader)
            if reader.hello and publisher._readers.get(reader.fd) is reader:
                publisher._deliver(reader)


def open_descriptors() -> dict[int, str]:
    """The descriptors of this process and what they are."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue  # the one that listed the folder
    return found


def socket_of(runtime_dir: Path, stream: str = "hall", site: str = "default") -> Path:
    """Where a stream can be joined."""
    return runtime_dir / site / f"{stream}.sock"
