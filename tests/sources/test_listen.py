"""Cameras that come to us: what senders do, come, go, hang, talk nonsense, and what is told of them."""

from __future__ import annotations

import itertools
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from frameloom.listening import listen, written
from frameloom.model.clock import NS_PER_S, Clock, SystemClock
from frameloom.model.errors import SourceLost, SourceMisconfigured
from frameloom.model.packet import Packet
from frameloom.sinks.tcp_mpegts import TICKS_PER_S, MpegTs
from frameloom.sources import Kind, Opener, SourceSettings, open_source
from frameloom.sources.decode import Decoder
from frameloom.sources.listen import ListenSource
from frameloom.testing.clock import FakeClock
from tests.sinks.parts import camera, packets_of_film
from tests.sources.films import FRAMES, STEP_NS, Films, pictures, shown
from tests.sources.tcp_films import TS, free_port, sender

PATIENCE_S = 30
LAP = list(range(FRAMES))


class Port:
    """A source that listens, and those who send to it."""

    def __init__(self, stack: ExitStack, clock: Clock | None = None, **settings: Any) -> None:
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        url = f"tcp://{self.address}?listen"
        self.settings = SourceSettings(
            url=url, **{"connect_s": PATIENCE_S, "silence_s": PATIENCE_S, **settings}
        )
        self.opener = Opener("yard", self.settings, clock or SystemClock())
        stack.callback(self.opener.close)
        self._stack = stack
        self.source = self.again()

    def again(self) -> ListenSource:
        """The source after a loss, as the camera's worker makes it: its port was open all the time."""
        source = self.opener()
        assert isinstance(source, ListenSource)
        self._stack.callback(source.close)
        self.source = source
        return source

    def opening(self) -> Opening:
        """`open()` in a thread of its own; to be joined."""
        return Opening(self.source)

    def connect(self, at: str = "127.0.0.1") -> socket.socket:
        """A sender, as soon as the port is open."""
        host, _, port = self.address.rpartition(":")

        def knock() -> socket.socket | None:
            with suppress(ConnectionRefusedError):
                return socket.create_connection((host, int(port)), source_address=(at, 0))
            return None

        return self._stack.enter_context(until(knock))

    def rest(self) -> tuple[list[Packet], str]:
        """All packets up to the loss of the sender, and what that was."""
        packets: list[Packet] = []
        try:
            for packet in self.source.packets():
                packets.append(packet)
        except SourceLost as error:
            return packets, str(error)
        raise AssertionError("a sender that goes is no proper end")


class Opening:
    """Somebody who opens a source."""

    def __init__(self, source: ListenSource) -> None:
        self._source = source
        self._result: list[Any] = []
        self._thread = threading.Thread(target=self._open, daemon=True)
        self._thread.start()

    def _open(self) -> None:
        try:
            self._result.append(self._source.open())
        except Exception as error:
            self._result.append(error)

    @property
    def is_over(self) -> bool:
        return not self._thread.is_alive()

    def result(self) -> Any:
        self._thread.join(PATIENCE_S)
        assert self._result, self._source.waiting
        return self._result[0]


@pytest.fixture
def make() -> Iterator[Callable[..., Port]]:
    with ExitStack() as stack:
        yield lambda **options: Port(stack, **options)


Make = Callable[..., Port]


@pytest.fixture(scope="module")
def film(films: Films) -> list[Packet]:
    packets = packets_of_film(films("h264.mp4"))
    return camera(
        [replace(packet, pts_ns=n * STEP_NS, dts_ns=n * STEP_NS) for n, packet in enumerate(packets)]
    )


def until(look: Callable[[], Any]) -> Any:
    bell = threading.Event()
    for _ in range(PATIENCE_S * 200):
        if found := look():
            return found
        bell.wait(0.005)
    raise AssertionError("it did not come")


def in_ts(packets: list[Packet], zero_ns: int = 0) -> bytes:
    mux = MpegTs("yard", packets[0], zero_ns)
    return b"".join(mux.add(packet) for packet in packets)


def test_a_sender_is_awaited_and_the_next_one_after_it(make: Make, films: Films) -> None:
    """Killed, ffmpeg's stream breaks off; who knocks before we are ready again waits at the door."""
    port = make()
    opening = port.opening()
    assert until(lambda: port.source.waiting) == f"waiting for a sender on {port.address}"
    port.connect().close()  # somebody looks whether the port is open
    until(lambda: "no sender since" in port.source.waiting)
    assert not opening.is_over
    for _ in range(3):
        with sender(int(port.address.rpartition(":")[2]), films("h264.mp4"), *TS) as process:
            format = opening.result()
            assert (format.codec, format.width, format.height) == ("h264", 320, 240)
            assert port.source.waiting == ""
            packets = port.source.packets()
            seen = shown(pictures(itertools.islice(packets, 30), Decoder(format)))
            assert seen.numbers[:25] == LAP[:25]
            process.kill()
            with pytest.raises(SourceLost, match=r"^'yard': (the sender has closed|the connection broke)"):
                list(packets)
        told = re.fullmatch(
            rf"no sender since \d\d:\d\d:\d\d UTC \((.*)\); waiting for one on {port.address}",
            port.source.waiting,
        )
        assert told, port.source.waiting
        assert "'yard'" not in told[1]
        port.source.close()
        port.again()
        opening = port.opening()
    port.opener.interrupt()
    assert isinstance(opening.result(), SourceLost)
    port.again()
    assert isinstance(port.opening().result(), SourceLost), "also if it begins to wait only then"


