"""The thread of the socket, and the thread that publishes, get along under every circumstance."""

from __future__ import annotations

import gc
import itertools
import logging
import os
import random
import resource
import select
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from frameloom.bus import serving
from frameloom.bus.publisher import FramePublisher
from frameloom.bus.readers import Reader
from frameloom.bus.subscriber import Subscription
from tests.bus.parts import GENEROUS_S, is_intact, joined, open_descriptors, publish, socket_of, take, until
from tests.bus.raw import RawReader


@pytest.fixture
def publisher() -> Iterator[FramePublisher]:
    with FramePublisher("hall") as publisher:
        yield publisher


class TestAccepting:
    def test_without_descriptors_it_waits_for_some(
        self, publisher: FramePublisher, runtime_dir: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The listening socket stays readable: looking at it again and again would burn a processor."""
        with RawReader(socket_of(runtime_dir)) as first:
            first.hello()
            joined(publisher, 1)
            before = resource.getrlimit(resource.RLIMIT_NOFILE)
            waiting = RawReader(socket_of(runtime_dir), connect=False)
            last = max(open_descriptors())
            gaps: list[int] = []
            resource.setrlimit(resource.RLIMIT_NOFILE, (last + 1, before[1]))
            try:
                gaps += fill(last)
                waiting.connect()
                until(lambda: "cannot accept a reader: Too many open files" in caplog.text)
                rounds = count_rounds(publisher)
                select.select([], [], [], 0.1)  # a while in which one that does not wait would go round often
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, before)
                for fd in gaps:
                    os.close(fd)
            assert rounds() < 5
            waiting.hello()
            joined(publisher, 2)
            waiting.close()

    def test_a_reader_that_is_gone_before_it_is_accepted(
        self, publisher: FramePublisher, runtime_dir: Path
    ) -> None:
        with publisher._lock:
            for _ in range(10):
                RawReader(socket_of(runtime_dir)).close()
        with Subscription("hall") as reader:
            joined(publisher, 1)
            publish(publisher, 1)
            assert take(reader).seq == 1

    def test_a_number_of_a_descriptor_that_is_used_again_in_one_round(
        self, publisher: FramePublisher, runtime_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An event that was meant for one that has gone must not hurt the newcomer that has its number."""
        old = RawReader(socket_of(runtime_dir)).hello()
        joined(publisher, 1)
        number = next(iter(publisher._readers))
        with publisher._lock:
            reader = publisher._readers[number]
            old.close()
            newcomer = RawReader(socket_of(runtime_dir)).hello()
            publisher._answer(number)
            assert reader.fd not in publisher._readers
            publisher._answer(publisher._listener.sock.fileno())
            assert number in publisher._readers
            publisher._answer(number)  # the hang-up of the old one
            publisher._answer(number)
        joined(publisher, 1)
        newcomer.close()


def fill(last: int) -> list[int]:
    """Use up every number below the limit."""
    fds: list[int] = []
    while not fds or max(fds) < last:
        try:
            fds.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            break
    return fds


def count_rounds(publisher: FramePublisher) -> Callable[[], int]:
    """Call what is returned to learn how often the socket's thread has woken up since."""
    counter = itertools.count()
    look = publisher._look_at_the_clock

    def counted() -> None:
        next(counter)
        look()

    publisher._look_at_the_clock = counted  # type: ignore[method-assign]
    return lambda: next(counter)


def test_the_thread_sleeps_while_frames_flow(publisher: FramePublisher) -> None:
    """A reader that keeps up is served by the publishing thread alone."""
    with Subscription("hall") as reader:
        joined(publisher, 1)
        publish(publisher, 1)
        assert take(reader).seq == 1
        rounds = count_rounds(publisher)
        for seed in range(2, 202):
            assert reader.get(0) is None  # asks
            publish(publisher, seed)
            assert take(reader).seq == seed
        assert rounds() < 20


class TestTrouble:
    def test_an_error_of_ours_costs_one_reader_and_is_logged(
        self, publisher: FramePublisher, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        deliver = publisher._deliver

        def fail(reader: Reader) -> None:
            if reader.hello and reader.hello.client == "unlucky":
                raise RuntimeError("a mistake")
            deliver(reader)

        monkeypatch.setattr(publisher, "_deliver", fail)
        with Subscription("hall", client="lucky") as lucky, Subscription("hall", client="unlucky") as unlucky:
            until(lambda: "a reader could not be answered" in caplog.text)
            until(lambda: [r.client for r in publisher.readers()] == ["lucky"])
            publish(publisher, 1)
            assert is_intact(take(lucky))
            monkeypatch.undo()
            until(lambda: unlucky.get(0.01) is None and len(publisher.readers()) == 2)

    def test_the_collector_may_run_anywhere(
        self, publisher: FramePublisher, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Frames, subscriptions and publishers that die in the middle of our own code, with our locks held."""
        thresholds = gc.get_threshold()
        gc.set_threshold(1, 1, 1)
        try:
            with Subscription("hall", leases=2) as reader:
                joined(publisher, 1)
                for seed in range(1, 60):
                    make_garbage(publisher, seed)
                    assert take(reader).pts_ns == seed
        finally:
            gc.set_threshold(*thresholds)
        gc.collect()
        until(lambda: not publisher._readers)

    def test_the_log_says_who_was_closed(
        self, publisher: FramePublisher, runtime_dir: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        with RawReader(socket_of(runtime_dir)) as raw:
            raw.send(b"garbage")
            raw.refusal()
        with RawReader(socket_of(runtime_dir)) as raw:
            raw.hello().want(100)
            raw.refusal(lambda: publish(publisher, 1))
        until(lambda: len(caplog.messages) == 2)
        assert caplog.messages == [
            "stream hall: closed a connection without HELLO: message of type 103 is not expected here",
            "stream hall: closed 'raw': WANT: read 100 credits and 12 bytes for 0 leases",
        ]

    def test_who_comes_and_goes_is_not_worth_a_line(
        self, publisher: FramePublisher, caplog: pytest.LogCaptureFixture
    ) -> None:
        for _ in range(50):
            with Subscription("hall"):
                publish(publisher, 1)
        until(lambda: not publisher._readers)
        assert caplog.messages == []


def make_garbage(publisher: FramePublisher, seed: int) -> None:
    stream = Subscription("hall", policy="every")
    joined(publisher, 2)
    publish(publisher, seed)
    cycle: list[Any] = [stream, take(stream)]
    cycle.append(cycle)
    del stream, cycle
    gc.collect(1)
    until(lambda: gc.collect() * 0 == 0 and len(publisher.readers()) == 1)


class TestStress:
    """Many frames, random delays, and threads that are switched at the worst moment."""

    @pytest.fixture(autouse=True)
    def hasty_switching(self) -> Iterator[None]:
        before = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        yield
        sys.setswitchinterval(before)

    @pytest.mark.parametrize(("policy", "can_wait"), [("latest", False), ("every", False), ("every", True)])
    def test_no_frame_gets_stuck(self, policy: str, can_wait: bool) -> None:
        """Two readers, each of which must end up with the last frame, having missed no wake-up on the way."""
        frames = 4000
        with FramePublisher("hall", can_wait=can_wait, history=4) as publisher:
            readers = [Subscription("hall", policy=policy) for _ in range(2)]
            joined(publisher, 2)
            got: list[list[int]] = [[], []]
            threads = [
                threading.Thread(target=read_all, args=(reader, frames, seqs, random.Random(number)))
                for number, (reader, seqs) in enumerate(zip(readers, got, strict=True))
            ]
            for thread in threads:
                thread.start()
            pace = random.Random(7)
            for seed in range(1, frames + 1):
                if can_wait:
                    assert publisher.wait_ready(GENEROUS_S)
                publish(publisher, seed)
                pause(pace)
            for thread in threads:
                thread.join(GENEROUS_S)
            for reader, seqs in zip(readers, got, strict=True):
                assert seqs[-1] == frames
                assert seqs == sorted(set(seqs))
                assert reader.stats.received + reader.stats.dropped == frames
                assert not can_wait or len(seqs) == frames
                reader.close()

    def test_joining_and_leaving_while_frames_go_through(self) -> None:
        with FramePublisher("hall") as publisher:
            stop = threading.Event()
            trouble: list[BaseException] = []

            def visit(chance: random.Random) -> None:
                try:
                    while not stop.is_set():
                        policy = chance.choice(["latest", "every"])
                        with Subscription("hall", policy=policy, leases=chance.randint(2, 6)) as reader:
                            kept = [reader.get(0.01) for _ in range(chance.randint(0, 4))]
                        assert all(is_intact(frame) for frame in kept if frame is not None)
                except BaseException as error:
                    trouble.append(error)

            threads = [threading.Thread(target=visit, args=(random.Random(number),)) for number in range(3)]
            for thread in threads:
                thread.start()
            for seed in range(1, 1500):
                publish(publisher, seed)
                time.sleep(0)
            stop.set()
            for thread in threads:
                thread.join()
            assert trouble == []
            until(lambda: not publisher._readers)
            assert publisher._thread.is_alive()


def read_all(reader: Subscription, last: int, seqs: list[int], chance: random.Random) -> None:
    while not seqs or seqs[-1] != last:
        frame = take(reader)
        assert is_intact(frame)
        seqs.append(frame.seq)
        del frame
        pause(chance)


def pause(chance: random.Random) -> None:
    if chance.random() < 0.02:
        time.sleep(chance.random() * 0.001)


def test_a_publisher_that_cannot_be_built_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fixture counts the descriptors; the name is free again."""
    for name in ("eventfd", "epoll"):
        with monkeypatch.context() as context:
            context.setattr(serving.os if name == "eventfd" else serving.select, name, refuse)
            with pytest.raises(OSError, match="no more"):
                FramePublisher("hall")
    with monkeypatch.context() as context:
        context.setattr(threading.Thread, "start", refuse)
        with pytest.raises(OSError, match="no more"):
            FramePublisher("hall")
    FramePublisher("hall").close()


def refuse(*_: Any) -> None:
    raise OSError("no more")
