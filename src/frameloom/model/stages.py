"""The three stages: a source gives packets, a processor takes frames and says results, a sink takes things out.

This page is the core idea. What runs them is `frameloom.workers`, what connects them is `frameloom.bus`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Protocol, Self

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
        if taken := sorted(cls.parameters.keys() & vars(Processor).keys()):
            raise TypeError(
                f"{cls.__name__}.{taken[0]}: a parameter may not have a name that Processor itself uses"
            )

    def __new__(cls, *args: Any, **values: Any) -> Self:
        # Here and not in __init__, so that a subclass that forgets super().__init__() still has its defaults.
        self = super().__new__(cls)
        self._values = {name: parameter.default for name, parameter in cls.parameters.items()}
        return self

    def __init__(self, **values: Any) -> None:
        """`values` are parameters by name; raises `ParameterError` for what is unknown or unfit."""
        self._values: dict[str, Any] = {**self._values, **validate_all(self.parameters, values)}

    def start(self) -> None:
        """Called once in the worker, before the first frame; load models here."""

    def process(self, frame: Frame) -> Mapping[str, Any] | None:
        """Look at one frame; return JSON values (see `Result.values`) or None for nothing to say."""
        raise NotImplementedError(f"{type(self).__name__}.process")

    def changed(self, names: frozenset[str]) -> None:
        """Called between two frames, after the named parameters have taken new values."""

    def stop(self) -> Mapping[str, Any] | None:
        """Called once, after the last frame; let go of what `start` took. May return late values as `process` does."""
        return None

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
