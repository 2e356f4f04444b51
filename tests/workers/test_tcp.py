"""The host of TCP sinks: what the camera sent goes to all who connect, and nothing is read for nobody."""

from __future__ import annotations

import io
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import av
import pytest

from frameloom.bus.publisher import PacketPublisher
from frameloom.model.clock import Clock
from frameloom.model.errors import CommandError, NeedsPerson, ParameterError
from frameloom.model.packet import Packet
from frameloom.model.worker import State, WorkerSpec
from frameloom.testing.clock import FakeClock
from frameloom.testing.films import counter, encode, read_counter
from frameloom.workers.link import Link
from frameloom.workers.tcp import TcpHost
from tests.sinks.parts import FPS, FRAMES, GOP, camera, packets_of_film, played

pytestmark = pytest.mark.usefixtures("runtime_dir")

PATIENCE_S = 60
LAP = list(range(FRAMES))
Film = Callable[[str], list[Packet]]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Film:
    folder = tmp_path_factory.mktemp("films")

    def packets(codec: str) -> list[Packet]:
        path = folder / f"{codec}.{'avi' if codec == 'mjpeg' else 'mp4'}"
        if not path.exists():
            encode(counter(fps=FPS, frames=FRAMES), path, gop=GOP, codec=codec)  # type: ignore[arg-type]
        return packets_of_film(path)

    return packets


