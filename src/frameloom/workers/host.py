"""The contract of what runs in a worker process. The hosts of cameras, processors and views subclass it.

A host's module is loaded in the child only, so that the supervisor never loads a codec.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from frameloom.model.errors import CommandError, ParameterError
from frameloom.model.worker import WorkerReport, WorkerSpec

from .link import Link


class Host(ABC):
    """Does the work of one worker. Three threads meet here: see each method for which one calls it."""

    def __init__(self, spec: WorkerSpec, link: Link) -> None:
        """Called in the main thread, and counted as work: one that does not return is reported as hung."""
        self.spec = spec
        self.link = link

    @abstractmethod
    def run(self) -> None:
        """Work in the main thread until `link.stopping` is set (`link.stop_fd` is readable then).

        Returning earlier means that the work is done, as when a film was played to its end. Raising
        `NeedsPerson` ends the worker until a person acts; raising anything else is a crash, and the worker is
        started again. Bracket each piece of work with `link.begin()` and `link.end()`: one that takes too
        long is reported as hung. After `run` the process ends at once: no `atexit` function is called, no
        other thread is waited for.
        """

    @abstractmethod
    def report(self) -> WorkerReport:
        """How it goes; `busy_s` is filled in by the link.

        Called on the link thread every 0.5 s and after `link.wake()`; must not wait for the work.
        """

    def change(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Take new parameter values, all or none, and return the canonical ones once they are in effect.

        Called on the command thread, one command at a time. It hands the values to the main thread, which
        applies them between two pieces of work, and waits for that. Raises `ParameterError` for what is
        unknown or unfit.
        """
        names = ", ".join(sorted(values))
        raise ParameterError(f"worker {self.spec.name!r} has no parameters, read: {names}")

    def command(self, name: str, args: Mapping[str, Any]) -> dict[str, Any]:
        """Do something particular to this host; called on the command thread. Raises `CommandError`."""
        raise CommandError("unknown-command", f"worker {self.spec.name!r} knows no command {name!r}")
