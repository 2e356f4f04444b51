"""Changes on their way to the work: in order, answered, and never lost or waited for in vain."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from frameloom.model.errors import CommandError, ParameterError
from frameloom.workers.inbox import Inbox

PATIENCE_S = 60.0


class Pipe:
    def __init__(self) -> None:
        self.read_fd, self.write_fd = os.pipe()

    def close(self) -> None:
        os.close(self.read_fd)
        os.close(self.write_fd)


@pytest.fixture
def stop() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()


@pytest.fixture
def inbox(stop: Pipe) -> Iterator[Inbox]:
    inbox = Inbox(stop.read_fd)
    yield inbox
    inbox.close()


def is_readable(inbox: Inbox) -> bool:
    return bool(select.select([inbox.fileno()], [], [], 0)[0])


class Submitting:
    """A command thread that waits for its answer."""

    def __init__(self, inbox: Inbox, values: Mapping[str, Any]) -> None:
        self.answer: Any = None
        self._thread = threading.Thread(target=self._run, args=(inbox, values))
        self._thread.start()

    def _run(self, inbox: Inbox, values: Mapping[str, Any]) -> None:
        try:
            self.answer = inbox.submit(values)
        except Exception as error:
            self.answer = error

    def end(self) -> Any:
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        return self.answer


def test_the_answer_is_what_the_work_made_of_it(inbox: Inbox) -> None:
    submitting = Submitting(inbox, {"threshold": "4"})
    inbox.wait(PATIENCE_S)
    assert inbox.apply(lambda values: {name: int(value) for name, value in values.items()})
    assert submitting.end() == {"threshold": 4}
    assert not inbox.waiting and not is_readable(inbox)


def test_what_the_work_raises_is_raised_to_whom_it_belongs(inbox: Inbox) -> None:
    def change(values: Mapping[str, Any]) -> dict[str, Any]:
        if "bad" in values:
            raise ParameterError("bad: read 1, allowed: nothing")
        return dict(values)

    bad = Submitting(inbox, {"bad": 1})
    inbox.wait(PATIENCE_S)
    good = Submitting(inbox, {"good": 1})
    while good.answer is None or bad.answer is None:
        inbox.apply(change)
        inbox.wait(0.01)
    assert isinstance(bad.end(), ParameterError)
    assert good.end() == {"good": 1}


def test_nothing_to_apply(inbox: Inbox) -> None:
    assert not inbox.apply(lambda values: dict(values))
    assert not is_readable(inbox)


def test_a_nudge_wakes_once_and_brings_nothing(inbox: Inbox) -> None:
    inbox.nudge()
    inbox.nudge()
    assert is_readable(inbox)
    inbox.wait(PATIENCE_S)
    assert not inbox.apply(lambda values: dict(values))
    assert not is_readable(inbox)


def test_the_other_descriptor_wakes_too(inbox: Inbox, stop: Pipe) -> None:
    os.write(stop.write_fd, b"\0")
    assert is_readable(inbox)
    inbox.wait(PATIENCE_S)
    inbox.apply(lambda values: dict(values))
    assert is_readable(inbox), "it stays so: the work is to see that it must end"


def test_many_threads_at_once(inbox: Inbox) -> None:
    submitting = [Submitting(inbox, {"n": n}) for n in range(50)]
    seen: list[int] = []

    def change(values: Mapping[str, Any]) -> dict[str, Any]:
        seen.append(values["n"])
        return {"n": values["n"] + 1000}

    while len(seen) < 50:
        inbox.wait(PATIENCE_S)
        inbox.apply(change)
    assert [each.end()["n"] for each in submitting] == [n + 1000 for n in range(50)]
    assert sorted(seen) == list(range(50))


def test_a_change_that_comes_while_changes_are_applied_is_not_lost(inbox: Inbox) -> None:
    later: list[Submitting] = []

    def change(values: Mapping[str, Any]) -> dict[str, Any]:
        if not later:
            later.append(Submitting(inbox, {"second": 1}))
        return dict(values)

    first = Submitting(inbox, {"first": 1})
    while not later or later[0].answer is None:
        inbox.wait(0.01)
        inbox.apply(change)
    assert first.end() == {"first": 1} and later[0].end() == {"second": 1}


def test_the_end_of_the_work_is_told_to_who_waits_and_who_comes_late(inbox: Inbox) -> None:
    waiting = Submitting(inbox, {"a": 1})
    inbox.wait(PATIENCE_S)
    inbox.close()
    inbox.close()
    inbox.nudge()
    assert isinstance(waiting.end(), CommandError) and waiting.answer.code == "worker-ended"
    with pytest.raises(CommandError, match="the worker ended"):
        inbox.submit({"a": 1})
