"""The thread that reads ahead: hands over, drops when it must, ends when told."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from frameloom.model.errors import SourceLost
from frameloom.model.packet import Packet, PacketFormat
from frameloom.sources.feed import Feed

FORMAT = PacketFormat("mjpeg", 320, 240)
PATIENCE_S = 30.0


def packet(n: int, is_key: bool = True) -> Packet:
    return Packet(b"x", FORMAT, pts_ns=n, is_key=is_key, captured_ns=0, captured_at_ns=0)


class Scripted:
    """A source whose packets a test makes up; its methods note in which thread they ran."""

    def __init__(
        self,
        make: Callable[[], Iterator[Packet]],
        bounded: bool = True,
        on_open: Callable[[], None] | None = None,
    ) -> None:
        self.bounded = bounded
        self.interrupted, self.closed = threading.Event(), threading.Event()
        self.threads: set[str] = set()
        self._make = make
        self._on_open = on_open

    def open(self) -> PacketFormat:
        self.threads.add(threading.current_thread().name)
        if self._on_open is not None:
            self._on_open()
        return FORMAT

    def packets(self) -> Iterator[Packet]:
        return self._make()

    def interrupt(self) -> None:
        self.interrupted.set()

    def close(self) -> None:
        self.threads.add(threading.current_thread().name)
        self.closed.set()


def feed_of(source: Scripted, depth: int = 8) -> Feed:
    feed = Feed("yard", source, SourceLost, depth=depth)
    feed.start()
    return feed


def test_closed_before_it_starts_it_never_does() -> None:
    source = Scripted(lambda: iter([packet(0)]))
    feed = Feed("yard", source, SourceLost)
    feed.close()
    feed.start()
    with pytest.raises(SourceLost, match="it was closed"):
        feed.format(PATIENCE_S)
    assert list(feed.packets(PATIENCE_S)) == []
    assert source.threads == {threading.current_thread().name}
    assert source.closed.is_set()


def test_everything_of_a_bounded_source_comes_in_order_and_it_waits_for_its_reader() -> None:
    source = Scripted(lambda: (packet(n) for n in range(100)))
    feed = feed_of(source)
    assert feed.format(PATIENCE_S) is FORMAT
    assert [item.pts_ns for item in feed.packets(PATIENCE_S)] == list(range(100))
    assert feed.dropped == 0
    assert source.closed.wait(PATIENCE_S)
    assert source.threads == {"feed yard"}


def test_a_live_source_drops_up_to_the_next_key_when_the_reader_is_late() -> None:
    produced = threading.Event()

    def camera() -> Iterator[Packet]:
        for n in range(40):
            yield packet(n, is_key=n % 5 == 0)
        produced.set()
        release.wait(PATIENCE_S)
        for n in range(40, 60):
            yield packet(n, is_key=n % 5 == 0)

    release = threading.Event()
    feed = feed_of(Scripted(camera, bounded=False), depth=8)
    feed.format(PATIENCE_S)
    assert produced.wait(PATIENCE_S)
    packets = feed.packets(PATIENCE_S)
    first = [item.pts_ns for item in itertools.islice(packets, 8)]
    assert first == list(range(8))
    assert feed.dropped == 32
    release.set()
    assert next(packets).pts_ns == 40
    feed.close()


def test_after_a_drop_it_goes_on_with_a_key() -> None:
    go = threading.Semaphore(0)

    def camera() -> Iterator[Packet]:
        for n in range(12):
            yield packet(n, is_key=n % 10 == 0)
        go.acquire(timeout=PATIENCE_S)
        for n in range(12, 25):
            yield packet(n, is_key=n % 10 == 0)

    feed = feed_of(Scripted(camera, bounded=False), depth=10)
    feed.format(PATIENCE_S)
    packets = feed.packets(PATIENCE_S)
    while feed.dropped < 2:
        assert feed._thread.is_alive()
        threading.Event().wait(0.001)
    assert [item.pts_ns for item in itertools.islice(packets, 10)] == list(range(10))
    go.release()
    assert [item.pts_ns for item in packets] == [20, 21, 22, 23, 24]
    assert feed.dropped == 10


def test_the_error_of_the_source_comes_after_its_last_packet() -> None:
    def camera() -> Iterator[Packet]:
        yield packet(0)
        raise SourceLost("gone")

    feed = feed_of(Scripted(camera, bounded=False))
    packets = feed.packets(PATIENCE_S)
    assert next(packets).pts_ns == 0
    with pytest.raises(SourceLost, match="gone"):
        next(packets)


def test_an_error_while_opening_is_the_readers() -> None:
    def fail() -> None:
        raise SourceLost("refused")

    source = Scripted(lambda: iter(()), on_open=fail)
    feed = feed_of(source)
    with pytest.raises(SourceLost, match="refused"):
        feed.format(PATIENCE_S)
    assert source.closed.wait(PATIENCE_S)


def test_a_bug_in_a_source_is_not_swallowed() -> None:
    feed = feed_of(Scripted(lambda: iter([packet(0), 1 / 0])))  # type: ignore[list-item]
    with pytest.raises(ZeroDivisionError):
        list(feed.packets(PATIENCE_S))


def test_an_opening_that_hangs_is_a_loss_in_time() -> None:
    stuck = threading.Event()
    source = Scripted(lambda: iter(()), on_open=lambda: (stuck.wait(PATIENCE_S), None)[1])
    feed = feed_of(source)
    with pytest.raises(SourceLost, match=r"no answer for 0\.05 s"):
        feed.format(0.05)
    feed.close(wait_s=0)
    stuck.set()
    assert source.closed.wait(PATIENCE_S)


def test_silence_is_a_loss_in_time() -> None:
    stuck = threading.Event()

    def camera() -> Iterator[Packet]:
        yield packet(0)
        stuck.wait(PATIENCE_S)

    feed = feed_of(Scripted(camera, bounded=False))
    packets = feed.packets(0.05)
    next(packets)
    with pytest.raises(SourceLost, match=r"no picture for 0\.05 s"):
        next(packets)
    feed.close(wait_s=0)
    stuck.set()


def test_close_wakes_the_reader_and_interrupts_the_source() -> None:
    stuck = threading.Event()

    def camera() -> Iterator[Packet]:
        yield packet(0)
        stuck.wait(PATIENCE_S)

    source = Scripted(camera, bounded=False)
    feed = feed_of(source)
    packets = feed.packets(PATIENCE_S)
    next(packets)
    rest: list[Packet] = []
    reader = threading.Thread(target=lambda: rest.extend(packets))
    reader.start()
    feed.close(wait_s=0)
    reader.join(PATIENCE_S)
    assert not reader.is_alive()
    assert rest == []
    assert source.interrupted.is_set()
    stuck.set()
    assert source.closed.wait(PATIENCE_S)


def test_close_ends_a_thread_that_waits_for_its_reader() -> None:
    source = Scripted(lambda: (packet(n) for n in itertools.count()))
    feed = feed_of(source)
    next(feed.packets(PATIENCE_S))
    feed.close(wait_s=PATIENCE_S)
    assert source.closed.is_set()
    assert not feed._thread.is_alive()


@pytest.mark.parametrize("bounded", [True, False])
def test_large_packets_are_not_read_far_ahead(bounded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device's plain pictures: a few of them fill the memory that is meant for hundreds of packets."""
    monkeypatch.setattr("frameloom.sources.feed._MOST_BYTES", 1000)
    all_read = threading.Event()

    def large() -> Iterator[Packet]:
        for n in range(20):
            yield replace(packet(n), data=bytes(300))
        all_read.set()

    feed = feed_of(Scripted(large, bounded=bounded), depth=100)
    assert feed.format(PATIENCE_S) is FORMAT
    if bounded:
        assert [item.pts_ns for item in feed.packets(PATIENCE_S)] == list(range(20))
    else:
        assert all_read.wait(PATIENCE_S)
        assert [item.pts_ns for item in feed.packets(PATIENCE_S)] == [0, 1, 2, 3]
    assert feed.dropped == (0 if bounded else 16)