def test_it_may_be_interrupted_before_it_is_made(make: Make) -> None:
    opener = Opener("yard", SourceSettings(url=f"tcp://127.0.0.1:{free_port()}?listen"), SystemClock())
    opener.interrupt()
    with pytest.raises(SourceLost, match="it was closed"):
        opener().open()
    opener.close()


def test_one_that_knocks_between_two_connections_is_let_in(make: Make, film: list[Packet]) -> None:
    port = make()
    opening = port.opening()
    first = port.connect()
    first.sendall(in_ts(film))
    first.close()
    opening.result()
    with pytest.raises(SourceLost):
        list(port.source.packets())
    port.source.close()
    port.connect().sendall(in_ts(film))
    port.again()
    assert port.opening().result().codec == "h264"


def test_packets_come_through_unchanged_in_their_own_time(make: Make, film: list[Packet]) -> None:
    port = make()
    opening = port.opening()
    one = port.connect()
    one.sendall(in_ts(film, zero_ns=(1 << 33) * NS_PER_S // TICKS_PER_S - NS_PER_S - 10 * STEP_NS))
    one.shutdown(socket.SHUT_WR)
    opening.result()
    packets, why = port.rest()
    assert why == "'yard': the sender has closed the connection"
    assert len(packets) == len(film)
    for came, sent in zip(packets, film, strict=True):
        assert bytes(came.data).endswith(bytes(sent.data)), "before it stands a delimiter, and nothing else"
        assert len(came.data) - len(sent.data) in (0, 6)
        assert came.is_key == sent.is_key
    steps = {round((b.pts_ns - a.pts_ns) / 1e6) for a, b in itertools.pairwise(packets)}
    assert steps == {20}, "also where the clock of the stream begins anew"


def test_a_second_sender_is_turned_away_and_told(make: Make, film: list[Packet]) -> None:
    port = make()
    opening = port.opening()
    one = port.connect()
    one.sendall(in_ts(film))
    opening.result()
    other = port.connect()
    assert other.recv(1) == b""
    assert port.source.told["refused"] == 1
    one_s, other_s = written(one.getsockname()), written(other.getsockname())
    assert port.source.told["last_refused"] == f"{other_s}: {one_s} sends already"
    assert port.source.told["sender"]["address"] == one_s
    until(lambda: port.source.told["sender"]["bytes"] == len(in_ts(film)))


def test_a_sender_that_is_silent_gives_way(make: Make, film: list[Packet]) -> None:
    clock = FakeClock()
    port = make(clock=clock)
    opening = port.opening()
    hung = port.connect()
    hung.sendall(in_ts(film))
    opening.result()
    until(lambda: port.source.told["sender"]["bytes"] == len(in_ts(film)))
    clock.advance(3)
    port.connect().sendall(in_ts(film))
    with pytest.raises(SourceLost, match="it said nothing, and another sender has come"):
        list(port.source.packets())
    port.source.close()
    assert hung.recv(1) == b""
    port.again()
    assert port.opening().result().codec == "h264"
    assert port.source.told["refused"] == 0


def test_a_half_open_connection_is_found(make: Make, film: list[Packet]) -> None:
    port = make(silence_s=0.3)
    opening = port.opening()
    port.connect().sendall(in_ts(film))
    opening.result()
    with pytest.raises(SourceLost, match=r"^'yard': (nothing came|no picture) for 0.3 s$"):
        list(port.source.packets())


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        (b"", "nothing came for 0.3 s"),
        (
            b"GET / HTTP/1.1\r\n\r\n" * 20_000,
            "what it sends is not video of this format|nothing came|no answer",
        ),
    ],
    ids=["nothing", "nonsense"],
)
def test_one_of_no_use_is_let_go_and_the_next_awaited(
    make: Make, film: list[Packet], said: bytes, complaint: str
) -> None:
    port = make(connect_s=0.3)
    opening = port.opening()
    useless = port.connect()
    with suppress(OSError):
        useless.sendall(said)
    useless_at = written(useless.getsockname())
    until(lambda: useless_at in port.source.waiting)
    assert re.search(complaint, port.source.waiting), port.source.waiting
    port.connect().sendall(in_ts(film))
    assert opening.result().codec == "h264"


def test_who_may_send(make: Make, film: list[Packet]) -> None:
    port = make(allow=["127.0.0.2"])
    opening = port.opening()
    stranger = port.connect()
    assert stranger.recv(1) == b""
    until(lambda: port.source.told["refused"] == 1)
    assert port.source.told["last_refused"].endswith(": it is in none of the networks of `allow`")
    port.connect(at="127.0.0.2").sendall(in_ts(film))
    assert opening.result().codec == "h264"


