"""The contract of the bus, held by each kind of memory."""

from __future__ import annotations

from tests.conformance.bus import BusConformance


class TestMemfd(BusConformance):
    backend = "memfd"


class TestShm(BusConformance):
    """What other systems than Linux have: POSIX shared memory, unlinked at once."""

    backend = "shm"
