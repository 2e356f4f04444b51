"""Shared memory: what it promises to either side, in both of its kinds."""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Iterator

import pytest

from frameloom.bus.memory import MappedMemory, OwnedMemory, default_backend, whole_pages
from frameloom.model.errors import NeedsPerson, OutOfMemory, PeerError

PAGE = mmap.PAGESIZE
BACKENDS = ["memfd", "shm"]


@pytest.fixture(params=BACKENDS)
def memory(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[OwnedMemory]:
    monkeypatch.setenv("FRAMELOOM_MEMORY", request.param)
    memory = OwnedMemory(3 * PAGE - 5, "hall")
    yield memory
    memory.close()


def test_what_the_owner_writes_is_what_a_reader_sees(memory: OwnedMemory) -> None:
    memory.reserve(0, memory.size)
    reader = MappedMemory(os.dup(memory.fd), memory.size)
    memory.array[PAGE : PAGE + 4] = [1, 2, 3, 4]
    assert reader.map[PAGE : PAGE + 4] == b"\1\2\3\4"


def test_whole_pages(memory: OwnedMemory) -> None:
    assert memory.size == 3 * PAGE == whole_pages(2 * PAGE + 1)
    assert whole_pages(PAGE) == PAGE


def test_nobody_can_map_what_is_given_away_for_writing(memory: OwnedMemory) -> None:
    with pytest.raises(PermissionError):
        mmap.mmap(memory.fd, PAGE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)


def test_it_has_no_name(memory: OwnedMemory) -> None:
    assert os.fstat(memory.fd).st_nlink == 0
    assert "(deleted)" in os.readlink(f"/proc/self/fd/{memory.fd}")


def test_only_what_is_used_is_taken(memory: OwnedMemory) -> None:
    assert os.fstat(memory.fd).st_blocks == memory.taken_bytes == 0
    memory.reserve(10, 10)
    assert os.fstat(memory.fd).st_blocks * 512 == memory.taken_bytes == PAGE
    memory.reserve(0, PAGE + 1)
    assert os.fstat(memory.fd).st_blocks * 512 == memory.taken_bytes == 2 * PAGE


def test_a_mapping_outlives_the_descriptors() -> None:
    memory = OwnedMemory(PAGE, "hall")
    reader = MappedMemory(os.dup(memory.fd), PAGE)
    memory.array[0] = 7
    memory.close()
    memory.close()
    assert reader.map[0] == 7


def test_people_can_tell_what_it_is_for() -> None:
    memory = OwnedMemory(PAGE, "hall")
    assert os.readlink(f"/proc/self/fd/{memory.fd}") == "/memfd:frameloom:hall (deleted)"
    memory.close()


def test_memory_that_cannot_be_had() -> None:
    with pytest.raises(OutOfMemory, match=r"shared memory of \d+ bytes for hall: "):
        OwnedMemory(1 << 62, "hall")


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_kind_can_be_chosen(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAMELOOM_MEMORY", backend)
    assert default_backend() == backend


def test_a_kind_that_there_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAMELOOM_MEMORY", "paper")
    with pytest.raises(NeedsPerson, match="FRAMELOOM_MEMORY: read 'paper', allowed: memfd, shm"):
        OwnedMemory(PAGE, "hall")


def test_a_system_without_memfd_has_shm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")
    assert default_backend() == "shm"


def test_a_reader_refuses_memory_without_seals() -> None:
    memory = OwnedMemory(PAGE, "hall", "shm")
    with pytest.raises(PeerError, match="not sealed against shrinking"):
        MappedMemory(os.dup(memory.fd), PAGE)
    memory.close()


def test_a_reader_refuses_what_is_no_memory() -> None:
    reading, writing = os.pipe()
    os.close(writing)
    with pytest.raises(PeerError, match="has 0 bytes, 4096 were promised"):
        MappedMemory(reading, PAGE)


def test_the_owner_cannot_take_back_what_it_sealed() -> None:
    memory = OwnedMemory(PAGE, "hall")
    seals = fcntl.fcntl(memory.fd, fcntl.F_GET_SEALS)
    assert seals & fcntl.F_SEAL_SHRINK
    assert seals & fcntl.F_SEAL_GROW
    assert seals & fcntl.F_SEAL_SEAL
    with pytest.raises(PermissionError):
        os.ftruncate(memory.fd, 0)
    memory.close()
