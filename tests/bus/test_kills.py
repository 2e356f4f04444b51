"""Either side dies by SIGKILL, at every step: the other goes on, and nothing is left behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from frameloom.bus.publisher import FramePublisher
from frameloom.bus.subscriber import Subscription
from frameloom.model.errors import StreamBusy
from tests.bus.conftest import Child
from tests.bus.parts import OTHER, is_intact, joined, packet, publish, settle, socket_of, take, until

Start = Callable[[str], Child]


@pytest.fixture
def publisher() -> Iterator[FramePublisher]:
    with FramePublisher("hall", slots=64) as publisher:
        yield publisher


class TestReaderDies:
    """A witness beside the victim gets every frame, before and after; the victim's leases come back."""

    def test_before_hello(self, publisher: FramePublisher, start: Start) -> None:
        self.play(publisher, start("reader_before_hello"), says_hello=False)

    def test_after_hello(self, publisher: FramePublisher, start: Start) -> None:
        self.play(publisher, start("reader_after_hello"))

    def test_with_unread_items(self, publisher: FramePublisher, start: Start) -> None:
        victim = start("reader_with_unread_items")
        self.play(publisher, victim, lambda: len(leased_by_victim(publisher)) == 4)

    def test_with_leases(self, publisher: FramePublisher, start: Start) -> None:
        victim = start("reader_with_leases")
        self.play(publisher, victim, lambda: victim.facts()["shared"] == [True] * 4)

    def test_after_it_has_left_with_leases(self, publisher: FramePublisher, start: Start) -> None:
        victim = start("reader_that_has_left_with_leases")
        self.play(publisher, victim, lambda: victim.facts()["seq"])

    def test_in_a_change_of_epoch(self, publisher: FramePublisher, start: Start) -> None:
        victim = start("reader_in_a_change_of_epoch")
        self.play(publisher, victim, lambda: publish(publisher, 99, OTHER) and victim.facts())

    def play(
        self,
        publisher: FramePublisher,
        victim: Child,
        came_to_the_point: Callable[[], object] = lambda: True,
        says_hello: bool = True,
    ) -> None:
        with Subscription("hall", client="witness") as witness:
            victim.facts()
            until(lambda: len(publisher._readers) == 2)
            joined(publisher, 1 + says_hello)
            for seed in range(1, 9):
                assert_arrives(publisher, witness, seed)
            assert came_to_the_point()
            victim.kill()
            until(lambda: len(publisher._readers) == 1)
            for seed in range(100, 200):
                assert_arrives(publisher, witness, seed)
            assert_only_retained(publisher)


def leased_by_victim(publisher: FramePublisher) -> set[tuple[int, int]]:
    settle(publisher)
    readers = [r for r in publisher._readers.values() if r.hello and r.hello.client == "victim"]
    return readers[0].leased


def assert_arrives(publisher: FramePublisher, witness: Subscription, seed: int) -> None:
    publish(publisher, seed)
    frame = take(witness)
    assert frame.pts_ns == seed
    assert is_intact(frame)


def assert_only_retained(publisher: FramePublisher) -> None:
    """Nothing is held but the newest frame, once what the witness returned has been heard."""
    settle(publisher)
    epoch = publisher._kept.epoch
    assert epoch
    readers = list(publisher._readers.values())
    deferred = {lease for reader in readers for lease in reader.leased}
    retained = {(epoch.number, item.block) for item in publisher._kept.items}
    assert len(epoch.leases) == len(deferred | retained)
    assert len(deferred) <= 1  # the last one goes back with the next question


