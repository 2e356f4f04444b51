"""Files under their final names: never one over another, never half a piece."""

from __future__ import annotations

import errno
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from frameloom.model.clock import NS_PER_S
from frameloom.sinks.segment import SegmentFile, is_being_written

UTC_NS = 1_795_267_800 * NS_PER_S


@contextmanager
def no_file_larger_than(nbytes: int) -> Iterator[None]:
    """The kernel itself takes no more, in the midst of a write, as when a disk is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def created(folder: Path) -> SegmentFile:
    return SegmentFile.create(folder, "hall", UTC_NS)


def test_a_name_that_is_taken_gets_a_number(tmp_path: Path) -> None:
    files = [created(tmp_path) for _ in range(3)]
    for n, file in enumerate(files):
        file.append(bytes([n]))
        file.finish().join()
    assert [(file.path.name, file.path.read_bytes()) for file in files] == [
        ("hall-20261121T133000.000Z.mp4", b"\0"),
        ("hall-20261121T133000.000Z-2.mp4", b"\1"),
        ("hall-20261121T133000.000Z-3.mp4", b"\2"),
    ]
    assert files[0].path.parent == tmp_path / "hall" / "2026-11-21"


def test_a_piece_that_does_not_fit_is_not_there_at_all(tmp_path: Path) -> None:
    file = created(tmp_path)
    with no_file_larger_than(1500):
        file.append(b"a" * 1000)
        with pytest.raises(OSError, match="File too large") as caught:
            file.append(b"b" * 1000)
    assert caught.value.errno == errno.EFBIG
    assert (file.path.read_bytes(), file.nbytes) == (b"a" * 1000, 1000)
    file.append(b"c" * 1000)
    file.finish().join()
    assert file.path.read_bytes() == b"a" * 1000 + b"c" * 1000


def test_a_folder_that_is_gone_is_not_made_again(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        created(tmp_path / "unmounted")
    assert not (tmp_path / "unmounted").exists()


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "recordings").write_text("")
    with pytest.raises(OSError, match=r"Not a directory|File exists"):
        created(tmp_path / "recordings")


def test_it_says_that_it_was_deleted(tmp_path: Path) -> None:
    file = created(tmp_path)
    assert file.is_there
    file.path.unlink()
    assert not file.is_there
    file.discard()


def test_it_is_locked_while_it_is_written(tmp_path: Path) -> None:
    file = created(tmp_path)
    assert is_being_written(file.path)
    file.finish().join()
    assert not is_being_written(file.path)
    assert not is_being_written(tmp_path / "nowhere.mp4")


def test_discarded(tmp_path: Path) -> None:
    file = created(tmp_path)
    file.discard()
    assert not file.path.exists()
