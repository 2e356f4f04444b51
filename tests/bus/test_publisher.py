"""The three kinds of publishers: what each retains, for whom, and what it does when there is no room."""

from __future__ import annotations

import errno
import mmap
import os
import resource
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from frameloom.bus.protocol import Policy
from frameloom.bus.publisher import FramePublisher, PacketPublisher, ResultPublisher
from frameloom.bus.subscriber import Subscription
from frameloom.model.errors import OutOfMemory, StreamEnded
from frameloom.model.frame import Frame, PictureFormat, PixelFormat
from frameloom.model.packet import PacketFormat
from tests.bus.parts import (
    GENEROUS_S,
    H264,
    MJPEG,
    OTHER,
    SMALL,
    is_intact,
    joined,
    packet,
    pattern,
    publish,
    readable,
    socket_of,
    take,
    until,
)
from tests.bus.raw import RawReader

PAGE = mmap.PAGESIZE


class TestFrames:
    @pytest.fixture
    def publisher(self) -> Iterator[FramePublisher]:
        with FramePublisher("hall") as publisher:
            yield publisher

    def test_the_same_slot_is_offered_until_it_is_published(self, publisher: FramePublisher) -> None:
        slot = publisher.reserve(SMALL)
        assert publisher.reserve(SMALL) is slot
        publish(publisher, 1)
        with pytest.raises(ValueError, match="'hall': the slot is not the one reserved last"):
            publisher.publish(slot, pts_ns=0, captured_ns=0, captured_at_ns=0)

    def test_a_slot_of_the_format_before_is_refused(self, publisher: FramePublisher) -> None:
        slot = publisher.reserve(SMALL)
        publisher.reserve(OTHER)
        with pytest.raises(ValueError, match="the slot is not the one reserved last"):
            publisher.publish(slot, pts_ns=0, captured_ns=0, captured_at_ns=0)

    def test_planes_of_a_slot_are_those_of_the_format(self, publisher: FramePublisher) -> None:
        with Subscription("hall") as reader:
            joined(publisher, 1)
            slot = publisher.reserve(OTHER)
            for number, plane in enumerate(slot.planes):
                plane[:] = 50 * number
            publisher.publish(slot, pts_ns=0, captured_ns=0, captured_at_ns=0, metadata={"scene": "x"})
            frame = take(reader)
            assert [plane.shape for plane in frame.planes] == [(38, 50), (19, 25), (19, 25)]
            assert [set(plane.ravel()) for plane in frame.planes] == [{0}, {50}, {100}]
            assert frame.metadata == {"scene": "x"}

    def test_a_frame_can_be_passed_on(self, publisher: FramePublisher) -> None:
        array = pattern(3, 300).reshape(10, 10, 3)
        with Subscription("hall") as reader:
            joined(publisher, 1)
            publisher.publish_frame(Frame.from_array(array, pts_ns=5, captured_ns=6, captured_at_ns=7))
            frame = take(reader)
            assert (frame.bgr == array).all()
            assert (frame.pts_ns, frame.captured_ns, frame.captured_at_ns) == (5, 6, 7)

    @pytest.mark.parametrize(
        ("times", "metadata", "error"),
        [
            ({"pts_ns": 2**63}, None, struct.error),
            ({"pts_ns": "now"}, None, struct.error),
            ({}, {"x": "y" * 5000}, ValueError),
            ({}, {"x": object()}, ValueError),
            ({}, {"x": float("nan")}, ValueError),
        ],
    )
    def test_what_cannot_be_published_costs_no_slot_and_no_number(
        self, publisher: FramePublisher, times: dict[str, Any], metadata: Any, error: type[Exception]
    ) -> None:
        with Subscription("hall", policy="every") as reader:
            joined(publisher, 1)
            publish(publisher, 1)
            with pytest.raises(error):
                publish(publisher, 2, metadata=metadata, **times)
            publish(publisher, 3)
            assert [take(reader).seq for _ in range(2)] == [1, 2]
            assert reader.stats.dropped == 0

    def test_history_is_for_those_that_want_every_frame(self, publisher: FramePublisher) -> None:
        with Subscription("hall", policy="every", leases=2) as reader:
            joined(publisher, 1)
            for seed in range(1, 21):
                publish(publisher, seed)
            got = [take(reader).seq for _ in range(5)]
            assert got == [1, 17, 18, 19, 20]
            assert reader.stats.dropped == 15
            assert publisher.readers()[0].dropped == 15

    def test_a_bounded_stream_keeps_what_was_not_sent(self) -> None:
        """More than one frame may come out of a decoder before its worker can wait again."""
        with (
            FramePublisher("hall", can_wait=True) as publisher,
            Subscription("hall", policy="every") as reader,
        ):
            joined(publisher, 1)
            for round_ in range(20):
                assert publisher.wait_ready(GENEROUS_S)
                for seed in range(5):
                    publish(publisher, 1 + 5 * round_ + seed)
                assert [take(reader).seq for _ in range(5)] == list(range(1 + 5 * round_, 6 + 5 * round_))

    def test_a_bounded_stream_that_never_waits_goes_on(self) -> None:
        with (
            FramePublisher("hall", slots=8, can_wait=True) as publisher,
            Subscription("hall", policy="every", leases=2) as reader,
        ):
            joined(publisher, 1)
            for seed in range(1, 200):
                publish(publisher, seed)
            assert take(reader).seq == 1
            assert take(reader).seq > 150

    def test_forgetting_is_for_newcomers_only(self) -> None:
        with (
            FramePublisher("hall", can_wait=True) as publisher,
            Subscription("hall", policy="every") as reader,
        ):
            joined(publisher, 1)
            for seed in range(1, 5):
                publish(publisher, seed)
            publisher.forget()
            assert [take(reader).seq for _ in range(4)] == [1, 2, 3, 4]
            publisher.forget()
            with Subscription("hall") as newcomer:
                joined(publisher, 2)
                assert newcomer.get(0.02) is None

    def test_no_more_memory_than_what_is_used(self, publisher: FramePublisher) -> None:
        with Subscription("hall") as reader:
            joined(publisher, 1)
            for seed in range(1, 100):
                publish(publisher, seed)
                assert take(reader).seq == seed
        epoch = publisher._kept.epoch
        assert epoch
        assert epoch.memory.taken_bytes <= 6 * PAGE

    def test_a_closed_publisher_says_so(self, publisher: FramePublisher) -> None:
        slot = publisher.reserve(SMALL)
        publisher.close()
        publisher.close()
        for call in (
            lambda: publisher.reserve(SMALL),
            lambda: publisher.publish(slot, pts_ns=0, captured_ns=0, captured_at_ns=0),
            publisher.end,
        ):
            with pytest.raises(ValueError, match="'hall': the publisher is closed"):
                call()
        assert not publisher.wanted
        assert publisher.readers() == []
        assert publisher.wait_ready(0)

    def test_nothing_is_published_after_the_end(self, publisher: FramePublisher) -> None:
        publisher.end("the first reason")
        publisher.end("another")
        with pytest.raises(ValueError, match="'hall': it has ended, nothing more can be published"):
            publish(publisher, 1)
        with Subscription("hall") as reader, pytest.raises(StreamEnded, match="the first reason"):
            reader.get(GENEROUS_S)


