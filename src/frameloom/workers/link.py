"""The worker's end of its connection to the supervisor: reports go out, commands come in.

Two threads serve it. The link thread reads and reports and never waits for the work, so that silence means
trouble; the command thread carries out one command at a time and may wait for the work. When the connection
ends the supervisor is gone, and so is this process, at once. What to do about trouble is decided by
`frameloom.control`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import selectors
import signal
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import fields
from types import TracebackType
from typing import Any, NamedTuple, NoReturn, Protocol

from frameloom.model.clock import NS_PER_S, Clock, SystemClock
from frameloom.model.errors import CommandError, NeedsPerson, PeerError
from frameloom.model.worker import State, WorkerReport, WorkerSpec

from .lines import MESSAGE_BYTES, Lines, from_line, to_line

REPORT_EVERY_S = 0.5
REPORT_SOONEST_S = 0.05  # however often a host calls wake()
COMMANDS_WAITING = 64
TEXT_CHARACTERS = 20_000
LOST_EXIT_CODE = 70

_REPORTED = tuple(field.name for field in fields(WorkerReport))

_log = logging.getLogger(__name__)


class Order(NamedTuple):
    """The first message of a supervisor: what to run, and folders to look for it in, after Python's own."""

    spec: WorkerSpec
    path: tuple[str, ...]


class Served(Protocol):
    """What the link asks of a host."""

    def report(self) -> WorkerReport: ...
    def change(self, values: Mapping[str, Any]) -> dict[str, Any]: ...
    def command(self, name: str, args: Mapping[str, Any]) -> dict[str, Any]: ...


