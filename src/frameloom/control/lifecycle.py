"""The life of one worker as a state machine that decides and does nothing.

It is told what happened (a person said start, a report came, the process ended) and says what is to be done
now and when it wants to be asked again. It holds no process, no socket and no timer, so that all its times
can be tested on a fake clock. `frameloom.control.worker` does what it says.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from frameloom.model.clock import NS_PER_S, Clock
from frameloom.model.worker import State, WorkerReport

_AT_WORK = (State.RUNNING, State.DEGRADED)
_FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM)
_DOUBT_S = 0.25


class Do(StrEnum):
    """What is to be done to the process."""

    SPAWN = "spawn"
    ASK = "ask"  # to stop, by message
    DUMP = "dump"  # write what every thread is doing to its output
    TERMINATE = "terminate"
    KILL = "kill"


@dataclass(frozen=True, slots=True)
class Limits:
    """How long things may take, in seconds, and how often they may fail.

    silent_s       without a report, after the first one
    start_s        from the start of the process to its first report
    hang_s         for one piece of work; `config['hang_s']` of a worker overrides it
    dump_s         between asking a stuck process where it is and killing it
    terminate_s    from the request to stop to SIGTERM; kill_s: to SIGKILL; gone_s: until it is given up
    backoff_s      waits before the starts after the first, second, ... death in a row; the last one repeats
    jitter         part of the wait that is added at random, so that many do not start at once
    stable_s       at work for so long, a worker's next death is counted as the first
    early_s        a worker that ended by itself within so long of reaching its work has failed
    failures       so many times in a row, and it is not started again
    """

    silent_s: float = 5.0
    start_s: float = 30.0
    hang_s: float = 30.0
    dump_s: float = 0.3
    terminate_s: float = 1.5
    kill_s: float = 2.5
    gone_s: float = 2.9
    backoff_s: tuple[float, ...] = (0.1, 0.5, 1, 2, 4, 8, 16, 30)
    jitter: float = 0.1
    stable_s: float = 10.0
    early_s: float = 1.0
    failures: int = 5


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended: with an exit code, or by a signal, or (`reason`) it could not even be started."""

    code: int | None = None
    signal: int | None = None
    reason: str = ""

    def __str__(self) -> str:
        if self.reason:
            return self.reason
        if self.signal is None:
            return f"exit code {self.code}"
        try:
            return signal.Signals(self.signal).name
        except ValueError:
            return f"signal {self.signal}"

    @property
    def from_outside(self) -> bool:
        """Whether the worker cannot be blamed for it."""
        return bool(self.reason) or self.signal in _FROM_OUTSIDE


@dataclass(frozen=True, slots=True)
class LastError:
    """The last death that nobody wanted; kept until a person clears it."""

    message: str
    traceback: str | None
    at_utc_ns: int
    exit: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class LastWords:
    """What a worker said of its end: `kind` is 'done', 'needs-person' or 'crash'."""

    kind: str
    message: str
    traceback: str | None = None