class TestWaitingForReaders:
    def test_ready_when_all_is_sent(self) -> None:
        with FramePublisher("hall", can_wait=True) as publisher:
            assert publisher.ready()
            with Subscription("hall", policy="every", leases=2) as reader:
                joined(publisher, 1)
                assert publisher.ready()
                publish(publisher, 1)
                assert publisher.wait_ready(GENEROUS_S)  # it has asked for one ahead
                publish(publisher, 2)
                assert not publisher.wait_ready(0.02)
                assert not publisher.ready()
                assert take(reader).seq == 1
                assert take(reader).seq == 2
                assert publisher.wait_ready(GENEROUS_S)

    def test_who_wants_only_the_latest_is_not_waited_for(self) -> None:
        with FramePublisher("hall", can_wait=True) as publisher, Subscription("hall"):
            joined(publisher, 1)
            publish(publisher, 1)
            assert publisher.wait_ready(0)

    def test_a_stop_ends_the_waiting(self) -> None:
        stop = os.eventfd(1)
        with (
            FramePublisher("hall", can_wait=True) as publisher,
            Subscription("hall", policy="every", leases=2),
        ):
            joined(publisher, 1)
            for seed in (1, 2, 3):
                publish(publisher, seed)
            assert not publisher.wait_ready(GENEROUS_S, stop)
        os.close(stop)

    def test_who_goes_is_not_waited_for(self) -> None:
        with FramePublisher("hall", can_wait=True) as publisher:
            reader = Subscription("hall", policy="every", leases=2)
            joined(publisher, 1)
            for seed in (1, 2, 3):
                publish(publisher, seed)
            closing = threading.Timer(0.02, reader.close)
            closing.start()
            assert publisher.wait_ready(GENEROUS_S)
            closing.join()

    def test_no_wakeup_is_missed(self) -> None:
        """Whoever waits must hear the question itself, or the socket's thread takes it away and it waits for long."""
        with (
            FramePublisher("hall", can_wait=True) as publisher,
            Subscription("hall", policy="every", leases=2) as reader,
        ):
            joined(publisher, 1)
            thread = threading.Thread(target=lambda: [take(reader) for _ in range(1000)])
            thread.start()
            late = 0
            for seed in range(1, 1001):
                late += not publisher.wait_ready(1)
                publish(publisher, seed)
            thread.join()
            assert late == 0
            assert reader.stats.dropped == 0

    def test_who_waits_hears_the_question_itself(self) -> None:
        with (
            FramePublisher("hall", can_wait=True) as publisher,
            Subscription("hall", policy="every", leases=2) as reader,
        ):
            joined(publisher, 1)
            for seed in (1, 2):
                publish(publisher, seed)
            waited_for = publisher._attend(publisher._behind)
            assert take(reader).seq == 1
            assert reader.get(0.02) is None  # asks, and the socket's thread has had time to hear it
            assert readable(waited_for[0].fd, 0)
            publisher._leave_to_thread(waited_for)
            assert take(reader).seq == 2

    def test_the_end_can_be_waited_for(self) -> None:
        with (
            FramePublisher("hall", can_wait=True) as publisher,
            Subscription("hall", policy="every", leases=2) as reader,
        ):
            joined(publisher, 1)
            for seed in (1, 2, 3):
                publish(publisher, seed)
            publisher.end()
            assert not publisher.wait_ended(0.02)
            got: list[int] = []
            thread = threading.Thread(target=lambda: got.extend(frame.seq for frame in reader))
            thread.start()
            assert publisher.wait_ended(GENEROUS_S)
            thread.join()
            assert got == [1, 2, 3]


