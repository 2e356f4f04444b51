"""How long it takes to wake another process, one way, at a pace of 20 ms: the bus without pixels beside bare means.

Two processes, one signal at a time: the sender notes when it sends, the receiver when it is awake; both read
CLOCK_MONOTONIC. Nothing travels but the signal (or what the means cannot do without: one byte, an empty message).
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from multiprocessing.reduction import DupFd
from typing import Any, Protocol

from . import report
from .report import Part
from .teams import scratch

PACE_S = 0.02
ROUNDS, SIGNALS = 4, 60
_WARM = 3


class Means(Protocol):
    """One means of waking. Built in the main process, then carried to the sender and to the receiver."""

    name: str

    def open(self, receives: bool, folder: str) -> None:
        """In the process that will use it."""

    def ready(self) -> bool:
        """At the sender: True when the receiver is there."""

    def send(self) -> None: ...

    def receive(self) -> None:
        """Sleep until the signal is there."""


class _Simple:
    def open(self, receives: bool, folder: str) -> None:
        """Nothing to open."""

    def ready(self) -> bool:
        return True


class _Descriptors(_Simple):
    """Means that are two descriptors, or one, which spawned processes inherit."""

    def __init__(self, *fds: int) -> None:
        self._fds: Any = fds

    def __getstate__(self) -> Any:
        return [DupFd(fd) for fd in self._fds]

    def __setstate__(self, state: Any) -> None:
        self._fds = [each.detach() for each in state]


class Pipe(_Descriptors):
    """One byte through a pipe."""

    name = "pipe"

    def __init__(self) -> None:
        super().__init__(*os.pipe())

    def send(self) -> None:
        os.write(self._fds[1], b"x")

    def receive(self) -> None:
        os.read(self._fds[0], 1)


class EventFd(_Descriptors):
    """An eventfd(2), blocking."""

    name = "eventfd"

    def __init__(self) -> None:
        super().__init__(os.eventfd(0, 0))

    def send(self) -> None:
        os.eventfd_write(self._fds[0], 1)

    def receive(self) -> None:
        os.eventfd_read(self._fds[0])


class UnixSocket(_Descriptors):
    """One byte over a pair of sockets."""

    name = "Unix socket (SEQPACKET)"

    def __init__(self) -> None:
        super().__init__(*(end.detach() for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)))

    def open(self, receives: bool, folder: str) -> None:
        self._socket = socket.socket(fileno=self._fds[receives])

    def send(self) -> None:
        self._socket.send(b"x")

    def receive(self) -> None:
        self._socket.recv(1)


class Condition(_Simple):
    """multiprocessing.Condition, with a number that says how often."""

    name = "multiprocessing.Condition"

    def __init__(self, context: Any) -> None:
        self._condition = context.Condition()
        self._sent = context.RawValue("l", 0)
        self._taken = 0

    def send(self) -> None:
        with self._condition:
            self._sent.value += 1
            self._condition.notify()

    def receive(self) -> None:
        self._taken += 1
        with self._condition:
            while self._sent.value < self._taken:
                self._condition.wait()


class Zmq(_Simple):
    """An empty message, PUSH to PULL."""

    name = "pyzmq, ipc"

    def open(self, receives: bool, folder: str) -> None:
        import zmq

        self._socket: Any = zmq.Context.instance().socket(zmq.PULL if receives else zmq.PUSH)
        if receives:
            self._socket.connect(f"ipc://{folder}/zmq")
        else:
            self._socket.bind(f"ipc://{folder}/zmq")

    def send(self) -> None:
        self._socket.send(b"")

    def receive(self) -> None:
        self._socket.recv()


class Iceoryx2Event(_Simple):
    """A notification of iceoryx2's event service."""

    name = "iceoryx2 event"

    def open(self, receives: bool, folder: str) -> None:
        import iceoryx2 as iox2

        from .peers.iceoryx2_pubsub import configuration

        iox2.set_log_level(iox2.LogLevel.Error)
        builder = iox2.NodeBuilder.new().config(configuration(folder))
        self._node = builder.signal_handling_mode(iox2.SignalHandlingMode.Disabled).create(
            iox2.ServiceType.Ipc
        )
        self._service = self._node.service_builder(iox2.ServiceName.new("wake")).event().open_or_create()
        port = self._service.listener_builder() if receives else self._service.notifier_builder()
        self._port: Any = port.create()

    def ready(self) -> bool:
        return bool(self._service.dynamic_config.number_of_listeners)

    def send(self) -> None:
        self._port.notify()

    def receive(self) -> None:
        self._port.blocking_wait()


class BusFrame(_Simple):
    """A frame that nobody fills, as a reader of the newest frame gets it."""

    name = "Frameloom, frame without pixels"

    def open(self, receives: bool, folder: str) -> None:
        os.environ["FRAMELOOM_RUNTIME_DIR"] = f"{folder}/frameloom"
        from frameloom.bus.publisher import FramePublisher
        from frameloom.bus.subscriber import Subscription
        from frameloom.model.frame import PictureFormat, PixelFormat

        self._format = PictureFormat(PixelFormat.GRAY, 16, 16)
        self._end: Any = Subscription("wake") if receives else FramePublisher("wake")

    def ready(self) -> bool:
        return bool(self._end.wanted)

    def send(self) -> None:
        self._end.publish(self._end.reserve(self._format), pts_ns=0, captured_ns=0, captured_at_ns=0)

    def receive(self) -> None:
        self._end.get()