class Link:
    """Connection to the supervisor.

    stopping  set when the worker is to end
    stop_fd   file descriptor, readable from then on: for select
    work      what the work is called when it hangs: "process()", "decoding"
    """

    def __init__(
        self,
        connection: socket.socket,
        *,
        clock: Clock | None = None,
        on_lost: Callable[[], None] | None = None,
    ) -> None:
        """`on_lost` is called on the link thread when the supervisor is gone; by default the process ends
        there.
        """
        self.stopping = threading.Event()
        self.work = "work"
        self._connection = connection
        self._clock = clock or SystemClock()
        self._on_lost = on_lost or _leave
        self.stop_fd, self._stop_write_fd = os.pipe()
        self._wake_fd, self._wake_write_fd = os.pipe()
        for fd in (self._wake_fd, self._wake_write_fd):
            os.set_blocking(fd, False)
        self._lines = Lines(MESSAGE_BYTES)
        self._sending = threading.Lock()
        self._commands: queue.Queue[dict[str, Any] | None] = queue.Queue(COMMANDS_WAITING)
        self._host: Served | None = None
        self._attached = threading.Event()
        self._threads: list[threading.Thread] = []
        self._closing = False
        self._began_ns = 0
        self._reported_ns = 0
        self._report_due_ns = 0
        self._busy = _Busy(self)

    @classmethod
    def pair(cls, **options: Any) -> tuple[Link, socket.socket]:
        """A link and the supervisor's end of it, for tests of a host without a process of its own."""
        ours, theirs = socket.socketpair()
        return cls(theirs, **options), ours

    # -- for the host --

    def begin(self) -> None:
        """A piece of work begins; costs one reading of the clock."""
        self._began_ns = self._clock.monotonic_ns()

    def end(self) -> None:
        """The piece of work is done; what follows is waiting."""
        self._began_ns = 0

    def busy(self) -> _Busy:
        """`with link.busy():` is `begin` and `end`."""
        return self._busy

    def wake(self) -> None:
        """Send a report soon, because something changed; never waits, from any thread."""
        self._nudge(0)

    def stop(self) -> None:
        """Tell the host to end, as a message from the supervisor does."""
        if not self.stopping.is_set():
            self.stopping.set()
            os.write(self._stop_write_fd, b"\0")

    # -- for the process --

    def receive_order(self) -> Order:
        """Wait for the first message. Raises `PeerError` if it is no order; calls `on_lost` at the end."""
        while not (lines := self._lines.feed(self._receive())):
            if self._closing:
                raise PeerError("the supervisor is gone")
        message = from_line(lines[0].data)
        for line in lines[1:]:
            self._take(line.data)
        try:
            return Order(WorkerSpec.from_json(message["spec"]), tuple(message.get("path", ())))
        except (KeyError, TypeError, ValueError) as error:
            raise PeerError(f"want an order to run a worker, read something else: {error!r}") from error

    def serve(self) -> None:
        """Start the two threads. Until a host is attached, reports say that it is being loaded."""
        for name, run in (("link", self._serve), ("commands", self._carry_out)):
            thread = threading.Thread(target=run, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def attach(self, host: Served) -> None:
        """From now on reports come from `host` and commands go to it."""
        self._host = host
        self._attached.set()
        self.wake()

    def on_signal(self, number: int) -> None:
        """What a signal handler calls: takes no lock, since the main thread may hold any."""
        self._nudge(number)

    @property
    def signal_fd(self) -> int:
        """For `signal.set_wakeup_fd`: a signal is heard even while the main thread is stuck in a call."""
        return self._wake_write_fd

    def say_ended(self, kind: str, message: str, traceback: str | None = None) -> None:
        """Last report and last words; `kind` is 'done', 'needs-person' or 'crash'."""
        self._report()
        if traceback is not None:
            traceback = traceback[-TEXT_CHARACTERS:]
        self._send({"ended": {"kind": kind, "message": message[:TEXT_CHARACTERS], "traceback": traceback}})

    def close(self) -> None:
        """End the threads and close everything; for tests, since a worker process just ends."""
        self._closing = True
        self._nudge(0)
        self._attached.set()
        self._commands.put(None)
        for thread in self._threads:
            thread.join()
        self._connection.close()
        for fd in (self.stop_fd, self._stop_write_fd, self._wake_fd, self._wake_write_fd):
            os.close(fd)

    # -- the link thread --

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._connection, selectors.EVENT_READ)
            selector.register(self._wake_fd, selectors.EVENT_READ)
            self._report()
            while not self._closing:
                self._turn({key.fileobj for key, _ in selector.select(self._until_report_s())})

    def _turn(self, ready: set[Any]) -> None:
        if self._connection in ready:
            for line in self._lines.feed(self._receive()):
                self._take(line.data)
        if self._wake_fd in ready:
            self._woken()
        if self._until_report_s() == 0:
            self._report()

    def _woken(self) -> None:
        if signal.SIGTERM in os.read(self._wake_fd, 4096):
            self.stop()
        soonest_ns = self._reported_ns + int(REPORT_SOONEST_S * NS_PER_S)
        self._report_due_ns = min(self._report_due_ns, soonest_ns)

    def _until_report_s(self) -> float:
        return max(0, self._report_due_ns - self._clock.monotonic_ns()) / NS_PER_S

    def _receive(self) -> bytes:
        try:
            chunk = self._connection.recv(1 << 16)
        except OSError:
            chunk = b""
        if not chunk:
            self._lost()
        return chunk

    def _lost(self) -> None:
        self._closing = True
        self._on_lost()

    def _take(self, line: bytes) -> None:
        try:
            self._obey(from_line(line))
        except PeerError as error:
            _log.warning("garbage on the link: %s", error)

    def _obey(self, message: dict[str, Any]) -> None:
        if "stop" in message:
            self.stop()
        elif ("set" in message or "command" in message) and isinstance(message.get("id"), int):
            self._enqueue(message)
        else:
            raise PeerError(f"no such message, allowed: stop, set, command; read {', '.join(message)[:100]}")

    def _enqueue(self, message: dict[str, Any]) -> None:
        try:
            self._commands.put_nowait(message)
        except queue.Full:
            self._reply(message, error=CommandError("busy", f"{COMMANDS_WAITING} commands are waiting"))

    def _report(self) -> None:
        self._reported_ns = self._clock.monotonic_ns()
        self._report_due_ns = self._reported_ns + int(REPORT_EVERY_S * NS_PER_S)
        report = self._host_report()
        report.busy_s = self._busy_s()
        try:
            self._send({"report": _shallow(report), "work": self.work})
        except (TypeError, ValueError) as error:
            self._send({"report": _poor(f"report: {error}").to_json(), "work": self.work})

    def _host_report(self) -> WorkerReport:
        if self._host is None:
            return WorkerReport(State.STARTING, "loading")
        try:
            return self._host.report()
        except Exception as error:
            _log.exception("report")
            return _poor(f"report: {type(error).__name__}: {error}")

    def _busy_s(self) -> float:
        began_ns = self._began_ns
        return (self._clock.monotonic_ns() - began_ns) / NS_PER_S if began_ns else 0.0

    # -- the command thread --

    def _carry_out(self) -> None:
        self._attached.wait()
        while (message := self._commands.get()) is not None:
            self._reply(message, *self._outcome(message))
            self.wake()

    def _outcome(self, message: dict[str, Any]) -> tuple[Any, CommandError | None]:
        assert self._host is not None
        try:
            if "set" in message:
                return self._host.change(message["set"]), None
            return self._host.command(message["command"], message.get("args", {})), None
        except CommandError as error:
            return None, error
        except NeedsPerson as error:
            return None, CommandError("refused", str(error))
        except Exception as error:
            _log.exception("command")
            return None, CommandError("internal", f"{type(error).__name__}: {error}")

    def _reply(self, message: dict[str, Any], result: Any = None, error: CommandError | None = None) -> None:
        reply: dict[str, Any] = {"reply": message["id"], "ok": error is None}
        if error is not None:
            self._send(reply | {"error": {"code": error.code, "message": str(error)}})
            return
        try:
            self._send(reply | {"result": result})
        except (TypeError, ValueError) as wrong:
            self._reply(message, error=CommandError("internal", f"the answer is not JSON: {wrong}"))

    # -- common --

    def _send(self, message: dict[str, Any]) -> None:
        line = to_line(message)
        try:
            with self._sending:
                self._connection.sendall(line)
        except OSError:
            self._lost()

    def _nudge(self, number: int) -> None:
        with contextlib.suppress(BlockingIOError):  # enough nudges are waiting
            os.write(self._wake_write_fd, bytes([number]))


class _Busy:
    """The context of `Link.busy`; made once, so that entering it allocates nothing."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def __enter__(self) -> None:
        self._link.begin()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._link.end()


def _shallow(report: WorkerReport) -> dict[str, Any]:
    """`report` for JSON, at once; `to_json` copies all that is in it, which is most of a heartbeat's cost."""
    return {name: getattr(report, name) for name in _REPORTED}


def _poor(detail: str) -> WorkerReport:
    """A worker whose report cannot be had is alive, but not well."""
    return WorkerReport(State.DEGRADED, detail)


def _leave() -> NoReturn:
    os._exit(LOST_EXIT_CODE)