def test_those_who_close_a_source_that_hangs_wait_for_it_together() -> None:
    go_on = threading.Event()
    feed = feed_of(Scripted(lambda: iter([]), on_open=lambda: go_on.wait(PATIENCE_S) and None))
    feed.close(wait_s=0.05)
    feed.close(wait_s=PATIENCE_S)  # does not begin to wait anew, or this test would take as long
    go_on.set()
    assert list(feed.packets(PATIENCE_S)) == []


class Relayed:
    """Deals with packets in place of the reader, up to the one numbered `until`; notes what and in which thread."""

    def __init__(self, until: int) -> None:
        self.numbers: list[int] = []
        self.threads: set[str] = set()
        self._until = until

    def take(self, packet: Packet) -> bool:
        if packet.pts_ns >= self._until:
            return False
        self.numbers.append(packet.pts_ns)
        self.threads.add(threading.current_thread().name)
        return True


@pytest.mark.parametrize("bounded", [True, False])
def test_the_thread_that_reads_may_deal_with_packets_until_it_gives_them_back(bounded: bool) -> None:
    go = threading.Event()

    def camera() -> Iterator[Packet]:
        yield packet(0)
        go.wait(PATIENCE_S)
        for n in range(1, 10):
            yield packet(n)

    feed, relayed = feed_of(Scripted(camera, bounded), depth=100), Relayed(until=7)
    packets = feed.packets(PATIENCE_S)
    assert next(packets).pts_ns == 0
    feed.relay(relayed.take)
    go.set()
    assert [item.pts_ns for item in packets] == [7, 8, 9]
    assert relayed.numbers == [1, 2, 3, 4, 5, 6]
    assert relayed.threads == {"feed yard"}
    assert feed.dropped == 0


