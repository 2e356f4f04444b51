"""The server's host: the port it has, what it says of itself, and its end."""

from __future__ import annotations

import os
import socket
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from frameloom.accounts.store import Accounts, first_admin
from frameloom.model.errors import NeedsPerson
from frameloom.model.worker import State, WorkerSpec
from frameloom.server.host import LastPort, ServerHost, listen, url_of
from frameloom.workers.link import Link

PATIENCE_S = 60.0


def spec(**config: Any) -> WorkerSpec:
    return WorkerSpec("server", "server", "", config, site="test")


@contextmanager
def hosted(**config: Any) -> Iterator[ServerHost]:
    """A ServerHost in a thread, until the end of the block."""
    link, theirs = Link.pair()
    host = ServerHost(spec(**config), link)
    thread = threading.Thread(target=host.run)
    thread.start()
    try:
        yield host
    finally:
        link.stop()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
        link.close()
        theirs.close()


def url(host: ServerHost) -> str:
    """Its address, once it has one."""
    while not (found := host.report().info.get("url")):
        threading.Event().wait(0.005)
    return str(found)


def port(host: ServerHost) -> int:
    return int(url(host).rsplit(":", 1)[1].rstrip("/"))


def test_it_says_where_it_is(runtime_dir: Path) -> None:
    with hosted(port=0) as host:
        address = url(host)
        report = host.report()
        assert report.state is State.RUNNING and report.detail == ""
        assert report.info == {"url": address, "viewers": 0, "missed": 0}
        with urllib.request.urlopen(address, timeout=PATIENCE_S) as answer:
            assert b"Frameloom" in answer.read()


def test_any_port_is_the_same_port_again(runtime_dir: Path) -> None:
    with hosted(port=0) as host:
        first = port(host)
    with hosted(port=0) as host:
        assert port(host) == first
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", first))
        taken.listen()
        with hosted(port=0) as host:
            assert port(host) != first


@pytest.mark.parametrize("text", ["", "nonsense", "70000", "80", "-1", "\xff\xff"])
def test_a_last_port_that_makes_no_sense(tmp_path: Path, text: str) -> None:
    file = tmp_path / "server.port"
    file.write_text(text)
    assert LastPort(file).read() == []
    LastPort(file).write(9000)
    assert LastPort(file).read() == [9000]
    assert LastPort(tmp_path / "missing" / "x").read() == []
    LastPort(tmp_path / "missing" / "x").write(9000)


def test_a_busy_port_is_said_with_its_holder(runtime_dir: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        link, theirs = Link.pair()
        with pytest.raises(NeedsPerson, match=rf"port {number} is in use by process {os.getpid()} "):
            ServerHost(spec(port=number), link).run()
        link.close()
        theirs.close()


def test_an_address_of_another_machine(runtime_dir: Path) -> None:
    link, theirs = Link.pair()
    with pytest.raises(NeedsPerson, match=r"server\.host: this machine has no address 192\.0\.2\.1"):
        ServerHost(spec(host="192.0.2.1", port=0), link).run()
    link.close()
    theirs.close()


def test_a_server_for_everybody_says_that_it_has_no_login(runtime_dir: Path) -> None:
    link, theirs = Link.pair()
    detail = ServerHost(spec(host="0.0.0.0", login=False), link).report().detail
    assert detail.startswith("listening on 0.0.0.0 without a login")
    link.close()
    theirs.close()


def test_a_server_that_nobody_can_log_in_to_says_so(runtime_dir: Path, state_dir: Path) -> None:
    link, theirs = Link.pair()
    host = ServerHost(spec(host="0.0.0.0"), link)
    assert host.report().detail == "nobody can log in yet: frameloom user add NAME --role admin"
    first_admin(Accounts("test"))
    assert host.report().detail == ""
    link.close()
    theirs.close()


def test_addresses_for_a_browser() -> None:
    assert url_of("127.0.0.1", 8080) == "http://127.0.0.1:8080/"
    assert url_of("0.0.0.0", 80) == "http://127.0.0.1:80/"
    assert url_of("::1", 8080) == "http://[::1]:8080/"
    assert url_of("::", 8080) == "http://[::1]:8080/"
    assert url_of("0.0.0.0", 443, "https") == "https://127.0.0.1:443/"
    assert url_of("192.168.1.5", 8080) == "http://192.168.1.5:8080/"


def test_ipv6(runtime_dir: Path) -> None:
    try:
        listen("::1", 0).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with hosted(host="::1", port=0) as host, urllib.request.urlopen(url(host), timeout=PATIENCE_S) as answer:
        assert answer.status == 200


def test_what_is_not_sent_yet_is_little() -> None:
    """A slow viewer must not be many pictures behind: they would wait in the kernel."""
    with listen("127.0.0.1", 0) as listener:
        assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) <= 1 << 17
        assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) > 0
