"""TCP ports: who may come, and what is said of a port that cannot be had."""

from __future__ import annotations

import socket

import pytest

from frameloom.listening import Networks, check_reach, is_loopback, keep_alive, listen, written
from frameloom.model.errors import NeedsPerson


@pytest.mark.parametrize(
    ("networks", "welcome", "strangers"),
    [
        ([], ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"], ["10.0.0.1", "::", "::ffff:10.0.0.1"]),
        (
            ["10.0.0.0/8", "192.0.2.7"],
            ["10.9.9.9", "192.0.2.7", "::ffff:10.1.1.1"],
            ["127.0.0.1", "192.0.2.8", "::1"],
        ),
        (["fe80::/10"], ["fe80::1%eth0"], ["fd00::1", "10.0.0.1"]),
        (["0.0.0.0/0"], ["8.8.8.8"], ["2001:db8::1"]),
    ],
)
def test_who_may_come(networks: list[str], welcome: list[str], strangers: list[str]) -> None:
    known = Networks(networks)
    assert [host for host in welcome + strangers if known.allow(host)] == welcome


@pytest.mark.parametrize("text", ["10.0.0.1/8", "hall", "10.0.0.0/33", ""])
def test_what_is_no_network(text: str) -> None:
    with pytest.raises(
        ValueError, match=r"allowed: a list of networks such as 192\.168\.1\.0/24, and of addresses"
    ):
        Networks([text])


def test_loopback() -> None:
    assert all(is_loopback(host) for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost"))
    assert not any(
        is_loopback(host) for host in ("0.0.0.0", "::", "10.0.0.1", "yard", "localhost.example.org")
    )


def test_an_address_that_others_reach_wants_networks() -> None:
    check_reach("localhost", [])
    check_reach("0.0.0.0", ["10.0.0.0/8"])
    with pytest.raises(ValueError, match=r"^missing, :: can be reached from elsewhere; allowed: a list"):
        check_reach("::", [])
    with pytest.raises(ValueError, match="read 'x', allowed"):
        check_reach("127.0.0.1", ["x"])


def test_a_port_accepts_without_waiting() -> None:
    with listen("hall", "localhost", 0) as listener:
        with pytest.raises(BlockingIOError):
            listener.accept()
        with socket.create_connection(listener.getsockname()[:2]) as client:
            keep_alive(client)
            assert client.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert written(("10.0.0.1", 80)) == "10.0.0.1:80"
    assert written(("::1", 80, 0, 0)) == "[::1]:80"


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("192.0.2.77", "'hall': this machine has no address 192.0.2.77; 127.0.0.1 is this machine"),
        ("no-such-host.invalid", "'hall': this machine has no address no-such-host.invalid; "),
    ],
)
def test_a_port_that_cannot_be_had(host: str, message: str) -> None:
    with pytest.raises(NeedsPerson, match=f"^{message}"):
        listen("hall", host, 0)


def test_a_port_that_is_taken() -> None:
    with listen("hall", "127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(
            NeedsPerson, match=f"^'yard': port {port} of 127.0.0.1 is in use by another program; "
        ):
            listen("yard", "127.0.0.1", port)
