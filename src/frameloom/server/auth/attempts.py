"""Limits how often passwords may be tried: by address, and by user. What is remembered of it is bounded.

Each address and each user has so many tries, which come back one by one. Whoever has logged in from an address lately
is not kept out there by others who try his name from elsewhere.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

TRIES = 10
REFILL_S = 10.0
_MOST_KEPT = 4096


@dataclass(slots=True)
class _Bucket:
    left: float
    at_s: float


class Tries:
    """Tries by key. Of too many keys the one that was not tried for the longest time is forgotten."""

    def __init__(self, most: int = _MOST_KEPT) -> None:
        self._buckets: OrderedDict[Hashable, _Bucket] = OrderedDict()
        self._most = most

    def take(self, key: Hashable, now_s: float) -> float:
        """0 if it may be tried, which then counts; else how many seconds to wait."""
        bucket = self._bucket(key, now_s)
        if bucket.left < 1:
            return (1 - bucket.left) * REFILL_S
        bucket.left -= 1
        return 0.0

    def give_back(self, key: Hashable, now_s: float) -> None:
        """The try was good, and does not count."""
        bucket = self._bucket(key, now_s)
        bucket.left = min(TRIES, bucket.left + 1)

    def __len__(self) -> int:
        return len(self._buckets)

    def _bucket(self, key: Hashable, now_s: float) -> _Bucket:
        bucket = self._buckets.setdefault(key, _Bucket(TRIES, now_s))
        self._buckets.move_to_end(key)
        while len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        bucket.left = min(TRIES, bucket.left + (now_s - bucket.at_s) / REFILL_S)
        bucket.at_s = now_s
        return bucket


class Attempts:
    """Who may try a password now. Times are monotonic, in seconds."""

    def __init__(self) -> None:
        self._addresses = Tries()
        self._users = Tries()
        self._good: OrderedDict[tuple[str, str], None] = OrderedDict()

    def wait_s(self, user: str, address: str, now_s: float) -> float:
        """0 if it may be tried, which then counts; else how many seconds to wait."""
        network = network_of(address)
        if wait_s := self._addresses.take(network, now_s):
            return wait_s
        if (user, network) in self._good:
            return 0.0
        return self._users.take(user, now_s)

    def was_good(self, user: str, address: str, now_s: float) -> None:
        """The password was right."""
        network = network_of(address)
        self._addresses.give_back(network, now_s)
        if (user, network) not in self._good:
            self._users.give_back(user, now_s)
        self._good[user, network] = None
        self._good.move_to_end((user, network))
        while len(self._good) > _MOST_KEPT:
            self._good.popitem(last=False)


def network_of(address: str) -> str:
    """The address; of IPv6 the /64, which is what one customer has."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)
