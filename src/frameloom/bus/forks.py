"""What a fork must not share: sockets and threads of the bus stay with the process that opened them.

A child made by os.fork() (multiprocessing's default on Linux) gets copies of every descriptor. A copy of a reader's
socket would keep its leases alive after its death, and two processes would read one socket. So the child closes its
copies at once; whoever wants the stream there attaches again.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Any

_open: weakref.WeakKeyDictionary[Any, Callable[[], None]] = weakref.WeakKeyDictionary()


def close_in_child(owner: Any, close: Callable[[], None]) -> None:
    """Call `close` (a bound method of `owner`) in every child that is forked while `owner` lives."""
    _open[owner] = close.__func__  # type: ignore[attr-defined]


def _after_fork() -> None:
    for owner, close in list(_open.items()):
        close(owner)  # type: ignore[call-arg]
    _open.clear()


os.register_at_fork(after_in_child=_after_fork)