class TestDemand:
    def test_the_callback_is_told_of_every_state(self) -> None:
        told: list[bool] = []
        with FramePublisher("hall") as publisher:
            publisher.on_wanted = told.append
            for _ in range(3):
                with Subscription("hall"):
                    until(lambda: told and told[-1])
                until(lambda: not told[-1])
        assert told == [True, False] * 3

    def test_a_callback_that_comes_late_learns_what_is(self) -> None:
        told: list[bool] = []
        with FramePublisher("hall") as publisher, Subscription("hall"):
            joined(publisher, 1)
            publisher.on_wanted = told.append
            until(lambda: told)
        assert told[0]

    def test_a_callback_that_fails_harms_nobody(self, caplog: pytest.LogCaptureFixture) -> None:
        def fail(wanted: bool) -> None:
            raise RuntimeError("no")

        with FramePublisher("hall") as publisher:
            publisher.on_wanted = fail
            for _ in range(2):
                with Subscription("hall") as reader:
                    joined(publisher, 1)
                    publish(publisher, 1)
                    assert is_intact(take(reader))
                joined(publisher, 0)
        assert "stream hall: on_wanted(True) failed" in caplog.text

    def test_a_callback_may_use_the_publisher(self) -> None:
        with FramePublisher("hall") as publisher:
            publisher.on_wanted = lambda wanted: publisher.close()
            with Subscription("hall"):
                publisher._thread.join(GENEROUS_S)
            assert not publisher._thread.is_alive()

    def test_a_callback_may_take_a_lock_that_a_publishing_thread_holds(self) -> None:
        lock, called = threading.Lock(), threading.Event()

        def call(wanted: bool) -> None:
            with lock:
                called.set()

        with FramePublisher("hall") as publisher:
            publisher.on_wanted = call
            with lock, Subscription("hall") as reader:
                joined(publisher, 1)
                assert reader.get(0) is None  # asks
                publish(publisher, 1)
                assert take(reader).seq == 1
                assert not called.is_set()
            assert called.wait(GENEROUS_S)

    def test_who_leaves_with_a_frame_in_hand_wants_nothing(self) -> None:
        """A lease is no demand: the next frame is published for nobody."""
        with FramePublisher("hall") as publisher:
            for policy in ("latest", "every"):
                with Subscription("hall", policy=policy) as reader:
                    joined(publisher, 1)
                    publish(publisher, 1)
                    frame = take(reader)
                publish(publisher, 2)
                assert not publisher.wanted
                assert publisher.readers() == []
                assert len(publisher._kept.items) == 0
                del frame
                until(lambda: not publisher._readers)

    def test_closing_ends_the_waiting_for_readers(self) -> None:
        publisher = FramePublisher("hall")
        threading.Timer(0.02, publisher.close).start()
        assert not publisher.wait_wanted(GENEROUS_S)
        publisher._thread.join()