class TestPublisherDies:
    """A reader that waits, holding frames, finds the next publisher by itself."""

    @pytest.mark.parametrize(
        "what",
        [
            "publisher_that_has_the_lock",
            "publisher_that_is_bound",
            "publisher_that_listens_under_another_name",
        ],
    )
    def test_before_anybody_can_join(self, start: Start, what: str, runtime_dir: Path) -> None:
        with Subscription("hall") as reader:
            victim = start(what)
            victim.facts()
            assert reader.get(0) is None
            victim.kill()
            self.assert_joined_again(reader)
        assert sorted(path.name for path in socket_of(runtime_dir).parent.iterdir()) == ["hall.lock"]

    def test_before_it_greets(self, start: Start) -> None:
        victim = start("publisher_that_greets_nobody")
        with Subscription("hall") as reader:
            until(lambda: reader.get(0) is None and reader._connection)
            victim.facts()
            victim.kill()
            self.assert_joined_again(reader)

    def test_while_readers_wait(self, start: Start) -> None:
        victim = start("publisher_with_readers")
        victim.facts()
        with Subscription("hall") as reader:
            kept = []
            for seed in range(1, 8):
                victim.facts()
                kept.append(take(reader))
                victim.go_on()
                assert kept[-1].seq == seed
            victim.kill()
            assert [frame.shared for frame in kept] == [True] * 3 + [False] * 4
            self.assert_joined_again(reader)
            assert all(is_intact(frame) for frame in kept)

    @pytest.mark.parametrize(
        "what", ["publisher_in_the_middle_of_a_frame", "publisher_in_the_middle_of_sending"]
    )
    def test_in_the_middle(self, start: Start, what: str) -> None:
        victim = start(what)
        victim.facts()
        with Subscription("hall") as reader:
            got = [reader.get(0)]  # asks
            victim.facts()
            victim.kill()
            got.append(reader.get(0))
            self.assert_joined_again(reader)
            assert all(is_intact(frame) for frame in got if frame is not None)

    def test_a_stream_of_packets(self, start: Start) -> None:
        victim = start("publisher_of_packets")
        victim.facts()
        with Subscription("hall", policy="every") as reader:
            victim.facts()
            victim.kill()
            while (item := reader.get(0)) is not None:
                assert item.data == packet(item.pts_ns).data
            self.assert_joined_again(reader)

    def assert_joined_again(self, reader: Subscription) -> None:
        joins = reader.stats.joins
        assert reader.get(0) is None
        with FramePublisher("hall") as publisher:
            until(lambda: reader.get(0) is None and publisher.readers())
            publish(publisher, 1000)
            assert take(reader).pts_ns == 1000
        assert reader.stats.joins == joins + 1


