"""Where pictures come from: cameras, films, devices, test pictures. One contract, `frameloom.model.stages.Source`.

`settings` and this page load no codec; what opens and decodes is loaded when it is used. Sources know nothing of the
bus and of workers: `frameloom.workers` takes their packets and decodes them with `frameloom.sources.decode`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .settings import Kind, SourceSettings

if TYPE_CHECKING:  # the stages know pictures, and with them NumPy: too much for who only reads settings
    from frameloom.model.clock import Clock
    from frameloom.model.stages import Source

__all__ = ["Kind", "Opener", "SourceSettings", "open_source"]


def open_source(name: str, settings: SourceSettings, clock: Clock) -> Source:
    """The source that `settings` describe, not yet connected: call its `open()`. `name` stands in every message."""
    # By name, so that whoever only describes sources is seen to import no codec.
    if settings.kind is Kind.SYNTHETIC:
        synthetic = importlib.import_module("frameloom.sources.synthetic")
        source: Source = synthetic.open_synthetic(name, settings, clock)
    elif settings.kind is Kind.LISTEN:
        source = importlib.import_module("frameloom.sources.listen").ListenSource(name, settings, clock)
    else:
        source = importlib.import_module("frameloom.sources.av_source").AvSource(name, settings, clock)
    return source


class Opener:
    """Makes the same source again after each loss. What is to outlive a loss, a port, is kept here until `close()`."""

    def __init__(self, name: str, settings: SourceSettings, clock: Clock) -> None:
        self._name = name
        self._settings = settings
        self._clock = clock
        self._door: Any = None
        self._end: Any = None
        self._interrupted = False

    def __call__(self) -> Source:
        """See `open_source`."""
        if self._settings.kind is not Kind.LISTEN:
            return open_source(self._name, self._settings, self._clock)
        listening = importlib.import_module("frameloom.sources.listen")
        if self._door is None:
            self._end = listening.Bell()
            self._door = listening.Door(self._name, self._settings, self._clock, self._end)
            if self._interrupted:
                self._end.ring()
        source: Source = listening.ListenSource(self._name, self._settings, self._clock, self._door)
        return source

    def interrupt(self) -> None:
        """End the wait of a source for a sender, also of one that begins to wait only now; from any thread."""
        self._interrupted = True
        if self._end is not None:
            self._end.ring()

    def close(self) -> None:
        """Let go of what was kept, when the last source has been closed."""
        if self._door is not None:
            self._door.close()
            self._end.close()
