"""The worker's end of the link, with this test as supervisor."""

from __future__ import annotations

import json
import select
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from frameloom.model.errors import CommandError, ParameterError, PeerError
from frameloom.model.worker import State, WorkerReport, WorkerSpec
from frameloom.workers.lines import MESSAGE_BYTES
from frameloom.workers.link import COMMANDS_WAITING, Link

PATIENCE_S = 60.0


class Host:
    """Answers as it is told to."""

    def __init__(self) -> None:
        self.state = WorkerReport(State.RUNNING, "well")
        self.go_on = threading.Event()
        self.go_on.set()
        self.changes: list[Any] = []

    def report(self) -> WorkerReport:
        return self.state

    def change(self, values: Mapping[str, Any]) -> dict[str, Any]:
        self.go_on.wait(PATIENCE_S)
        self.changes.append(dict(values))
        if "bad" in values:
            raise ParameterError("bad: read 1, allowed: nothing")
        return dict(values)

    def command(self, name: str, args: Mapping[str, Any]) -> dict[str, Any]:
        if name == "refuse":
            raise CommandError("no", "not now")
        return {"name": name, **args}


class Bench:
    """A link that serves, and the supervisor's end of it."""

    def __init__(self) -> None:
        self.lost = threading.Event()
        self.link, self.supervisor = Link.pair(on_lost=self.lost.set)
        self.supervisor.settimeout(PATIENCE_S)
        self.lines = self.supervisor.makefile("rb")
        self.host = Host()

    def send(self, *messages: Any) -> None:
        self.supervisor.sendall(b"".join(json.dumps(message).encode() + b"\n" for message in messages))

    def receive(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.lines.readline())
        return found

    def next(self, kind: str) -> dict[str, Any]:
        while kind not in (message := self.receive()):
            pass
        return message

    def close(self) -> None:
        self.host.go_on.set()
        self.link.close()
        self.lines.close()
        self.supervisor.close()


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


def serving(bench: Bench) -> Bench:
    bench.link.serve()
    bench.link.attach(bench.host)
    return bench


# -- order --


def test_the_order_is_the_first_message(bench: Bench) -> None:
    spec = WorkerSpec("hall", "camera", "a:B", {"url": "x"}, {"p": 1}, ("s",))
    bench.send({"spec": spec.to_json(), "path": ["/p"]}, {"stop": True})
    assert bench.link.receive_order() == (spec, ("/p",))
    assert bench.link.stopping.is_set(), "what came with it is not lost"


@pytest.mark.parametrize(
    "message", [{}, {"spec": {"name": "a"}}, {"spec": 5}, {"spec": {"nonsense": 1}}, {"path": []}]
)
def test_what_is_no_order_is_refused(bench: Bench, message: dict[str, Any]) -> None:
    bench.send(message)
    with pytest.raises(PeerError, match="want an order"):
        bench.link.receive_order()


def test_a_supervisor_that_is_gone_before_the_order_is_lost(bench: Bench) -> None:
    bench.supervisor.shutdown(socket.SHUT_RDWR)
    with pytest.raises(PeerError, match="gone"):
        bench.link.receive_order()
    assert bench.lost.is_set()


# -- reports --


def test_until_a_host_is_attached_reports_say_loading(bench: Bench) -> None:
    bench.link.serve()
    assert bench.receive()["report"] == {**WorkerReport(State.STARTING, "loading").to_json()}
    bench.link.attach(bench.host)
    assert bench.next("report")["report"]["detail"] in ("loading", "well")


def test_reports_come_by_themselves_and_at_once_after_wake(bench: Bench) -> None:
    serving(bench)
    while bench.next("report")["report"]["detail"] != "well":
        pass
    bench.host.state = WorkerReport(State.DEGRADED, "camera lost")
    bench.link.wake()
    assert bench.next("report")["report"]["state"] == "degraded"
    assert bench.next("report")["report"]["detail"] == "camera lost"


def test_waking_a_thousand_times_is_one_report_or_two(bench: Bench) -> None:
    serving(bench)
    for _ in range(1000):
        bench.link.wake()
    bench.send({"command": "marker", "id": 1})
    reports = 0
    while "report" in bench.receive():
        reports += 1
    assert reports < 100


def test_the_time_at_work_is_in_the_report(bench: Bench) -> None:
    serving(bench)
    bench.link.work = "process()"
    bench.link.begin()
    while (message := bench.next("report"))["report"]["busy_s"] < 0.4:
        pass
    assert message["work"] == "process()"
    bench.link.end()
    while bench.next("report")["report"]["busy_s"]:
        pass


def test_busy_is_begin_and_end_also_when_the_work_raises(bench: Bench) -> None:
    def work() -> None:
        with bench.link.busy():
            assert bench.link._busy_s() > 0
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert bench.link._busy_s() == 0


