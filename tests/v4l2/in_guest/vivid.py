"""The controls of the kernel's V4L2 test driver: they make it misbehave as real cameras do.

By name, as the driver's documentation has them (Documentation/admin-guide/media/vivid.rst). The tests stand
in the modules named test_*.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator

_QUERY = struct.Struct(
    "=2I32s4i3I"
)  # v4l2_queryctrl: id, type, name, minimum, maximum, step, default, flags, reserved
_CONTROL = struct.Struct("=Ii")  # v4l2_control: id, value
_VIDIOC_QUERYCTRL = 3 << 30 | _QUERY.size << 16 | ord("V") << 8 | 36
_VIDIOC_S_CTRL = 3 << 30 | _CONTROL.size << 16 | ord("V") << 8 | 28
_NEXT_CONTROL = 0x80000000


def control(path: str, name: str, value: int = 1) -> None:
    """Sets a control of the device at a path, or presses it if it is a button; KeyError: it has none."""
    fd = os.open(path, os.O_RDWR)
    try:
        fcntl.ioctl(fd, _VIDIOC_S_CTRL, _CONTROL.pack(dict(_controls(fd))[name], value))
    finally:
        os.close(fd)


def _controls(fd: int) -> Iterator[tuple[str, int]]:
    last = 0
    while True:
        argument = bytearray(_QUERY.pack(last | _NEXT_CONTROL, 0, b"", *[0] * 7))
        try:
            fcntl.ioctl(fd, _VIDIOC_QUERYCTRL, argument, True)
        except OSError:
            return
        last, _, name, *_ = _QUERY.unpack(argument)
        yield name.partition(b"\0")[0].decode(), last
