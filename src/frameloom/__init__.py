"""Frameloom: every camera and every video is a named stream of frames that any process can join without copying.

    frameloom.open("rtsp://...")      frames of a camera or film, decoded in a process of its own
    frameloom.attach("hall")          join a stream of a running site
    frameloom.run(Processor, source)  your processor on a camera or film, in a process of its own
    frameloom.Processor               subclass it, declare parameters, write `process`

Names are loaded when they are first used: importing this costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import Capture as Capture
    from .api import attach as attach
    from .api import open as open
    from .api import run as run
    from .bus.subscriber import Subscription as Subscription
    from .model.errors import FrameloomError as FrameloomError
    from .model.errors import StreamEnded as StreamEnded
    from .model.frame import Frame as Frame
    from .model.parameters import Choice as Choice
    from .model.parameters import Integer as Integer
    from .model.parameters import Number as Number
    from .model.parameters import Regions as Regions
    from .model.parameters import Text as Text
    from .model.parameters import Toggle as Toggle
    from .model.result import Result as Result
    from .model.stages import Processor as Processor

_HOMES = {
    "api": ("Capture", "attach", "open", "run"),
    "bus.subscriber": ("Subscription",),
    "model.errors": ("FrameloomError", "StreamEnded"),
    "model.frame": ("Frame",),
    "model.parameters": ("Choice", "Integer", "Number", "Regions", "Text", "Toggle"),
    "model.result": ("Result",),
    "model.stages": ("Processor",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'frameloom' has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOME_OF[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
