"""A clock that rings by descriptor, timerfd(2): waiting for a moment and for sockets in one go."""

from __future__ import annotations

import contextlib
import ctypes
import os
import time

_TFD_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC


class _Times(ctypes.Structure):
    _fields_ = (("interval", ctypes.c_long * 2), ("value", ctypes.c_long * 2))  # seconds, nanoseconds each


class Alarm:
    """`fd` becomes readable when the time has come, and stays so until `drain`."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.fd = int(self._libc.timerfd_create(time.CLOCK_MONOTONIC, _TFD_FLAGS))
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), f"timerfd_create: {os.strerror(ctypes.get_errno())}")
        self._is_set = False

    def set(self, after_s: float) -> None:
        """Ring once, `after_s` seconds from now; an earlier setting is forgotten."""
        after_ns = max(1, int(after_s * 1e9))
        times = _Times((0, 0), divmod(after_ns, 1_000_000_000))
        self._is_set = True
        self._libc.timerfd_settime(self.fd, 0, ctypes.byref(times), None)

    def drain(self) -> None:
        """If it has rung, make it sleep again."""
        if self._is_set:
            with contextlib.suppress(BlockingIOError):
                os.read(self.fd, 8)
                self._is_set = False

    def close(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)
