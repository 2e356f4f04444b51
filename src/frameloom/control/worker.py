"""One supervised worker: its lifecycle, its process if it has one, its log and the commands under way.

Everything happens on the supervisor's event loop. What concerns several workers, the desired state and its
file belong to `frameloom.control.supervisor`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from frameloom.model.clock import NS_PER_S, Clock
from frameloom.model.errors import CommandError, ParameterError
from frameloom.model.parameters import Parameter, from_declaration, validate_all
from frameloom.model.worker import State, WorkerReport, WorkerSpec

from .lifecycle import Do, Exit, LastWords, Lifecycle, Limits
from .logs import LogLine, LogRing, Redactor, printable
from .placement import Child, Placement, Usage
from .plan import Present

QUESTIONS_OPEN = 64
_SAMPLE_SOONEST_NS = NS_PER_S // 2  # CPU time is counted in steps of 10 ms
_REPORT = TypeAdapter(WorkerReport)
_REPORTABLE = (State.STARTING, State.RUNNING, State.DEGRADED)


@dataclass(frozen=True)
class Surroundings:
    """What a worker is given by its supervisor."""

    clock: Clock
    limits: Limits
    placement: Placement
    jitter: Callable[[], float]
    on_change: Callable[[str], None]
    on_log: Callable[[str, LogLine], None]


class Desire:
    """Tells whether commands have changed what is wanted since somebody last looked, for who read a file then."""

    def __init__(self) -> None:
        self._under_way = 0
        self._done = 0
        self._quiet = asyncio.Event()
        self._quiet.set()

    @contextlib.contextmanager
    def commanded(self) -> Iterator[None]:
        """A command changes it, and stores the change, within."""
        self._under_way += 1
        self._quiet.clear()
        try:
            yield
        finally:
            self._under_way -= 1
            self._done += 1
            if self._under_way == 0:
                self._quiet.set()

    @property
    def mark(self) -> int:
        return self._done

    def is_as_at(self, mark: int) -> bool:
        """Whether no command has been under way since `mark` was taken."""
        return self._under_way == 0 and self._done == mark

    async def quiet(self) -> None:
        """Wait until no command is under way."""
        await self._quiet.wait()


class Worker:
    """One worker. `report` is the last one of the present process; `declared` survives its end."""

    def __init__(self, spec: WorkerSpec, around: Surroundings) -> None:
        self.spec = spec
        self.report: WorkerReport | None = None
        self.logs = LogRing()
        self.changing = asyncio.Lock()  # one change of parameters at a time
        self.desire = Desire()
        self._around = around
        self._life = Lifecycle(around.clock, around.limits, around.jitter)
        self._child: Child | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._gone = asyncio.Event()
        self._gone.set()
        self._numbers = itertools.count(1)
        self._questions: dict[int, asyncio.Future[Any]] = {}
        self._declared: dict[str, Parameter[Any]] | None = None
        self._declared_as: list[dict[str, Any]] = []
        self._first_seq = 0  # of the log lines of the present process
        self._dump_seq: int | None = None
        self._cpu = _Cpu(0)
        self.respec(spec)

    # -- what others want --

    @property
    def state(self) -> State:
        return self._life.state

    @property
    def detail(self) -> str:
        return self._life.detail

    @property
    def has_process(self) -> bool:
        return self._child is not None

    @property
    def takes_commands(self) -> bool:
        """Whether there is a process that is not about to end."""
        return self.has_process and self.state is not State.STOPPING

    def respec(self, spec: WorkerSpec) -> None:
        """Use another specification from the next start on."""
        self.spec = spec
        self._redact = Redactor(spec.name, spec.config)
        self._life.hang_s = float(spec.config.get("hang_s", self._around.limits.hang_s))

    def start(self) -> bool:
        """See `Lifecycle.start`."""
        changed = self._life.start()
        self._act()
        return changed

    def stop(self) -> bool:
        """See `Lifecycle.stop`; `gone()` waits for the end."""
        changed = self._life.stop()
        self._act()
        return changed

    def kill(self) -> None:
        """See `Lifecycle.kill`."""
        self._life.kill()
        self._act()

    def clear(self) -> bool:
        """Forget the last error; False if there was none."""
        had = self._life.last_error is not None
        self._life.last_error = None
        self._act()
        return had

    async def gone(self) -> None:
        """Wait until there is no process."""
        await self._gone.wait()

    async def ask(self, message: Mapping[str, Any]) -> Any:
        """Send a command to the process and wait for its answer.

        Raises `CommandError` with what it answered, 'worker-ended' if it ended instead, 'busy' if it answers
        nothing.
        """
        if self._child is None or len(self._questions) >= QUESTIONS_OPEN:
            open_ones = len(self._questions)
            raise CommandError("busy", f"worker {self.spec.name!r} has {open_ones} commands to answer")
        number = next(self._numbers)
        answer = asyncio.get_running_loop().create_future()
        self._questions[number] = answer
        try:
            self._child.send({**message, "id": number})
            return await answer
        finally:
            self._questions.pop(number, None)

    def validated(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Canonical values, by what the worker declared when it last ran.

        Raises `CommandError` 'refused' for unfit values, 'unknown-parameters' if it has not run yet.
        """
        if self._declared is None:
            message = f"worker {self.spec.name!r} has not run yet: start it, so that its parameters are known"
            raise CommandError("unknown-parameters", message)
        try:
            return validate_all(self._declared, values)
        except ParameterError as error:
            raise CommandError("refused", str(error)) from error

    @property
    def present(self) -> Present:
        """What it is now, for who decides what is to become of it."""
        defaults = {name: parameter.default for name, parameter in (self._declared or {}).items()}
        return Present(self.spec, self.state, self.takes_commands, defaults)

    # -- what is told of it --

    def snapshot(self) -> dict[str, Any]:
        """Its state as JSON; never holds its configuration."""
        life = self._life
        return {
            "kind": self.spec.kind,
            "streams": list(self.spec.streams),
            "enabled": self.spec.enabled,
            "state": life.state.value,
            "detail": self._redact(life.detail),
            "pid": self._child.pid if self._child else None,
            "restarts": life.restarts,
            "since_utc_ns": life.since_utc_ns,
            "uptime_s": life.uptime_s,
            "next_start_s": life.next_start_s,
            "last_error": life.last_error.to_json() if life.last_error else None,
            "cpu_percent": self._cpu.percent,
            "memory_bytes": self._cpu.memory_bytes,
            "declared": self._declared_as,
            "values": self._values(),
            "report": self._told(self.report) if self.report else None,
        }

    def _values(self) -> dict[str, Any]:
        """Those in effect; of a worker that is not at work, those that it will start with as far as they are known."""
        declared = self._declared or {}
        defaults = {name: parameter.default for name, parameter in declared.items()}
        wanted = {name: value for name, value in self.spec.params.items() if name in declared}
        return defaults | wanted | (self.report.values if self.report else {})

    def _told(self, report: WorkerReport) -> dict[str, Any]:
        data = report.to_json()
        del data["values"], data["declared"]  # said already, also while there is no report
        return data

    def sample(self) -> None:
        """Measure CPU and memory since the last time, or since the start."""
        usage = self._child.usage() if self._child else None
        self._cpu.take(usage, self._around.clock.monotonic_ns())

    # -- what its process tells (ChildEvents) --

    def message(self, message: dict[str, Any]) -> None:
        """A report, a reply or last words; anything else is noted in the log."""
        try:
            self._hear(message)
        except (KeyError, TypeError, ValueError, AttributeError, ParameterError) as error:
            self.garbage(f"{', '.join(message)[:100]}: {_reason(error)}")
        self._act()

    def output(self, data: bytes, cut: bool) -> None:
        """Keep a line of what it writes."""
        self._note(printable(data, cut))

    def garbage(self, what: str) -> None:
        """Note what it sent."""
        self._note(f"ERROR frameloom.control: garbage on the link: {what}"[:1000])

    def exited(self, how: Exit) -> None:
        """The process is gone: answer whom it cannot answer any more, and decide what follows."""
        self._child = None
        self.report = None
        self._cpu = _Cpu(0)
        self._gone.set()
        self._life.exited(how, self._traceback(how))
        self._note(f"INFO frameloom.control: process ended: {how}; {self.detail}")
        for answer in self._questions.values():
            if not answer.done():
                answer.set_exception(
                    CommandError("worker-ended", f"worker {self.spec.name!r} ended before it answered")
                )
        self._act()

    # -- inside --

    def _hear(self, message: dict[str, Any]) -> None:
        if "report" in message:
            self._hear_report(message["report"], str(message.get("work", "work"))[:100])
        elif "reply" in message:
            self._hear_reply(message)
        elif "ended" in message:
            words = message["ended"]
            traceback = words["traceback"]
            self._life.said(
                LastWords(
                    str(words["kind"]),
                    self._redact(str(words["message"])),
                    None if traceback is None else self._redact(str(traceback)),
                )
            )
        else:
            raise ValueError("no such message")

    def _hear_report(self, data: Any, work: str) -> None:
        report = _REPORT.validate_python(data)
        if report.state not in _REPORTABLE:
            raise ValueError(f"state: read {report.state}, allowed: {', '.join(_REPORTABLE)}")
        report.detail = self._redact(report.detail)
        self.report = report
        self._life.reported(report, work)
        if report.state is not State.STARTING:
            self._learn(report.declared)

    def _learn(self, declared: list[dict[str, Any]]) -> None:
        if self._declared is None or declared != self._declared_as:
            parameters = [from_declaration(data) for data in declared]
            self._declared = {parameter.name: parameter for parameter in parameters}
            self._declared_as = declared

    def _hear_reply(self, message: dict[str, Any]) -> None:
        answer = self._questions.get(message["reply"])
        if answer is None or answer.done():
            return
        if message["ok"]:
            answer.set_result(message.get("result"))
        else:
            error = message["error"]
            answer.set_exception(CommandError(str(error["code"]), self._redact(str(error["message"]))))

    def _act(self) -> None:
        """Do what the lifecycle says, and be back when it has more to say."""
        for do in self._life.due():
            if do is Do.SPAWN:
                self._spawn()
            elif self._child is not None:
                self._do(do, self._child)
        self._set_timer()
        self._around.on_change(self.spec.name)

    def _do(self, do: Do, child: Child) -> None:
        if do is Do.ASK:
            with contextlib.suppress(CommandError):  # it does not read: SIGTERM follows
                child.send({"stop": True})
        elif do is Do.DUMP:
            self._dump_seq = self.logs.last_seq
            child.dump()
        elif do is Do.TERMINATE:
            child.terminate()
        elif do is Do.KILL:
            child.kill()

    def _spawn(self) -> None:
        self._first_seq = self.logs.last_seq
        self._dump_seq = None
        self._life.spawned()
        try:
            self._child = self._around.placement.spawn(self.spec, self)
        except OSError as error:
            self._life.exited(Exit(reason=f"could not be started: {error.strerror or error}"))
            return
        self._gone.clear()
        self._cpu = _Cpu(self._around.clock.monotonic_ns())

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        at_ns = self._life.next_ns()
        if at_ns is not None:
            wait_s = max(0, at_ns - self._around.clock.monotonic_ns()) / NS_PER_S
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._act)

    def _traceback(self, how: Exit) -> str | None:
        """What Python's fault handler wrote on being asked, or on a fatal signal."""
        if self._dump_seq is not None:
            return self.logs.text_after(self._dump_seq)
        if how.signal is not None:
            return self.logs.text_after(self._first_seq, "Fatal Python error")
        return None

    def _note(self, text: str) -> None:
        line = self.logs.append(self._redact(text), self._around.clock.utc_ns())
        self._around.on_log(self.spec.name, line)


def _reason(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return repr(error)
    return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())


class _Cpu:
    """CPU use between two samples in percent of one core, and the memory at the last one."""

    def __init__(self, started_ns: int) -> None:
        self.percent: float | None = None
        self.memory_bytes: int | None = None
        self._cpu_s = 0.0
        self._at_ns = started_ns

    def take(self, usage: Usage | None, now_ns: int) -> None:
        if usage is None or now_ns - self._at_ns < _SAMPLE_SOONEST_NS:
            return
        self.percent = round(100 * (usage.cpu_s - self._cpu_s) * NS_PER_S / (now_ns - self._at_ns), 1)
        self.memory_bytes = usage.memory_bytes
        self._cpu_s, self._at_ns = usage.cpu_s, now_ns
