"""Where the sockets of running sites are: `<runtime root>/<site>/<stream>.sock`, readable by their owner only."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from frameloom.model.errors import NeedsPerson
from frameloom.model.names import check_name, check_stream

_LONGEST_ADDRESS = 107  # bytes of sun_path, less the closing zero
_LONGEST_NAME = _LONGEST_ADDRESS - len("/proc/self/fd/1048576/")


def runtime_root() -> Path:
    """The folder that holds one folder per running site; created with mode 0700 if it is not there.

    `$FRAMELOOM_RUNTIME_DIR`, else `$XDG_RUNTIME_DIR/frameloom`, else `/tmp/frameloom-<uid>`.
    Raises `NeedsPerson` if it belongs to another user or others may enter it.
    """
    chosen = os.environ.get("FRAMELOOM_RUNTIME_DIR")
    if chosen is None and (xdg := os.environ.get("XDG_RUNTIME_DIR")):
        chosen = f"{xdg}/frameloom"
    return _private(Path(chosen or f"/tmp/frameloom-{os.getuid()}"))


def site_dir(site: str) -> Path:
    """The folder of one site, created with mode 0700 if it is not there."""
    return _private(runtime_root() / check_name(site, "site"))


def stream_path(site: str, stream: str) -> Path:
    """The socket of one stream. Raises `NeedsPerson` for a name that fits into no socket's address."""
    name = f"{check_stream(stream)}.sock"
    if len(name) > _LONGEST_NAME:
        raise NeedsPerson(f"stream name: read {stream!r}, allowed: {_LONGEST_NAME - 5} characters in all")
    return site_dir(site) / name


def make_again(folder: Path) -> None:
    """Create the folder of a site once more, after somebody has cleaned up."""
    _private(folder.parent)
    _private(folder)


def address(path: Path, dir_fd: int) -> str:
    """What to give to bind() or connect() for `path`, whose folder is open as `dir_fd`.

    A socket address holds 107 bytes; a longer path goes through the open folder, which is always short.
    """
    plain = str(path)
    if len(os.fsencode(plain)) <= _LONGEST_ADDRESS:
        return plain
    return f"/proc/self/fd/{dir_fd}/{path.name}"


def _private(folder: Path) -> Path:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise NeedsPerson(f"runtime folder {folder}: {error.strerror}; set FRAMELOOM_RUNTIME_DIR") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise NeedsPerson(
            f"runtime folder {folder}: it must be a folder of user {os.getuid()} that nobody else may enter (0700);"
            " remove it or set FRAMELOOM_RUNTIME_DIR"
        )
    return folder
