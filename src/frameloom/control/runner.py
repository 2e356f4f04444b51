"""Runs one site in the foreground: lock, workers, control socket, signals, and the way down.

A program that embeds a supervisor uses `Supervisor` itself, since signals are its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator

from .dispatch import Dispatcher, Reload
from .editing import Editable
from .listener import Listener
from .lock import SiteLock
from .supervisor import Supervisor

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


async def run_site(
    supervisor: Supervisor,
    *,
    reload: Reload | None = None,
    file: Editable | None = None,
    on_ready: Callable[[], None] | None = None,
    on_stopping: Callable[[], None] | None = None,
    stop: asyncio.Event | None = None,
) -> None:
    """Run the site until a signal, a `shutdown` command or `stop`; every worker has ended when this returns.

    on_ready     called when commands are taken and the workers are being started
    on_stopping  called when the way down begins: the moment to say so to who waits
    SIGINT, SIGTERM or SIGHUP stops it within 3 s, a second one at once. To be awaited in the main thread.
    Raises `StreamBusy` if the site is running already.
    """
    stop = stop or asyncio.Event()
    lock = SiteLock(supervisor.site)
    with lock, _signals(stop, supervisor):
        listener = Listener(Dispatcher(supervisor, reload=reload, file=file, on_shutdown=stop.set))
        try:
            await listener.start()
            await supervisor.start()
            _tell(on_ready)
            await stop.wait()
            _tell(on_stopping)
        finally:
            await supervisor.stop()
            listener.shut()
            lock.release()  # before the connections end: whoever waits for that may start the site again
            await listener.close()


@contextlib.contextmanager
def _signals(stop: asyncio.Event, supervisor: Supervisor) -> Iterator[None]:
    loop = asyncio.get_running_loop()

    def heard() -> None:
        if stop.is_set():
            supervisor.kill()
        stop.set()

    taken = [number for number in _STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    for number in taken:
        loop.add_signal_handler(number, heard)
    try:
        yield
    finally:
        for number in taken:
            loop.remove_signal_handler(number)


def _tell(somebody: Callable[[], None] | None) -> None:
    if somebody is not None:
        somebody()
