"""Where pictures come from: cameras, films, devices, test pictures. One contract, `frameloom.model.stages.Source`.

`settings` and this page load no codec; what opens and decodes is loaded when it is used. Sources know nothing of the
bus and of workers: `frameloom.workers` takes their packets and decodes them with `frameloom.sources.decode`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from .settings import Kind, SourceSettings

if TYPE_CHECKING:  # the stages know pictures, and with them NumPy: too much for who only reads settings
    from frameloom.model.clock import Clock
    from frameloom.model.stages import Source

__all__ = ["Kind", "SourceSettings", "open_source"]


def open_source(name: str, settings: SourceSettings, clock: Clock) -> Source:
    """The source that `settings` describe, not yet connected: call its `open()`. `name` stands in every message."""
    # By name, so that whoever only describes sources is seen to import no codec.
    if settings.kind is Kind.SYNTHETIC:
        synthetic = importlib.import_module("frameloom.sources.synthetic")
        source: Source = synthetic.open_synthetic(name, settings, clock)
    else:
        source = importlib.import_module("frameloom.sources.av_source").AvSource(name, settings, clock)
    return source
