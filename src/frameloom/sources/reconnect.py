"""A source that comes back: opens it again after every loss, with growing waits, and never spins.

    for format, packets in reconnecting:
        for packet in packets:
            ...                                 # publish, decode
            reconnecting.good()                 # a picture came out of it
    # here the film is over, or `close()` was called

Which errors are worth another try is said by their class, see `frameloom.sources.errors`.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

from frameloom.model.clock import Clock
from frameloom.model.errors import NeedsPerson, TryAgain
from frameloom.model.packet import Packet, PacketFormat
from frameloom.model.stages import Source

from .feed import Take

OnState = Callable[[str, str, float], None]
"""Called with a state ('connecting', 'running', 'lost', 'misconfigured', 'ended'), what happened, and the seconds
until the next try (0 if none is waited for)."""

LOST_WAITS_S = (0.5, 30.0)
"""First and longest wait after a loss."""

MISCONFIGURED_WAITS_S = (60.0, 600.0)
"""First and longest wait after an error that a person must put right. It is tried again because that person may as
well repair the camera as the site file; rarely, because many cameras lock out whoever comes with a wrong password
too often."""


@runtime_checkable
class _Relaying(Protocol):
    """A source that can do without its reader for a while."""

    def relay(self, take: Take) -> None: ...


class Reconnecting:
    """Opens what `open_source` makes, again and again.

    clock      all waits are made on it
    interrupt  ends waiting and iterating when set; `close()` sets it, and wakes a source that hangs as well
    on_state   see `OnState`; called in the iterating thread
    jitter     a number from 0 to 1 for each wait, which is made up to a tenth longer by it: cameras that were lost
               together do not come back together
    """

    def __init__(
        self,
        open_source: Callable[[], Source],
        clock: Clock,
        interrupt: threading.Event,
        on_state: OnState = lambda state, detail, wait_s: None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.losses = 0
        self.source: Source | None = None
        self._open_source = open_source
        self._clock = clock
        self._interrupt = interrupt
        self._on_state = on_state
        self._jitter = jitter
        self._failures = 0
        self._failing = ""
        self._complaint: str | None = None
        self._ended = False
        self._over = False

    def __iter__(self) -> Iterator[tuple[PacketFormat, Iterator[Packet]]]:
        """One item for every time the source could be opened: its format, and packets up to the next loss.

        Ends with the film, or when `interrupt` is set. Any other error of the source is not caught.
        """
        try:
            while not (self._interrupt.is_set() or self._ended):
                yield from self._connection()
        finally:
            self._close_source()

    def good(self) -> None:
        """A picture came: the next loss is waited for as if it were the first."""
        self._failures = 0

    def lose(self, why: str) -> None:
        """The host finds this connection of no use (nothing can be decoded): it ends with the next packet."""
        self._complaint = why

    def relay(self, take: Take) -> None:
        """Have `take` called by the thread that reads the source, if there is such a thread, see `Feed.relay`.

        Called by the host when it has dealt with the packet that it was given last. `take` calls `good()` itself.
        """
        if isinstance(self.source, _Relaying):
            self.source.relay(take)

    def close(self) -> None:
        """End waiting and iterating, from any thread."""
        self._interrupt.set()
        self._close_source()

    def _connection(self) -> Iterator[tuple[PacketFormat, Iterator[Packet]]]:
        self._on_state("connecting", "", 0.0)
        try:
            self.source = source = self._open_source()
            format = source.open()
        except (TryAgain, NeedsPerson) as error:
            self._failed(error)
            return
        self._complaint, self._over = None, False
        if not self._interrupt.is_set():
            self._on_state("running", "", 0.0)
            yield format, self._packets(source)
            if not self._over:
                self._failed(TryAgain(self._complaint or "the connection was given up"))

    def _packets(self, source: Source) -> Iterator[Packet]:
        """Packets of one connection. A loss is dealt with here, so that the host's loop just ends."""
        try:
            for packet in source.packets():
                if packet.is_key:
                    self.good()
                yield packet
                if self._complaint is not None:
                    raise TryAgain(self._complaint)
                if self._interrupt.is_set():
                    break
        except (TryAgain, NeedsPerson) as error:
            self._failed(error)
        else:
            self._finish()

    def _finish(self) -> None:
        self._over = True
        if not self._interrupt.is_set():
            self._ended = True
            self._on_state("ended", "", 0.0)

    def _failed(self, error: TryAgain | NeedsPerson) -> None:
        self._over = True
        self._close_source()
        if self._interrupt.is_set():
            return
        self.losses += 1
        state = "misconfigured" if isinstance(error, NeedsPerson) else "lost"
        wait_s = self._next_wait_s(state)
        self._on_state(state, str(error), wait_s)
        self._clock.wait(self._interrupt, wait_s)

    def _next_wait_s(self, state: str) -> float:
        if state != self._failing:  # a camera that was switched off may come back and refuse the password
            self._failing, self._failures = state, 0
        first_s, longest_s = MISCONFIGURED_WAITS_S if state == "misconfigured" else LOST_WAITS_S
        wait_s = min(longest_s, first_s * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return wait_s * (1 + self._jitter() / 10)

    def _close_source(self) -> None:
        source = self.source
        if source is not None:
            source.close()
