"""iceoryx2: publish-subscribe without overflow (the publisher waits), woken through its event service.

Event-based communication as in iceoryx2's examples: a notification goes with each sample, and whoever is woken takes
all samples that are there.
"""

from __future__ import annotations

import contextlib
import ctypes
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import iceoryx2 as iox2
import numpy as np

from . import DEPTH, Array, Run

NAME = "iceoryx2"
HOW = (
    "loaned samples of `Slice[c_uint8]`, written in place; no overflow and `RetryUntilDelivered`; the event service "
    "wakes, `Listener.blocking_wait()`"
)
PACKAGE = "iceoryx2"
FAST = True
_HEAD = 64  # bytes before the picture, which stays aligned
_Bytes = iox2.Slice[ctypes.c_uint8]


def shared(context: Any, readers: int) -> None:
    return None


class _Services:
    """Both services of a run, in files of its own."""

    def __init__(self, run: Run) -> None:
        iox2.set_log_level(iox2.LogLevel.Error)
        builder = iox2.NodeBuilder.new().config(configuration(run.folder))
        self.node = builder.signal_handling_mode(iox2.SignalHandlingMode.Disabled).create(
            iox2.ServiceType.Ipc
        )
        self.nbytes = run.nbytes + _HEAD
        self._array = ctypes.c_uint8 * self.nbytes
        self.pictures = self._pictures(run.readers)
        self.events = self._service("wake").event().max_listeners(run.readers).open_or_create()

    def _service(self, name: str) -> Any:
        return self.node.service_builder(iox2.ServiceName.new(name))

    def _pictures(self, readers: int) -> Any:
        builder = (
            self._service("pictures").publish_subscribe(_Bytes).payload_alignment(iox2.Alignment.new(_HEAD))
        )
        builder = builder.enable_safe_overflow(False).subscriber_max_buffer_size(DEPTH).history_size(0)
        return builder.subscriber_max_borrowed_samples(2).max_subscribers(readers).open_or_create()

    def view(self, sample: Any) -> Array:
        """The sample's bytes without a copy, as `Slice.as_memory_view()` gives them, with the type made once."""
        memory: Any = self._array.from_address(sample.payload_ptr)
        return np.frombuffer(memory, np.uint8)


def configuration(folder: str) -> Any:
    """iceoryx2's default, with its files in `folder`, and in /dev/shm under a name that tells them apart.

    Both names are short: its sockets have long ones, and an address has room for 107 bytes.
    """
    config = iox2.config.default()
    config.global_cfg.root_path = iox2.Path.new(f"{folder}/")
    config.global_cfg.prefix = iox2.FileName.new(_prefix(folder))
    return config


def _prefix(folder: str) -> str:
    return f"iox2_{zlib.crc32(folder.encode()):x}_"


class _Out:
    def __init__(self, run: Run) -> None:
        self._services = services = _Services(run)
        self._readers = run.readers
        builder = services.pictures.publisher_builder().initial_max_slice_len(services.nbytes)
        builder = builder.backpressure_strategy(iox2.BackpressureStrategy.RetryUntilDelivered)
        self.publisher = builder.create()
        self._notifier = services.events.notifier_builder().create()
        self._sample: Any = None

    def ready(self) -> bool:
        found = self._services.pictures.dynamic_config.number_of_subscribers
        return bool(found == self._readers)

    def send(self, picture: Array | None, stamp_ns: int) -> None:
        if self._sample is None:
            self._loan()
        self._data[:8].view(np.int64)[0] = stamp_ns
        if picture is not None:
            np.copyto(self._data[_HEAD:], picture)
        self._sample.assume_init().send()
        self._notifier.notify()
        self._loan()

    def _loan(self) -> None:
        self._sample = self.publisher.loan_slice_uninit(self._services.nbytes)
        self._data = self._services.view(self._sample)


@contextlib.contextmanager
def publish(run: Run) -> Iterator[_Out]:
    try:
        yield _Out(run)
    finally:
        for left in Path("/dev/shm").glob(f"{_prefix(run.folder)}*"):
            left.unlink(missing_ok=True)


def read(run: Run, index: int) -> Iterator[tuple[Array, int]]:
    services = _Services(run)
    listener = services.events.listener_builder().create()
    subscriber = services.pictures.subscriber_builder().buffer_size(DEPTH).create()
    while True:
        while (sample := subscriber.receive()) is not None:
            data = services.view(sample)
            yield data[_HEAD:], int(data[:8].view(np.int64)[0])
            del data
            sample.delete()
        listener.blocking_wait()
