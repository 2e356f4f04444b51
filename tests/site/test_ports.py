"""Why a port cannot be had, in words."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from frameloom.site.ports import busy_port, holder_of


def error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EADDRINUSE, "port 1 is in use; choose another with --port or server.port in site.yaml"),
        (errno.EACCES, "port 1 needs root; choose one from 1024 to 65535"),
        (
            errno.EADDRNOTAVAIL,
            "server.host: this machine has no address 192.0.2.1; 127.0.0.1 is this machine",
        ),
        (errno.EMFILE, "cannot listen on 192.0.2.1 port 1: Too many open files"),
    ],
)
def test_words(number: int, words: str) -> None:
    assert busy_port("192.0.2.1", 1, error(number)).startswith(words)


def test_a_name_that_nobody_knows() -> None:
    found = busy_port("no.such.name.invalid", 80, socket.gaierror(-2, "Name or service not known"))
    assert found.startswith("server.host: this machine has no address no.such.name.invalid")


def test_the_holder_is_named() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert holder_of(port).startswith(f" by process {os.getpid()} (")
    assert holder_of(port) == ""