def test_a_reader_that_has_not_dealt_with_all_gets_the_rest_first() -> None:
    waiting, go = threading.Event(), threading.Event()
    relayed = Relayed(until=9)

    def camera() -> Iterator[Packet]:
        yield packet(0)
        yield packet(1)
        waiting.set()
        go.wait(PATIENCE_S)
        yield packet(2)

    feed = feed_of(Scripted(camera, bounded=False))
    assert waiting.wait(PATIENCE_S)
    packets = feed.packets(PATIENCE_S)
    assert next(packets).pts_ns == 0
    feed.relay(relayed.take)
    go.set()
    assert [item.pts_ns for item in packets] == [1, 2]
    assert relayed.numbers == []


def test_what_follows_a_loss_up_to_the_next_key_is_lost_for_everybody() -> None:
    waiting, go = threading.Event(), threading.Event()
    relayed = Relayed(until=9)

    def camera() -> Iterator[Packet]:
        for n in range(3):
            yield packet(n, is_key=n == 0)
        waiting.set()
        go.wait(PATIENCE_S)
        for n in range(3, 6):
            yield packet(n, is_key=n == 5)

    feed = feed_of(Scripted(camera, bounded=False), depth=2)
    assert waiting.wait(PATIENCE_S)
    packets = feed.packets(PATIENCE_S)
    assert [item.pts_ns for item in itertools.islice(packets, 2)] == [0, 1]
    feed.relay(relayed.take)
    go.set()
    assert [item.pts_ns for item in packets] == [5]
    assert relayed.numbers == []
    assert feed.dropped == 3


def test_an_error_of_the_one_who_deals_with_packets_is_the_readers() -> None:
    go = threading.Event()

    def camera() -> Iterator[Packet]:
        yield packet(0)
        go.wait(PATIENCE_S)
        yield packet(1)

    feed = feed_of(Scripted(camera, bounded=False))
    packets = feed.packets(PATIENCE_S)
    next(packets)
    feed.relay(lambda packet: packet.pts_ns == 1 // 0)
    go.set()
    with pytest.raises(ZeroDivisionError):
        next(packets)


def test_silence_counts_from_the_last_packet_whoever_dealt_with_it() -> None:
    stuck, go = threading.Event(), threading.Event()
    taken_s: list[float] = []

    def camera() -> Iterator[Packet]:
        yield packet(0)
        go.wait(PATIENCE_S)
        yield packet(1)
        stuck.wait(PATIENCE_S)

    def take(packet: Packet) -> bool:
        taken_s.append(time.monotonic())
        return True

    feed = feed_of(Scripted(camera, bounded=False))
    packets = feed.packets(0.3)
    next(packets)
    feed.relay(take)
    threading.Timer(0.15, go.set).start()
    with pytest.raises(SourceLost, match=r"no picture for 0\.3 s"):
        next(packets)
    assert all(time.monotonic() >= at_s + 0.3 for at_s in taken_s)
    feed.close(wait_s=0)
    stuck.set()


def test_nothing_is_dealt_with_after_close() -> None:
    go = threading.Event()
    relayed = Relayed(until=100)

    def camera() -> Iterator[Packet]:
        yield packet(0)
        go.wait(PATIENCE_S)
        yield packet(1)

    source = Scripted(camera, bounded=False)
    feed = feed_of(source)
    packets = feed.packets(PATIENCE_S)
    next(packets)
    feed.relay(relayed.take)
    feed.close(wait_s=0)
    go.set()
    assert source.closed.wait(PATIENCE_S)
    assert relayed.numbers == list(packets) == []
