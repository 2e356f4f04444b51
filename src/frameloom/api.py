"""Frames in your own program: `open` a camera or film, `attach` to a running site, `run` a processor on a source.

Codecs live in worker processes: a broken stream or a crash there does not touch your program, and is repaired. What a
site is made of belongs to `frameloom.site`; how processes are kept alive, to `frameloom.control`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import shutil
import sys
import threading
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError

from frameloom.bus.paths import runtime_root
from frameloom.bus.subscriber import Stats, Subscription
from frameloom.control.client import running_sites
from frameloom.control.lifecycle import Limits
from frameloom.control.local import LocalPlacement
from frameloom.control.supervisor import Supervisor
from frameloom.model.errors import NeedsPerson, SourceLost, SourceMisconfigured, StreamEnded
from frameloom.model.frame import Frame
from frameloom.model.result import Result
from frameloom.model.stages import Processor
from frameloom.model.worker import State, WorkerSpec
from frameloom.sources.settings import Kind, SourceSettings

log = logging.getLogger("frameloom")

_CAMERA = "camera"
_PROCESSOR = "processor"
_numbers = itertools.count(1)


def attach(stream: str, *, site: str | None = None, policy: str = "latest", leases: int = 4) -> Subscription:
    """Join a stream of a running site from this process, without a copy; see `Subscription`.

    `stream` is a camera's name for its frames, 'NAME.packets' for its encoded packets, or a processor's name for its
    results. `site` may be left out if only one runs (or $FRAMELOOM_SITE names it). A stream that is not there yet is
    waited for. Raises `NeedsPerson` if it is not clear which site is meant.
    """
    return Subscription(stream, site=site or _only_site(), policy=policy, leases=leases)


def open(
    source: str | os.PathLike[str] | int,
    *,
    policy: str | None = None,
    leases: int = 8,
    wait_s: float = 30.0,
    **settings: Any,
) -> Capture:
    """Open a camera, film or device and decode it in a process of its own; iterate over it for frames.

    source    a URL (rtsp, http), a file, a device ('/dev/video0', or its number)
    policy    'latest' (default for cameras): the newest frame when you ask, the rest dropped and counted;
              'every' (default for films): all of them, and a film waits for you
    leases    how many frames may be kept without being copied; you may keep more
    wait_s    how long to wait for the first frame; a source that is lost later is waited for without end
    settings  as for a camera in site.yaml: transport='udp', loop=True, pace='realtime', width=1280, ...

    Reading raises `SourceMisconfigured` if a person must change something (wrong password, no such file), and
    `SourceLost` if no first frame has come within `wait_s` seconds. Close it, or use it as a context manager.
    """
    found = _settings(source, settings)
    film = found.kind is Kind.FILE or found.pace == "unpaced"
    return Capture(found, policy or ("every" if film else "latest"), leases, wait_s)


def run(
    processor: type[Processor],
    source: str | os.PathLike[str] | int,
    *,
    params: Mapping[str, Any] | None = None,
    wait_s: float = 30.0,
    **settings: Any,
) -> Iterator[Result]:
    """Run a processor on a camera or film and yield its results; both run in processes of their own.

    A film gives every result, as fast as the machine allows, and then ends; a camera gives them as they come. The
    class must be importable: defined in a module, or at the top of the script that runs (whose own work then stands
    under `if __name__ == "__main__":`). Raises as `open` does, and `NeedsPerson` with the traceback if the processor
    cannot be started.
    """
    found = _settings(source, settings)
    policy = "latest" if found.pace != "unpaced" else "every"
    config = {"use": _importable(processor), "base_dir": os.getcwd(), "policy": policy, "await_reader": True}
    host = "frameloom.workers.processor:ProcessorHost"
    worker = WorkerSpec(_PROCESSOR, "processor", host, config, dict(params or {}), (_CAMERA,))
    with _Private([_camera(found), worker]) as private:
        reader = _Reader(private, _PROCESSOR, policy="every", leases=32, wait_s=wait_s)
        with contextlib.suppress(StreamEnded):
            while True:
                item = reader.get(None)
                if isinstance(item, Result):
                    yield item


class Capture:
    """Frames of a source that was opened by `frameloom.open`. Iterate, or call `get`."""

    def __init__(self, settings: SourceSettings, policy: str, leases: int, wait_s: float) -> None:
        self._private = _Private([_camera(settings)])
        try:
            self._reader = _Reader(self._private, _CAMERA, policy=policy, leases=leases, wait_s=wait_s)
        except BaseException:
            self._private.close()
            raise

    def get(self, timeout_s: float | None = None) -> Frame | None:
        """The next frame; None after `timeout_s` seconds. Raises `StreamEnded` at the end of a film; see `open`."""
        item = self._reader.get(timeout_s)
        assert item is None or isinstance(item, Frame)
        return item

    def __iter__(self) -> Iterator[Frame]:
        with contextlib.suppress(StreamEnded):
            while True:
                frame = self.get()
                if frame is not None:
                    yield frame
                del frame

    @property
    def state(self) -> tuple[str, str]:
        """State and detail of the camera's worker, as in `frameloom status`."""
        return self._private.state(_CAMERA)

    @property
    def stats(self) -> Stats:
        """Frames received, dropped, copied; the lag of the last one."""
        return self._reader.stream.stats

    def close(self) -> None:
        """End the worker. Frames that are still kept stay valid. May be called twice."""
        self._reader.close()
        self._private.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Reader:
    """A subscription to a private site that also hears when its worker has given up."""

    def __init__(self, private: _Private, stream: str, *, policy: str, leases: int, wait_s: float) -> None:
        self._private = private
        self._wait_s = wait_s
        self._deadline_s: float | None = time.monotonic() + wait_s
        client = f"{Path(sys.argv[0]).name or 'python'} ({os.getpid()})"
        self.stream = Subscription(stream, site=private.site, policy=policy, leases=leases, client=client)

    def get(self, timeout_s: float | None) -> Any:
        until_s = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            item = self.stream.get(self._patience_s(until_s), interrupt_fd=self._private.news_fd)
            if item is not None:
                self._deadline_s = None
                return item
            self._private.raise_if_given_up()
            now_s = time.monotonic()
            if until_s is not None and now_s >= until_s:
                return None
            if self._deadline_s is not None and now_s >= self._deadline_s:
                why = self._private.state(_CAMERA)[1] or "no answer"
                raise SourceLost(f"no first frame within {self._wait_s:g} s: {why}")

    def _patience_s(self, until_s: float | None) -> float | None:
        limits = [limit for limit in (until_s, self._deadline_s) if limit is not None]
        return max(0.0, min(limits) - time.monotonic()) if limits else None

    def close(self) -> None:
        self.stream.close()


