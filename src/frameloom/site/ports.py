"""Saying in words why a port cannot be had, and who has it. For the command line before it starts a site, and for
the server when it does."""

from __future__ import annotations

import errno
import socket
from contextlib import suppress

import psutil


def busy_port(host: str, port: int, error: OSError) -> str:
    """A sentence for the person who chose `host` and `port`."""
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} is in use{holder_of(port)}; choose another with --port or server.port in site.yaml"
        )
    if error.errno == errno.EACCES:
        return (
            f"port {port} needs root; choose one from 1024 to 65535 with --port or server.port in site.yaml"
        )
    if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT) or isinstance(error, socket.gaierror):
        everywhere = "127.0.0.1 is this machine, 0.0.0.0 all its addresses"
        return f"server.host: this machine has no address {host}; {everywhere}"
    return f"cannot listen on {host} port {port}: {error.strerror}"


def holder_of(port: int) -> str:
    """' by process 123 (nginx)', or nothing if the system does not tell."""
    with suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            if (
                connection.status == psutil.CONN_LISTEN
                and connection.pid
                and _port_of(connection.laddr) == port
            ):
                return f" by process {connection.pid} ({psutil.Process(connection.pid).name()})"
    return ""


def _port_of(address: object) -> int | None:
    port = getattr(address, "port", None)  # an empty tuple where there is no address
    return port if isinstance(port, int) else None
