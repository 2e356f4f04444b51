"""The rules of leases, played at random against a model: one publisher, several readers, in one process.

After every step: what is kept is unchanged, and every slot is free, retained or leased exactly as the model says.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field
from typing import ClassVar

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from frameloom.bus.publisher import FramePublisher
from frameloom.bus.readers import Reader
from frameloom.bus.subscriber import Subscription
from frameloom.model.frame import Frame, PictureFormat, PixelFormat
from tests.bus.parts import OTHER, SMALL, is_intact, publish, settle, take, until

_HISTORY = 3
_FORMATS = [SMALL, OTHER, PictureFormat(PixelFormat.BGR, 37, 53)]
_sites = itertools.count()


@dataclass(eq=False)
class Member:
    """A reader, and what the model knows of it. `start`: the number before the first that it may get."""

    name: str
    stream: Subscription
    policy: str
    leases: int
    start: int
    kept: list[Frame] = field(default_factory=list)
    joined: bool = True
    last: int = 0
    counted: int = 0

    @property
    def may_share(self) -> int:
        """Frames it may look at without a copy, such that what it asks for ahead still has a lease."""
        return self.leases - (1 if self.policy == "latest" else self.leases // 2)


class LiveMachine(RuleBasedStateMachine):
    """A publisher that waits for nobody."""

    can_wait: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self.site = f"site-{next(_sites)}"
        self.names = map(str, itertools.count())
        self.seeds = itertools.count(1)
        self.members: list[Member] = []
        self.orphans: list[list[Frame]] = []  # kept by readers that have left, or whose publisher has
        self.retained = 0
        self.newest = 0
        self.format = SMALL
        self.open_publisher()

    def open_publisher(self) -> None:
        options = {"site": self.site, "can_wait": self.can_wait}
        self.publisher = FramePublisher("hall", slots=3, history=_HISTORY, **options)
        self.retained = self.newest = 0

    # --- rules -------------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.members) < 4)
    @rule(policy=st.sampled_from(["latest", "every"]), leases=st.integers(2, 5))
    def join(self, policy: str, leases: int) -> None:
        name = next(self.names)
        stream = Subscription("hall", site=self.site, policy=policy, leases=leases, client=name)
        self.members.append(Member(name, stream, policy, leases, 0))
        self.has_joined(self.members[-1])

    def has_joined(self, member: Member) -> None:
        until(lambda: self.reader(member))
        member.joined = True
        member.start = member.last = self.newest - 1 if self.retained else self.newest

    def join_again(self, member: Member) -> None:
        stats = member.stream.stats
        member.counted = stats.received + stats.dropped
        frame = member.stream.get(0)
        self.has_joined(member)
        if frame is not None:
            self.check(member, frame)

    @rule()
    def publish(self) -> None:
        settle(self.publisher)
        if self.can_wait and not self.publisher.wait_ready(0):
            return
        self.newest = publish(self.publisher, next(self.seeds), self.format)
        joined = [m for m in self.members if m.joined]
        if not joined:
            self.retained = 0
        elif self.can_wait or all(m.policy == "latest" for m in joined):
            self.retained = 1
        else:
            self.retained = min(_HISTORY, self.retained + 1)

    @precondition(lambda self: self.members)
    @rule(data=st.data(), keep=st.booleans())
    def get(self, data: st.DataObject, keep: bool) -> None:
        member = self.members[data.draw(st.integers(0, len(self.members) - 1))]
        if not member.joined:
            self.join_again(member)
        elif self.newest > member.last:
            frame = self.take(member)
            if keep:
                member.kept.append(frame)
        else:
            assert member.stream.get(0) is None

    def take(self, member: Member) -> Frame:
        had_asked = member.stream._asked > 0
        shared = len([kept for kept in member.kept if kept.shared])
        frame = take(member.stream)
        if member.policy == "latest" and not had_asked:
            assert frame.seq == self.newest
        if member.policy == "every" or not had_asked:  # or an old one was held while a newer was waited for
            assert frame.shared == (shared < member.may_share)
        self.check(member, frame)
        return frame

    def check(self, member: Member, frame: Frame) -> None:
        assert is_intact(frame)
        assert member.last < frame.seq <= self.newest
        if member.policy == "every" and self.can_wait:
            assert frame.seq == member.last + 1
        member.last = frame.seq
        stats = member.stream.stats
        assert stats.received + stats.dropped == member.counted + frame.seq - member.start

    @precondition(lambda self: any(m.kept for m in self.members))
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        keepers = [m for m in self.members if m.kept]
        member = keepers[data.draw(st.integers(0, len(keepers) - 1))]
        member.kept.pop(data.draw(st.integers(0, len(member.kept) - 1)))

    @precondition(lambda self: self.members)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        member = self.members.pop(data.draw(st.integers(0, len(self.members) - 1)))
        member.stream.close()
        self.orphans.append(member.kept)
        self.is_gone(member)

    @precondition(lambda self: self.members)
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        """As a process dies: the socket closes without a word, its frames go with it."""
        member = self.members.pop(data.draw(st.integers(0, len(self.members) - 1)))
        if member.stream._connection:
            member.stream._connection.sock.close()
        self.is_gone(member)
        member.kept.clear()
        member.stream.close()

    def is_gone(self, member: Member) -> None:
        def gone() -> bool:
            settle(self.publisher)
            reader = self.reader(member)
            return reader is None or reader.leaving

        until(gone)
        if not any(m.joined for m in self.members):
            self.retained = 0

    @precondition(lambda self: self.orphans)
    @rule()
    def drop_what_is_left(self) -> None:
        self.orphans.pop(0).clear()

    @rule(format=st.sampled_from(_FORMATS))
    def change_format(self, format: PictureFormat) -> None:
        self.format = format

    @rule()
    def reserve_and_think_again(self) -> None:
        slot = self.publisher.reserve(self.format)
        slot.data[:] = 0xEE

    @rule()
    def return_of_the_publisher(self) -> None:
        self.publisher.close()
        for member in self.members:
            self.read_the_rest(member)
            self.orphans.append(member.kept)
            member.kept, member.joined = [], False
        self.open_publisher()

    def read_the_rest(self, member: Member) -> None:
        """What a publisher had sent before it went is still there."""
        while (frame := member.stream.get(0)) is not None:
            assert member.joined
            self.check(member, frame)

    # --- what must always be true ------------------------------------------------------------------------------

    @invariant()
    def what_is_kept_never_changes(self) -> None:
        kept = [*self.orphans, *(member.kept for member in self.members)]
        assert all(is_intact(frame) for frames in kept for frame in frames)

    @invariant()
    def every_slot_is_accounted_for(self) -> None:
        settle(self.publisher)
        with self.publisher._lock:
            self.check_slots()
            for member in self.members:
                if member.joined:
                    self.check_leases(member)

    def check_slots(self) -> None:
        kept = self.publisher._kept
        assert len(kept.items) == self.retained
        assert sorted(kept._live) == sorted({item.epoch.number for item in kept.items} | self.present_epoch())
        if (epoch := kept.epoch) is None:
            return
        holders = Counter(item.block for item in kept.items if item.epoch is epoch)
        for reader in self.publisher._readers.values():
            holders.update(block for number, block in reader.leased if number == epoch.number)
        if self.publisher._open:
            holders[self.publisher._open.block] += 1
        assert epoch.leases._holders == holders
        assert epoch.allocator.free_slots + len(holders) == epoch.allocator.slots

    def present_epoch(self) -> set[int]:
        epoch = self.publisher._kept.epoch
        return {epoch.number} if epoch else set()

    def check_leases(self, member: Member) -> None:
        reader, connection = self.reader(member), member.stream._connection
        assert reader
        assert connection
        known = {*connection.leases, *connection._returned}
        assert len(connection.leases) == len([frame for frame in member.kept if frame.shared])
        assert known <= reader.leased
        assert len(reader.leased) - len(known) == member.stream._asked - reader.credit  # unread
        assert len(reader.leased) <= member.leases

    def reader(self, member: Member) -> Reader | None:
        readers = list(self.publisher._readers.values())
        return next((r for r in readers if r.hello and r.hello.client == member.name), None)

    def teardown(self) -> None:
        for member in self.members:
            member.kept.clear()
            member.stream.close()
        for kept in self.orphans:
            kept.clear()
        until(lambda: not self.publisher._readers)
        self.retained = 0
        self.every_slot_is_accounted_for_at_the_end()
        self.publisher.close()

    def every_slot_is_accounted_for_at_the_end(self) -> None:
        self.members.clear()
        with self.publisher._lock:
            self.check_slots()
            if epoch := self.publisher._kept.epoch:
                assert len(epoch.leases) == (self.publisher._open is not None)


class BoundedMachine(LiveMachine):
    """A publisher that waits for those that want everything: they get it."""

    can_wait = True


TestLive = LiveMachine.TestCase
TestLive.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestBounded = BoundedMachine.TestCase
TestBounded.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
