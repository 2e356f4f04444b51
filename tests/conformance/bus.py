"""What every implementation of the bus must do: each kind of stream, each backend, each policy, bounded or not.

A test module makes a class of it: `class TestMemfd(BusConformance): backend = "memfd"`.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from frameloom.bus.publisher import FramePublisher, PacketPublisher, ResultPublisher
from frameloom.bus.subscriber import Subscription
from frameloom.model.errors import StreamBusy, StreamEnded
from tests.bus.parts import (
    GENEROUS_S,
    MJPEG,
    SMALL,
    is_intact,
    joined,
    packet,
    pattern,
    publish,
    readable,
    settle,
    take,
    until,
)

Publish = Callable[[Any, int], int]


@dataclass(frozen=True)
class Kind:
    """How to publish item number n of a kind of stream, and how to tell that it is intact."""

    publisher: Callable[..., Any]
    publish: Publish
    is_intact: Callable[[Any], bool]


def _publish_packet(publisher: PacketPublisher, seed: int) -> int:
    return publisher.publish(packet(seed, format=MJPEG))


def _packet_is_intact(item: Any) -> bool:
    same_times = (item.dts_ns, item.duration_ns, item.captured_at_ns) == (
        item.pts_ns - 1,
        40,
        item.pts_ns + 1,
    )
    return bool(item.data == pattern(item.pts_ns, 1000).tobytes() and same_times and item.format == MJPEG)


def _publish_result(publisher: ResultPublisher, seed: int) -> int:
    times = {"pts_ns": seed, "captured_ns": 1, "captured_at_ns": seed + 1}
    return publisher.publish(_values(seed), source="camera", frame_seq=seed, **times)


def _values(seed: int) -> dict[str, Any]:
    # Every third one is too long for a message and travels in memory.
    return {"seed": seed, "text": "é" * (4000 if seed % 3 == 0 else 4)}


def _result_is_intact(item: Any) -> bool:
    return bool(
        item.values == _values(item.pts_ns) and item.source == "camera" and item.frame_seq == item.pts_ns
    )


KINDS = {
    "frames": Kind(FramePublisher, publish, is_intact),
    "packets": Kind(PacketPublisher, _publish_packet, _packet_is_intact),
    "results": Kind(ResultPublisher, _publish_result, _result_is_intact),
}


@dataclass
class Case:
    """One kind of stream with one policy; makes its two ends and closes what is left open."""

    kind: Kind
    policy: str
    can_wait: bool
    backend: str
    opened: list[Any]

    def publisher(self, **options: Any) -> Any:
        return self._keep(
            self.kind.publisher("hall", can_wait=self.can_wait, backend=self.backend, **options)
        )

    def join(self, **options: Any) -> Subscription:
        return self._keep(Subscription("hall", **{"policy": self.policy, **options}))

    def publish(self, publisher: Any, seed: int) -> int:
        """Wait for readers where that is part of the bargain, and publish."""
        if self.can_wait:
            assert publisher.wait_ready(GENEROUS_S)
        return self.kind.publish(publisher, seed)

    def take(self, subscription: Subscription) -> Any:
        item = take(subscription)
        assert self.kind.is_intact(item)
        return item

    @property
    def gets_all(self) -> bool:
        return self.policy == "every" and self.can_wait

    def _keep(self, opened: Any) -> Any:
        self.opened.append(opened)
        return opened


@pytest.mark.parametrize("can_wait", [False, True], ids=["live", "bounded"])
@pytest.mark.parametrize("policy", ["latest", "every"])
@pytest.mark.parametrize("kind", list(KINDS))
class BusConformance:
    """The contract. `backend` is what `OwnedMemory` calls its kind of memory."""

    backend: ClassVar[str]

    @pytest.fixture
    def case(
        self, kind: str, policy: str, can_wait: bool, runtime_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[Case]:
        monkeypatch.setenv("FRAMELOOM_MEMORY", self.backend)
        case = Case(KINDS[kind], policy, can_wait, self.backend, [])
        yield case
        for opened in reversed(case.opened):
            opened.close()

    def test_an_item_arrives_as_it_was_published(self, case: Case) -> None:
        publisher, reader = case.publisher(), case.join()
        joined(publisher, 1)
        seq = case.publish(publisher, 7)
        item = case.take(reader)
        assert (item.stream, item.seq, item.pts_ns) == ("hall", seq, 7)

    def test_a_reader_that_comes_first_waits(self, case: Case) -> None:
        reader = case.join()
        assert reader.get(0) is None
        assert not reader.connected
        publisher = case.publisher()
        assert reader.get(0) is None
        joined(publisher, 1)
        case.publish(publisher, 1)
        assert case.take(reader).pts_ns == 1
        assert reader.connected

    def test_a_reader_that_waits_is_woken_by_the_publisher(self, case: Case) -> None:
        reader = case.join()
        got: list[Any] = []
        thread = threading.Thread(target=lambda: got.append(reader.get(GENEROUS_S)))
        thread.start()
        publisher = case.publisher()
        joined(publisher, 1)
        case.publish(publisher, 1)
        thread.join(GENEROUS_S)
        assert [item.pts_ns for item in got] == [1]

    def test_a_publisher_that_returns_is_joined_again(self, case: Case) -> None:
        reader = case.join()
        for seed in range(3):
            with case.publisher() as publisher:
                assert reader.get(0) is None
                joined(publisher, 1)
                case.publish(publisher, seed)
                assert case.take(reader).pts_ns == seed
        assert reader.stats.joins == 3

    def test_items_come_in_order_and_the_counters_add_up(self, case: Case) -> None:
        publisher, reader = case.publisher(), case.join()
        joined(publisher, 1)
        got, published = [], 0
        for seed in range(1, 40):
            published = case.publish(publisher, seed)
            if seed % 3 == 0 or case.gets_all:
                got.append(case.take(reader).seq)
        while got[-1] != published:
            got.append(case.take(reader).seq)
        assert got == sorted(set(got))
        assert reader.stats.received == len(got)
        assert reader.stats.received + reader.stats.dropped == published
        if case.gets_all:
            assert got == list(range(1, 40))

    def test_latest_is_the_newest_when_asked(self, case: Case) -> None:
        publisher, reader = case.publisher(), case.join(policy="latest")
        joined(publisher, 1)
        for seed in range(1, 30):
            newest = case.publish(publisher, seed)
            if seed % 4 == 0:
                assert case.take(reader).seq == newest

    def test_every_item_in_order_for_a_bounded_stream(self, case: Case) -> None:
        publisher, reader = case.publisher(), case.join(policy="every")
        joined(publisher, 1)

        def film() -> None:
            for seed in range(1, 101):
                case.publish(publisher, seed)
            publisher.end()

        thread = threading.Thread(target=film)
        thread.start()
        got = [item.seq for item in reader]
        thread.join(GENEROUS_S)
        assert got == sorted(set(got))
        assert got[-1] == 100
        if case.can_wait:
            assert got == list(range(1, 101))

    def test_the_end_comes_after_the_last_item_and_stays(self, case: Case) -> None:
        publisher, reader = case.publisher(), case.join()
        joined(publisher, 1)
        case.publish(publisher, 1)
        publisher.end("the film is over")
        assert case.take(reader).pts_ns == 1
        for _ in range(2):
            with pytest.raises(StreamEnded, match="the film is over"):
                reader.get(GENEROUS_S)
        assert publisher.wait_ended(GENEROUS_S)
        late = case.join()
        assert len(list(late)) <= 1

    def test_the_last_items_survive_a_publisher_that_closes_at_once(self, case: Case) -> None:
        publisher, reader = case.publisher(), case.join()
        joined(publisher, 1)
        assert reader.get(0) is None  # asks
        case.publish(publisher, 1)
        until(lambda: publisher.readers()[0].sent or settle(publisher))
        publisher.end()
        publisher.close()
        assert case.take(reader).pts_ns == 1
        with pytest.raises(StreamEnded):
            reader.get(GENEROUS_S)

    def test_what_is_kept_never_changes(self, case: Case) -> None:
        publisher, reader = case.publisher(), case.join(leases=4)
        joined(publisher, 1)
        kept = []
        for seed in range(1, 80):
            case.publish(publisher, seed)
            if seed % 9 == 0 or case.gets_all:
                kept.append(case.take(reader))
        assert all(case.kind.is_intact(item) for item in kept)
        publisher.close()
        reader.close()
        assert all(case.kind.is_intact(item) for item in kept)

    def test_a_reader_that_leaves_holds_nothing(self, case: Case) -> None:
        publisher, reader = case.publisher(), case.join()
        joined(publisher, 1)
        case.publish(publisher, 3)
        item = case.take(reader)
        reader.close()
        until(lambda: not publisher.readers() or settle(publisher))
        assert case.kind.is_intact(item)
        del item
        until(lambda: not publisher._readers)

    def test_waiting_has_an_end(self, case: Case) -> None:
        publisher, reader = case.publisher(), case.join()
        joined(publisher, 1)
        assert reader.get(0) is None
        assert reader.get(0.01) is None
        case.publish(publisher, 1)
        assert case.take(reader).pts_ns == 1
        assert reader.get(0) is None

    def test_waiting_can_be_interrupted(self, case: Case) -> None:
        reader, wake = case.join(), os.eventfd(1)
        try:
            assert reader.get(interrupt_fd=wake) is None
        finally:
            os.close(wake)

    def test_select_wakes_for_every_item(self, case: Case) -> None:
        reader = case.join()
        fd = reader.fileno()
        publisher = case.publisher()
        until(lambda: reader.get(0) is None and publisher.readers())
        for seed in range(1, 20):
            case.publish(publisher, seed)
            while (item := reader.get(0)) is None:
                assert readable(fd)
            assert item.pts_ns == seed
            assert case.kind.is_intact(item)

    def test_asyncio_gives_the_same(self, case: Case) -> None:
        publisher, reader = case.publisher(), case.join()
        joined(publisher, 1)

        async def read() -> list[int]:
            case.publish(publisher, 1)
            got = []
            async for item in reader:
                assert case.kind.is_intact(item)
                got.append(item.pts_ns)
                if len(got) < 10:
                    case.publish(publisher, len(got) + 1)
                else:
                    publisher.end()
            return got

        assert asyncio.run(asyncio.wait_for(read(), GENEROUS_S)) == list(range(1, 11))

    def test_two_sites_never_meet(self, case: Case) -> None:
        here, there = case.publisher(), case.publisher(site="attic")
        reader, other = case.join(), case.join(site="attic")
        joined(here, 1)
        joined(there, 1)
        case.publish(here, 1)
        case.publish(there, 2)
        assert case.take(reader).pts_ns == 1
        assert case.take(other).pts_ns == 2
        assert reader.get(0) is other.get(0) is None

    def test_one_stream_has_one_publisher(self, case: Case) -> None:
        publisher = case.publisher()
        with pytest.raises(StreamBusy, match=rf"'hall' is already published by process {os.getpid()}"):
            case.publisher()
        publisher.close()
        case.publisher()

    def test_a_reader_that_does_nothing_hinders_nobody(self, case: Case) -> None:
        publisher, reader = case.publisher(), case.join()
        idle = case.join(policy="latest")
        joined(publisher, 2)
        for seed in range(1, 60):
            case.publish(publisher, seed)
            assert case.take(reader).pts_ns == seed
        assert case.take(idle).pts_ns == 59
        assert idle.stats.dropped == 58

    def test_wanted_follows_the_readers(self, case: Case) -> None:
        publisher = case.publisher()
        assert not publisher.wanted
        assert not publisher.wait_wanted(0)
        reader = case.join()
        assert publisher.wait_wanted(GENEROUS_S)
        reader.close()
        until(lambda: not publisher.wanted)

    def test_closing_in_another_thread_ends_the_reading(self, case: Case) -> None:
        publisher, reader = case.publisher(), case.join()
        joined(publisher, 1)
        thread = threading.Thread(target=lambda: list(reader))
        thread.start()
        until(lambda: reader._reading.locked())
        reader.close()
        thread.join(GENEROUS_S)
        assert not thread.is_alive()
        until(lambda: not publisher._readers)
        with pytest.raises(ValueError, match="'hall': the subscription is closed"):
            reader.get(0)


assert SMALL.nbytes < 4096  # a test above keeps many