def test_a_port_that_is_taken_is_told(make: Make) -> None:
    port = make()
    with listen("other", "127.0.0.1", int(port.address.rpartition(":")[2])):
        number = port.address.rpartition(":")[2]
        with pytest.raises(
            SourceMisconfigured, match=f"^'yard': port {number} of 127.0.0.1 is in use by another"
        ):
            port.source.open()
        assert port.source.waiting == "", "the error is what is to be told"


# --- the original: 640x480 BGR, picture after picture, nothing else ---


def raw_pictures(count: int, width: int = 640, height: int = 480) -> list[bytes]:
    dice = np.random.default_rng(7)
    return [dice.integers(0, 256, (height, width, 3), np.uint8).tobytes() for _ in range(count)]


def test_plain_pictures_as_the_original_sent_them(make: Make) -> None:
    port = make(format="raw")
    opening = port.opening()
    sent = raw_pictures(5)
    one = port.connect()
    threading.Thread(target=_in_pieces, args=(one, b"".join(sent) + b"cut off")).start()
    format = opening.result()
    assert (format.codec, format.pixel, format.width, format.height) == ("rawvideo", "bgr24", 640, 480)
    came, why = port.rest()
    assert why == "'yard': the sender has closed the connection"
    assert [bytes(packet.data) for packet in came] == sent
    assert all(packet.is_key for packet in came)
    times = [packet.pts_ns for packet in came]
    assert times == sorted(set(times))
    assert times[-1] <= came[-1].captured_ns - came[0].captured_ns + 1000, "media time is that of arrival"


def _in_pieces(sock: socket.socket, data: bytes) -> None:
    """As the net cuts it: not where pictures end."""
    with sock:
        for at in range(0, len(data), 99_991):
            sock.sendall(data[at : at + 99_991])


def test_a_picture_that_was_cut_off_does_not_shift_the_next_sender_s(make: Make) -> None:
    port = make(format="raw", width=32, height=16)
    first, second = raw_pictures(2, 32, 16)
    opening = port.opening()
    one = port.connect()
    one.sendall(first + second[:-1])
    one.close()
    opening.result()
    with pytest.raises(SourceLost):
        list(port.source.packets())
    port.source.close()
    two = port.connect()
    two.sendall(second + first)
    port.again()
    port.opening().result()
    assert bytes(next(port.source.packets()).data) == second


# --- what may be written ---


def test_kinds_and_what_they_listen_on() -> None:
    assert SourceSettings(url="tcp://camera:9000").kind is Kind.TCP
    for url in ("tcp://127.0.0.1:9100?listen", "tcp://127.0.0.1:9100?listen=1"):
        settings = SourceSettings(url=url)
        assert (settings.kind, settings.listens_on) == (Kind.LISTEN, ("127.0.0.1", 9100))
    everywhere = SourceSettings(url="tcp://[::]:9100?listen", allow=["fd00::/8", "10.0.0.7"])
    assert everywhere.listens_on == ("::", 9100)
    assert isinstance(open_source("yard", everywhere, SystemClock()), ListenSource)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"url": "tcp://camera"}, "read tcp:// without a host or a port"),
        ({"url": "tcp://:9000"}, "read tcp:// without a host or a port"),
        ({"url": "tcp://camera:0?listen"}, "read tcp:// without a host or a port"),
        ({"url": "tcp://camera:9?timeout=3"}, "options that are not known, allowed: ?listen"),
        ({"url": "tcp://0.0.0.0:9?listen"}, "allow: missing, 0.0.0.0 can be reached from elsewhere"),
        ({"url": "tcp://yard:9?listen"}, "allow: missing, yard can be reached from elsewhere"),
        (
            {"url": "tcp://0.0.0.0:9?listen", "allow": ["10.0.0.1/8"]},
            "allow: read '10.0.0.1/8', allowed: a list of networks such as 192.168.1.0/24, and of addresses; "
            "did you mean 10.0.0.0/8?",
        ),
        ({"url": "tcp://camera:9", "allow": ["10.0.0.1"]}, "allow: allowed only for listen, this is tcp"),
        (
            {"url": "tcp://camera:9", "format": "h264"},
            "format: read 'h264', allowed over TCP: mpegts, mjpeg, raw",
        ),
        ({"url": "tcp://camera:9", "width": 64, "height": 64}, "width: allowed over TCP only for format raw"),
        ({"url": "tcp://camera:9", "pace": "unpaced"}, "pace: read 'unpaced', allowed here: live"),
        ({"url": "tcp://camera:9", "password": "x"}, "password: allowed only for rtsp and http, this is tcp"),
    ],
)
def test_what_does_not_fit_is_refused(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError) as caught:
        SourceSettings.model_validate(settings)
    assert complaint in str(caught.value)


def test_nobody_who_answers_is_a_loss(films: Path) -> None:
    source = open_source("yard", SourceSettings(url=f"tcp://127.0.0.1:{free_port()}"), SystemClock())
    with pytest.raises(
        SourceLost, match=r"^'yard': the connection was refused: is it on, and is the port right\?$"
    ):
        source.open()
    source.close()
