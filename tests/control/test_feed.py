"""Hearing of changes, however slowly one asks."""

from __future__ import annotations

import asyncio
from typing import Any

from frameloom.control.feed import Subscription


async def test_many_changes_of_one_worker_are_one_with_its_present_state() -> None:
    states: dict[str, Any] = {"a": {"n": 0}, "b": {"n": 0}}
    subscription = Subscription(lambda name: dict(states[name]) if name in states else None, lambda _: None)
    for number in range(10_000):
        states["a"]["n"] = number
        subscription.mark("a")
    subscription.mark("b")
    assert len(subscription._marked) == 2
    del states["b"]
    assert await subscription.changes() == {"a": {"n": 9999}, "b": None}


async def test_changes_waits_for_one() -> None:
    subscription = Subscription(lambda name: {"name": name}, lambda _: None)
    waiting = asyncio.create_task(subscription.changes())
    await asyncio.sleep(0)
    assert not waiting.done()
    subscription.mark("a")
    assert await waiting == {"a": {"name": "a"}}


async def test_close_ends_the_waiting_and_tells_the_owner() -> None:
    closed: list[Subscription] = []
    subscription = Subscription(lambda name: {}, closed.append)
    waiting = asyncio.create_task(subscription.changes())
    await asyncio.sleep(0)
    subscription.close()
    assert await waiting is None
    assert await subscription.changes() is None
    assert closed == [subscription]
