"""Names of sites, streams and workers: one rule for all, since they become file names, URLs and MQTT topics."""

from __future__ import annotations

import re

from .errors import NeedsPerson

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,47}")
RESERVED = ("control", "site")  # the control socket and the lock of a site stand in its folder too
ALLOWED = "1 to 48 of a-z, 0-9, '-' and '_', beginning with a letter or digit"


def check_name(name: str, what: str) -> str:
    """Return `name` if it may name a `what` ('camera', 'site', ...), else raise `NeedsPerson`."""
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise NeedsPerson(f"{what} name: read {name!r}, allowed: {ALLOWED}")
    return name


def check_stream(name: str) -> str:
    """Return `name` if it names a stream: a name, or a name and a part, as in 'hall' and 'hall.packets'."""
    for part in name.split(".", 1) if isinstance(name, str) else [name]:
        check_name(part, "stream")
    if name in RESERVED:
        raise NeedsPerson(f"stream name: {name!r} is taken by the site itself, choose another")
    return name


def packets_of(camera: str) -> str:
    """The stream of encoded packets beside the frames of `camera`."""
    return f"{camera}.packets"


def live_of(stream: str) -> str:
    """The stream of H.264 packets that viewers of `stream` share, where the camera itself sends none they can play."""
    return f"{stream}.live"


def view_of(stream: str) -> str:
    """The stream of JPEG pictures that viewers of `stream` share."""
    return f"{stream}.view"


def annotated_of(stream: str) -> str:
    """The stream of JPEG pictures of `stream` with what processors saw drawn on them."""
    return f"{stream}.annotated"


def annotated_live_of(stream: str) -> str:
    """The same as H.264 packets."""
    return f"{stream}.annotated-live"