class BusResult(_Simple):
    """An empty result: no memory is involved, all is in the message."""

    name = "Frameloom, empty result"

    def open(self, receives: bool, folder: str) -> None:
        os.environ["FRAMELOOM_RUNTIME_DIR"] = f"{folder}/frameloom"
        from frameloom.bus.publisher import ResultPublisher
        from frameloom.bus.subscriber import Subscription

        self._end: Any = Subscription("result", policy="every") if receives else ResultPublisher("result")

    def ready(self) -> bool:
        return bool(self._end.wanted)

    def send(self) -> None:
        self._end.publish({}, source="wake", frame_seq=0, pts_ns=0, captured_ns=0, captured_at_ns=0)

    def receive(self) -> None:
        self._end.get()


def run(quick: bool) -> Part:
    """Measure, and tell."""
    part = Part("Wake-up, one way, at a pace of 20 ms")
    rounds, signals = (1, 4) if quick else (ROUNDS, SIGNALS)
    context = multiprocessing.get_context("spawn")
    all_means = list(_all_means(context, part))
    latencies_us: dict[str, list[float]] = {means.name: [] for means in all_means}
    with scratch() as folder, _pair(context, all_means, folder) as (sender, receiver):
        for round_ in range(rounds):
            first = round_ % len(all_means)
            for index in [*range(first, len(all_means)), *range(first)]:
                name = all_means[index].name
                print(f"wakeup: round {round_ + 1}, {name}", file=sys.stderr, flush=True)
                latencies_us[name] += _one_turn(sender, receiver, index, signals, part, name)
    _tell(part, latencies_us, rounds, signals)
    return part


def _all_means(context: Any, part: Part) -> Iterator[Means]:
    yield from (BusFrame(), BusResult(), Pipe(), EventFd(), UnixSocket(), Condition(context))
    for package, means in (("zmq", Zmq), ("iceoryx2", Iceoryx2Event)):
        try:
            __import__(package)
            yield means()
        except ImportError:
            part.say(f"{means.name}: not installed.")


@contextlib.contextmanager
def _pair(context: Any, all_means: Sequence[Means], folder: str) -> Iterator[list[Any]]:
    processes, ends = [], []
    for receives in (False, True):
        ours, theirs = context.Pipe()
        process = context.Process(
            target=_process, args=(receives, list(all_means), folder, theirs), daemon=True
        )
        process.start()
        processes.append(process)
        ends.append(ours)
    try:
        for end in ends:
            _hear(end, "open")
        yield ends
        for end in ends:
            end.send(None)
    finally:
        for process in processes:
            process.join(10)
            process.kill()


def _one_turn(sender: Any, receiver: Any, index: int, signals: int, part: Part, name: str) -> list[float]:
    receiver.send((index, signals + _WARM))
    sender.send((index, signals + _WARM))
    sent_ns, received_ns = _hear(sender, "sent"), _hear(receiver, "received")
    latencies_us = [(b - a) / 1e3 for a, b in zip(sent_ns, received_ns, strict=True)][_WARM:]
    if len(latencies_us) != signals or min(latencies_us) <= 0:
        part.troubles.append(
            f"wake-up, {name}: {len(latencies_us)} of {signals} signals, or in a wrong order"
        )
        return []
    return latencies_us


def _hear(end: Any, what: str) -> Any:
    if not end.poll(60):
        raise TimeoutError(f"wake-up: {what} was not heard within 60 s")
    return end.recv()


def _tell(part: Part, latencies_us: dict[str, list[float]], rounds: int, signals: int) -> None:
    def row(name: str, found: list[float]) -> list[str]:
        return [name, *(f"{report.percentile(found, percent):,.0f}" for percent in (50, 99))]

    part.say(
        f"From just before the sender's call to the receiver being back from its own, in Python; {rounds} rounds of "
        f"{signals} signals, taking turns; p50 and p99 of all."
    )
    part.say(
        report.table(("means", "p50 us", "p99 us"), [row(*each) for each in latencies_us.items() if each[1]])
    )


# --- inside of the two processes -------------------------------------------------------------------------------------


def _process(receives: bool, all_means: list[Means], folder: str, connection: Any) -> None:
    for means in all_means:
        means.open(receives, folder)
    connection.send("open")
    while (asked := connection.recv()) is not None:
        index, signals = asked
        connection.send(_receive(all_means[index], signals) if receives else _send(all_means[index], signals))


def _send(means: Means, signals: int) -> list[int]:
    while not means.ready():
        time.sleep(0.001)
    sent_ns = []
    due_s = time.monotonic() + 5 * PACE_S  # the receiver has been asked too, and goes to sleep
    for _ in range(signals):
        time.sleep(max(0.0, due_s - time.monotonic()))
        due_s += PACE_S
        sent_ns.append(time.monotonic_ns())
        means.send()
    return sent_ns


def _receive(means: Means, signals: int) -> list[int]:
    received_ns = []
    for _ in range(signals):
        means.receive()
        received_ns.append(time.monotonic_ns())
    return received_ns
