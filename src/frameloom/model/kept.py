"""What was sent lately, kept once for all who read it: each goes its own pace, and none costs another anything.

Of a reader nothing is remembered but the number of the item it has. So a newcomer begins at once, at the newest key
item, and one that is slow goes on at a newer one: what it misses is the gap in the numbers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import Generic, Protocol, TypeVar

from .clock import NS_PER_S

_LATE_NS = NS_PER_S // 2
_OLD_NS = 10 * NS_PER_S


class Item(Protocol):
    """`number` counts from 1, with gaps where some were lost before; a reader may begin where `is_key`."""

    @property
    def number(self) -> int: ...
    @property
    def is_key(self) -> bool: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def captured_ns(self) -> int: ...


I = TypeVar("I", bound=Item)  # noqa: E741 - the type of its items


class Kept(Generic[I]):
    """The items since the last key item but one, of no more than `most_bytes` in all.

    late_ns  a reader that is so far behind goes on at a newer key item, if there is one
    old_ns   a newcomer does not take for the present what is older
    """

    def __init__(self, most_bytes: int, *, late_ns: int = _LATE_NS, old_ns: int = _OLD_NS) -> None:
        self._most_bytes = most_bytes
        self._late_ns = late_ns
        self._old_ns = old_ns
        self._items: deque[I] = deque()
        self._nbytes = 0

    @property
    def number(self) -> int:
        """Of the newest item; 0 before the first."""
        return self._items[-1].number if self._items else 0

    def add(self, item: I) -> None:
        """Keep the next item. Two groups of pictures: who is a little late when one begins loses nothing."""
        self._items.append(item)
        self._nbytes += item.nbytes
        if item.is_key:
            self._drop_before([each.number for each in self._items if each.is_key][-2:])
        while self._nbytes > self._most_bytes and len(self._items) > 1:
            self._drop()

    def clear(self) -> None:
        """Keep nothing: what comes next has nothing to do with it."""
        self._items.clear()
        self._nbytes = 0

    def first(self, now_ns: int) -> I | None:
        """Where a newcomer begins: at the newest key item, unless that is of the past."""
        if not self._items or now_ns - self._items[-1].captured_ns > self._old_ns:
            return None
        return self._newest_key()

    def after(self, number: int) -> I | None:
        """What comes after item `number`: the next one, or a later key item; None if there is none yet."""
        items = self._items
        if not items or items[-1].number <= number:
            return None
        key, follower = self._newest_key(), self._numbered(number + 1)
        if follower is None:
            return key if key is not None and key.number > number else None
        is_late = items[-1].captured_ns - follower.captured_ns > self._late_ns
        return key if is_late and key is not None and key.number > number else follower

    def key_after(self, number: int) -> I | None:
        """The first key item after item `number`; None if there is none yet."""
        return next((each for each in self._items if each.is_key and each.number > number), None)

    def _numbered(self, number: int) -> I | None:
        at = max(
            0, len(self._items) - 1 - (self._items[-1].number - number)
        )  # or later, where some are missing
        return _find(islice(self._items, at, None), number)

    def _newest_key(self) -> I | None:
        return next((each for each in reversed(self._items) if each.is_key), None)

    def _drop_before(self, keys: list[int]) -> None:
        while len(keys) == 2 and self._items[0].number < keys[0]:
            self._drop()

    def _drop(self) -> None:
        self._nbytes -= self._items.popleft().nbytes


def _find(items: Iterable[I], number: int) -> I | None:
    return next((each for each in items if each.number == number), None)
