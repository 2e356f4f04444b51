"""Workers as processes of this machine.

A child gets one end of a socket pair and nothing else: no secret in its arguments, no other descriptor, no
terminal. No thread waits for it: its messages, its output and its end are all descriptors of the event loop.
It has a session of its own, so that Ctrl-C reaches the supervisor only and a kill reaches all that the worker
started.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import psutil

from frameloom.model.errors import CommandError, PeerError
from frameloom.model.worker import WorkerSpec
from frameloom.workers.lines import MESSAGE_BYTES, Line, Lines, from_line, to_line

from .lifecycle import Exit
from .logs import LINE_BYTES, LINES_KEPT
from .placement import Child, ChildEvents, Usage

# Many workers share the cores already: a library's own pool of threads costs each of them more than it gains.
_ONE_THREAD = {"OPENCV_FOR_THREADS_NUM": "1", "OPENBLAS_NUM_THREADS": "1"}
_BITE_BYTES = 1 << 16
# A child that floods us waits so long after each bite.
_MESSAGE_PAUSE_S = 0.02
_OUTPUT_PAUSE_S = 0.1
_UNSENT_BYTES = 1 << 20
_LEFT_BITES = 64
_MESSAGES_PER_BITE = 1000  # a report is longer than 200 bytes


class LocalPlacement:
    """Starts workers with this interpreter, by spawn and never by fork.

    To be used on an event loop whose thread lives as long as the workers may: Linux ends them with that
    thread.
    """

    def __init__(self, *, python_path: Sequence[str] = ()) -> None:
        """`python_path`: folders where workers look for modules, after Python's own."""
        self._python_path = tuple(python_path)

    def spawn(self, spec: WorkerSpec, events: ChildEvents) -> Child:
        """See `Placement.spawn`."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = _start(spec.name, theirs.fileno())
            except OSError:
                ours.close()
                raise
        child = _LocalChild(process, ours, events)
        child.send({"spec": spec.to_json(), "path": list(self._python_path)})
        return child


def _start(name: str, fd: int) -> subprocess.Popen[bytes]:
    """-P: a file of the user's folder that is called like a module of Python's must not replace it."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "frameloom.workers", "--fd", str(fd), "--name", name],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        bufsize=0,
        pass_fds=(fd,),
        start_new_session=True,
        env={**_ONE_THREAD, **os.environ, "PYTHONUNBUFFERED": "1"},
    )


class _LocalChild:
    def __init__(self, process: subprocess.Popen[bytes], link: socket.socket, events: ChildEvents) -> None:
        assert process.stdout is not None
        self._loop = asyncio.get_running_loop()
        self._process = process
        self._link = link
        self._events = events
        self._gone = False
        self._unsent = bytearray()
        link.setblocking(False)
        os.set_blocking(process.stdout.fileno(), False)
        self._messages = _Reader(
            self._loop, link.fileno(), Lines(MESSAGE_BYTES), _MESSAGE_PAUSE_S, self._on_messages
        )
        self._output = _Reader(
            self._loop, process.stdout.fileno(), Lines(LINE_BYTES), _OUTPUT_PAUSE_S, self._on_output
        )
        self._usage = _usage_of(process.pid)
        self._end_watch = _watch_end(self._loop, process, self._on_end)

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, message: Mapping[str, Any]) -> None:
        if self._gone:
            return
        if len(self._unsent) > _UNSENT_BYTES:
            raise CommandError("busy", "the worker does not read its messages")
        self._unsent += to_line(message)
        self._flush()

    def dump(self) -> None:
        self._signal(signal.SIGUSR1)

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """The worker leads its process group, and its number is not given away before it is waited for."""
        if not self._gone:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def usage(self) -> Usage | None:
        return None if self._gone else self._usage()

    def _signal(self, number: signal.Signals) -> None:
        if not self._gone:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, number)

    def _flush(self) -> None:
        try:
            while self._unsent:
                del self._unsent[: self._link.send(self._unsent)]
        except BlockingIOError:
            self._loop.add_writer(self._link, self._flush)
            return
        except OSError:
            self._unsent.clear()  # the other end is closed: its exit will be heard
        self._loop.remove_writer(self._link)

    def _on_messages(self, lines: list[Line]) -> None:
        bad: list[str] = []
        for line in lines[:_MESSAGES_PER_BITE]:
            try:
                message = from_line(line.data)
            except PeerError as error:
                bad.append(f"a message of more than {MESSAGE_BYTES} bytes" if line.cut else str(error))
                continue
            self._events.message(message)
        if bad:
            self._events.garbage(f"{bad[0]} (and {len(bad) - 1} more)" if len(bad) > 1 else bad[0])

    def _on_output(self, lines: list[Line]) -> None:
        for line in lines[-LINES_KEPT:]:
            self._events.output(line.data, line.cut)

    def _on_end(self) -> None:
        """The process has ended and is still to be waited for, so that its number and its group are still its
        own.
        """
        self.kill()
        self._gone = True
        self._end_watch()
        self._messages.drain()
        self._output.drain()
        self._loop.remove_writer(self._link)
        code = self._process.wait()
        self._link.close()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._events.exited(Exit(signal=-code) if code < 0 else Exit(code=code))