class TestPackets:
    @pytest.fixture
    def publisher(self) -> Iterator[PacketPublisher]:
        with PacketPublisher("hall") as publisher:
            yield publisher

    @pytest.mark.parametrize("policy", ["latest", "every"])
    def test_a_newcomer_begins_at_the_newest_key_frame(self, publisher: PacketPublisher, policy: str) -> None:
        for seed in range(1, 13):
            publisher.publish(packet(seed, is_key=seed % 5 == 0))
        with Subscription("hall", policy=policy) as reader:
            assert [take(reader).seq for _ in range(3)] == [10, 11, 12]
            assert reader.stats.dropped == 0
            publisher.publish(packet(13, is_key=False))
            assert take(reader).seq == 13

    @pytest.mark.parametrize("policy", ["latest", "every"])
    def test_a_newcomer_without_a_key_frame_waits_for_one(
        self, publisher: PacketPublisher, policy: str
    ) -> None:
        publisher.publish(packet(1, is_key=False))
        with Subscription("hall", policy=policy) as reader:
            joined(publisher, 1)
            for seed in range(2, 6):
                publisher.publish(packet(seed, is_key=False))
            assert reader.get(0.02) is None
            publisher.publish(packet(6))
            publisher.publish(packet(7, is_key=False))
            assert [take(reader).seq for _ in range(2)] == [6, 7]
            assert reader.stats.dropped == 4

    def test_after_a_gap_nothing_is_sent_but_a_key_frame(self, runtime_dir: Path) -> None:
        with PacketPublisher("hall") as publisher, RawReader(socket_of(runtime_dir)) as raw:
            raw.hello(Policy.EVERY, leases=1).want(10)
            joined(publisher, 1)
            for seed in (1, 2, 3):
                publisher.publish(packet(seed, is_key=seed == 1))
            first, memory = raw.receive_item()
            assert memory is not None
            os.close(memory)
            publisher.forget()  # what it could not be sent yet is gone
            publisher.publish(packet(4, is_key=False))
            raw.want(1, [(first.epoch, first.block)])
            until(lambda: publisher.readers()[0].dropped == 3)
            for seed in (5, 6, 7):
                publisher.publish(packet(seed, is_key=seed == 6))
            second, _ = raw.receive_item()
            raw.want(1, [(second.epoch, second.block)])
            third, _ = raw.receive_item()
            assert [first.seq, second.seq, third.seq] == [1, 6, 7]

    def test_who_falls_behind_goes_on_at_a_key_frame(self) -> None:
        with (
            PacketPublisher("hall", memory_bytes=16 * PAGE) as publisher,
            Subscription("hall", policy="every", leases=2) as reader,
        ):
            joined(publisher, 1)
            for seed in range(1, 101):
                publisher.publish(packet(seed, is_key=seed % 10 == 0, nbytes=PAGE))
            got = [take(reader) for _ in range(2)]
            assert [item.seq for item in got] == [10, 100]  # 10 was its first key frame, asked for ahead
            publisher.publish(packet(101, is_key=False))
            assert take(reader).seq == 101
            assert reader.stats.received + reader.stats.dropped == 101

    def test_the_end_comes_though_no_key_frame_does(self, publisher: PacketPublisher) -> None:
        with Subscription("hall") as reader:
            joined(publisher, 1)
            publisher.publish(packet(1, is_key=False))
            publisher.end()
            with pytest.raises(StreamEnded):
                reader.get(GENEROUS_S)

    def test_a_bounded_stream_does_not_wait_for_a_key_frame_it_holds_back(self) -> None:
        with (
            PacketPublisher("hall", can_wait=True) as publisher,
            Subscription("hall", policy="every") as reader,
        ):
            joined(publisher, 1)
            for seed in range(1, 10):
                assert publisher.wait_ready(GENEROUS_S)
                publisher.publish(packet(seed, is_key=seed == 8))
            assert [take(reader).seq for _ in range(2)] == [8, 9]

    def test_intra_pictures_stand_alone(self, publisher: PacketPublisher) -> None:
        with Subscription("hall") as reader:
            joined(publisher, 1)
            for seed in range(1, 9):
                publisher.publish(packet(seed, format=MJPEG))
            assert take(reader).seq == 8
            assert reader.stats.dropped == 7

    def test_packets_outlive_the_last_reader(self, publisher: PacketPublisher) -> None:
        """A viewer that comes back must not wait for a key frame that may be ten seconds away."""
        publisher.publish(packet(1))
        with Subscription("hall"):
            joined(publisher, 1)
        joined(publisher, 0)
        publisher.publish(packet(2, is_key=False))
        with Subscription("hall") as reader:
            assert [take(reader).seq for _ in range(2)] == [1, 2]

    def test_forgotten_packets_are_shown_to_nobody(self, publisher: PacketPublisher) -> None:
        publisher.publish(packet(1))
        publisher.forget()
        with Subscription("hall") as reader:
            joined(publisher, 1)
            assert reader.get(0.02) is None

    def test_a_key_frame_of_a_large_camera(self, publisher: PacketPublisher) -> None:
        with Subscription("hall", policy="every") as reader:
            joined(publisher, 1)
            for seed in range(1, 13):
                publisher.publish(
                    packet(seed, is_key=seed % 4 == 1, nbytes=3_000_000 if seed % 4 == 1 else 200_000)
                )
                item = take(reader)
                assert item.seq == seed
                assert item.data == packet(seed, nbytes=len(item.data)).data

    def test_a_larger_ring_loses_nothing_of_the_smaller(self) -> None:
        with PacketPublisher("hall", memory_bytes=16 * PAGE) as publisher:
            publisher.publish(packet(1))
            publisher.publish(packet(2, is_key=False, nbytes=50 * PAGE))
            with Subscription("hall", policy="every") as reader:
                for seed, nbytes in ((1, 1000), (2, 50 * PAGE)):
                    assert take(reader).data == packet(seed, nbytes=nbytes).data

    def test_a_change_of_format_is_told_with_the_packet(self, publisher: PacketPublisher) -> None:
        formats = [H264, PacketFormat("hevc", 640, 480, b"\0\0\1extra", 90, "yuv420p")]
        with Subscription("hall", policy="every", leases=16) as reader:
            joined(publisher, 1)
            for seed in range(1, 7):
                publisher.publish(packet(seed, format=formats[seed % 2]))
            assert [take(reader).format for _ in range(6)] == [formats[seed % 2] for seed in range(1, 7)]

    @pytest.mark.parametrize(
        "data", [b"abc", bytearray(b"abc"), memoryview(b"abc"), np.frombuffer(b"abc", np.int8)]
    )
    def test_any_bytes_will_do(self, publisher: PacketPublisher, data: Any) -> None:
        with Subscription("hall") as reader:
            joined(publisher, 1)
            sample = packet(1)
            sample.data = data
            publisher.publish(sample)
            assert take(reader).data == b"abc"

    def test_an_empty_packet_is_a_packet(self, publisher: PacketPublisher) -> None:
        with Subscription("hall") as reader:
            joined(publisher, 1)
            publisher.publish(packet(1, nbytes=0))
            assert take(reader).data == b""

    def test_what_cannot_be_published_costs_no_room(self, publisher: PacketPublisher) -> None:
        publisher.publish(packet(1))
        broken = packet(2)
        broken.pts_ns = 2**70
        with pytest.raises(struct.error):
            publisher.publish(broken)
        ring = publisher._kept.epoch.allocator  # type: ignore[union-attr]
        assert ring.used_bytes == 1000  # type: ignore[attr-defined]
        assert publisher.publish(packet(2, is_key=False)) == 2

    def test_a_description_too_long_is_refused(self, publisher: PacketPublisher) -> None:
        with pytest.raises(ValueError, match="a description of"):
            publisher.publish(packet(1, format=PacketFormat("h264", 1, 1, bytes(60_000))))
        assert publisher.publish(packet(1)) == 1


