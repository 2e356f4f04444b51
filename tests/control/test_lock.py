"""One supervisor per site, whatever happened to the last one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from frameloom.control.lock import SiteLock, socket_address
from frameloom.model.errors import NeedsPerson, StreamBusy


def test_the_second_is_told_who_has_it(runtime_dir: Path) -> None:
    with SiteLock("hall"):
        for _ in range(2):
            with pytest.raises(
                StreamBusy, match=rf"site 'hall' is already running \(process {os.getpid()}\)"
            ):
                SiteLock("hall").acquire()
        with SiteLock("yard"):
            pass
    with SiteLock("hall"):
        pass


def test_a_killed_holder_holds_nothing(runtime_dir: Path) -> None:
    code = """
import time
from frameloom.control.lock import SiteLock
SiteLock("hall").acquire()
print("taken", flush=True)
time.sleep(1000)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(StreamBusy, match=f"process {holder.pid}"):
            SiteLock("hall").acquire()
        holder.kill()
        holder.wait()
        with SiteLock("hall"):
            pass


def test_a_forked_child_does_not_keep_it(runtime_dir: Path) -> None:
    """A program that embeds a supervisor may fork: the copy must not outlive the original."""
    wait_read, wait_write = os.pipe()
    lock = SiteLock("hall")
    lock.acquire()
    child = os.fork()
    if child == 0:
        os.close(wait_write)
        os.read(wait_read, 1)
        os._exit(0)
    try:
        lock.release()
        with SiteLock("hall"):
            pass
    finally:
        os.close(wait_write)
        os.close(wait_read)
        os.waitpid(child, 0)


def test_the_lock_is_for_its_owner_only(runtime_dir: Path) -> None:
    with SiteLock("hall"):
        assert (runtime_dir / "hall" / "site.lock").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["", "..", "a/b", "Hall", "x" * 49])
def test_a_name_that_is_no_name_is_refused(runtime_dir: Path, name: str) -> None:
    with pytest.raises(NeedsPerson, match="site name"):
        SiteLock(name).acquire()


def test_an_address_is_short_however_long_the_path(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 200)
    folder.mkdir()
    with socket_address(folder / "control.sock") as address:
        assert len(address) < 108
        Path(address).write_text("here")
    assert (folder / "control.sock").read_text() == "here"
