"""The smallest change that leads from one list of workers to another. Making it happen is the supervisor's part."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from frameloom.model.worker import WorkerSpec


@dataclass(frozen=True, slots=True, repr=False)
class Difference:
    """What to do, worker by worker; a worker that is in none of these is left alone.

    removed         names of workers to stop and forget
    added           new workers, to be started where `enabled`
    restarted       workers whose structure changed: stop, take this spec, start where `enabled`
    disabled        workers that are only switched off: stop, keep
    enabled         workers that are only switched on: start
    changed_params  values to set in the running worker, between two pieces of work; None is a parameter that the
                    file no longer sets and that goes back to its declared default (see `with_defaults`)
    """

    removed: tuple[str, ...] = ()
    added: tuple[WorkerSpec, ...] = ()
    restarted: tuple[WorkerSpec, ...] = ()
    disabled: tuple[str, ...] = ()
    enabled: tuple[str, ...] = ()
    changed_params: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return any(
            (self.removed, self.added, self.restarted, self.disabled, self.enabled, self.changed_params)
        )

    def __repr__(self) -> str:
        return f"Difference({self})"

    def __str__(self) -> str:
        """In words, with names only: specs and values may hold secrets."""
        parts = {
            "removed": self.removed,
            "added": [spec.name for spec in self.added],
            "restarted": [spec.name for spec in self.restarted],
            "switched off": self.disabled,
            "switched on": self.enabled,
            "set live": list(self.changed_params),
        }
        return (
            "; ".join(f"{word}: {', '.join(names)}" for word, names in parts.items() if names) or "no change"
        )


def difference(old: Iterable[WorkerSpec], new: Iterable[WorkerSpec]) -> Difference:
    """What changed from `old` to `new`; names are unique in each, orders do not matter."""
    before, after = {spec.name: spec for spec in old}, {spec.name: spec for spec in new}
    common = [(before[name], spec) for name, spec in after.items() if name in before]
    kept = [(a, b) for a, b in common if _same_structure(a, b)]
    return Difference(
        removed=tuple(name for name in before if name not in after),
        added=tuple(spec for name, spec in after.items() if name not in before),
        restarted=tuple(b for a, b in common if not _same_structure(a, b)),
        disabled=tuple(b.name for a, b in kept if a.enabled and not b.enabled),
        enabled=tuple(b.name for a, b in kept if b.enabled and not a.enabled),
        changed_params={b.name: values for a, b in kept if (values := _changed(a.params, b.params))},
    )


def with_defaults(values: Mapping[str, Any], declared: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """`values` with the declared default in place of each None, ready to be sent to the worker.

    `declared` is what the worker reported (`WorkerReport.declared`). A parameter that is no longer declared and
    goes back to its default has nothing to go back to, and is left out.
    """
    defaults = {str(one["name"]): one["default"] for one in declared}
    return {k: defaults[k] if v is None else v for k, v in values.items() if v is not None or k in defaults}


def _same_structure(a: WorkerSpec, b: WorkerSpec) -> bool:
    return _text(replace(a, params={}, enabled=True).to_json()) == _text(
        replace(b, params={}, enabled=True).to_json()
    )


def _changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    gone = {name: None for name in old if name not in new}
    return gone | {k: v for k, v in new.items() if k not in old or _text(old[k]) != _text(v)}


def _text(value: Any) -> str:
    """Equal for equal JSON. Python's own equality takes True for 1."""
    return json.dumps(value, sort_keys=True)
