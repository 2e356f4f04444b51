"""A plain RTSP client for tests that look at single messages and packets; blocking, on one connection."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


class RtspClient:
    """`ask` sends a request and reads its answer; packets that come before it are kept for `packets`."""

    def __init__(self, url: str, timeout_s: float = 20.0, receive_buffer_bytes: int | None = None) -> None:
        parts = urlsplit(url)
        self.url = url
        self.session = ""
        self._cseq = 0
        self._kept: list[tuple[int, bytes]] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer_bytes is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self._socket.settimeout(timeout_s)
        self._socket.connect((parts.hostname, parts.port))
        self._file = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def ask(self, method: str, path: str = "", **headers: str) -> Answer:
        self._cseq += 1
        lines = [f"{method} {self.url}{path} RTSP/1.0", f"CSeq: {self._cseq}"]
        if self.session:
            lines.append(f"Session: {self.session}")
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.send("\r\n".join(lines).encode() + b"\r\n\r\n")
        return self._answer()

    def play(self, transport: str = "RTP/AVP/TCP;unicast;interleaved=0-1") -> Answer:
        """SETUP and PLAY; returns PLAY's answer."""
        setup = self.ask("SETUP", "/trackID=0", Transport=transport)
        assert setup.status == 200, setup
        self.session = setup.headers["session"].partition(";")[0]
        return self.ask("PLAY")

    def packets(self) -> Iterator[tuple[int, bytes]]:
        """Interleaved packets as (channel, packet), to the end of the connection."""
        while True:
            if self._kept:
                yield self._kept.pop(0)
                continue
            head = self._file.read(4)
            if len(head) < 4:
                return
            assert head[:1] == b"$", head
            yield head[1], self._file.read(int.from_bytes(head[2:], "big"))

    def at_end(self) -> bool:
        """Wait for the end of the connection, reading past what still comes; False where it times out."""
        try:
            while self._file.read(1):
                pass
        except TimeoutError:
            return False
        except OSError:
            pass
        return True

    def _answer(self) -> Answer:
        while (first := self._file.read(1)) == b"$":
            head = self._file.read(3)
            self._kept.append((head[0], self._file.read(int.from_bytes(head[1:], "big"))))
        if not first:
            raise ConnectionResetError("the connection ended instead of an answer")
        lines = [first + self._file.readline()]
        while lines[-1] not in (b"\r\n", b""):
            lines.append(self._file.readline())
        pairs = (line.decode().partition(":") for line in lines[1:-1])
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        body = self._file.read(int(headers.get("content-length", 0)))
        return Answer(int(lines[0].split()[1]), headers, body)


@dataclass(frozen=True)
class Rtp:
    """The fields of an RTP packet."""

    payload_type: int
    marker: bool
    sequence: int
    ticks: int
    ssrc: int
    payload: bytes

    @staticmethod
    def parse(packet: bytes) -> Rtp:
        first, second, sequence, ticks, ssrc = struct.unpack("!BBHII", packet[:12])
        assert first == 0x80
        return Rtp(second & 127, bool(second & 128), sequence, ticks, ssrc, packet[12:])


@dataclass(frozen=True)
class SenderReport:
    """The fields of an RTCP sender report; `unix_s` from its NTP time."""

    ssrc: int
    unix_s: float
    ticks: int
    packets: int
    octets: int

    @staticmethod
    def parse(packet: bytes) -> SenderReport:
        version, kind, words, ssrc, ntp, ticks, packets, octets = struct.unpack("!BBHIQIII", packet[:28])
        assert (version, kind, words) == (0x80, 200, 6)
        return SenderReport(ssrc, ntp / (1 << 32) - 2_208_988_800, ticks, packets, octets)
