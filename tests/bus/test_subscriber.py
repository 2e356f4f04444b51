"""Waiting in every way, the newest when asked, and everything that can happen meanwhile."""

from __future__ import annotations

import asyncio
import gc
import os
import selectors
import shutil
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from frameloom.bus import inotify
from frameloom.bus.publisher import FramePublisher, PacketPublisher, ResultPublisher
from frameloom.bus.subscriber import Subscription
from frameloom.model.errors import NeedsPerson, StreamEnded
from frameloom.model.frame import PictureFormat, PixelFormat
from tests.bus.parts import (
    GENEROUS_S,
    OTHER,
    SMALL,
    is_intact,
    joined,
    packet,
    publish,
    readable,
    settle,
    socket_of,
    take,
    until,
)


@pytest.fixture
def publisher() -> Iterator[FramePublisher]:
    with FramePublisher("hall") as publisher:
        yield publisher


@pytest.fixture
def reader(publisher: FramePublisher) -> Iterator[Subscription]:
    with Subscription("hall") as reader:
        joined(publisher, 1)
        yield reader


class TestNewest:
    """'latest' means: when asked, not when it was sent."""

    def test_a_frame_that_was_asked_for_in_vain_is_replaced(
        self, publisher: FramePublisher, reader: Subscription, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert reader.get(0) is None  # leaves a question behind
        publish_as_if_long_ago(publisher, 1, monkeypatch)
        newest = publish(publisher, 2)
        assert take(reader).seq == newest
        assert (reader.stats.received, reader.stats.dropped) == (1, 1)

    def test_so_it_is_for_one_that_waits_by_descriptor(
        self, publisher: FramePublisher, reader: Subscription, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert reader.get(0) is None
        fd = reader.fileno()
        publish_as_if_long_ago(publisher, 1, monkeypatch)
        for seed in range(2, 9):
            publish(publisher, seed)
        assert readable(fd)
        assert take(reader).seq == 8
        assert (reader.stats.received, reader.stats.dropped) == (1, 7)

    def test_an_old_frame_is_better_than_none(
        self, publisher: FramePublisher, reader: Subscription, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert reader.get(0) is None
        publish_as_if_long_ago(publisher, 1, monkeypatch)
        assert take(reader).seq == 1
        assert reader.get(0) is None

    def test_the_last_frame_is_not_lost_to_the_end_behind_it(
        self, publisher: FramePublisher, reader: Subscription, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert reader.get(0) is None
        publish_as_if_long_ago(publisher, 1, monkeypatch)
        publisher.end()
        assert take(reader).seq == 1
        with pytest.raises(StreamEnded):
            reader.get(0)

    def test_what_waits_since_joining_is_not_old(self, publisher: FramePublisher) -> None:
        """A reader that is built early and asks late gets what is new then."""
        with Subscription("hall") as reader:
            joined(publisher, 1)
            for seed in range(1, 5):
                publish(publisher, seed)
            assert take(reader).seq == 4

    def test_a_question_gets_the_pending_frame_at_once(
        self, publisher: FramePublisher, reader: Subscription
    ) -> None:
        """Nothing is published any more: the socket's thread alone must answer."""
        for seed in range(1, 200):
            publish(publisher, seed)
            if seed % 2:
                assert take(reader).seq == seed

    def test_a_standing_camera_shows_its_frame_to_a_newcomer(
        self, publisher: FramePublisher, reader: Subscription
    ) -> None:
        publish(publisher, 1)
        assert take(reader).seq == 1
        with Subscription("hall") as newcomer, Subscription("hall", policy="every") as another:
            assert take(newcomer).seq == 1
            assert take(another).seq == 1
            assert (newcomer.stats.received, newcomer.stats.dropped) == (1, 0)

    def test_a_frame_that_nobody_wanted_is_shown_to_nobody(self, publisher: FramePublisher) -> None:
        with Subscription("hall"):
            joined(publisher, 1)
            publish(publisher, 1)
        joined(publisher, 0)
        publish(publisher, 2)
        with Subscription("hall") as newcomer:
            joined(publisher, 1)
            assert newcomer.get(0.02) is None
            publish(publisher, 3)
            assert take(newcomer).seq == 3
            assert (newcomer.stats.received, newcomer.stats.dropped) == (1, 0)


def publish_as_if_long_ago(publisher: FramePublisher, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow:
        def monotonic_ns(self) -> int:
            return time.monotonic_ns() - 10**10

    with monkeypatch.context() as context:
        context.setattr(publisher, "_clock", Slow())
        publish(publisher, seed)
        settle(publisher)


class TestWaiting:
    def test_a_selector_serves_two_streams(self, publisher: FramePublisher, reader: Subscription) -> None:
        with ResultPublisher("results") as results, Subscription("results", policy="every") as second:
            joined(results, 1)
            with selectors.DefaultSelector() as selector:
                for stream in (reader, second):
                    selector.register(stream, selectors.EVENT_READ, stream)
                got: dict[str, list[int]] = {"hall": [], "results": []}
                for seed in range(1, 11):
                    publish(publisher, seed)
                    results.publish(
                        {}, source="hall", frame_seq=seed, pts_ns=0, captured_ns=0, captured_at_ns=0
                    )
                    while {len(seqs) for seqs in got.values()} != {seed}:
                        for key, _ in selector.select(GENEROUS_S):
                            if (item := key.data.get(0)) is not None:
                                got[item.stream].append(item.seq)
        assert got == {"hall": list(range(1, 11)), "results": list(range(1, 11))}

    def test_a_descriptor_sleeps_when_there_is_nothing(
        self, publisher: FramePublisher, reader: Subscription
    ) -> None:
        fd = reader.fileno()
        publish(publisher, 1)
        until(lambda: reader.get(0))
        assert reader.get(0) is None
        assert not readable(fd, 0.02)

    def test_a_descriptor_wakes_when_the_publisher_comes_and_goes(self) -> None:
        with Subscription("hall") as reader:
            fd = reader.fileno()
            assert reader.get(0) is None
            for seed in range(1, 4):
                with FramePublisher("hall") as publisher:
                    while reader.get(0) is None and not publisher.readers():
                        assert readable(fd)
                    until(lambda: reader.get(0) is None and reader.connected)
                    publish(publisher, seed)
                    assert readable(fd)
                    assert take(reader).pts_ns == seed
                assert readable(fd)
                assert reader.get(0) is None
            assert not readable(fd, 0.02)

    def test_time_runs_out(self, reader: Subscription) -> None:
        began_s = time.monotonic()
        assert reader.get(0.05) is None
        assert time.monotonic() - began_s >= 0.05

    def test_an_interruption_does_not_take_an_item_away(
        self, publisher: FramePublisher, reader: Subscription
    ) -> None:
        wake = os.eventfd(1)
        try:
            assert reader.get(interrupt_fd=wake) is None
            publish(publisher, 1)
            until(lambda: readable(reader._epoll.fileno()))
            item = reader.get(interrupt_fd=wake)
            assert item is not None
        finally:
            os.close(wake)

    def test_two_threads_cannot_read_at_once(self, reader: Subscription) -> None:
        thread = threading.Thread(target=lambda: list(reader))
        thread.start()
        until(lambda: reader._reading.locked())
        with pytest.raises(RuntimeError, match="'hall': another thread is reading this subscription"):
            reader.get(0)
        reader.close()
        thread.join()

    def test_closing_wakes_whoever_waits(self, reader: Subscription) -> None:
        caught: list[BaseException] = []

        def wait() -> None:
            try:
                reader.get()
            except ValueError as error:
                caught.append(error)

        thread = threading.Thread(target=wait)
        thread.start()
        until(lambda: reader._reading.locked())
        reader.close()
        thread.join(GENEROUS_S)
        assert str(caught[0]) == "stream 'hall': the subscription is closed"

    def test_a_closed_one_says_so(self, reader: Subscription) -> None:
        reader.close()
        reader.close()
        for call in (lambda: reader.get(0), reader.fileno):
            with pytest.raises(ValueError, match="closed"):
                call()
        assert list(reader) == []
        assert reader.format is None
        assert not reader.connected


class TestAsyncio:
    def test_a_cancelled_wait_loses_nothing(self, publisher: FramePublisher) -> None:
        async def read() -> list[int]:
            got = []
            with Subscription("hall", policy="every", leases=16) as reader:
                joined(publisher, 1)
                for seed in range(1, 30):
                    waiting = asyncio.ensure_future(reader.next())
                    await asyncio.sleep(0)
                    waiting.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await waiting
                    publish(publisher, seed)
                    got.append((await reader.next()).seq)
            return got

        assert run(read()) == list(range(1, 30))

    def test_a_limit_of_time_is_a_cancellation(self, publisher: FramePublisher, reader: Subscription) -> None:
        async def read() -> int:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(reader.next(), 0.02)
            publish(publisher, 1)
            return int((await reader.next()).seq)

        assert run(read()) == 1

    def test_two_subscriptions_in_one_loop(self, publisher: FramePublisher) -> None:
        async def read(policy: str) -> list[int]:
            with Subscription("hall", policy=policy) as reader:
                return [item.seq async for item in reader]

        async def film() -> None:
            joined(publisher, 2)
            for seed in range(1, 101):
                publish(publisher, seed)
                await asyncio.sleep(0)
            publisher.end()

        async def together() -> tuple[list[int], list[int], None]:
            return await asyncio.gather(read("latest"), read("every"), film())

        latest, every, _ = run(together())
        for seqs in (latest, every):
            assert seqs == sorted(set(seqs))
            assert seqs[-1] == 100

    def test_two_tasks_cannot_read_at_once(self, reader: Subscription) -> None:
        async def read() -> None:
            waiting = asyncio.ensure_future(reader.next())
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="another task is reading"):
                await reader.next()
            waiting.cancel()

        run(read())

    def test_closing_ends_the_iteration(self, publisher: FramePublisher, reader: Subscription) -> None:
        async def read() -> list[Any]:
            async def close() -> None:
                await asyncio.sleep(0)
                reader.close()

            closing = asyncio.ensure_future(close())
            got = [item async for item in reader]
            await closing
            return got

        assert run(read()) == []
        joined(publisher, 0)

    def test_a_publisher_that_returns_is_joined_again(self) -> None:
        async def read() -> list[int]:
            with Subscription("hall") as reader:
                got = []
                for seed in range(1, 4):
                    waiting = asyncio.ensure_future(reader.next())
                    with FramePublisher("hall") as publisher:
                        await joined_meanwhile(publisher)
                        publish(publisher, seed)
                        got.append((await waiting).pts_ns)
                return got

        assert run(read()) == [1, 2, 3]


async def joined_meanwhile(publisher: FramePublisher) -> None:
    """As `joined`, for a reader that needs this loop in order to join."""
    for _ in range(20_000):
        if publisher.readers():
            return
        await asyncio.sleep(0.001)


def run(coroutine: Any) -> Any:
    async def limited() -> Any:
        return await asyncio.wait_for(coroutine, GENEROUS_S)

    return asyncio.run(limited())


class TestFinding:
    def test_a_site_whose_folder_is_removed_and_comes_back(self, runtime_dir: Path) -> None:
        with Subscription("hall") as reader:
            for seed in range(1, 4):
                got = in_background(reader)
                until(lambda: reader._reading.locked())
                shutil.rmtree(runtime_dir / "default")
                with FramePublisher("hall") as publisher:
                    joined(publisher, 1)
                    publish(publisher, seed)
                    assert got().pts_ns == seed
                assert reader.get(0) is None

    def test_without_inotify_it_looks_from_time_to_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def exhausted(folder: bytes) -> int:
            raise OSError(24, "inotify_init1")

        monkeypatch.setattr(inotify, "_watch", exhausted)
        with Subscription("hall") as reader:
            got = in_background(reader)
            with FramePublisher("hall") as publisher:
                joined(publisher, 1)
                publish(publisher, 1)
                assert got().seq == 1

    def test_other_streams_of_the_site_are_no_news(self, publisher: FramePublisher) -> None:
        with Subscription("attic") as reader:
            for number in range(5):
                FramePublisher(f"other-{number}").close()
                assert reader.get(0) is None
            assert not reader.connected

    def test_a_stale_socket_is_no_publisher(self, runtime_dir: Path) -> None:
        FramePublisher("hall").close()
        path = socket_of(runtime_dir)
        with FramePublisher("hall"):
            os.link(path, path.with_suffix(".stale"))
        os.rename(path.with_suffix(".stale"), path)
        with Subscription("hall") as reader:
            assert reader.get(0.02) is None
            with FramePublisher("hall") as publisher:
                until(lambda: reader.get(0) is None and publisher.readers())

    def test_a_long_path_is_no_obstacle(self, runtime_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        deep = runtime_dir / ("d" * 60) / ("e" * 60)
        deep.mkdir(parents=True)
        monkeypatch.setenv("FRAMELOOM_RUNTIME_DIR", str(deep / "site"))
        with (
            FramePublisher("c" * 48 + ".packets") as publisher,
            Subscription("c" * 48 + ".packets") as reader,
        ):
            joined(publisher, 1)
            publish(publisher, 1)
            assert take(reader).seq == 1

    def test_a_name_that_fits_nowhere_is_refused(self) -> None:
        with pytest.raises(
            NeedsPerson, match=r"stream name: read 'a{48}\.b{48}', allowed: 80 characters in all"
        ):
            Subscription("a" * 48 + "." + "b" * 48)

    def test_a_nonsensical_policy_is_refused(self) -> None:
        with pytest.raises(ValueError, match="'most' is not a valid Policy"):
            Subscription("hall", policy="most")


def in_background(reader: Subscription) -> Callable[[], Any]:
    """Read one item in another thread; call what is returned to have it."""
    got: list[Any] = []
    thread = threading.Thread(target=lambda: got.append(reader.get(GENEROUS_S)))
    thread.start()

    def result() -> Any:
        thread.join()
        return got.pop()

    return result


class TestLeases:
    def test_a_lease_lives_as_long_as_any_array_of_the_frame(
        self, publisher: FramePublisher, reader: Subscription
    ) -> None:
        publish(publisher, 5)
        view = take(reader).gray[10:20, ::2]
        expected = view.copy()
        for seed in range(6, 100):
            publish(publisher, seed)
        assert (view == expected).all()
        settle(publisher)
        assert publisher.readers()[0].leases == 1

    def test_a_released_frame_goes_back_at_once(
        self, publisher: FramePublisher, reader: Subscription
    ) -> None:
        publish(publisher, 1)
        publish(publisher, 2)
        with take(reader) as frame:
            assert is_intact(frame)
        with pytest.raises(ValueError, match="'hall' frame 2: used after release"):
            _ = frame.data
        assert reader.get(0) is None  # what is over goes back with the next question
        settle(publisher)
        assert publisher.readers()[0].leases == 0

    def test_more_may_be_kept_than_leased(self, publisher: FramePublisher, reader: Subscription) -> None:
        kept = []
        for seed in range(1, 60):
            publish(publisher, seed)
            kept.append(take(reader))
        assert [frame.shared for frame in kept] == [True] * 3 + [False] * 56
        assert reader.stats.copied == 56
        assert all(is_intact(frame) for frame in kept)
        assert not any(frame.data.flags.writeable for frame in kept)
        assert len({frame.seq for frame in kept}) == 59

    def test_frames_are_dropped_in_other_threads_and_by_the_collector(
        self, publisher: FramePublisher, reader: Subscription
    ) -> None:
        switching, thresholds = sys.getswitchinterval(), gc.get_threshold()
        sys.setswitchinterval(1e-6)
        gc.set_threshold(20, 2, 2)
        kept: list[Any] = []
        stop = threading.Event()

        def drop() -> None:
            while not stop.is_set():
                while kept:
                    cycle: list[Any] = [kept.pop()]
                    cycle.append(cycle)
                stop.wait(0.0001)

        threads = [threading.Thread(target=drop) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            for seed in range(1, 1500):
                publish(publisher, seed)
                frame = take(reader)
                assert is_intact(frame)
                kept.append(frame)
                del frame
        finally:
            stop.set()
            for thread in threads:
                thread.join()
            sys.setswitchinterval(switching)
            gc.set_threshold(*thresholds)
        kept.clear()
        gc.collect()
        assert reader.get(0) is None
        settle(publisher)
        assert publisher.readers()[0].leases == 0

    def test_frames_that_die_with_their_subscription_leave_nothing(self, publisher: FramePublisher) -> None:
        """In a cycle, Python calls no weak reference of what dies together."""

        class Viewer:
            def __init__(self) -> None:
                self.stream = Subscription("hall")
                self.me = self

            def look(self) -> None:
                self.frame = take(self.stream)

        viewer = Viewer()
        joined(publisher, 1)
        publish(publisher, 1)
        viewer.look()
        gone = weakref.ref(viewer)
        del viewer
        gc.collect()
        assert gone() is None
        until(lambda: not publisher._readers)

    def test_a_forgotten_subscription_closes_itself(self, publisher: FramePublisher) -> None:
        Subscription("hall")
        until(lambda: not publisher._readers)

    def test_a_connection_outlives_its_subscription_until_the_last_frame(
        self, publisher: FramePublisher
    ) -> None:
        with Subscription("hall", policy="every", leases=6) as reader:
            joined(publisher, 1)
            for seed in (1, 2):
                publish(publisher, seed)
            kept = [take(reader), take(reader)]
        publish(publisher, 3)
        assert publisher.readers() == []
        assert len(publisher._readers) == 1
        for seed in range(4, 100):
            publish(publisher, seed)
            assert all(is_intact(frame) for frame in kept)
        kept.pop()
        assert len(publisher._readers) == 1
        kept.pop()
        until(lambda: not publisher._readers)


class TestFormats:
    def test_a_change_of_format_loses_nothing_and_spoils_nothing(self, publisher: FramePublisher) -> None:
        formats = [SMALL, OTHER, PictureFormat(PixelFormat.NV12, 33, 17), SMALL]
        with Subscription("hall", policy="every", leases=16) as reader:
            joined(publisher, 1)
            kept = []
            for round_ in range(3):
                for number, format in enumerate(formats):
                    publish(publisher, 1 + round_ * 4 + number, format)
                    kept.append(take(reader))
                    assert reader.format == kept[-1].format == format
            assert [frame.seq for frame in kept] == list(range(1, 13))
            assert all(is_intact(frame) for frame in kept)

    def test_what_waits_in_the_old_format_is_still_sent(self, publisher: FramePublisher) -> None:
        with Subscription("hall", policy="every", leases=2) as reader:
            joined(publisher, 1)
            for seed, format in enumerate([SMALL, OTHER, SMALL, OTHER], 1):
                publish(publisher, seed, format)
            assert [take(reader).seq for _ in range(4)] == [1, 2, 3, 4]
        until(lambda: len(publisher._kept._live) == 1)

    def test_a_crowd_makes_the_pool_grow(self, publisher: FramePublisher) -> None:
        crowd = [Subscription("hall", policy="every", leases=20) for _ in range(6)]
        joined(publisher, 6)
        for seed in range(1, 11):
            publish(publisher, seed)
            for reader in crowd:
                assert is_intact(take(reader))
        for reader in crowd:
            reader.close()


def test_five_hundred_joins_leave_nothing(publisher: FramePublisher) -> None:
    """The fixture counts descriptors and threads afterwards; here, the publisher's own books."""
    publish(publisher, 1)
    with Subscription("hall"):
        for number in range(500):
            with Subscription("hall", policy="every") as reader:
                if number % 50 == 0:
                    joined(publisher, 2)
                    publish(publisher, 2)
                    assert take(reader).pts_ns == 2
        until(lambda: len(publisher._readers) == 1)
        settle(publisher)
        epoch = publisher._kept.epoch
        assert epoch
        assert len(epoch.leases) == len(publisher._kept.items)


def test_packets_and_results_are_read_by_the_same_class() -> None:
    with PacketPublisher("hall.packets") as packets, Subscription("hall.packets") as reader:
        joined(packets, 1)
        packets.publish(packet(1))
        assert take(reader).data == packet(1).data
        assert reader.format == packet(1).format
