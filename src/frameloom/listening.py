"""Listening on a TCP port for clients that have no protocol of their own: who may come, why a port cannot be had.

What is said to a client belongs to `frameloom.sinks`, what is taken from one to `frameloom.sources`; loads neither.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Iterable

from frameloom.model.errors import NeedsPerson

NETWORKS_ALLOWED = "a list of networks such as 192.168.1.0/24, and of addresses"
_BACKLOG = 128
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 10), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 3))

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Networks:
    """From where clients may come. None named: from this machine only."""

    def __init__(self, texts: Iterable[str]) -> None:
        """Raises `ValueError` for what is no network."""
        self._networks = [network(text) for text in texts]

    def allow(self, host: str) -> bool:
        """Whether a client with this address, as the system tells it, may come."""
        address = _address(host)
        if not self._networks:
            return address.is_loopback
        return any(address in one for one in self._networks)


def network(text: str) -> Network:
    """The network that `text` names. Raises `ValueError`."""
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        raise ValueError(f"read {text!r}, allowed: {NETWORKS_ALLOWED}{_meant(text)}") from None


def is_loopback(host: str) -> bool:
    """True for an address that only this machine reaches. Of names, only 'localhost' is known to be one."""
    try:
        return _address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_reach(host: str, networks: Iterable[str]) -> None:
    """Raise `ValueError` unless each network is one, and some are named where `host` is not this machine alone."""
    some = [network(text) for text in networks]
    if not some and not is_loopback(host):
        raise ValueError(f"missing, {host} can be reached from elsewhere; allowed: {NETWORKS_ALLOWED}")


def listen(name: str, host: str, port: int) -> socket.socket:
    """A socket that accepts without blocking; port 0 is any that is free. `name` stands in the message.

    Raises `NeedsPerson` that says why the port cannot be had.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.create_server(address, family=family, backlog=_BACKLOG)
    except OSError as error:
        raise NeedsPerson(f"{name!r}: {_why(host, port, error)}") from None
    listener.setblocking(False)
    return listener


def keep_alive(client: socket.socket) -> None:
    """Find out within half a minute that the host at the other end is gone, though nobody sends anything."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        client.setsockopt(socket.IPPROTO_TCP, option, value)


def written(address: tuple[str | int, ...]) -> str:
    """'10.0.0.5:9000', '[::1]:9000': what `accept` and `getsockname` tell, as people write it."""
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"


def _address(host: str) -> Address:
    address = ipaddress.ip_address(host.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _meant(text: str) -> str:
    """An address with the length of a network: what people write for the network that it is in."""
    try:
        return f"; did you mean {ipaddress.ip_network(text, strict=False)}?"
    except ValueError:
        return ""


def _why(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is in use by another program; choose another port"
    if error.errno == errno.EACCES:
        return f"port {port} needs root; choose one from 1024 to 65535"
    if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT) or isinstance(error, socket.gaierror):
        return f"this machine has no address {host}; 127.0.0.1 is this machine, 0.0.0.0 all its addresses"
    return f"cannot listen on {host} port {port}: {error.strerror}"