class Client:
    """Somebody who connects, and keeps all that comes."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self.sock = socket.create_connection((host, int(port)))
        self.data = b""
        self.is_over = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with suppress(OSError):
            while data := self.sock.recv(1 << 16):
                self.data += data
        self.is_over.set()

    def close(self) -> None:
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(PATIENCE_S)
        self.sock.close()


class Sending:
    """A TcpHost in a thread, the streams it may read, and its clients."""

    def __init__(
        self,
        clock: Clock | None = None,
        streams: tuple[str, ...] = ("hall.packets",),
        memory_bytes: int = 8 << 20,
        **config: Any,
    ) -> None:
        self._closed = False
        self.link, self._theirs = Link.pair()
        self.packets = {stream: PacketPublisher(stream, memory_bytes=memory_bytes) for stream in streams}
        defaults = {"camera": "hall", "host": "127.0.0.1", "port": 0, "allow": [], "format": "mpegts"}
        config = {**defaults, "instead": "hall.live", **config}
        read = config.pop("reads", streams[0])
        self.host = TcpHost(WorkerSpec("hall-tcp", "tcp", "", config, {}, (read,)), self.link, clock)
        self._thread = threading.Thread(target=self.host.run)
        self._thread.start()
        self._clients: list[Client] = []

    @property
    def info(self) -> dict[str, Any]:
        return self.host.report().info

    def connect(self) -> Client:
        """A client that is known."""
        had = len(self.info["clients"]) + self.info["refused"]
        self._clients.append(Client(self.host.address))
        until(lambda: len(self.info["clients"]) + self.info["refused"] > had)
        return self._clients[-1]

    def send(self, packets: list[Packet], stream: str = "hall.packets") -> None:
        """Publish, once it is read, and wait until all of it has been taken."""
        publisher = self.packets[stream]
        assert publisher.wait_wanted(PATIENCE_S)
        had = self.host.report().frames
        for count, packet in enumerate(packets, 1):
            publisher.publish(now(packet))
            until(
                lambda count=count: self.host.report().frames >= had + count, lambda: str(self.host.report())
            )

    def got(self, client: Client) -> bytes:
        """All that was sent to this client."""
        address = "{}:{}".format(*client.sock.getsockname())
        (nbytes,) = (told["bytes"] for told in self.info["clients"] if told["address"] == address)
        until(lambda: len(client.data) >= nbytes)
        return client.data

    def stop(self) -> None:
        self.link.stop()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self.stop()
        for client in self._clients:
            client.close()
        for publisher in self.packets.values():
            publisher.close()
        self.link.close()
        self._theirs.close()


Make = Callable[..., Sending]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[Sending] = []

    def new(**options: Any) -> Sending:
        made.append(Sending(**options))
        return made[-1]

    yield new
    for one in made:
        one.close()


def until(condition: Callable[[], object], what: Callable[[], str] = str) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, what()
        time.sleep(0.002)


def now(packet: Packet) -> Packet:
    """`packet`, captured now."""
    return replace(packet, captured_ns=time.monotonic_ns())


def jpegs(data: bytes) -> list[int | None]:
    with av.open(io.BytesIO(data), format="mpjpeg") as container:
        return [read_counter(frame.to_ndarray(format="gray")) for frame in container.decode(video=0)]


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_what_the_camera_sends_goes_to_everybody(make: Make, film: Film, codec: str) -> None:
    sending = make()
    first = sending.connect()
    packets = camera(film(codec), laps=2)
    sending.send(packets[:25])
    second = sending.connect()
    sending.send(packets[25:])
    assert played(sending.got(first)).numbers == 2 * LAP
    assert played(sending.got(second)).numbers == [*LAP[20:], *LAP], "from the newest key frame on"
    assert bytes(packets[0].data) in b"".join(_payloads(sending.got(first))), "not encoded again"


def _payloads(data: bytes) -> Iterator[bytes]:
    """What the transport packets of the pictures carry, without the heads of PES."""
    with av.open(io.BytesIO(data), format="mpegts") as container:
        for packet in container.demux(video=0):
            yield bytes(packet)


def test_nothing_is_read_for_nobody(make: Make, film: Film) -> None:
    sending = make()
    until(lambda: sending.host.report().detail == "nobody is connected")
    assert not sending.packets["hall.packets"].wanted
    client = sending.connect()
    sending.send(camera(film("h264"))[:5])
    client.close()
    until(lambda: not sending.packets["hall.packets"].wanted)
    until(lambda: sending.host.report().detail == "nobody is connected")
    sending.packets["hall.packets"].forget()
    again = sending.connect()
    sending.send(camera(film("h264"), laps=2)[60:])
    assert played(sending.got(again)).numbers == LAP[20:], "and nothing of what was before"


def test_a_camera_of_another_codec_is_read_where_it_is_encoded_once(make: Make, film: Film) -> None:
    sending = make(streams=("hall.packets", "hall.live"))
    client = sending.connect()
    assert sending.packets["hall.packets"].wait_wanted(PATIENCE_S)
    sending.packets["hall.packets"].publish(now(camera(film("mjpeg"))[0]))
    sending.send(camera(film("h264")), "hall.live")
    assert played(sending.got(client)).numbers == LAP
    assert not sending.packets["hall.packets"].wanted
    assert sending.host.report().state is State.RUNNING


def test_what_cannot_be_sent_is_a_state(make: Make, film: Film) -> None:
    sending = make(instead=None)
    client = sending.connect()
    assert sending.packets["hall.packets"].wait_wanted(PATIENCE_S)
    sending.packets["hall.packets"].publish(now(camera(film("mjpeg"))[0]))
    until(lambda: sending.host.report().state is State.DEGRADED)
    assert sending.host.report().detail == "codec 'mjpeg' is not sent as MPEG-TS, allowed: h264, hevc"
    sending.send(camera(film("h264")))
    assert sending.host.report().state is State.RUNNING
    assert played(sending.got(client)).numbers == LAP


def test_jpeg(make: Make, film: Film) -> None:
    sending = make(streams=("hall.view",), format="mjpeg", instead=None)
    client = sending.connect()
    sending.send(camera(film("mjpeg")), "hall.view")
    assert jpegs(sending.got(client)) == LAP


def test_another_codec_is_another_stream(make: Make, film: Film) -> None:
    """No player goes on with it: all are let go, and find the new stream when they come again."""
    sending = make()
    client = sending.connect()
    packets = camera(film("h264"))
    sending.send(packets)
    sending.packets["hall.packets"].publish(now(camera(film("hevc"))[0]))
    assert client.is_over.wait(PATIENCE_S)
    assert played(client.data).numbers == LAP
    until(lambda: not sending.packets["hall.packets"].wanted)
    sending.packets["hall.packets"].forget()
    again = sending.connect()
    sending.send(camera(film("hevc")))
    assert played(sending.got(again)).numbers == LAP


def test_a_camera_that_dies_and_returns(make: Make, film: Film) -> None:
    sending = make()
    client = sending.connect()
    sending.send(camera(film("h264"))[:15])
    sending.packets["hall.packets"].close()
    sending.packets["hall.packets"] = PacketPublisher("hall.packets")
    sending.send(camera(film("h264")))
    seen = played(sending.got(client))
    assert seen.numbers == [*LAP[:15], *LAP]
    assert seen.pts == sorted(set(seen.pts)), "time goes on"


def test_a_film_that_ends_is_waited_for_again(make: Make, film: Film) -> None:
    sending = make()
    client = sending.connect()
    sending.send(camera(film("h264")))
    sending.packets["hall.packets"].end()
    until(lambda: "hall.packets" in sending.host.report().detail)
    sending.packets["hall.packets"].close()
    sending.packets["hall.packets"] = PacketPublisher("hall.packets")
    sending.send(camera(film("h264")))
    assert played(sending.got(client)).numbers == 2 * LAP


def test_lost_packets_are_counted_and_it_goes_on_at_a_key_frame(
    make: Make, film: Film, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host is held up for so long that the camera's worker has to leave out some."""
    sending = make(memory_bytes=64 << 10)
    client = sending.connect()
    packets = camera(film("h264"), laps=6)
    sending.send(packets[:5])
    held, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        go_on.wait(PATIENCE_S)

    monkeypatch.setattr(sending.host, "_limit", hold)
    changing = threading.Thread(target=sending.host.change, args=({"patience_s": 9},))
    changing.start()
    assert held.wait(PATIENCE_S)
    for packet in packets[5:205]:
        sending.packets["hall.packets"].publish(now(packet))
    go_on.set()
    changing.join(PATIENCE_S)
    for seq, packet in enumerate(packets[205:], 206):
        sending.packets["hall.packets"].publish(now(packet))
        until(lambda seq=seq: sending.host._last_seq == seq)
    numbers = played(sending.got(client)).numbers
    assert numbers[:5] == LAP[:5]
    assert numbers[-35:] == LAP[5:]
    gaps = [(a, b) for a, b in itertools.pairwise(numbers) if b != ((a or 0) + 1) % FRAMES]
    assert gaps
    assert all(b is not None and b % GOP == 0 for _, b in gaps), "a key frame follows a gap"
    (told,) = sending.info["clients"]
    assert told["dropped"] == sending.host.report().dropped == len(packets) - len(numbers) > 100


def test_the_report(make: Make, film: Film) -> None:
    sending = make()
    client = sending.connect()
    sending.send(camera(film("h264")))
    data = sending.got(client)
    report = sending.host.report()
    assert (report.state, report.detail, report.frames, report.dropped) == (State.RUNNING, "", FRAMES, 0)
    assert report.values == {"max_clients": 100, "patience_s": 30.0}
    assert [one["name"] for one in report.declared] == ["max_clients", "patience_s"]
    (told,) = report.info["clients"]
    assert told["bytes"] == len(data)
    assert told["address"] == "{}:{}".format(*client.sock.getsockname())
    assert 0 < told["since_utc_ns"] <= time.time_ns()
    assert report.info == {
        "format": "mpegts",
        "address": sending.host.address,
        "clients": [told],
        "refused": 0,
        "last_refused": "",
    }
    assert [reader.client for reader in sending.packets["hall.packets"].readers()] == ["hall-tcp"]


def test_a_camera_that_says_nothing_is_waited_for(make: Make, film: Film) -> None:
    clock = FakeClock()
    sending = make(clock=clock)
    sending.connect()
    assert sending.packets["hall.packets"].wait_wanted(PATIENCE_S)
    clock.advance(5)
    until(lambda: sending.host.report().detail == "waiting for packets of 'hall.packets'")
    assert sending.host.report().state is State.RUNNING
    sending.send(camera(film("h264")))
    until(lambda: sending.host.report().detail == "")


def test_parameters_change_while_it_sends(make: Make, film: Film) -> None:
    sending = make()
    stays = sending.connect()
    assert sending.host.change({"max_clients": "1", "patience_s": 5}) == {"max_clients": 1, "patience_s": 5.0}
    refused = sending.connect()
    assert refused.is_over.wait(PATIENCE_S)
    assert sending.info["refused"] == 1
    assert sending.info["last_refused"].endswith("there are 1 clients already")
    sending.send(camera(film("h264"))[:3])
    assert not stays.is_over.is_set()
    with pytest.raises(ParameterError, match="max_clients: read 0, allowed: a whole number from 1 to 1000"):
        sending.host.change({"max_clients": 0})
    with pytest.raises(ParameterError, match="port: no such parameter"):
        sending.host.change({"port": 1})


def test_a_port_that_is_taken_needs_a_person(make: Make) -> None:
    port = int(make().host.address.rpartition(":")[2])
    link, theirs = Link.pair()
    config = {"camera": "hall", "host": "127.0.0.1", "port": port, "allow": [], "format": "mpegts"}
    with pytest.raises(
        NeedsPerson, match=rf"^'b': port {port} of 127.0.0.1 is in use by another program; choose"
    ):
        TcpHost(WorkerSpec("b", "tcp", "", config | {"instead": None}, {}, ("hall.packets",)), link)
    link.close()
    theirs.close()


def test_commands_and_an_end_with_clients(make: Make) -> None:
    sending = make()
    client = sending.connect()
    with pytest.raises(CommandError, match="knows no command 'start'"):
        sending.host.command("start", {})
    sending.stop()
    assert client.is_over.wait(PATIENCE_S)
    with pytest.raises(CommandError, match="the worker ended"):
        sending.host.change({"max_clients": 5})