def test_after_the_death_of_all_nothing_is_left(
    start: Start, runtime_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = f"hall-{os.getpid()}"  # others may be testing on this machine
    monkeypatch.setenv("STREAM", stream)
    everyone = [start("publisher_with_readers"), start("reader_with_leases")]
    for child in everyone:
        child.facts()
    everyone[0].facts()
    until(lambda: memories_of(psutil.Process(everyone[1].pid), stream))
    for child in everyone:
        child.kill()
    until(lambda: not [name for name in os.listdir("/dev/shm") if name.startswith("frameloom")])
    assert not [path for process in psutil.process_iter() for path in memories_of(process, stream)]
    names = sorted(path.name for path in socket_of(runtime_dir).parent.iterdir())
    assert names == [f"{stream}.lock", f"{stream}.sock"]
    with FramePublisher(stream) as publisher, Subscription(stream) as reader:
        joined(publisher, 1)
        assert_arrives(publisher, reader, 1)


def memories_of(process: psutil.Process, stream: str) -> list[str]:
    """The bus's memory that a process has open or mapped."""
    try:
        found = [line.path for line in process.memory_maps(grouped=False)]
        fds = Path(f"/proc/{process.pid}/fd")
        found += [os.readlink(fd) for fd in fds.iterdir()]
    except (psutil.Error, OSError):
        return []
    return [path for path in found if f"memfd:frameloom:{stream}" in path]


def test_a_stream_that_is_published_is_busy_and_says_by_whom(start: Start) -> None:
    child = start("publisher_with_readers")
    pid = child.facts()["pid"]
    with pytest.raises(StreamBusy, match=f"stream 'hall' is already published by process {pid}"):
        FramePublisher("hall")
    FramePublisher("attic").close()
    child.kill()
    FramePublisher("hall").close()


class TestStopped:
    """SIGSTOP: a process that is neither dead nor alive."""

    def test_a_reader_disturbs_nobody(self, publisher: FramePublisher, start: Start) -> None:
        sleeper = start("reader_that_counts")
        sleeper.facts()
        with Subscription("hall", client="witness") as witness:
            joined(publisher, 2)
            sleeper.send(signal.SIGSTOP)
            for seed in range(1, 301):
                assert_arrives(publisher, witness, seed)
            sleeper.send(signal.SIGCONT)
            publisher.end()
            assert publisher.wait_ended(20)
            facts = sleeper.facts()
        assert facts["intact"]
        assert facts["frames"] + facts["dropped"] == 300

    def test_a_publisher_keeps_no_reader_from_its_time_limit(self, start: Start) -> None:
        sleeper = start("publisher_with_readers")
        sleeper.facts()
        with Subscription("hall") as reader:
            sleeper.facts()
            assert take(reader).seq == 1
            sleeper.send(signal.SIGSTOP)
            sleeper.go_on()
            assert reader.get(0.05) is None
            with Subscription("hall") as newcomer:
                assert newcomer.get(0.05) is None
                assert not newcomer.connected
                sleeper.send(signal.SIGCONT)
                assert take(reader).seq == 2
                assert take(newcomer).seq == 2

    def test_a_full_backlog_is_waited_for(self, start: Start) -> None:
        sleeper = start("publisher_with_readers")
        sleeper.facts()
        sleeper.send(signal.SIGSTOP)
        until(lambda: psutil.Process(sleeper.pid).status() == psutil.STATUS_STOPPED)
        crowd = [Subscription("hall") for _ in range(80)]
        try:
            assert crowd[-1]._connection is None
            sleeper.send(signal.SIGCONT)
            until(lambda: crowd[-1].get(0.05) is None and crowd[-1].connected)
        finally:
            for one in crowd:
                one.close()


def test_waiting_for_a_publisher_does_not_look_again_and_again(start: Start) -> None:
    child = start("reader_that_waits")
    child.facts()
    process = psutil.Process(child.pid)
    until(lambda: process.status() == psutil.STATUS_SLEEPING)
    wakes = []
    for _ in range(2):
        with pytest.raises(psutil.TimeoutExpired):
            process.wait(0.5)  # a while in which one that polls would wake
        wakes.append(process.num_ctx_switches().voluntary)
    assert wakes[0] == wakes[1]
    with FramePublisher("hall") as publisher:
        joined(publisher, 1)
        publish(publisher, 1)
        assert child.facts()["seq"] == 1


class TestForks:
    def test_a_subscription_stays_with_its_process(self, start: Start) -> None:
        child = start("fork_with_a_subscription")
        said = child.facts()["child"]
        assert all(
            "'hall': a subscription does not survive a fork; attach again" in text for text in said[:2]
        )
        assert said[2:] == [None, None]
        facts = child.facts()
        assert facts["intact"]
        assert facts["seqs"] == [1, 2]
        assert facts["leases"] == 2

    def test_a_publisher_stays_with_its_process(self, start: Start) -> None:
        child = start("fork_with_a_publisher")
        said = child.facts()["child"]
        assert all("closed, or belongs to the process that forked" in text for text in said[:2])
        assert said[2:] == [[], False, None]
        assert child.facts()["intact"]

    def test_a_lock_that_another_thread_held_stops_nobody(self, start: Start) -> None:
        said = start("fork_while_a_thread_is_in_the_publisher").facts()["child"]
        assert said[0] == []
        assert "belongs to the process that forked" in said[1]

    def test_what_was_closed_is_not_closed_again_in_the_child(self, start: Start) -> None:
        said = start("fork_after_the_end").facts()["child"]
        assert said == [True] * 20

    def test_leases_go_with_the_process_though_a_child_of_it_lives(
        self, publisher: FramePublisher, start: Start
    ) -> None:
        victim = start("reader_with_a_forked_child")
        victim.facts()
        joined(publisher, 1)
        publish(publisher, 1)
        child = psutil.Process(victim.facts()["child"])
        assert publisher.readers()[0].leases == 1
        os.kill(victim.pid, signal.SIGKILL)
        until(lambda: not publisher._readers)
        assert child.is_running()
        self.end(victim, child)

    def test_a_stream_is_free_though_a_child_of_its_publisher_lives(self, start: Start) -> None:
        victim = start("publisher_with_a_forked_child")
        child = psutil.Process(victim.facts()["child"])
        os.kill(victim.pid, signal.SIGKILL)
        victim.process.wait()
        assert child.is_running()
        FramePublisher("hall").close()
        self.end(victim, child)

    def end(self, victim: Child, child: psutil.Process) -> None:
        assert victim.process.stdin
        victim.process.stdin.close()
        until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
        victim.process.stdin = None
