"""One file of a recording while it is written: it grows by whole pieces, and nothing that was there is overwritten.

When a segment begins and ends is decided by `frameloom.sinks.recorder`.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import threading
from contextlib import suppress
from pathlib import Path

from .names import Segment, day_of, name_of

_MOST_OF_A_NAME = 10_000

log = logging.getLogger(__name__)


class SegmentFile:
    """A new file under its final name. Locked (`flock`) while it is written, so that no retention takes it.

    All raise `OSError`. One thread writes; `finish` leaves the waiting for the disk to a thread of its own.
    """

    def __init__(self, path: Path, fd: int, utc_ns: int, number: int) -> None:
        self.path = path
        self.nbytes = 0
        self._fd = fd
        self._utc_ns, self._number = utc_ns, number

    @classmethod
    def create(cls, folder: Path, camera: str, utc_ns: int) -> SegmentFile:
        """A file for a first picture at `utc_ns`; a name that is taken gets a number. `folder` must be there."""
        day = folder / camera / day_of(utc_ns)
        if not day.is_dir():
            os.stat(folder)  # a disk that is not there must not be replaced by a folder of its name
            day.mkdir(parents=True, exist_ok=True)
        for number in range(1, _MOST_OF_A_NAME):
            path = day / name_of(camera, utc_ns, number)
            with suppress(FileExistsError):
                fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_APPEND, 0o644)
                with suppress(OSError):  # some network file systems have no locks
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return cls(path, fd, utc_ns, number)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))

    def append(self, data: bytes) -> None:
        """All of `data`, or none: what did not fit is taken away again, so that the file ends with a whole piece."""
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._fd, self.nbytes)
            raise
        self.nbytes += len(data)

    @property
    def is_there(self) -> bool:
        """False when somebody has deleted it: what is written now would be lost in the end."""
        try:
            return os.fstat(self._fd).st_nlink > 0
        except OSError:
            return False

    @property
    def segment(self) -> Segment:
        """As it would be found by its name."""
        return Segment(self._utc_ns // 1_000_000, self._number, self.path, self.nbytes)

    def finish(self) -> threading.Thread:
        """Nothing more comes: have it written to the disk, its name too, and let go of it. Returns who does it."""
        fd, self._fd = self._fd, -1
        with suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_UN)
        thread = threading.Thread(target=sync, args=(fd, self.path), name="sync", daemon=True)
        thread.start()
        return thread

    def discard(self) -> None:
        """Remove it: there is no picture in it."""
        fd, self._fd = self._fd, -1
        with suppress(OSError):
            self.path.unlink()
        with suppress(OSError):
            os.close(fd)


def is_being_written(path: Path) -> bool:
    """Whether a recorder, of whatever process, has this file open for writing."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(fd)
    return False


def sync(fd: int, path: Path) -> None:
    """Have a file and its name written to the disk, and close it; raises nothing."""
    try:
        _sync_both(fd, path)
    except OSError as error:
        log.error("%s: the disk may not have kept it: %s", path, error.strerror)
    finally:
        with suppress(OSError):
            os.close(fd)


def _sync_both(fd: int, path: Path) -> None:
    os.fsync(fd)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
