"""The life of a worker process, from its start to its exit.

It reads from the inherited socket what to run (never from its arguments, which everybody can see), runs it in
the main thread, says how it ended, and leaves. It dies with the supervisor, whatever it is doing.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import faulthandler
import importlib
import logging
import os
import signal
import socket
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from frameloom.model.errors import NeedsPerson, PeerError
from frameloom.model.worker import WorkerSpec

from .host import Host
from .link import Link, Order

EXIT_CRASH = 1
EXIT_NEEDS_PERSON = 3
EXIT_GARBAGE = 4

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one worker and leave the process; never returns."""
    options = _options(arguments)
    _die_with_parent(options.name)
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    connection = socket.socket(fileno=options.fd)
    connection.set_inheritable(False)
    link = Link(connection)
    _leave(_work(link, _order(link)))


def _work(link: Link, order: Order) -> int:
    _hear_signals(link)
    sys.path += [folder for folder in order.path if folder not in sys.path]
    link.serve()
    return run(order.spec, link)


def run(spec: WorkerSpec, link: Link) -> int:
    """Load the host of `spec` and run it to its end; tells the supervisor how it ended and returns an exit
    code.
    """
    try:
        host = _begin(spec, link)
        host.run()
    except NeedsPerson as error:
        link.say_ended("needs-person", str(error), traceback.format_exc())
        return EXIT_NEEDS_PERSON
    except BaseException as error:
        logging.getLogger(spec.kind).exception("the worker ends by an error that it did not expect")
        link.say_ended("crash", f"{type(error).__name__}: {error}", traceback.format_exc())
        return EXIT_CRASH
    if not link.stopping.is_set():
        link.say_ended("done", host.report().detail)
    return 0


def load(path: str) -> type[Host]:
    """The host class at 'module:Class'; raises `NeedsPerson` if it cannot be had."""
    module_name, colon, class_name = path.partition(":")
    if not (module_name and colon and class_name):
        raise NeedsPerson(f"host: read {path!r}, allowed: 'module:Class'")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError, SyntaxError) as error:
        raise NeedsPerson(f"host {path!r} cannot be loaded: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Host)):
        raise NeedsPerson(f"host {path!r}: it must be a subclass of frameloom.workers.host.Host")
    return found


def _begin(spec: WorkerSpec, link: Link) -> Host:
    """Loading counts as work, so that a host that hangs in it is found."""
    usual, link.work = link.work, "loading"
    with link.busy():
        host = load(spec.host)(spec, link)
    if link.work == "loading":
        link.work = usual
    link.attach(host)
    return host


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="frameloom.workers", description="A worker process.")
    parser.add_argument("--fd", type=int, required=True, help="inherited socket to the supervisor")
    parser.add_argument("--name", required=True, help="the worker's name, for ps and top")
    return parser.parse_args(arguments)


def _order(link: Link) -> Order:
    try:
        return link.receive_order()
    except PeerError as error:
        logging.getLogger(__name__).error("%s", error)
        _leave(EXIT_GARBAGE)


def _hear_signals(link: Link) -> None:
    """SIGTERM means stop, and Ctrl-C is the supervisor's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: link.on_signal(number))
    signal.set_wakeup_fd(link.signal_fd, warn_on_full_buffer=False)


def _die_with_parent(name: str) -> None:
    """Ask Linux to kill this process when its parent dies; elsewhere the end of the link does it.

    If the parent has died before this call, the link has ended already, and reading the order says so.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_NAME, f"fl:{name}".encode()[:15], 0, 0, 0)


def _leave(code: int) -> NoReturn:
    """End at once: threads of libraries, which nobody stops, must not keep the process."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