class _Private:
    """A site of this program's own, without a file or a control socket: a supervisor in a thread."""

    def __init__(self, specs: Sequence[WorkerSpec]) -> None:
        _remove_leftovers()
        self.site = f"open-{os.getpid()}-{next(_numbers)}"
        self.news_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._states: dict[str, dict[str, Any]] = {}
        self._closed = False
        self._ready: Future[None] = Future()
        self._stop: asyncio.Event | None = None
        # The kernel ends the workers with this thread, whatever happens to the program.
        self._thread = threading.Thread(
            target=self._run, args=(list(specs),), name=f"site {self.site}", daemon=True
        )
        self._thread.start()
        self._ready.result()
        self._finalizer = weakref.finalize(self, _forget_folder, self.site)

    def state(self, name: str) -> tuple[str, str]:
        found = self._states.get(name, {})
        detail = found.get("detail") or (found.get("report") or {}).get("detail") or ""
        return found.get("state", State.STARTING.value), detail

    def raise_if_given_up(self) -> None:
        """Raise what a person must know of; goes on silently while there is hope."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.news_fd)
        for name, found in self._states.items():
            last = found.get("last_error") or {}
            if found["state"] == State.FAILED:
                error = SourceMisconfigured if name == _CAMERA else NeedsPerson
                raise error(last.get("message") or f"worker {name!r} has failed")

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._loop and self._stop:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        os.close(self.news_fd)
        self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, specs: list[WorkerSpec]) -> None:
        asyncio.run(self._supervise(specs))

    async def _supervise(self, specs: list[WorkerSpec]) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        try:
            placement = LocalPlacement(python_path=_our_path())
            supervisor = Supervisor(self.site, specs, limits=Limits(), placement=placement, on_log=_pass_on)
            await supervisor.start()
        except BaseException as error:
            self._ready.set_exception(error)
            return
        self._ready.set_result(None)
        following = asyncio.create_task(self._follow(supervisor))
        await self._stop.wait()
        following.cancel()
        await supervisor.stop()

    async def _follow(self, supervisor: Supervisor) -> None:
        with contextlib.closing(supervisor.subscribe()) as subscription:
            self._note(supervisor.snapshot()["workers"])
            while (changes := await subscription.changes()) is not None:
                self._note({name: found for name, found in changes.items() if found})

    def _note(self, changes: dict[str, dict[str, Any]]) -> None:
        for name, found in changes.items():
            before = self.state(name)
            self._states[name] = found
            if found["state"] == State.FAILED:
                os.eventfd_write(self.news_fd, 1)
            elif found["state"] in (State.DEGRADED, State.BACKOFF) and self.state(name) != before:
                log.warning("%s: %s", name, self.state(name)[1] or found["state"])


def _settings(source: str | os.PathLike[str] | int, settings: dict[str, Any]) -> SourceSettings:
    url = f"/dev/video{source}" if isinstance(source, int) else os.fspath(source)
    try:
        found = SourceSettings(url=url, **settings)
        if found.kind is Kind.FILE and found.pace is None:
            found = SourceSettings(url=os.path.abspath(found.path), **{**settings, "pace": "unpaced"})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "source"
        raise SourceMisconfigured(f"{place}: {first['msg'].removeprefix('Value error, ')}") from None
    return found


def _camera(settings: SourceSettings) -> WorkerSpec:
    config = {"source": settings.model_dump(mode="json"), "base_dir": os.getcwd(), "give_up": True}
    return WorkerSpec(_CAMERA, "camera", "frameloom.workers.camera:CameraHost", config)


def _importable(processor: type[Processor]) -> str:
    """How a worker finds the class: 'module:Class', or 'script.py:Class' for one in the running script."""
    if processor.__module__ != "__main__":
        return f"{processor.__module__}:{processor.__qualname__}"
    script = getattr(sys.modules["__main__"], "__file__", None)
    if not script or not os.path.isfile(script):
        name = processor.__qualname__
        raise NeedsPerson(f"processor {name}: put it into a file, so that a worker process can load it")
    return f"{os.path.abspath(script)}:{processor.__qualname__}"


def _our_path() -> list[str]:
    """Workers find the modules that this program finds."""
    return [os.path.abspath(folder) for folder in sys.path]


def _only_site() -> str:
    if name := os.environ.get("FRAMELOOM_SITE"):
        return name
    sites = running_sites()
    if len(sites) == 1:
        return sites[0]
    if not sites:
        raise NeedsPerson("no site is running; start one with: frameloom up")
    raise NeedsPerson(f"several sites are running: {', '.join(sites)}; choose one: attach(..., site=...)")


def _pass_on(name: str, line: Any) -> None:
    log.debug("%s: %s", name, line.text)


def _forget_folder(site: str) -> None:
    with contextlib.suppress(OSError):
        shutil.rmtree(runtime_root() / site)


def _remove_leftovers() -> None:
    """Folders of programs that were killed: a few empty files each."""
    for folder in runtime_root().glob("open-*-*"):
        pid = folder.name.split("-")[1]
        if pid.isdigit() and not os.path.exists(f"/proc/{pid}"):
            shutil.rmtree(folder, ignore_errors=True)
