"""One stream to many clients over real sockets: each begins at a key frame, and none costs another anything."""

from __future__ import annotations

import contextlib
import resource
import select
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from frameloom.listening import Networks, listen, written
from frameloom.model.clock import NS_PER_S, Clock
from frameloom.model.kept import Kept
from frameloom.sinks.tcp_fanout import Fanout, Part
from frameloom.sinks.tcp_jpeg import CannotWrap, Multipart
from frameloom.testing.clock import FakeClock
from frameloom.testing.films import counter, encode
from tests.sinks.parts import packets_of_film, timed

PATIENCE_S = 30
GOP = 5
SIZE = 40_000
STEP_NS = NS_PER_S // 25


class Bench:
    """A Fanout that is driven by hand, and its clients, which read only when a test says so."""

    def __init__(self, *allow: str, clock: Clock | None = None, **options: Any) -> None:
        self.clock = clock or FakeClock()
        self.poll = select.epoll()
        listener = listen("hall-tcp", "127.0.0.1", 0)
        self.address = listener.getsockname()
        self.fanout = Fanout("hall-tcp", listener, Networks(allow), self.poll, self.clock, **options)
        self.sent: dict[int, bytes] = {}
        self.number = 0
        self._socks: list[socket.socket] = []

    def turn(self, until: Callable[[], object], *socks: socket.socket) -> None:
        """Look after all descriptors until something is so, which may depend on `socks`."""
        deadline_s = time.monotonic() + PATIENCE_S
        while not until():
            assert time.monotonic() < deadline_s, self.fanout.told()
            select.select([self.poll, *socks], [], [], 0.1)
            for fd, events in self.poll.poll(0):
                assert self.fanout.ours(fd)
                self.fanout.ready(fd, events)

    def connect(self, count: int = 1, receive_bytes: int = 0, at: str = "127.0.0.1") -> list[socket.socket]:
        """Clients that are known here when this returns, or have been refused."""
        had = len(self.fanout) + self.fanout.refused
        socks = [socket.socket() for _ in range(count)]
        for sock in socks:
            if receive_bytes:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
            sock.bind((at, 0))
            sock.connect(self.address)
        self._socks += socks
        self.turn(lambda: len(self.fanout) + self.fanout.refused == had + count)
        return socks

    def put(self, count: int = 1, missing: int = 0) -> None:
        """The next parts: a key frame first, and then each `GOP`th."""
        for _ in range(count):
            self.number += 1 + missing
            data = self.number.to_bytes(4, "big") * (SIZE // 4)
            self.sent[self.number] = data
            is_key = (self.number - 1) % GOP == 0 or missing > 0
            captured_ns = self.clock.monotonic_ns()
            self.fanout.put(data, b"KEY!" + data if is_key else b"", captured_ns, missing)
            if isinstance(self.clock, FakeClock):
                self.clock.advance(STEP_NS / NS_PER_S)

    def read(self, sock: socket.socket, count: int) -> list[int]:
        """The numbers of the next `count` parts that this client gets; 'KEY!' before one counts as -1."""
        numbers: list[int] = []
        while count:
            head = self._read(sock, 4)
            if head == b"KEY!":
                numbers.append(-1)
                head = self._read(sock, 4)
            assert head + self._read(sock, SIZE - 4) == self.sent[int.from_bytes(head, "big")], "a whole part"
            numbers.append(int.from_bytes(head, "big"))
            count -= 1
        return numbers

    def _read(self, sock: socket.socket, count: int) -> bytes:
        got = bytearray()
        sock.setblocking(False)

        def more() -> bool:
            with contextlib.suppress(BlockingIOError):
                data = sock.recv(count - len(got))
                assert data, "it was let go"
                got.extend(data)
            return len(got) == count

        self.turn(more, sock)
        return bytes(got)

    def close(self) -> None:
        self.fanout.close()
        self.poll.close()
        for sock in self._socks:
            sock.close()


@pytest.fixture
def make() -> Iterator[Callable[..., Bench]]:
    with contextlib.ExitStack() as stack:

        def new(*allow: str, **options: Any) -> Bench:
            return stack.enter_context(contextlib.closing(Bench(*allow, **options)))

        yield new


Make = Callable[..., Bench]


def test_a_newcomer_begins_at_the_newest_key_frame(make: Make) -> None:
    bench = make()
    bench.put(8)
    (sock,) = bench.connect()
    assert bench.read(sock, 3) == [-1, 6, 7, 8]
    bench.put(4)
    assert bench.read(sock, 4) == [9, 10, 11, 12]
    (told,) = bench.fanout.told()
    assert told == {
        "address": written(sock.getsockname()),
        "since_utc_ns": told["since_utc_ns"],
        "bytes": 7 * SIZE + 4,
        "dropped": 0,
    }


def test_before_the_first_key_frame_a_client_waits(make: Make) -> None:
    bench = make()
    (sock,) = bench.connect()
    bench.number = 1
    bench.put(2)  # 2 and 3: in the midst of a group
    assert bench.fanout.told()[0]["bytes"] == 0
    bench.put(4)
    assert bench.read(sock, 2) == [-1, 6, 7]


def test_a_slow_client_loses_whole_pictures_by_count_and_others_none(make: Make) -> None:
    bench = make(sending_bytes=4096)
    slow, fast = bench.connect(receive_bytes=4096)[0], bench.connect()[0]
    got = []
    for _ in range(40):
        bench.put(1)
        got += bench.read(fast, 1)
    assert got == [-1, *range(1, 41)]
    assert bench.fanout.missed == 0
    assert bench.read(slow, 6) == [-1, 1, -1, 36, 37, 38, 39, 40], "the part under way is sent to its end"
    assert [told["dropped"] for told in bench.fanout.told()] == [34, 0]
    assert bench.fanout.missed == 34


def test_what_did_not_come_from_the_camera_is_missed_by_all(make: Make) -> None:
    bench = make()
    socks = bench.connect(2)
    bench.put(3)
    bench.put(1, missing=4)
    for sock in socks:
        assert bench.read(sock, 4) == [-1, 1, 2, 3, -1, 8]
    assert [told["dropped"] for told in bench.fanout.told()] == [4, 4]


def test_a_hundred_clients(make: Make) -> None:
    bench = make()
    socks = bench.connect(100)
    bench.put(7)
    for sock in socks:
        assert bench.read(sock, 7) == [-1, 1, 2, 3, 4, 5, 6, 7]
    assert bench.fanout.missed == 0


def test_one_that_takes_nothing_is_let_go(make: Make) -> None:
    bench = make(sending_bytes=4096)
    assert isinstance(bench.clock, FakeClock)
    bench.fanout.patience_s = 20
    bench.connect(receive_bytes=4096)
    idle = bench.connect()[0]
    bench.put(4)
    assert bench.read(idle, 4) == [-1, 1, 2, 3, 4]
    bench.clock.advance(19)
    bench.fanout.tick()
    assert len(bench.fanout) == 2
    bench.clock.advance(2)
    bench.fanout.tick()
    (left,) = bench.fanout.told()
    assert left["address"] == written(idle.getsockname()), "who has all there is is not slow"


@pytest.mark.parametrize("linger", [None, 0], ids=["closed", "broken off"])
def test_one_that_goes_is_forgotten_at_once(make: Make, linger: int | None) -> None:
    bench = make()
    gone, stays = bench.connect(2)
    bench.put(2)
    if linger is not None:
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    gone.close()
    bench.turn(lambda: len(bench.fanout) == 1)
    bench.put(1)
    assert bench.read(stays, 3) == [-1, 1, 2, 3]


def test_one_that_goes_in_the_midst_of_a_part(make: Make) -> None:
    bench = make(sending_bytes=4096)
    gone = bench.connect(receive_bytes=4096)[0]
    bench.put(3)
    gone.close()
    bench.turn(lambda: not bench.fanout)
    bench.put(1)


def test_a_client_has_nothing_to_say(make: Make) -> None:
    """A browser's request is passed over; one that goes on talking is let go."""
    bench = make()
    browser, talker = bench.connect(2)
    browser.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    talker.sendall(b"x" * 100_000)
    bench.turn(lambda: len(bench.fanout) == 1)
    bench.put(1)
    assert bench.read(browser, 1) == [-1, 1]


def test_who_may_come(make: Make) -> None:
    bench = make("127.0.0.2/32", "10.0.0.0/8")
    (stranger,) = bench.connect()
    assert stranger.recv(1) == b"", "closed at once"
    assert (len(bench.fanout), bench.fanout.refused) == (0, 1)
    assert bench.fanout.last_refused == (
        f"{written(stranger.getsockname())}: it is in none of the networks of `allow`"
    )
    bench.connect(at="127.0.0.2")
    assert len(bench.fanout) == 1


def test_so_many_and_no_more(make: Make) -> None:
    bench = make()
    bench.fanout.max_clients = 2
    socks = bench.connect(4)
    assert (len(bench.fanout), bench.fanout.refused) == (2, 2)
    assert "there are 2 clients already" in bench.fanout.last_refused
    socks[0].close()
    bench.turn(lambda: len(bench.fanout) == 1)
    bench.connect()
    assert len(bench.fanout) == 2


def test_without_descriptors_it_does_not_turn_in_a_circle(make: Make) -> None:
    bench = make()
    assert isinstance(bench.clock, FakeClock)
    client = socket.create_connection(bench.address)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.closing(client):
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            bench.turn(lambda: bench.fanout.rests)
            assert bench.poll.poll(0) == [], "it looks away"
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        bench.clock.advance(1)
        bench.fanout.tick()
        bench.turn(lambda: len(bench.fanout) == 1)
        assert not bench.fanout.rests


def test_nobody_takes_an_old_picture_for_the_present(make: Make) -> None:
    bench = make()
    assert isinstance(bench.clock, FakeClock)
    bench.put(3)
    bench.clock.advance(11)
    (sock,) = bench.connect()
    assert bench.fanout.told()[0]["bytes"] == 0
    bench.put(1)
    assert bench.read(sock, 4) == [-1, 1, 2, 3, 4], "what is needed for the newest one"


def test_all_may_be_dismissed(make: Make) -> None:
    bench = make()
    socks = bench.connect(3)
    bench.put(2)
    bench.fanout.dismiss("another codec")
    assert len(bench.fanout) == 0
    assert all(sock.recv(1 << 20, socket.MSG_WAITALL) for sock in socks)
    bench.connect()
    assert bench.fanout.told()[0]["bytes"] == 0, "what was kept is of the stream before"


def part(number: int, is_key: bool, size: int = 10, captured_ns: int = 0) -> Part:
    return Part(number, b"x" * size, b"k" if is_key else b"", captured_ns)


def test_two_groups_are_kept_within_so_many_bytes() -> None:
    kept = Kept(1000)
    for number in range(1, 31):
        kept.add(part(number, number % 10 == 1, captured_ns=number))
    assert [kept.after(n) and kept.after(n).number for n in (9, 10, 11, 29, 30)] == [21, 11, 12, 30, None]  # type: ignore[union-attr]
    kept = Kept(100)
    for number in range(1, 21):
        kept.add(part(number, number == 1))
    assert kept.first(0) is None, "a group that is too large is no beginning"
    assert kept.after(3) is None
    assert kept.after(12) == part(13, False)
    kept.add(part(21, True, size=5000))
    assert kept.first(0) == kept.after(3) == part(21, True, size=5000)
    kept.clear()
    assert (kept.number, kept.after(3), kept.first(0)) == (0, None, None)


def test_who_is_late_goes_on_at_the_newest_key_frame_though_the_next_part_is_there() -> None:
    kept = Kept(1000)
    for number in range(1, 16):
        kept.add(part(number, number % 10 == 1, captured_ns=number * NS_PER_S // 10))
    assert kept.after(3) == part(11, True, captured_ns=11 * NS_PER_S // 10)
    assert kept.after(10) == part(11, True, captured_ns=11 * NS_PER_S // 10)
    assert kept.after(11) == part(12, False, captured_ns=12 * NS_PER_S // 10)


def test_jpeg_pictures_in_a_row(tmp_path: Any) -> None:
    path = encode(counter(frames=3), tmp_path / "film.avi", codec="mjpeg")
    packets = [timed(packet, n) for n, packet in enumerate(packets_of_film(path))]
    wrap = Multipart("hall", packets[0])
    parts = [wrap.add(packet) for packet in packets]
    assert wrap.joining(parts[1]) == parts[1]
    for packet, wrapped in zip(packets, parts, strict=True):
        head, _, rest = wrapped.partition(b"\r\n\r\n")
        size = len(packet.data)
        assert head.split(b"\r\n") == [
            b"--frameloom",
            b"Content-Type: image/jpeg",
            b"Content-Length: %d" % size,
        ]
        assert rest == bytes(packet.data) + b"\r\n"
    wrap.close()
    h264 = packets_of_film(encode(counter(frames=3), tmp_path / "film.mp4"))
    with pytest.raises(CannotWrap, match="codec 'h264' is not sent as MJPEG, allowed: mjpeg"):
        Multipart("hall", h264[0])
