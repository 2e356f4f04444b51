"""Coming back after a loss: how long is waited, what is said, when it ends."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from frameloom.model.clock import SystemClock
from frameloom.model.errors import FrameloomError, SourceLost, SourceMisconfigured
from frameloom.model.packet import Packet, PacketFormat
from frameloom.model.stages import Source
from frameloom.sources import SourceSettings, open_source
from frameloom.sources.feed import Take
from frameloom.sources.reconnect import Reconnecting
from frameloom.testing.clock import FakeClock
from frameloom.testing.rtsp_server import RtspServer
from tests.sources.films import Films, film

PATIENCE_S = 30.0
FORMAT = PacketFormat("mjpeg", 320, 240)

Try = FrameloomError | list[Packet | FrameloomError]
"""What one opening of a scripted source comes to: an error at once, or packets and then an error or the end."""


def key(n: int = 0) -> Packet:
    return Packet(b"x", FORMAT, pts_ns=n, is_key=True, captured_ns=0, captured_at_ns=0)


def other(n: int = 0) -> Packet:
    return Packet(b"x", FORMAT, pts_ns=n, is_key=False, captured_ns=0, captured_at_ns=0)


LOST = SourceLost("'yard': gone")
WRONG = SourceMisconfigured("'yard': wrong password")


class Scripted:
    """A source that follows a script; counts how often it is closed."""

    def __init__(self, script: Try) -> None:
        self.name, self.live, self.closed = "yard", True, 0
        self._script = script

    def open(self) -> PacketFormat:
        if isinstance(self._script, FrameloomError):
            raise self._script
        return FORMAT

    def packets(self) -> Iterator[Packet]:
        assert isinstance(self._script, list)
        for item in self._script:
            if isinstance(item, FrameloomError):
                raise item
            yield item

    def close(self) -> None:
        self.closed += 1


@dataclass
class Host:
    """What a worker does with it, writing down everything."""

    tries: list[Try]
    jitter: Callable[[], float] = lambda: 0.0
    most_waits: int = 1000
    states: list[tuple[str, str, float]] = field(default_factory=list)
    got: list[int] = field(default_factory=list)
    made: list[Scripted] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.interrupt = threading.Event()
        self.clock = FakeClock(on_wait=self._on_wait)
        self.reconnecting = Reconnecting(self._open, self.clock, self.interrupt, self._tell, self.jitter)

    def run(self) -> list[float]:
        """Read everything; returns the waits."""
        for format, packets in self.reconnecting:
            assert format is FORMAT
            self.got.extend(packet.pts_ns for packet in packets)
        return self.clock.waits_s

    def _open(self) -> Source:
        self.made.append(Scripted(self.tries[len(self.made)]))
        return self.made[-1]

    def _tell(self, state: str, detail: str, wait_s: float) -> None:
        self.states.append((state, detail, wait_s))

    def _on_wait(self, wait_s: float) -> None:
        if len(self.clock.waits_s) >= self.most_waits:
            self.interrupt.set()


def test_a_film_ends_properly() -> None:
    host = Host([[key(1), key(2)]])
    assert host.run() == []
    assert host.got == [1, 2]
    assert [state for state, _, _ in host.states] == ["connecting", "running", "ended"]
    assert host.made[0].closed >= 1
    assert host.reconnecting.losses == 0


def test_waits_grow_to_half_a_minute() -> None:
    host = Host([LOST] * 9 + [[key()]])
    assert host.run() == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert host.reconnecting.losses == 9
    assert all(source.closed for source in host.made)


def test_a_good_picture_starts_the_waits_anew() -> None:
    host = Host([LOST, LOST, LOST, [key(1), LOST], LOST, [key(2)]])
    assert host.run() == [0.5, 1, 2, 0.5, 1]
    assert host.got == [1, 2]


def test_packets_from_which_nothing_can_be_made_are_no_good_picture() -> None:
    host = Host([[other(), LOST]] * 4 + [[key()]])
    assert host.run() == [0.5, 1, 2, 4]


def test_the_host_may_say_good_itself() -> None:
    host = Host([LOST, LOST, [other(), LOST], [key()]])
    for _, packets in host.reconnecting:
        for _ in packets:
            host.reconnecting.good()
    assert host.clock.waits_s == [0.5, 1, 0.5]


def test_a_source_with_a_thread_of_its_own_may_be_left_to_deal_with_packets() -> None:
    class Relaying(Scripted):
        def relay(self, take: Take) -> None:
            takes.append(take)

    takes: list[Take] = []
    source, interrupt = Relaying([key(1), key(2)]), threading.Event()
    reconnecting = Reconnecting(lambda: source, FakeClock(), interrupt)
    for _, packets in reconnecting:
        for packet in packets:
            reconnecting.relay(lambda packet: True)
            assert len(takes) == packet.pts_ns
    host = Host([[key(1)]])
    for _, packets in host.reconnecting:
        for _ in packets:
            host.reconnecting.relay(lambda packet: True)  # which a film cannot do


def test_a_camera_that_connects_and_dies_at_once_is_not_hammered() -> None:
    host = Host([[LOST]] * 8 + [[key()]])
    assert host.run() == [0.5, 1, 2, 4, 8, 16, 30, 30]


def test_what_a_person_must_fix_is_tried_rarely() -> None:
    host = Host([WRONG] * 6 + [[key()]])
    assert host.run() == [60, 120, 240, 480, 600, 600]
    assert host.states[1] == ("misconfigured", "'yard': wrong password", 60)


def test_every_loss_is_told_with_its_wait() -> None:
    host = Host([LOST, [key(), LOST], [key()]])
    host.run()
    assert host.states == [
        ("connecting", "", 0),
        ("lost", "'yard': gone", 0.5),
        ("connecting", "", 0),
        ("running", "", 0),
        ("lost", "'yard': gone", 0.5),
        ("connecting", "", 0),
        ("running", "", 0),
        ("ended", "", 0),
    ]


def test_jitter_makes_waits_a_little_longer() -> None:
    jitter = iter([0.0, 0.5, 1.0])
    host = Host([LOST] * 3 + [[key()]], jitter=lambda: next(jitter))
    assert host.run() == pytest.approx([0.5, 1.05, 2.2])


def test_an_interrupt_ends_a_wait() -> None:
    host = Host([LOST] * 100, most_waits=3)
    assert len(host.run()) == 3
    assert len(host.made) == 3
    assert host.states[-1][0] == "lost"


def test_an_interrupt_ends_the_packets() -> None:
    host = Host([[key(n) for n in range(10)]])
    for _, packets in host.reconnecting:
        for packet in packets:
            host.got.append(packet.pts_ns)
            if packet.pts_ns == 3:
                host.interrupt.set()
    assert host.got == [0, 1, 2, 3]
    assert "ended" not in [state for state, _, _ in host.states]
    assert host.made[0].closed


def test_a_host_may_give_a_connection_up() -> None:
    host = Host([[key(n) for n in range(10)], [key(77)]])
    for _, packets in host.reconnecting:
        for packet in packets:
            host.got.append(packet.pts_ns)
            if packet.pts_ns == 2:
                host.reconnecting.lose("'yard': nothing in it can be decoded")
    assert host.got == [0, 1, 2, 77]
    assert ("lost", "'yard': nothing in it can be decoded", 0.5) in host.states


def test_a_host_that_leaves_its_loop_waits_too() -> None:
    host = Host([[key(n) for n in range(10)]] * 3 + [[key(5)]])
    for _, packets in host.reconnecting:
        for packet in packets:
            host.got.append(packet.pts_ns)
            if packet.pts_ns == 0:
                break
    assert host.got == [0, 0, 0, 5]
    assert len(host.clock.waits_s) == 3
    assert all(source.closed for source in host.made)


def test_a_bug_is_not_a_loss() -> None:
    host = Host([[key(1), key(2)]])

    def broken() -> Source:
        raise ZeroDivisionError

    reconnecting = Reconnecting(broken, host.clock, host.interrupt)
    with pytest.raises(ZeroDivisionError):
        list(reconnecting)


def test_stopping_to_iterate_closes_the_source() -> None:
    host = Host([[key(n) for n in range(10)]])
    connections = iter(host.reconnecting)
    _, packets = next(connections)
    next(packets)
    connections.close()  # type: ignore[attr-defined]
    assert host.made[0].closed


# --- with a real camera ---


def test_a_camera_that_is_switched_off_and_on(films: Films) -> None:
    """Its film goes on; the second time it has another size."""
    told: list[str] = []
    lost = threading.Event()

    def tell(state: str, detail: str, wait_s: float) -> None:
        told.append(f"{state} {detail}")
        if state == "lost":
            lost.set()

    with RtspServer({"live": films("h264.mp4")}) as server:
        settings = SourceSettings(url=server.url("live"))
        reconnecting = Reconnecting(
            lambda: open_source("yard", settings, SystemClock()), SystemClock(), threading.Event(), tell
        )
        sizes = []
        for format, packets in reconnecting:
            sizes.append((format.width, format.height))
            count = len(list(itertools.islice(packets, 5)))
            assert count == 5
            if len(sizes) == 2:
                reconnecting.close()
                break
            server.refuse()
            server["live"].change(films("small.mp4", film(160, 128)))
            threading.Thread(target=lambda: (lost.wait(PATIENCE_S), server.accept())).start()
            assert len(list(packets)) <= 50
        assert sizes == [(320, 240), (160, 128)]
    assert "rtsp://" not in " ".join(told)
    assert any(state.startswith("lost 'yard'") for state in told)


def test_close_frees_a_host_whose_camera_hangs(films: Films) -> None:
    with RtspServer({"live": films("h264.mp4")}) as server:
        settings = SourceSettings(url=server.url("live"), silence_s=3600)
        reconnecting = Reconnecting(
            lambda: open_source("yard", settings, SystemClock()), SystemClock(), threading.Event()
        )
        playing = threading.Event()

        def host() -> None:
            for _, packets in reconnecting:
                for _ in packets:
                    playing.set()

        thread = threading.Thread(target=host, daemon=True)
        thread.start()
        assert playing.wait(PATIENCE_S)
        server["live"].stall()
        reconnecting.close()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
        server["live"].drop()
