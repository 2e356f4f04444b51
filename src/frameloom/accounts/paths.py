"""Where a site keeps what must outlive it: `<state root>/<site>/`, readable by its owner only.

Not beside site.yaml, which people share, copy and put under version control; not in the runtime folder, which the
machine forgets when it is switched off.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from frameloom.model.errors import NeedsPerson
from frameloom.model.names import check_name


def state_dir(site: str) -> Path:
    """The folder of one site, which need not be there yet.

    `$FRAMELOOM_STATE_DIR/<site>`, else `$XDG_STATE_HOME/frameloom/<site>`, else `~/.local/state/frameloom/<site>`.
    """
    return _root() / check_name(site, "site")


def make_private(folder: Path) -> Path:
    """Create `folder` with mode 0700 if it is not there; raises `NeedsPerson` if others may enter it."""
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise NeedsPerson(f"state folder {folder}: {error.strerror}; set FRAMELOOM_STATE_DIR") from error
    if not stat.S_ISDIR(found.st_mode) or not is_ours(found):
        raise NeedsPerson(
            f"state folder {folder}: it must be a folder of user {os.getuid()} that nobody else may enter (0700);"
            " put that right or set FRAMELOOM_STATE_DIR"
        )
    return folder


def is_ours(found: os.stat_result) -> bool:
    """Whether nobody else may read it. Root may put right what belongs to a user."""
    return os.getuid() in (found.st_uid, 0) and not found.st_mode & 0o077


def _root() -> Path:
    if chosen := os.environ.get("FRAMELOOM_STATE_DIR"):
        return Path(chosen)
    if xdg := os.environ.get("XDG_STATE_HOME"):
        return Path(xdg) / "frameloom"
    try:
        return Path.home() / ".local" / "state" / "frameloom"
    except RuntimeError as error:
        raise NeedsPerson("state folder: this user has no home; set FRAMELOOM_STATE_DIR") from error