class _Reader:
    """Reads lines from a descriptor in bounded bites; between full bites it lets the writer wait."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        fd: int,
        lines: Lines,
        pause_s: float,
        on_lines: Callable[[list[Line]], None],
    ) -> None:
        self._loop = loop
        self._fd = fd
        self._lines = lines
        self._pause_s = pause_s
        self._on_lines = on_lines
        self._pause: asyncio.TimerHandle | None = None
        self._resume()

    def drain(self) -> None:
        """Read what is left, for the last time."""
        self._loop.remove_reader(self._fd)
        if self._pause is not None:
            self._pause.cancel()
        for _ in range(_LEFT_BITES):
            if not (chunk := self._bite()):
                break
            self._on_lines(self._lines.feed(chunk))
        self._on_lines(self._lines.flush())

    def _resume(self) -> None:
        self._loop.add_reader(self._fd, self._read)

    def _read(self) -> None:
        chunk = self._bite()
        if chunk is None:
            return
        if len(chunk) in (0, _BITE_BYTES):
            self._loop.remove_reader(self._fd)
        if len(chunk) == _BITE_BYTES:
            self._pause = self._loop.call_later(self._pause_s, self._resume)
        self._on_lines(self._lines.feed(chunk))

    def _bite(self) -> bytes | None:
        """Bytes; none at the end; None if there are none yet."""
        try:
            return os.read(self._fd, _BITE_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            return b""


def _watch_end(
    loop: asyncio.AbstractEventLoop, process: subprocess.Popen[bytes], on_end: Callable[[], None]
) -> Callable[[], None]:
    """Call `on_end` once `process` has ended, before it is waited for; returns what stops the watching."""
    fd = _end_fd(process.pid)
    if fd is None:
        return _watch_end_by_thread(loop, process, on_end)
    loop.add_reader(fd, on_end)

    def stop() -> None:
        loop.remove_reader(fd)
        os.close(fd)

    return stop


def _end_fd(pid: int) -> int | None:
    """A descriptor that is readable once the process has ended; None where there is no such thing."""
    if sys.platform == "darwin":
        with contextlib.closing(select.kqueue()) as queue:
            event = select.kevent(pid, select.KQ_FILTER_PROC, select.KQ_EV_ADD, select.KQ_NOTE_EXIT)
            queue.control([event], 0)
            return os.dup(queue.fileno())
    return os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None


def _watch_end_by_thread(
    loop: asyncio.AbstractEventLoop, process: subprocess.Popen[bytes], on_end: Callable[[], None]
) -> Callable[[], None]:
    """Where Python was built without pidfd: a thread waits, but leaves the process to be waited for."""

    def wait() -> None:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody wants to know
            loop.call_soon_threadsafe(on_end)

    threading.Thread(target=wait, name=f"end-of-{process.pid}", daemon=True).start()
    return lambda: None


def _usage_of(pid: int) -> Callable[[], Usage | None]:
    try:
        process = psutil.Process(pid)
    except psutil.Error:
        return lambda: None

    def usage() -> Usage | None:
        try:
            with process.oneshot():
                times = process.cpu_times()
                return Usage(times.user + times.system, process.memory_info().rss)
        except psutil.Error:
            return None

    return usage
