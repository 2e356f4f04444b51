"""How RTP packets reach a client: inside the RTSP connection, or by UDP. Who sends what is not known here."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence
from typing import Protocol

from . import rtp

_DEAD_S = 20.0
"""A client that takes nothing for so long is gone."""


class Link(Protocol):
    """A way for packets to one client."""

    joins_late: bool
    """Whether a client may be sent all since the newest key frame at once when it joins."""

    async def send(self, packets: Sequence[bytes]) -> None:
        """Send RTP packets, waiting where the client is slow. Raises OSError or TimeoutError when it is gone."""

    def send_report(self, packet: bytes) -> None:
        """Send one RTCP packet."""

    def send_junk(self, junk: bytes) -> None:
        """Send bytes that are not even framed, where there is a way to do that."""

    def abort(self) -> None:
        """End the client's connection now."""


class TcpLink:
    """Interleaved in the RTSP connection; the buffer is bounded by the writer's high-water mark."""

    joins_late = True

    def __init__(self, writer: asyncio.StreamWriter, channel: int) -> None:
        self._writer = writer
        self._channel = channel

    async def send(self, packets: Sequence[bytes]) -> None:
        self._writer.write(b"".join([rtp.interleaved(packet, self._channel) for packet in packets]))
        async with asyncio.timeout(_DEAD_S):
            await self._writer.drain()

    def send_report(self, packet: bytes) -> None:
        self._writer.write(rtp.interleaved(packet, self._channel + 1))

    def send_junk(self, junk: bytes) -> None:
        self._writer.write(junk)

    def abort(self) -> None:
        self._writer.transport.abort()


class UdpLink:
    """To a pair of the client's ports. What the kernel does not take at once is lost, as on a real network."""

    joins_late = False  # a second's worth of packets at once would overflow the client's socket
    _burst = 32
    _pause_s = 0.002

    def __init__(self, writer: asyncio.StreamWriter, ports: UdpPorts, host: str, client_port: int) -> None:
        self._writer = writer
        self._ports = ports
        self._rtp_address = (host, client_port)
        self.rtcp_address = (host, client_port + 1)

    async def send(self, packets: Sequence[bytes]) -> None:
        for index, packet in enumerate(packets):
            if index and index % self._burst == 0:
                await asyncio.sleep(self._pause_s)  # large key frames: let the client empty its socket
            _send_or_lose(self._ports.rtp, packet, self._rtp_address)

    def send_report(self, packet: bytes) -> None:
        _send_or_lose(self._ports.rtcp, packet, self.rtcp_address)

    def send_junk(self, junk: bytes) -> None:
        _send_or_lose(self._ports.rtp, junk, self._rtp_address)

    def abort(self) -> None:
        self._writer.transport.abort()


def _send_or_lose(sender: socket.socket, packet: bytes, address: tuple[str, int]) -> None:
    with contextlib.suppress(BlockingIOError):
        sender.sendto(packet, address)


class UdpPorts:
    """The server's pair of UDP ports, RTP on an even one and RTCP on the next, shared by all clients.

    `on_report` is called inside the loop with the address that sent something to either.
    """

    def __init__(self, host: str, on_report: Callable[[tuple[str, int]], None]) -> None:
        self.rtp, self.rtcp = _bind_pair(host)
        self._on_report = on_report
        for sock in (self.rtp, self.rtcp):
            asyncio.get_running_loop().add_reader(sock, self._read, sock)

    @property
    def numbers(self) -> tuple[int, int]:
        return self.rtp.getsockname()[1], self.rtcp.getsockname()[1]

    def close(self) -> None:
        for sock in (self.rtp, self.rtcp):
            asyncio.get_running_loop().remove_reader(sock)
            sock.close()

    def _read(self, sock: socket.socket) -> None:
        try:
            _, address = sock.recvfrom(2048)
        except OSError:
            return
        self._on_report((address[0], address[1]))


def _bind_pair(host: str) -> tuple[socket.socket, socket.socket]:
    """Two neighbouring ports, the lower one even. Raises OSError where a hundred tries find none."""
    for _ in range(100):
        lower = _udp_socket(host, 0)
        number = lower.getsockname()[1]
        try:
            if lower is not None and number % 2 == 0:
                return lower, _udp_socket(host, number + 1)
        except OSError:
            pass
        lower.close()
    raise OSError(f"no two neighbouring UDP ports are free on {host}")


def _udp_socket(host: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    try:
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock
