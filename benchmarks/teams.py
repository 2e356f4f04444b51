"""A team is the processes of one way: a publisher and its readers, started once and asked for one trial after another.

Starting processes and importing packages is not measured and takes long; opening the way anew for each trial is quick.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import signal
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from multiprocessing.connection import Connection, wait
from typing import Any, Literal

import psutil

from .peers import Out, Run, Way, load
from .pictures import END, WARM, Source, Taken, Taker

Mode = Literal["saturated", "paced", "alone"]
_WARM = 8
_LEAST = 12  # pictures, of a way that is slow
_PATIENCE_S = 60.0


@dataclass(frozen=True)
class Trial:
    """What to do.

    mode      'saturated': as many pictures as `duration_s` allows; 'paced': `fps` pictures a second for `duration_s`;
              'alone': saturated, without the copy into the way and without touching
    stride    a reader reads each such byte
    """

    mode: Mode
    nbytes: int
    readers: int
    stride: int
    duration_s: float
    fps: float = 30.0


@dataclass
class Outcome:
    """What became of a trial: how many pictures were sent, and what each reader took."""

    sent: int = 0
    taken: list[Taken] = field(default_factory=list)
    problem: str = ""

    @property
    def complete(self) -> bool:
        """True if every reader got every picture, and each was right."""
        return not self.problem and all(t.count == self.sent and not t.wrong for t in self.taken)

    @property
    def rate(self) -> float:
        """Pictures a second of the slowest reader."""
        return min(taken.rate for taken in self.taken)

    @property
    def latencies_us(self) -> list[float]:
        return [ns / 1e3 for taken in self.taken for ns in taken.latencies_ns]


class Team:
    """The processes of one way."""

    def __init__(self, way: str, folder: str, readers: int) -> None:
        self.way = way
        self._folder = folder
        self._most_readers = readers
        self._numbers = count()
        self._start()

    def _start(self) -> None:
        context, way = multiprocessing.get_context("spawn"), load(self.way)
        # `shared` is kept, or semaphores lose their names.
        self._shared = shared = way.shared(context, self._most_readers)
        readers = 0 if hasattr(way, "INSIDE") else self._most_readers
        self._publisher = _Member(context, "publish", self.way, shared)
        self._readers = [_Member(context, "read", self.way, shared) for _ in range(readers)]

    @property
    def pids(self) -> list[int]:
        return [member.pid for member in (self._publisher, *self._readers)]

    def run(self, trial: Trial) -> Outcome:
        """One trial. A way that fails says so in the outcome, and its processes are started anew."""
        folder = f"{self._folder}/{self.way[:2]}{next(self._numbers)}"
        with _made(folder):
            try:
                return self._run(trial, folder)
            except (EOFError, OSError, TimeoutError, RuntimeError) as error:
                self.kill()
                self._start()
                return Outcome(problem=f"{type(error).__name__}: {error}")

    def _run(self, trial: Trial, folder: str) -> Outcome:
        readers = self._readers[: trial.readers]
        self._publisher.ask(trial, folder, 0)
        self._publisher.answer()
        for index, reader in enumerate(readers):
            reader.ask(trial, folder, index)
        (sent, taken), *rest = _answers([self._publisher, *readers], trial.duration_s + _PATIENCE_S)
        self._publisher.connection.send("all have everything")
        self._publisher.answer()
        return Outcome(sent, taken or rest)

    def kill(self) -> None:
        """SIGKILL for all of them, and for what they started."""
        for pid in self.pids:
            kill_tree(pid)
        self.close()

    def close(self) -> None:
        for member in (self._publisher, *self._readers):
            member.end()

    def __enter__(self) -> Team:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Member:
    """One process, from the outside."""

    def __init__(self, context: Any, role: str, way: str, shared: Any) -> None:
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_member, args=(role, way, shared, theirs))
        self._process.start()
        theirs.close()
        self.pid: int = self._process.pid

    def ask(self, trial: Trial, folder: str, index: int) -> None:
        self.connection.send((trial, folder, index))

    def answer(self) -> Any:
        return _answers([self], _PATIENCE_S)[0]

    def end(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.send(None)
        self._process.join(10)
        if self._process.is_alive():
            kill_tree(self._process.pid)
        self._process.join()
        self.connection.close()


def _answers(members: Sequence[_Member], patience_s: float) -> list[Any]:
    """What each of them has to say; raises what the first one that fails says, or TimeoutError."""
    answers: dict[Any, Any] = {member.connection: None for member in members}
    silent, deadline_s = set(answers), time.monotonic() + patience_s
    while silent:
        speaking: list[Any] = list(wait(silent, deadline_s - time.monotonic()))
        if not speaking:
            raise TimeoutError(
                f"{len(silent)} of {len(members)} processes did not answer within {patience_s:g} s"
            )
        for connection in speaking:
            answers[connection] = answer = connection.recv()
            silent.remove(connection)
            if isinstance(answer, Exception):
                raise answer
    return list(answers.values())


def kill_tree(pid: int) -> None:
    """SIGKILL for a process and all that it started: none of them has time to tidy up after another's death."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        everyone = [process, *process.children(recursive=True)]
        for signal_ in (signal.SIGSTOP, signal.SIGKILL):
            for each in everyone:
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.send_signal(signal_)


