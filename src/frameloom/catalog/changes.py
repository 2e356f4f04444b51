"""Hears what changes below some folders, in a thread of its own: paths are collected until somebody takes them.

What a change means is `keeper`'s business. Where the system does not tell (too many folders), everything is to be
looked at now and then.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import watchfiles

from frameloom.sinks.names import RESULTS_SUFFIX

LOOK_AGAIN_S = 60.0
"""Where the system does not tell of changes: so often all is to be looked at."""

_GROUP_MS = 1000  # what happens within it is told at once
_QUIET_MS = 500
_TICK_MS = 5000  # a folder may appear, or become another one: a disk that is mounted
_MOST_PATHS = 1000

log = logging.getLogger(__name__)
logging.getLogger("watchfiles").setLevel(logging.WARNING)  # or it tells of each change


class Changes:
    """Watches `folders`, also those that are not there yet; their last part is made if only that is missing.

    tell  called in the thread, when there is something to `take`
    """

    def __init__(self, folders: Sequence[Path], tell: Callable[[], None]) -> None:
        self._folders, self._tell = folders, tell
        self._lock = threading.Lock()
        self._paths: set[Path] = set()
        self._all = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="changes", daemon=True)
        self._thread.start()

    def take(self) -> tuple[set[Path], bool]:
        """The paths that changed, and whether all is to be looked at."""
        with self._lock:
            paths, self._paths = self._paths, set()
            everything, self._all = self._all, False
        return paths, everything

    def close(self) -> None:
        """Watch no more."""
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.is_set():
            _make(self._folders)
            there = _identities(self._folders)
            if not there:
                self._stop.wait(_TICK_MS / 1000)
                continue
            try:
                self._watch_these(there)
            except (OSError, RuntimeError) as error:
                log.warning(
                    "changes of recordings are not told (%s): they are looked for once a minute", error
                )
                self._stop.wait(LOOK_AGAIN_S)
                self._note_all()

    def _watch_these(self, there: dict[Path, tuple[int, int]]) -> None:
        """Until the folders are not the same any more."""
        is_first = True
        for changes in watchfiles.watch(
            *there,
            watch_filter=_matters,
            debounce=_GROUP_MS,
            step=_QUIET_MS,
            stop_event=self._stop,
            rust_timeout=_TICK_MS,
            yield_on_timeout=True,
            raise_interrupt=False,
        ):
            if is_first:  # what came before it was watched
                is_first = False
                self._note_all()
            self._note(Path(path) for _, path in changes)
            _make(self._folders)
            if _identities(self._folders) != there:
                self._note_all()
                return

    def _note(self, paths: Iterable[Path]) -> None:
        with self._lock:
            self._paths.update(paths)
            if len(self._paths) > _MOST_PATHS:
                self._paths.clear()
                self._all = True
            is_news = bool(self._paths) or self._all
        if is_news:
            self._tell()

    def _note_all(self) -> None:
        with self._lock:
            self._all = True
        self._tell()


def _matters(change: watchfiles.Change, path: str) -> bool:
    """Of results it matters that they are there; they grow many times a second."""
    return change is not watchfiles.Change.modified or not path.endswith(RESULTS_SUFFIX)


def _make(folders: Sequence[Path]) -> None:
    """As a recorder does: a disk that is not mounted is not replaced by a folder where it should be."""
    for folder in folders:
        with suppress(OSError):
            folder.mkdir(exist_ok=True)


def _identities(folders: Sequence[Path]) -> dict[Path, tuple[int, int]]:
    found = {}
    for folder in folders:
        with suppress(OSError):
            status = folder.stat()
            found[folder] = (status.st_dev, status.st_ino)
    return found
