"""What a changed specification means for a worker. Decided here and nowhere else, for `Supervisor.apply`, which does
it, and for who asks before a change what it would do.

Looks and decides; touches no worker.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from frameloom.model.worker import State, WorkerSpec

_AT_WORK = (State.STARTING, State.RUNNING, State.DEGRADED)
_HOPELESS = (State.FAILED, State.BACKOFF)
_NOTHING = object()


class Does(StrEnum):
    """What becomes of a worker's process."""

    STARTS = "starts"
    ENDS = "ends"
    RESTARTS = "restarts"
    CHANGES = "changes"  # its parameters, while it runs: no frame is lost
    STAYS = "stays"


@dataclass(frozen=True, slots=True)
class Present:
    """A worker as it is now. `defaults` are those of the parameters that it declared, empty before it has run."""

    spec: WorkerSpec
    state: State
    takes_commands: bool
    defaults: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Step:
    """What is to be done with one worker. `values`: parameters to set, None where no parameter differs or all do."""

    does: Does
    why: str
    values: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """A step in words, for people."""

    worker: str
    kind: str
    does: Does
    why: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def step(present: Present, spec: WorkerSpec) -> Step:
    """What has to be done so that a worker that is `present` becomes `spec`."""
    old = present.spec
    if same(old, spec):
        return Step(Does.STAYS, "nothing of it is changed")
    if structure(old) != structure(spec):
        return _rebuilt(present, spec, ", ".join(_differing(old, spec)))
    if _same_json(old.params, spec.params):
        return _switched(present, spec) or Step(Does.STAYS, "it is so already")
    return _reset(present, spec)


def first_step(spec: WorkerSpec) -> Step:
    """What has to be done with a worker that is not there yet."""
    if spec.enabled:
        return Step(Does.STARTS, "it is new")
    return Step(Does.STAYS, "it is new, and switched off")


def changes(
    present: Mapping[str, Present], wanted: Mapping[str, WorkerSpec], steps: Mapping[str, Step] | None = None
) -> list[Change]:
    """What happens to each worker, those to be removed first. `steps` are those that were decided already."""
    steps = steps or {}
    gone = [
        Change(name, one.spec.kind, Does.ENDS, "the site has it no more")
        for name, one in present.items()
        if name not in wanted
    ]
    kept = [
        _told(spec, steps.get(name) or (step(present[name], spec) if name in present else first_step(spec)))
        for name, spec in wanted.items()
    ]
    return gone + kept


def structure(spec: WorkerSpec) -> str:
    """All of it that only a new process can take."""
    return _canonical(replace(spec, params={}, enabled=True).to_json())


def same(one: WorkerSpec, other: WorkerSpec) -> bool:
    """Whether they say the same."""
    return _same_json(one.to_json(), other.to_json())


def _told(spec: WorkerSpec, one: Step) -> Change:
    return Change(spec.name, spec.kind, one.does, one.why)


def _rebuilt(present: Present, spec: WorkerSpec, what: str) -> Step:
    if not spec.enabled:
        return _switched(present, spec) or Step(Does.STAYS, f"changed: {what}; it is switched off")
    if present.takes_commands or (present.state is State.STOPPING and present.spec.enabled):
        return Step(Does.RESTARTS, f"changed: {what}")
    return Step(Does.STARTS, f"changed: {what}")


def _reset(present: Present, spec: WorkerSpec) -> Step:
    """Parameters that are named no more go back to their defaults, where these are known."""
    old = present.spec
    gone = old.params.keys() - spec.params.keys()
    names = ", ".join(sorted(_unlike(old.params, spec.params)))
    if not gone <= present.defaults.keys():
        return _rebuilt(present, spec, names)
    values = {name: present.defaults[name] for name in gone} | spec.params
    switched = _switched(present, spec)
    if switched is not None:
        return replace(switched, values=values)
    when = "while it runs, and no frame is lost" if present.takes_commands else "from its next start on"
    return Step(Does.CHANGES, f"changed: {names}; {when}", values)


def _switched(present: Present, spec: WorkerSpec) -> Step | None:
    """What follows from its being on or off alone; None if nothing does."""
    state = present.state
    if not spec.enabled:
        ends = state not in (State.IDLE, State.STOPPING)
        return Step(Does.ENDS, "it is switched off") if ends else None
    if not present.spec.enabled and state not in _AT_WORK:
        return Step(Does.STARTS, "it is switched on")
    return Step(Does.STARTS, "it is tried again") if state in _HOPELESS else None


def _differing(old: WorkerSpec, spec: WorkerSpec) -> Iterator[str]:
    """The names of what only a new process can take; never a value, for it may be a password."""
    yield from (name for name in ("kind", "host") if getattr(old, name) != getattr(spec, name))
    if list(old.streams) != list(spec.streams):
        yield "stream"
    for key in sorted(_unlike(old.config, spec.config)):
        one, other = old.config.get(key), spec.config.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            yield from sorted(_unlike(one, other))
        else:
            yield key


def _unlike(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterable[str]:
    return [
        name
        for name in one.keys() | other.keys()
        if not _same_json(one.get(name, _NOTHING), other.get(name, _NOTHING))
    ]


def _same_json(one: Any, other: Any) -> bool:
    return _canonical(one) == _canonical(other)


def _canonical(value: Any) -> str:
    """As it travels: a tuple is a list, and the order of keys says nothing."""
    return json.dumps(value, sort_keys=True, default=str)
