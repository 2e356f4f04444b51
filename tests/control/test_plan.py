"""What is said of a change before it is made is what happens when it is made."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frameloom.control.lifecycle import Exit, Limits
from frameloom.control.plan import Change, Does, Present, changes, step
from frameloom.control.supervisor import Supervisor
from frameloom.model.parameters import Number, declared
from frameloom.model.worker import State, WorkerReport, WorkerSpec

NAMES = ("a", "b", "c")


class Two:
    x = Number(0, minimum=0, maximum=9)
    y = Number(0, minimum=0, maximum=9)


DECLARED = [parameter.declaration() for parameter in declared(Two).values()]
LIMITS = Limits(backoff_s=(3600,), jitter=0, gone_s=30)

HOW = ("running", "running", "running", "starting", "failed", "backoff", "finished", "stopping", "unknown")


class Child:
    """A process that does what its worker's label says: come to work, or to one of its ends."""

    pid = 1

    def __init__(self, spec: WorkerSpec, events: Any, how: str) -> None:
        self.spec, self.events, self.how = spec, events, how
        self.sets: list[dict[str, Any]] = []
        self.ended = False
        asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self) -> None:
        if self.how in ("running", "stopping", "unknown", "finished"):
            known = [] if self.how == "unknown" else DECLARED
            report = WorkerReport(State.RUNNING, declared=known).to_json()
            self.events.message({"report": report})
        words = {"failed": "needs-person", "finished": "done"}.get(self.how)
        if words:
            self.events.message({"ended": {"kind": words, "message": "so", "traceback": None}})
        if words or self.how == "backoff":
            self.end()

    def send(self, message: Mapping[str, Any]) -> None:
        if "set" in message:
            self.sets.append(dict(message["set"]))
            answer = {"reply": message["id"], "ok": True, "result": message["set"]}
            asyncio.get_running_loop().call_soon(self.events.message, answer)
        elif "stop" in message:
            asyncio.get_running_loop().call_later(0.002 if self.how == "stopping" else 0, self.end)

    def end(self) -> None:
        if not self.ended:
            self.ended = True
            self.events.exited(Exit(code=0 if self.how == "finished" else 1))

    def dump(self) -> None:
        pass

    def terminate(self) -> None:
        self.end()

    def kill(self) -> None:
        self.end()

    def usage(self) -> None:
        return None


class Place:
    """Starts such processes; those that are started later come to work."""

    def __init__(self, how: Mapping[str, str]) -> None:
        self.how = dict(how)
        self.children: dict[str, list[Child]] = {}

    def spawn(self, spec: WorkerSpec, events: Any) -> Child:
        child = Child(spec, events, self.how.pop(spec.name, "running"))
        self.children.setdefault(spec.name, []).append(child)
        return child


@dataclass(frozen=True)
class Entry:
    spec: WorkerSpec
    how: str


def specs(name: str) -> st.SearchStrategy[WorkerSpec]:
    params = st.dictionaries(st.sampled_from(("x", "y")), st.integers(0, 2))
    config = st.fixed_dictionaries({"source": st.fixed_dictionaries({"url": st.sampled_from(("p", "q"))})})
    return st.builds(
        WorkerSpec,
        name=st.just(name),
        kind=st.just("camera"),
        host=st.just("nowhere:Nothing"),
        config=config,
        params=params,
        enabled=st.booleans(),
        site=st.just("test"),
    )


Edit = Callable[[WorkerSpec], WorkerSpec]
EDITS: tuple[Edit, ...] = (
    lambda spec: spec,
    lambda spec: replace(spec, config={"source": {"url": "new"}}),
    lambda spec: replace(spec, params={**spec.params, "x": 9}),
    lambda spec: replace(spec, params={}),
    lambda spec: replace(spec, enabled=not spec.enabled),
    lambda spec: replace(spec, streams=("other",)),
)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[dict[str, Entry], dict[str, WorkerSpec]]:
    """A site with its workers in some state, and what it is to be."""
    before, after = {}, {}
    for name in NAMES:
        what = draw(st.sampled_from(("kept", "kept", "kept", "added", "removed")))
        spec = draw(specs(name))
        if what != "added":
            before[name] = Entry(spec, draw(st.sampled_from(HOW)))
        if what != "removed":
            for edit in draw(st.lists(st.sampled_from(EDITS), max_size=2)):
                spec = edit(spec)
            after[name] = spec
    return before, {name: after[name] for name in draw(st.permutations(list(after)))}