class Lifecycle:
    """State of one worker. Every method may change what `due()` and `next_ns()` say."""

    def __init__(self, clock: Clock, limits: Limits, jitter: Callable[[], float]) -> None:
        """`jitter` gives a number from 0 to 1."""
        self.state = State.IDLE
        self.detail = "not started"
        self.since_utc_ns = clock.utc_ns()
        self.restarts = 0
        self.last_error: LastError | None = None
        self.hang_s = limits.hang_s
        self.has_process = False
        self._clock = clock
        self._limits = limits
        self._jitter = jitter
        self._plan: list[tuple[int, Do]] = []
        self._again = False
        self._started_ns = 0
        self._heard_ns: int | None = None
        self._doubted_ns: int | None = None
        self._reached_ns: int | None = None
        self._condemned = ""
        self._said: LastWords | None = None
        self._deaths = 0
        self._failures = 0

    # -- what people and programs want --

    def start(self) -> bool:
        """Run, from now on; False if it does already. Forgets past failures: it is tried as if it were new."""
        if self.state in (State.STARTING, *_AT_WORK) or (self.state is State.STOPPING and self._again):
            return False
        self._deaths = self._failures = 0
        if self.state is State.STOPPING:
            self._again = True
        else:
            self._enter(State.STARTING, "starting")
            self._plan = [(self._now(), Do.SPAWN)]
        return True

    def stop(self) -> bool:
        """Do not run, from now on; False if it does not already."""
        self._again = False
        if self.state in (State.IDLE, State.STOPPING):
            return False
        if self.has_process:
            self._enter(State.STOPPING, "stopping")
            self._plan_stop()
        else:
            self._rest("stopped")
        return True

    def kill(self) -> None:
        """Do not run, and end at once whatever runs."""
        self.stop()
        if self.has_process:
            self._plan = [(self._now(), Do.KILL)]

    # -- what happened --

    def spawned(self) -> None:
        """A process is being started; if that fails, `exited` follows."""
        if self.state is State.BACKOFF:
            self.restarts += 1
        self.has_process = True
        self._started_ns = self._now()
        self._heard_ns = self._reached_ns = self._doubted_ns = self._said = None
        self._condemned = ""
        self._enter(State.STARTING, "starting")

    def reported(self, report: WorkerReport, work: str) -> None:
        """A report came; `work` is what the worker's work is called."""
        self._heard_ns, self._doubted_ns = self._now(), None
        if not self._is_watched():
            return
        if report.state in _AT_WORK and self._reached_ns is None:
            self._reached_ns = self._now()
        self._enter(report.state, report.detail)
        if report.busy_s > self.hang_s:
            self._condemn(f"{work} hung for {report.busy_s:.0f} s")

    def said(self, words: LastWords) -> None:
        """The worker said that it ends; if it does not, it is helped."""
        self._said = words
        if self.state is not State.STOPPING and not self._condemned:
            limits = self._limits
            self._plan = [self._in(limits.terminate_s, Do.TERMINATE), self._in(limits.kill_s, Do.KILL)]

    def exited(self, how: Exit, traceback: str | None = None) -> None:
        """The process is gone, or could not be started. `traceback` is what its output tells about that."""
        self.has_process = False
        self._plan = []
        if self.state is State.STOPPING:
            self._stopped(how)
        elif self._said and self._said.kind == "done" and not self._condemned:
            self._rest(f"finished: {self._said.message}" if self._said.message else "finished")
        else:
            self._died(how, traceback)

    # -- what is to be done --

    def due(self) -> list[Do]:
        """What is to be done now, in this order; each is said once."""
        now = self._now()
        self._check_silence(now)
        done = [do for at_ns, do in self._plan if at_ns <= now]
        self._plan = self._plan[len(done) :]
        return done

    def next_ns(self) -> int | None:
        """Monotonic time when `due()` will have something to say; None if only an event can bring that."""
        times = [self._plan[0][0]] if self._plan else []
        if self._is_watched():
            times.append(self._silence_ns())
        return min(times, default=None)

    @property
    def next_start_s(self) -> float | None:
        """Seconds until it is started again."""
        if self.state is not State.BACKOFF or not self._plan:
            return None
        return max(0, self._plan[0][0] - self._now()) / NS_PER_S

    @property
    def uptime_s(self) -> float | None:
        """Age of the process in seconds."""
        return (self._now() - self._started_ns) / NS_PER_S if self.has_process else None

    # -- silence --

    def _is_watched(self) -> bool:
        """Whether silence means trouble: there is a process, and nobody is about to end it."""
        return (
            self.has_process
            and self.state is not State.STOPPING
            and not self._condemned
            and self._said is None
        )

    def _silence_ns(self) -> int:
        """When its silence is to be looked at next."""
        if self._doubted_ns is not None:
            return self._doubted_ns + _ns(_DOUBT_S)
        if self._heard_ns is None:
            return self._started_ns + _ns(self._limits.start_s)
        return self._heard_ns + _ns(self._limits.silent_s)

    def _check_silence(self, now_ns: int) -> None:
        """Condemn who was silent while the supervisor itself was awake to hear it.

        After a sleep of the supervisor's own (a suspended machine, SIGSTOP), reports may still wait to be read. So a
        silence is looked at twice, and the second look, too, has to come in time.
        """
        if not self._is_watched() or now_ns < self._silence_ns():
            return
        if self._doubted_ns is None or now_ns - self._silence_ns() > _ns(_DOUBT_S):
            self._doubted_ns = now_ns
        elif self._heard_ns is None:
            self._condemn(f"no sign of life {self._limits.start_s:g} s after its start")
        else:
            self._condemn(f"silent for {self._limits.silent_s:g} s")

    def _condemn(self, why: str) -> None:
        self._condemned = why
        self.detail = f"{why}; it will be killed"
        self._plan = [self._in(0, Do.DUMP), self._in(self._limits.dump_s, Do.KILL)]

    # -- ends --

    def _stopped(self, how: Exit) -> None:
        if self._said and self._said.kind != "done":
            self._note_error(how, None)
        if self._again:
            self._again = False
            self._enter(State.STARTING, "starting")
            self._plan = [(self._now(), Do.SPAWN)]
        else:
            self._rest("stopped")

    def _died(self, how: Exit, traceback: str | None) -> None:
        self._note_error(how, traceback)
        self._count_failure(how)
        if self._said and self._said.kind == "needs-person" and not self._condemned:
            self._enter(State.FAILED, self._said.message)
        elif self._failures >= self._limits.failures:
            self._enter(State.FAILED, f"failed {self._failures} times in a row: {self._error_message()}")
        else:
            self._back_off()

    def _note_error(self, how: Exit, traceback: str | None) -> None:
        exit_text = f"killed: {self._condemned}" if self._condemned else str(how)
        message = f"the process {'was ' if self._condemned else 'ended: '}{exit_text}"
        if self._said and self._said.kind != "done" and not self._condemned:
            message, traceback = self._said.message, self._said.traceback
        self.last_error = LastError(message, traceback, self._clock.utc_ns(), exit_text)

    def _error_message(self) -> str:
        return self.last_error.message if self.last_error else ""

    def _count_failure(self, how: Exit) -> None:
        reached_ns = self._reached_ns
        early = reached_ns is None or self._now() - reached_ns < _ns(self._limits.early_s)
        blamed = not self._condemned and not how.from_outside
        self._failures = self._failures + 1 if early and blamed else 0

    def _back_off(self) -> None:
        if self._reached_ns is not None and self._now() - self._reached_ns >= _ns(self._limits.stable_s):
            self._deaths = 0
        waits = self._limits.backoff_s
        wait_s = waits[min(self._deaths, len(waits) - 1)] * (1 + self._limits.jitter * self._jitter())
        self._deaths += 1
        self._enter(State.BACKOFF, f"{self._error_message()}; starting again in {wait_s:.1f} s")
        self._plan = [self._in(wait_s, Do.SPAWN)]

    # -- small things --

    def _plan_stop(self) -> None:
        if self._condemned:
            return  # its end is near, and no message would reach it
        limits = self._limits
        self._plan = [
            self._in(0, Do.ASK),
            self._in(limits.terminate_s, Do.TERMINATE),
            self._in(limits.kill_s, Do.KILL),
        ]

    def _rest(self, detail: str) -> None:
        self._plan = []
        self._enter(State.IDLE, detail)

    def _enter(self, state: State, detail: str) -> None:
        if state is not self.state:
            self.since_utc_ns = self._clock.utc_ns()
        self.state, self.detail = state, detail

    def _in(self, seconds: float, do: Do) -> tuple[int, Do]:
        return self._now() + _ns(seconds), do

    def _now(self) -> int:
        return self._clock.monotonic_ns()


def _ns(seconds: float) -> int:
    return round(seconds * NS_PER_S)