def test_a_report_that_cannot_be_had_or_sent_is_a_poor_one(bench: Bench) -> None:
    serving(bench)
    bench.host.state = WorkerReport(State.RUNNING, fps=float("nan"))
    while "Out of range" not in (report := bench.next("report")["report"])["detail"]:
        bench.link.wake()
    assert report["state"] == "degraded"
    bench.host.report = lambda: 1 / 0  # type: ignore[method-assign, assignment, return-value]
    while "ZeroDivisionError" not in (report := bench.next("report")["report"])["detail"]:
        bench.link.wake()
    assert report["state"] == "degraded"


# -- commands --


def test_set_is_answered_with_what_the_host_made_of_it(bench: Bench) -> None:
    serving(bench)
    bench.send({"set": {"a": 1}, "id": 1}, {"set": {"bad": 1}, "id": 2})
    assert bench.next("reply") == {"reply": 1, "ok": True, "result": {"a": 1}}
    error = {"code": "refused", "message": "bad: read 1, allowed: nothing"}
    assert bench.next("reply") == {"reply": 2, "ok": False, "error": error}


def test_commands_of_the_host(bench: Bench) -> None:
    serving(bench)
    bench.send({"command": "go", "args": {"x": 1}, "id": 1}, {"command": "refuse", "id": 2})
    assert bench.next("reply")["result"] == {"name": "go", "x": 1}
    assert bench.next("reply")["error"] == {"code": "no", "message": "not now"}


def test_commands_that_come_before_the_host_wait_for_it(bench: Bench) -> None:
    bench.send({"set": {"a": 1}, "id": 1})
    bench.link.serve()
    bench.next("report")
    assert bench.host.changes == []
    bench.link.attach(bench.host)
    assert bench.next("reply")["ok"] is True


def test_a_host_that_takes_its_time_does_not_silence_the_reports(bench: Bench) -> None:
    bench.host.go_on.clear()
    serving(bench)
    bench.send({"set": {"a": 1}, "id": 1})
    for _ in range(3):
        assert "report" in bench.receive()
    bench.host.go_on.set()
    assert bench.next("reply")["ok"] is True


def test_commands_are_not_queued_without_end(bench: Bench) -> None:
    bench.host.go_on.clear()
    serving(bench)
    total = COMMANDS_WAITING + 20
    bench.send(*({"set": {"n": number}, "id": number} for number in range(total)))
    refused = [bench.next("reply") for _ in range(19)]  # 64 wait, and one may be under way
    assert {reply["error"]["code"] for reply in refused} == {"busy"}
    bench.host.go_on.set()
    replies = refused + [bench.next("reply") for _ in range(total - len(refused))]
    assert {reply["reply"] for reply in replies} == set(range(total))
    assert COMMANDS_WAITING <= len(bench.host.changes) <= COMMANDS_WAITING + 1


# -- the end --


def is_readable(fd: int, timeout_s: float = PATIENCE_S) -> bool:
    return bool(select.select([fd], [], [], timeout_s)[0])


def test_stop_by_message_sets_the_event_and_the_descriptor(bench: Bench) -> None:
    serving(bench)
    assert not is_readable(bench.link.stop_fd, 0)
    bench.send({"stop": True}, {"stop": True})
    assert bench.link.stopping.wait(PATIENCE_S)
    assert is_readable(bench.link.stop_fd)


def test_stop_by_signal_is_heard_without_the_main_thread(bench: Bench) -> None:
    """What the C part of a signal handler does with the wake-up descriptor."""
    serving(bench)
    bench.link.on_signal(signal.SIGUSR2)
    bench.link.on_signal(signal.SIGTERM)
    assert bench.link.stopping.wait(PATIENCE_S)


def test_the_end_of_the_supervisor_is_noticed(bench: Bench) -> None:
    serving(bench)
    bench.supervisor.shutdown(socket.SHUT_RDWR)
    assert bench.lost.wait(PATIENCE_S)


def test_last_words_are_cut_to_a_sensible_length(bench: Bench) -> None:
    bench.link.attach(bench.host)
    bench.link.say_ended("crash", "m" * 100_000, "old" + "t" * 100_000 + "end")
    assert bench.receive()["report"]["detail"] == "well"
    ended = bench.receive()["ended"]
    assert (ended["kind"], len(ended["message"]), len(ended["traceback"])) == ("crash", 20_000, 20_000)
    assert ended["traceback"].endswith("end")


# -- garbage --


@pytest.mark.parametrize(
    "garbage",
    [
        b"hello\n",
        b"[]\n",
        b'{"nonsense": 1}\n',
        b'{"set": {}}\n',
        b'{"set": {}, "id": "x"}\n',
        b"x" * (MESSAGE_BYTES + 5) + b"\n",
    ],
    ids=["text", "list", "unknown", "no id", "wrong id", "long"],
)
def test_garbage_is_logged_and_the_next_message_is_heard(
    bench: Bench, garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    serving(bench)
    bench.supervisor.sendall(garbage)
    bench.send({"command": "go", "id": 1})
    assert bench.next("reply")["ok"] is True
    assert "garbage on the link" in caplog.text
