"""The supervisor: owns every worker of a site and the desired state.

It runs on one event loop, in the foreground of `frameloom up` or in a thread of somebody's program; so it
sets no signal handler and touches nothing that belongs to the whole process. That thread must live as long as
the supervisor: Linux ends the workers with it. Who may give commands is decided by
`frameloom.control.listener`.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import logging
import os
import random
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

from frameloom.model.clock import Clock, SystemClock
from frameloom.model.errors import CommandError, SiteError
from frameloom.model.worker import WorkerSpec

from . import plan
from .feed import Subscription
from .lifecycle import Limits
from .local import LocalPlacement
from .logs import LogLine
from .placement import Placement
from .plan import Change, Does, Step
from .worker import Surroundings, Worker

SAMPLE_EVERY_S = 2.0
MOST_TASKS = 200
T = TypeVar("T")
_log = logging.getLogger(__name__)


class DesiredStore(Protocol):
    """Keeps what was changed by command. Called in another thread, one call at a time; may raise anything."""

    def set_params(self, name: str, values: Mapping[str, Any]) -> None:
        """Keep canonical parameter values of worker `name`."""

    def set_enabled(self, name: str, enabled: bool) -> None:
        """Keep whether worker `name` is to run."""


@dataclass
class Difference:
    """What `Supervisor.apply` did: names of workers, and for `refused` why."""

    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    started: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    restarted: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


OnPlanned = Callable[[list[Change]], None]


class Supervisor:
    """Runs the workers of one site. All methods are to be called on its event loop."""

    def __init__(
        self,
        site: str,
        specs: Sequence[WorkerSpec],
        *,
        clock: Clock | None = None,
        limits: Limits | None = None,
        placement: Placement | None = None,
        store: DesiredStore | None = None,
        on_log: Callable[[str, LogLine], None] | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`on_log` gets each line that a worker writes, with its name. Raises `SiteError` for two of one
        name.
        """
        self.site = site
        self.limits = limits or Limits()
        self._clock = clock or SystemClock()
        self._store = store
        self._on_log = on_log
        self._around = Surroundings(
            self._clock,
            self.limits,
            placement or LocalPlacement(),
            jitter,
            self._changed,
            self._logged,
        )
        self._started_utc_ns = self._clock.utc_ns()
        self._stopping = False
        self._storing = asyncio.Lock()
        self._applying = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._subscriptions: set[Subscription] = set()
        self._sampler: asyncio.Task[None] | None = None
        self._workers = {name: Worker(spec, self._around) for name, spec in _by_name(site, specs).items()}

    # -- life --

    async def start(self) -> None:
        """Start every enabled worker; returns as soon as they are being started."""
        for worker in self._workers.values():
            if worker.spec.enabled:
                self._start(worker)

    async def stop(self) -> None:
        """End every worker, whatever it does, within `limits.gone_s`; the desired state stays."""
        self._stopping = True
        for worker in self._workers.values():
            worker.stop()
        await self._until_gone(self._workers.values())
        for task in [*self._tasks, *([self._sampler] if self._sampler else [])]:
            task.cancel()
        for subscription in list(self._subscriptions):
            subscription.close()

    def kill(self) -> None:
        """End every worker at once."""
        self._stopping = True
        for worker in self._workers.values():
            worker.kill()

    # -- state --

    def snapshot(self) -> dict[str, Any]:
        """The state of the site as JSON."""
        return {
            "site": self.site,
            "pid": os.getpid(),
            "version": version(),
            "started_utc_ns": self._started_utc_ns,
            "workers": {name: worker.snapshot() for name, worker in self._workers.items()},
        }

    def worker_snapshot(self, name: str) -> dict[str, Any] | None:
        """The state of one worker, None if there is none of that name."""
        worker = self._workers.get(name)
        return worker.snapshot() if worker else None

    def sample(self) -> None:
        """Measure CPU and memory of every worker now."""
        for worker in self._workers.values():
            worker.sample()

    def subscribe(self) -> Subscription:
        """Hear of changes from now on; CPU and memory are measured while anybody does. To be closed."""
        subscription = Subscription(self.worker_snapshot, self._subscriptions.discard)
        self._subscriptions.add(subscription)
        if self._sampler is None or self._sampler.done():
            self._sampler = asyncio.get_running_loop().create_task(self._sample_while_watched())
        return subscription

    def logs(self, name: str, lines: int = 100, after: int = 0) -> list[LogLine]:
        """The last `lines` lines of worker `name` with a number greater than `after`."""
        return self._worker(name).logs.tail(lines, after)

    # -- commands --

    async def start_workers(self, names: Iterable[str]) -> dict[str, Any]:
        """Start workers; does not wait until they are at work."""
        workers = self._named(names)
        self._refuse_if_stopping()
        did = {w.spec.name: "started" if self._start(w) else "already running" for w in workers}
        return {"workers": _told(did, workers), **await self._enable(workers, True)}

    async def stop_workers(self, names: Iterable[str]) -> dict[str, Any]:
        """Stop workers and wait for their end."""
        workers = self._named(names)
        did = {w.spec.name: "stopped" if w.stop() else "already stopped" for w in workers}
        stored = await self._enable(workers, False)
        await self._until_gone(workers)
        return {"workers": _told(did, workers), **stored}

    async def restart_workers(self, names: Iterable[str]) -> dict[str, Any]:
        """Stop workers that run, wait for their end, and start them."""
        workers = self._named(names)
        self._refuse_if_stopping()
        stored = await self._enable(workers, True)
        await self._restart(workers)
        return {"workers": _told({w.spec.name: "restarted" for w in workers}, workers), **stored}

    async def set_params(self, name: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Change parameters: in the running worker, in effect when this returns; then in the store.

        Returns canonical `values`, and whether they were `live` and `stored`. Raises `CommandError`.
        """
        worker = self._worker(name)
        with worker.desire.commanded():
            async with worker.changing:
                live = worker.takes_commands
                taken = await self._change(worker, values)
                stored = await self._keep(lambda store: store.set_params(name, taken))
        return {"name": name, "values": taken, "live": live, **stored}

    async def tell(self, name: str, command: str, args: Mapping[str, Any]) -> Any:
        """Give a command that only the host of worker `name` knows, and return its answer."""
        worker = self._worker(name)
        if not worker.takes_commands:
            raise CommandError("not-running", f"worker {name!r} is not running")
        return await worker.ask({"command": command, "args": dict(args)})

    def clear_errors(self, names: Iterable[str]) -> dict[str, Any]:
        """Forget the last error of workers."""
        workers = self._named(names)
        did = {w.spec.name: "cleared" if w.clear() else "had no error" for w in workers}
        return {"workers": _told(did, workers)}

    async def apply(self, specs: Sequence[WorkerSpec]) -> Difference:
        """Change to `specs` by the smallest change: what is the same is not touched.

        Where only parameters differ they are changed live; anything else restarts that worker only. A worker
        that had failed is tried again when anything in its specification has changed.
        """
        difference = Difference()
        async with self._applying:
            await self._apply(_by_name(self.site, specs), {}, difference)
        return difference

    async def apply_read(
        self,
        read: Callable[[], Sequence[WorkerSpec]],
        *,
        first: Callable[[], object] | None = None,
        on_planned: OnPlanned | None = None,
    ) -> Difference:
        """Read what is wanted (in another thread) and `apply` it; raises what `read` raises.

        first       done in that thread before: what it writes is applied by this call and by no other
        on_planned  told what is about to happen

        A command that changes a worker meanwhile is not undone by what was read before it was stored: what that
        worker is to be is read again when the command is done.
        """
        difference = Difference()
        async with self._applying:
            if first is not None:
                await asyncio.to_thread(first)
            while True:
                marks = {name: worker.desire.mark for name, worker in self._workers.items()}
                wanted = _by_name(self.site, await asyncio.to_thread(read))
                if on_planned is not None:
                    on_planned(self._planned(wanted))
                    on_planned = None
                left = await self._apply(wanted, marks, difference)
                if not left:
                    return difference
                await asyncio.gather(*(worker.desire.quiet() for worker in left))

    def planned(self, specs: Sequence[WorkerSpec]) -> list[Change]:
        """What `apply` would do with each worker if it came now, those to be removed first."""
        return self._planned(_by_name(self.site, specs))

    def in_background(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run `work` to its end even if nobody waits for it any more.

        It is cancelled when the supervisor stops. Raises `CommandError` 'busy' when a great many are under way.
        """
        if len(self._tasks) >= MOST_TASKS:
            work.close()
            raise CommandError("busy", f"site {self.site!r} has {MOST_TASKS} commands under way")
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    # -- inside --

    def _worker(self, name: str) -> Worker:
        if name not in self._workers:
            known = ", ".join(self._workers) or "none"
            message = f"no worker {name!r} in site {self.site!r}; there are: {known}"
            raise CommandError("unknown-worker", message)
        return self._workers[name]

    def _named(self, names: Iterable[str]) -> list[Worker]:
        return [self._worker(name) for name in dict.fromkeys(names)]

    def _refuse_if_stopping(self) -> None:
        if self._stopping:
            raise CommandError("stopping", f"site {self.site!r} is being stopped")

    def _start(self, worker: Worker) -> bool:
        """Nothing is started on the way down, whatever was begun before."""
        return not self._stopping and worker.start()

    async def _until_gone(self, workers: Iterable[Worker]) -> None:
        waits = [asyncio.create_task(worker.gone()) for worker in workers]
        if not waits:
            return
        _, left = await asyncio.wait(waits, timeout=self.limits.gone_s)
        for wait in left:
            wait.cancel()
        if left:
            _log.error("site %s: %d workers cannot be ended, not even by SIGKILL", self.site, len(left))

    async def _restart(self, workers: Sequence[Worker]) -> None:
        """Done when the old processes have gone; the new ones are started then."""
        ending = [worker for worker in workers if worker.has_process]
        for worker in workers:
            worker.stop()
            self._start(worker)
        await asyncio.gather(*(worker.gone() for worker in ending))

    async def _change(self, worker: Worker, values: Mapping[str, Any]) -> dict[str, Any]:
        """Change and remember, so that the next start uses the new values."""
        live = worker.takes_commands
        taken = dict(await worker.ask({"set": dict(values)})) if live else worker.validated(values)
        worker.respec(replace(worker.spec, params={**worker.spec.params, **taken}))
        if worker.report is not None:  # whoever reads the state next sees what was just acknowledged
            worker.report.values.update(taken)
        return taken

    async def _enable(self, workers: Sequence[Worker], enabled: bool) -> dict[str, Any]:
        other = [worker for worker in workers if worker.spec.enabled != enabled]
        for worker in other:
            worker.respec(replace(worker.spec, enabled=enabled))
        names = [worker.spec.name for worker in other]
        if not names:
            return {"stored": self._store is not None}

        def write(store: DesiredStore) -> None:
            for name in names:
                store.set_enabled(name, enabled)

        with contextlib.ExitStack() as commands:
            for worker in other:
                commands.enter_context(worker.desire.commanded())
            return await self._keep(write)

    async def _keep(self, write: Callable[[DesiredStore], None]) -> dict[str, Any]:
        """The change has happened already; that it could not be stored is told, and undoes nothing."""
        if self._store is None:
            return {"stored": False}
        try:
            async with self._storing:
                await asyncio.to_thread(write, self._store)
        except Exception as error:
            _log.warning("site %s: a change could not be stored: %s", self.site, error)
            return {"stored": False, "store_error": str(error) or type(error).__name__}
        return {"stored": True}

    def _planned(self, wanted: Mapping[str, WorkerSpec]) -> list[Change]:
        return plan.changes({name: worker.present for name, worker in self._workers.items()}, wanted)

    async def _apply(
        self, wanted: Mapping[str, WorkerSpec], marks: Mapping[str, int], difference: Difference
    ) -> list[Worker]:
        """Returns the workers that were left alone because of a command since `marks`."""
        self._refuse_if_stopping()
        await self._remove(self._workers.keys() - wanted.keys(), difference)
        kept = [(self._workers[name], spec) for name, spec in wanted.items() if name in self._workers]
        self._add([spec for name, spec in wanted.items() if name not in self._workers], difference)
        self._workers = {name: self._workers[name] for name in wanted}
        adapted = await asyncio.gather(
            *(self._adapt(worker, spec, marks.get(spec.name), difference) for worker, spec in kept)
        )
        return [worker for (worker, _), done in zip(kept, adapted, strict=True) if not done]

    async def _remove(self, names: Iterable[str], difference: Difference) -> None:
        workers = [self._workers[name] for name in names]
        for worker in workers:
            worker.stop()
        await self._until_gone(workers)
        for worker in workers:
            del self._workers[worker.spec.name]
            difference.removed.append(worker.spec.name)
            self._changed(worker.spec.name)

    def _add(self, specs: Iterable[WorkerSpec], difference: Difference) -> None:
        for spec in specs:
            worker = self._workers[spec.name] = Worker(spec, self._around)
            difference.added.append(spec.name)
            if plan.first_step(spec).does is Does.STARTS:
                self._start(worker)
            self._changed(spec.name)

    async def _adapt(
        self, worker: Worker, spec: WorkerSpec, mark: int | None, difference: Difference
    ) -> bool:
        """False if it was left alone, because `spec` was read before a command had been stored."""
        async with worker.changing:
            if mark is not None and not worker.desire.is_as_at(mark):
                return False
            step = plan.step(worker.present, spec)
            if step.values is not None and not await self._reset(worker, step.values, difference):
                spec = replace(spec, params=worker.spec.params)
                step = plan.step(worker.present, spec)
            worker.respec(spec)
            await self._take(worker, step, difference)
            return True

    async def _reset(self, worker: Worker, values: Mapping[str, Any], difference: Difference) -> bool:
        """False if the worker does not take them."""
        try:
            if worker.takes_commands:
                await worker.ask({"set": dict(values)})
        except CommandError as error:
            difference.refused[worker.spec.name] = str(error)
            return False
        difference.changed.append(worker.spec.name)
        return True

    async def _take(self, worker: Worker, step: Step, difference: Difference) -> None:
        name = worker.spec.name
        if step.does is Does.RESTARTS:
            difference.restarted.append(name)
            await self._restart([worker])
        elif step.does is Does.STARTS and self._start(worker):
            difference.started.append(name)
        elif step.does is Does.ENDS and worker.stop():
            difference.stopped.append(name)

    async def _sample_while_watched(self) -> None:
        while self._subscriptions:
            self.sample()
            for name in self._workers:
                self._changed(name)
            await asyncio.sleep(SAMPLE_EVERY_S)

    def _changed(self, name: str) -> None:
        for subscription in self._subscriptions:
            subscription.mark(name)

    def _logged(self, name: str, line: LogLine) -> None:
        if self._on_log is None:
            return
        try:
            self._on_log(name, line)
        except Exception:
            _log.exception("on_log")

    def _task_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # told to whoever waits; here it only counts as seen


def version() -> str:
    """The version of the installed package."""
    try:
        return importlib.metadata.version("frameloom")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _by_name(site: str, specs: Sequence[WorkerSpec]) -> dict[str, WorkerSpec]:
    """The specs by name, told which site they belong to."""
    found: dict[str, WorkerSpec] = {}
    for spec in (replace(each, site=site) for each in specs):
        if spec.name in found:
            kinds = f"a {found[spec.name].kind} and a {spec.kind}"
            raise SiteError(f"worker {spec.name!r}: there are two of that name, {kinds}")
        found[spec.name] = spec
    return found


def _told(did: Mapping[str, str], workers: Iterable[Worker]) -> dict[str, Any]:
    states = {w.spec.name: {"state": w.state.value, "detail": w.detail} for w in workers}
    return {name: {"did": did[name], **state} for name, state in states.items()}
