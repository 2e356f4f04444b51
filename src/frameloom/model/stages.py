"""The three stages: a source gives packets, a processor takes frames and says results, a sink takes things out.

This page is the core idea. What runs them is `frameloom.workers`, what connects them is `frameloom.bus`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Protocol

from .frame import Frame
from .packet import Packet, PacketFormat
from .parameters import Parameter, declared, validate_all


class Source(Protocol):
    """Something that yields encoded packets: a camera, a URL, a file, a device, a test picture.

    `live` is True where the world sets the pace: a late reader loses pictures. A source that is not live waits.
    """

    name: str
    live: bool

    def open(self) -> PacketFormat:
        """Connect. Raises `SourceLost` (retry) or `SourceMisconfigured` (a person must change something)."""

    def packets(self) -> Iterator[Packet]:
        """Packets as they come, until the proper end. Raises `SourceLost` when they stop coming."""

    def close(self) -> None:
        """Let go of the device or connection; never raises, may be called twice."""


class Processor:
    """Takes a frame, says what it saw. Subclass, declare parameters, write `process`.

    The same code runs on live cameras and on files, in a worker process of its own: it may crash, hang or leak
    without harm to others. It must not care which: time is `frame.pts_ns`.
    """

    parameters: ClassVar[dict[str, Parameter[Any]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.parameters = declared(cls)

    def __init__(self, **values: Any) -> None:
        """`values` are parameters by name; raises `ParameterError` for what is unknown or unfit."""
        defaults = {name: parameter.default for name, parameter in self.parameters.items()}
        self._values: dict[str, Any] = defaults | validate_all(self.parameters, values)

    def start(self) -> None:
        """Called once in the worker, before the first frame; load models here."""

    def process(self, frame: Frame) -> Mapping[str, Any] | None:
        """Look at one frame; return JSON values (see `Result.values`) or None for nothing to say."""
        raise NotImplementedError(f"{type(self).__name__}.process")

    def changed(self, names: frozenset[str]) -> None:
        """Called between two frames, after the named parameters have taken new values."""

    def stop(self) -> None:
        """Called once, after the last frame; let go of what `start` took. May return late events as `process` does."""

    def change(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Take new parameter values, all or none; returns the canonical ones. For the worker that hosts this."""
        taken = validate_all(self.parameters, values)
        self._values = {**self._values, **taken}
        self.changed(frozenset(taken))
        return taken

    @property
    def values(self) -> dict[str, Any]:
        """The present value of every parameter."""
        return dict(self._values)