class TestResults:
    @pytest.fixture
    def publisher(self) -> Iterator[ResultPublisher]:
        with ResultPublisher("motion") as publisher:
            yield publisher

    def say(self, publisher: ResultPublisher, values: Any, **options: Any) -> int:
        times = {"pts_ns": 1, "captured_ns": 2, "captured_at_ns": 3}
        return publisher.publish(values, **{"source": "hall", "frame_seq": 7, **times, **options})

    @pytest.mark.parametrize("values", [{}, {"boxes": [[0.1, 0.2, 0.3, 0.4]]}, {"text": "ü" * 100_000}])
    def test_small_and_large_arrive_the_same(
        self, publisher: ResultPublisher, values: dict[str, Any]
    ) -> None:
        with Subscription("motion") as reader:
            joined(publisher, 1)
            self.say(publisher, values)
            result = take(reader)
            assert result.values == values
            assert (result.source, result.frame_seq, result.pts_ns) == ("hall", 7, 1)

    def test_numpy_values_are_numbers_and_lists(self, publisher: ResultPublisher) -> None:
        values = {
            "score": np.float32(0.5),
            "count": np.int64(3),
            "yes": np.bool_(True),
            "boxes": np.ones((1, 4)),
        }
        with Subscription("motion") as reader:
            joined(publisher, 1)
            self.say(publisher, values, frame_seq=np.uint64(9))
            result = take(reader)
            assert result.values == {"score": 0.5, "count": 3, "yes": True, "boxes": [[1.0, 1.0, 1.0, 1.0]]}
            assert result.frame_seq == 9

    @pytest.mark.parametrize(
        ("values", "error"),
        [
            ({"score": float("nan")}, "'motion': value 'score': Out of range float values"),
            ({"a": {"b": [1, float("inf")]}}, "'motion': value 'a.b.1': Out of range float values"),
            ({"score": np.float32("nan")}, "'motion': value 'score': Out of range float values"),
            ({"boxes": np.array([[1, np.nan]])}, "'motion': value 'boxes': Out of range float values"),
            (
                {"picture": b"123"},
                "'motion': value 'picture': bytes is no number, text, list, mapping or array",
            ),
            ({"when": {1, 2}}, "'motion': value 'when': set is no number"),
            ({"z": {"k": 1 + 2j}}, "'motion': value 'z.k': complex is no number"),
            ({"large": "x" * (2 << 20)}, r"'motion': a result of 2097\d+ bytes, allowed: 1048576"),
        ],
    )
    def test_what_is_not_json_is_refused_by_name(
        self, publisher: ResultPublisher, values: Any, error: str
    ) -> None:
        with Subscription("motion", policy="every") as reader:
            joined(publisher, 1)
            self.say(publisher, {"n": 1})
            with pytest.raises(ValueError, match=error):
                self.say(publisher, values)
            self.say(publisher, {"n": 2})
            assert [take(reader)["n"] for _ in range(2)] == [1, 2]
            assert reader.stats.dropped == 0

    def test_what_contains_itself_is_refused(self, publisher: ResultPublisher) -> None:
        values: dict[str, Any] = {"deep": []}
        values["deep"].append(values)
        with pytest.raises(ValueError, match="'motion': value 'deep"):
            self.say(publisher, values)

    def test_who_falls_behind_finds_the_last_ones(self) -> None:
        with (
            ResultPublisher("motion", history=10) as publisher,
            Subscription("motion", policy="every", leases=2) as reader,
        ):
            joined(publisher, 1)
            for number in range(1, 101):
                self.say(publisher, {"n": number, "text": "x" * (number % 2 * 5000)})
            got = [take(reader)["n"] for _ in range(11)]
            assert got == [1, *range(91, 101)]
            assert reader.stats.dropped == 89

    def test_as_many_as_may_be_asked_for_fit_into_a_socket(self, publisher: ResultPublisher) -> None:
        with Subscription("motion", policy="every", leases=64) as reader:
            joined(publisher, 1)
            for number in range(32):
                self.say(publisher, {"n": number, "text": "x" * 4000})
            assert publisher.readers()[0].sent == 32
            assert [take(reader)["n"] for _ in range(32)] == list(range(32))