async def happened(before: Mapping[str, Entry], after: Mapping[str, WorkerSpec]) -> None:
    """Bring a site to a state, ask what a change would do, make it, and look what was done."""
    place = Place({name: entry.how for name, entry in before.items()})
    supervisor = Supervisor("test", [entry.spec for entry in before.values()], placement=place, limits=LIMITS)
    await supervisor.start()
    await settled()
    place.how.clear()
    stopping = [name for name, entry in before.items() if entry.how == "stopping" and entry.spec.enabled]
    tasks = [asyncio.create_task(supervisor.stop_workers([name])) for name in stopping]
    await asyncio.sleep(0)
    first = {name: list(children) for name, children in place.children.items()}
    states = {name: one["state"] for name, one in supervisor.snapshot()["workers"].items()}
    planned = supervisor.planned(list(after.values()))
    await supervisor.apply(list(after.values()))
    await asyncio.gather(*tasks)
    await settled()
    try:
        assert [one.worker for one in planned] == [
            *(name for name in before if name not in after),
            *after,
        ]
        for one in planned:
            look(one, first.get(one.worker, []), place.children.get(one.worker, []), states, supervisor)
    finally:
        await supervisor.stop()


def look(
    change: Change, first: list[Child], now: list[Child], states: Mapping[str, str], supervisor: Supervisor
) -> None:
    """Whether the processes of a worker are as `change` said."""
    new, old = now[len(first) :], first[-1] if first else None
    state = (supervisor.worker_snapshot(change.worker) or {"state": "idle"})["state"]
    match change.does:
        case Does.STARTS:
            assert len(new) == 1 and not new[0].ended
            assert states.get(change.worker) not in ("running", "starting")
        case Does.RESTARTS:
            assert len(new) == 1 and old and old.ended and not new[0].ended
        case Does.ENDS:
            assert not new and state == "idle" and (old is None or old.ended)
        case Does.CHANGES:
            assert not new and (old is None or old.ended or len(old.sets) == 1)
            assert state == states[change.worker] or (state, states[change.worker]) == ("idle", "stopping")
        case Does.STAYS:
            assert not new and (old is None or not old.sets)
            assert state in ("idle", states.get(change.worker))


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@settings(max_examples=150)
@given(pairs())
def test_a_change_does_what_was_said_before(
    pair: tuple[dict[str, Entry], dict[str, WorkerSpec]],
) -> None:
    asyncio.run(happened(*pair))


@settings(max_examples=60)
@given(pairs())
def test_after_a_change_the_same_change_does_nothing(
    pair: tuple[dict[str, Entry], dict[str, WorkerSpec]],
) -> None:
    before, after = pair

    async def twice() -> None:
        place = Place({name: entry.how for name, entry in before.items()})
        supervisor = Supervisor(
            "test", [entry.spec for entry in before.values()], placement=place, limits=LIMITS
        )
        await supervisor.start()
        await settled()
        place.how.clear()
        await supervisor.apply(list(after.values()))
        await settled()
        assert {one.does for one in supervisor.planned(list(after.values()))} <= {Does.STAYS}
        await supervisor.stop()

    asyncio.run(twice())


BASE = WorkerSpec("w", "camera", "x:Y", {"source": {"url": "p", "transport": "tcp"}}, {"x": 1})


def present(state: State = State.RUNNING, spec: WorkerSpec = BASE) -> Present:
    at_work = state in (State.RUNNING, State.STARTING, State.DEGRADED)
    return Present(spec, state, at_work, {"x": 0, "y": 0})


@pytest.mark.parametrize(
    ("state", "spec", "does", "why"),
    [
        (State.RUNNING, BASE, "stays", "nothing of it is changed"),
        (
            State.RUNNING,
            replace(BASE, params={"x": 2}),
            "changes",
            "changed: x; while it runs, and no frame is lost",
        ),
        (State.IDLE, replace(BASE, params={"x": 2}), "changes", "changed: x; from its next start on"),
        (
            State.RUNNING,
            replace(BASE, params={}),
            "changes",
            "changed: x; while it runs, and no frame is lost",
        ),
        (State.FAILED, replace(BASE, params={"x": 2}), "starts", "it is tried again"),
        (
            State.RUNNING,
            replace(BASE, config={"source": {"url": "secret", "transport": "udp"}}),
            "restarts",
            "changed: transport, url",
        ),
        (State.RUNNING, replace(BASE, streams=("hall",)), "restarts", "changed: stream"),
        (State.BACKOFF, replace(BASE, kind="view"), "starts", "changed: kind"),
        (State.RUNNING, replace(BASE, enabled=False), "ends", "it is switched off"),
        (State.IDLE, replace(BASE, enabled=False), "stays", "it is so already"),
    ],
)
def test_why(state: State, spec: WorkerSpec, does: str, why: str) -> None:
    found = step(present(state), spec)
    assert (found.does, found.why) == (does, why)


def test_a_parameter_of_unknown_default_that_is_named_no_more_wants_a_new_process() -> None:
    one = Present(BASE, State.RUNNING, True, {})
    assert step(one, replace(BASE, params={})).does is Does.RESTARTS


def test_those_that_go_come_first_and_no_value_is_told() -> None:
    off = replace(BASE, name="off", enabled=False)
    found = changes({"w": present()}, {"v": replace(BASE, name="v"), "off": off})
    assert [(one.worker, one.does, one.why) for one in found] == [
        ("w", "ends", "the site has it no more"),
        ("v", "starts", "it is new"),
        ("off", "stays", "it is new, and switched off"),
    ]
