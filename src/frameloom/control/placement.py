"""Where workers run: the contract between the supervisor and whatever starts processes.

`frameloom.control.local` runs them on this machine; nothing else in the supervisor assumes that. What is to
be started, when, and what its end means is decided by `frameloom.control.lifecycle`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from frameloom.model.worker import WorkerSpec

from .lifecycle import Exit


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process has used: CPU time since its start in seconds, resident memory now in bytes."""

    cpu_s: float
    memory_bytes: int


class ChildEvents(Protocol):
    """What a placement tells of one child, always on the supervisor's event loop."""

    def message(self, message: dict[str, Any]) -> None:
        """A message came from the worker."""

    def output(self, data: bytes, cut: bool) -> None:
        """The worker wrote a line; `cut` if it was too long to be kept whole."""

    def garbage(self, what: str) -> None:
        """The worker sent something that is no message."""

    def exited(self, how: Exit) -> None:
        """The worker is gone, with all it started; nothing comes after this."""


class Child(Protocol):
    """One started worker. No method waits; after its end all of them do nothing."""

    @property
    def pid(self) -> int:
        """Number of the process where it runs; for people."""

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a message; raises `CommandError` 'busy' if the worker has not read the former ones for long."""

    def dump(self) -> None:
        """Have the worker write to its output what each of its threads is doing, even if it is stuck."""

    def terminate(self) -> None:
        """Tell it to end."""

    def kill(self) -> None:
        """End it, and whatever it has started."""

    def usage(self) -> Usage | None:
        """What it uses; None if that cannot be told."""


class Placement(Protocol):
    """Starts workers somewhere."""

    def spawn(self, spec: WorkerSpec, events: ChildEvents) -> Child:
        """Start one; returns at once. Raises OSError if that is known to be impossible now.

        Called on the supervisor's event loop. A worker must not outlive the supervisor, however that ends.
        """