class TestMemory:
    """No memory: a clear error, and the stream goes on as it was."""

    def test_a_format_too_large_leaves_the_old_one_as_it_was(self) -> None:
        with FramePublisher("hall") as publisher, Subscription("hall") as reader:
            joined(publisher, 1)
            publish(publisher, 1)
            kept = take(reader)
            with file_size_limit(1 << 20):
                huge = PictureFormat(PixelFormat.BGR, 4000, 3000)
                with pytest.raises(OutOfMemory, match=r"shared memory of \d+ bytes for hall: File too large"):
                    publisher.reserve(huge)
            publish(publisher, 2)
            assert take(reader).seq == 2
            assert is_intact(kept)
            publish(publisher, 3, OTHER)
            assert is_intact(take(reader))

    def test_a_pool_that_cannot_grow_goes_on_with_what_it_has(self, caplog: pytest.LogCaptureFixture) -> None:
        with FramePublisher("hall", slots=8) as publisher, Subscription("hall", leases=2) as reader:
            joined(publisher, 1)
            publish(publisher, 1)
            assert take(reader).seq == 1
            with file_size_limit(10 * PAGE), Subscription("hall", leases=20) as another:
                joined(publisher, 2)
                for seed in range(2, 20):
                    publish(publisher, seed)
                    assert take(reader).seq == take(another).seq == seed
            assert "it goes on with fewer slots than promised" in caplog.text

    def test_no_room_for_the_mapping(self) -> None:
        """A limit of the address space: what was opened for it is closed again (see the fixture)."""
        program = (
            "import os, resource\n"
            "from frameloom.bus.memory import OwnedMemory\n"
            "from frameloom.model.errors import OutOfMemory\n"
            "used = int(open('/proc/self/statm').read().split()[0]) * 4096\n"
            "resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20),) * 2)\n"
            "before = os.listdir('/proc/self/fd')\n"
            "try:\n"
            "    OwnedMemory(1 << 30, 'hall')\n"
            "except OutOfMemory as error:\n"
            "    print(error, os.listdir('/proc/self/fd') == before)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, env=environment()
        )
        assert done.stdout == "shared memory of 1073741824 bytes for hall: Cannot allocate memory True\n", (
            done.stderr
        )

    def test_no_room_for_the_pages(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The kernel of a test machine would rather kill somebody; so its refusal is made up here."""
        with FramePublisher("hall", slots=64) as publisher, Subscription("hall") as reader:
            joined(publisher, 1)
            publish(publisher, 1)
            kept = [take(reader)]
            with monkeypatch.context() as context:
                context.setattr(os, "posix_fallocate", refuse)
                with pytest.raises(
                    OutOfMemory, match="shared memory: 3072 bytes more: No space left on device"
                ):
                    use_up(publisher, reader, kept)
                for _ in range(100):
                    with pytest.raises(OutOfMemory):
                        publisher.reserve(SMALL)
            publish(publisher, 100)
            assert take(reader).pts_ns == 100
            assert publisher._kept.epoch.allocator.free_slots > 50  # type: ignore[union-attr]

    def test_no_room_in_a_tmpfs_of_its_own(self) -> None:
        """The real refusal, where memory lives in a small /dev/shm: the stream goes on with the slots it has."""
        program = (
            "from tests.bus.parts import *\n"
            "from frameloom.model.errors import OutOfMemory\n"
            "with FramePublisher('hall', backend='shm') as publisher, Subscription('hall') as reader:\n"
            "    joined(publisher, 1)\n"
            "    kept, errors = [], []\n"
            "    for seed in range(1, 30):\n"
            "        try:\n"
            "            publish(publisher, seed)\n"
            "            kept.append(take(reader))\n"
            "        except OutOfMemory as error:\n"
            "            errors.append(str(error))\n"
            "            kept.pop(0)\n"
            "    print(all(map(is_intact, kept)), len(errors) > 0, errors[0])\n"
        )
        script = 'mount -t tmpfs -o size=12k tmpfs /dev/shm && exec "$0" -c "$1"'
        command = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, sys.executable, program]
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment(FRAMELOOM_MEMORY="shm")
        )
        if "unshare:" in done.stderr or "mount:" in done.stderr:
            pytest.skip("needs a mount namespace: " + done.stderr.strip())
        assert done.stdout == "True True shared memory: 3072 bytes more: No space left on device\n", (
            done.stderr
        )

    def test_a_packet_that_finds_no_room_is_a_gap(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with PacketPublisher("hall") as publisher, Subscription("hall", policy="every", leases=16) as reader:
            joined(publisher, 1)
            publisher.publish(packet(1))
            with monkeypatch.context() as context:
                context.setattr(os, "posix_fallocate", refuse)
                with pytest.raises(OutOfMemory):
                    publisher.publish(packet(2, is_key=False, nbytes=100_000))
            publisher.publish(packet(3, is_key=False))
            publisher.publish(packet(4))
            for seed in range(5, 9):
                publisher.publish(packet(seed, is_key=False))
            assert [take(reader).seq for _ in range(6)] == [1, 4, 5, 6, 7, 8]
            assert reader.stats.dropped == 2

    def test_a_ring_that_cannot_grow_stays(self) -> None:
        with (
            PacketPublisher("hall", memory_bytes=16 * PAGE) as publisher,
            Subscription("hall", policy="every", leases=16) as reader,
        ):
            joined(publisher, 1)
            publisher.publish(packet(1))
            with file_size_limit(20 * PAGE), pytest.raises(OutOfMemory):
                publisher.publish(packet(2, is_key=False, nbytes=8 * PAGE))
            publisher.publish(packet(3))
            assert [take(reader).seq for _ in range(2)] == [1, 3]
            assert publisher._memory_bytes == 16 * PAGE


def use_up(publisher: FramePublisher, reader: Subscription, kept: list[Any]) -> None:
    while True:
        publish(publisher, 2)
        kept.append(take(reader))


def refuse(*_: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def environment(**more: str) -> dict[str, str]:
    root = Path(__file__).resolve().parents[2]
    return {**os.environ, "PYTHONPATH": f"{root / 'src'}:{root}", **more}


class file_size_limit:  # noqa: N801 - reads as a function where it is used
    """The kernel refuses to make any file, and so any memfd, larger than this."""

    def __init__(self, nbytes: int) -> None:
        self._nbytes = nbytes

    def __enter__(self) -> None:
        self._before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self._nbytes, self._before[1]))

    def __exit__(self, *_: object) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self._before)