@contextlib.contextmanager
def scratch() -> Iterator[str]:
    """A folder for all teams of a run, and for what their sites keep; its name is short, for socket addresses are."""
    folder = tempfile.mkdtemp(prefix="flb", dir="/tmp")
    os.environ["FRAMELOOM_STATE_DIR"] = f"{folder}/state"
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _made(folder: str) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        os.makedirs(folder, exist_ok=True)
        yield


# --- inside of the processes -------------------------------------------------------------------------------------


def _member(role: str, way_name: str, shared: Any, connection: Connection) -> None:
    way = load(way_name)
    while (asked := connection.recv()) is not None:
        trial, folder, index = asked
        run = Run(folder, trial.nbytes, trial.readers, trial.stride, shared)
        try:
            if role == "publish":
                _publish(way, run, trial, connection)
            else:
                connection.send(_read(way, run, trial, index))
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            connection.send(
                RuntimeError(f"{type(error).__name__}: {error} ({last.name}, line {last.lineno})")
            )


def _publish(way: Way, run: Run, trial: Trial, connection: Connection) -> None:
    with way.publish(run) as out:
        connection.send("open")
        while not out.ready():
            time.sleep(0.002)
        sent = _send_all(out, trial)
        results = getattr(out, "results", None)
        connection.send((sent, results() if results else None))
        connection.recv()
    connection.send("closed")


def _read(way: Way, run: Run, trial: Trial, index: int) -> Taken:
    taker = Taker(trial.nbytes, trial.stride, trial.mode == "paced")
    pictures = way.read(run, index)
    for picture, stamp_ns in pictures:
        goes_on = taker.take(picture, stamp_ns)
        del picture  # what is still held while the next one is waited for, is not free
        if not goes_on:
            break
    pictures.close()  # type: ignore[attr-defined]
    return taker.taken


def _send_all(out: Out, trial: Trial) -> int:
    source = Source(trial.nbytes)
    if trial.mode == "alone":
        return _send_saturated(out, trial, lambda number: None)
    if trial.mode == "saturated":
        return _send_saturated(out, trial, source.numbered)
    return _send_paced(out, trial, source)


def _send_saturated(out: Out, trial: Trial, picture: Any) -> int:
    for number in range(_WARM):
        out.send(picture(number), WARM)
    number, end_ns = _WARM, time.monotonic_ns() + int(trial.duration_s * 1e9)
    while (now_ns := time.monotonic_ns()) < end_ns or number < _WARM + _LEAST:
        out.send(picture(number), now_ns)
        number += 1
    out.send(picture(number), END)
    return number - _WARM


def _send_paced(out: Out, trial: Trial, source: Source) -> int:
    pace_s = 1 / trial.fps
    pictures = max(_LEAST, round(trial.duration_s * trial.fps))
    due_s = time.monotonic()
    for number in range(_WARM + pictures):
        due_s += pace_s
        time.sleep(max(0.0, due_s - time.monotonic()))
        picture = source.numbered(number)
        out.send(picture, time.monotonic_ns() if number >= _WARM else WARM)
    out.send(source.numbered(0), END)
    return pictures
