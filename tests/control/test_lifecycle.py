"""Every state and transition of a worker, on a fake clock."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from frameloom.control.lifecycle import Do, Exit, LastWords, Lifecycle, Limits
from frameloom.model.clock import NS_PER_S
from frameloom.model.worker import State, WorkerReport
from frameloom.testing.clock import FakeClock

CRASH = LastWords("crash", "ValueError: broken", "Traceback ...")
PERSON = LastWords("needs-person", "wrong password")
DONE = LastWords("done", "300 frames")


class Bench:
    """A lifecycle, its clock, and what it has asked for."""

    def __init__(self, limits: Limits | None = None, jitter: Callable[[], float] = lambda: 0.0) -> None:
        self.clock = FakeClock()
        self.life = Lifecycle(self.clock, limits or Limits(), jitter)

    def started(self, state: State | None = State.RUNNING) -> Bench:
        self.life.start()
        assert self.life.due() == [Do.SPAWN]
        self.life.spawned()
        if state is not None:
            self.report(state)
        return self

    def report(self, state: State = State.RUNNING, busy_s: float = 0, detail: str = "") -> None:
        self.life.reported(WorkerReport(state, detail, busy_s=busy_s), "process()")

    def until_next(self) -> tuple[float, list[Do]]:
        """Let time pass until the lifecycle wants to be asked: how long that was, and what it says."""
        at_ns = self.life.next_ns()
        assert at_ns is not None, "it waits for an event"
        wait_s = max(0, at_ns - self.clock.monotonic_ns()) / NS_PER_S
        self.clock.advance(wait_s)
        return wait_s, self.life.due()

    def fall_silent(self) -> None:
        """Say nothing until that is noticed."""
        assert self.until_next() == (5, [])
        assert self.until_next() == (0.25, [Do.DUMP])

    def die(self, how: Exit, words: LastWords | None = None) -> None:
        if words:
            self.life.said(words)
        self.life.exited(how)

    def respawn(self, state: State | None = None) -> float:
        wait_s, do = self.until_next()
        assert do == [Do.SPAWN]
        self.life.spawned()
        if state is not None:
            self.report(state)
        return wait_s


def test_a_new_worker_is_idle_and_wants_nothing() -> None:
    life = Bench().life
    assert life.state is State.IDLE
    assert life.next_ns() is None
    assert life.due() == []


def test_start_leads_to_starting_and_the_first_report_to_running() -> None:
    bench = Bench().started(None)
    assert bench.life.state is State.STARTING
    bench.report(State.STARTING, detail="loading")
    assert (bench.life.state, bench.life.detail) == (State.STARTING, "loading")
    bench.report(State.RUNNING)
    assert bench.life.state is State.RUNNING


def test_reports_move_it_between_running_and_degraded_and_each_state_has_its_time() -> None:
    bench = Bench().started()
    since_utc_ns = bench.life.since_utc_ns
    bench.clock.advance(2)
    bench.report(State.RUNNING, detail="well")
    assert bench.life.since_utc_ns == since_utc_ns
    bench.report(State.DEGRADED, detail="camera lost")
    assert (bench.life.state, bench.life.detail) == (State.DEGRADED, "camera lost")
    assert bench.life.since_utc_ns == since_utc_ns + 2 * NS_PER_S
    bench.report(State.RUNNING)
    assert bench.life.state is State.RUNNING


def test_start_is_idempotent() -> None:
    bench = Bench().started()
    assert bench.life.start() is False
    assert bench.life.state is State.RUNNING
    assert bench.life.due() == []


# -- stopping --


def test_stop_asks_then_terminates_then_kills() -> None:
    bench = Bench().started()
    assert bench.life.stop() is True
    assert bench.life.state is State.STOPPING
    assert [bench.until_next() for _ in range(3)] == [(0, [Do.ASK]), (1.5, [Do.TERMINATE]), (1, [Do.KILL])]
    bench.die(Exit(signal=signal.SIGKILL))
    assert (bench.life.state, bench.life.detail) == (State.IDLE, "stopped")
    assert bench.life.last_error is None


def test_stop_is_idempotent() -> None:
    bench = Bench().started()
    bench.life.stop()
    bench.life.due()
    assert bench.life.stop() is False
    assert bench.life.due() == []
    bench.die(Exit(code=0))
    assert bench.life.stop() is False


def test_reports_of_a_stopping_worker_do_not_bring_it_back() -> None:
    bench = Bench().started()
    bench.life.stop()
    bench.report(State.RUNNING)
    assert bench.life.state is State.STOPPING


def test_stop_before_the_process_was_spawned_spawns_none() -> None:
    bench = Bench()
    bench.life.start()
    bench.life.stop()
    assert bench.life.state is State.IDLE
    assert bench.life.due() == []


@pytest.mark.parametrize("words", [None, CRASH])
def test_stop_during_backoff_or_failed_is_idle_at_once(words: LastWords | None) -> None:
    bench = Bench(Limits(failures=1 if words else 5)).started(None)
    bench.die(Exit(code=1), words)
    assert bench.life.state is (State.FAILED if words else State.BACKOFF)
    assert bench.life.stop() is True
    assert bench.life.state is State.IDLE
    assert bench.life.next_ns() is None


def test_start_while_stopping_starts_again_when_it_has_gone() -> None:
    bench = Bench().started()
    bench.life.stop()
    bench.life.due()
    assert bench.life.start() is True
    assert bench.life.start() is False
    assert bench.life.state is State.STOPPING
    bench.die(Exit(code=0))
    assert bench.life.state is State.STARTING
    assert bench.until_next() == (0, [Do.SPAWN])


def test_restart_ends_and_starts_without_waiting() -> None:
    bench = Bench().started()
    bench.life.stop()
    bench.life.start()
    assert bench.life.due() == [Do.ASK]
    bench.die(Exit(code=0))
    assert bench.until_next() == (0, [Do.SPAWN])
    assert bench.life.restarts == 0, "only restarts that nobody asked for are counted"


def test_kill_does_not_ask() -> None:
    bench = Bench().started()
    bench.life.kill()
    assert bench.until_next() == (0, [Do.KILL])
    bench.die(Exit(signal=signal.SIGKILL))
    assert bench.life.state is State.IDLE


def test_kill_hastens_a_stop_under_way() -> None:
    bench = Bench().started()
    bench.life.stop()
    bench.life.due()
    bench.life.kill()
    assert bench.until_next() == (0, [Do.KILL])


def test_a_crash_while_stopping_is_kept_as_error_but_it_stays_stopped() -> None:
    bench = Bench().started()
    bench.life.stop()
    bench.die(Exit(code=1), CRASH)
    assert bench.life.state is State.IDLE
    assert bench.life.last_error is not None
    assert bench.life.last_error.message == "ValueError: broken"


# -- deaths --


def test_a_death_is_followed_by_growing_waits() -> None:
    bench = Bench().started()
    waits_s = []
    for _ in range(10):
        bench.die(Exit(signal=signal.SIGKILL))
        assert bench.life.state is State.BACKOFF
        waits_s.append(bench.respawn(State.RUNNING))
    assert waits_s == pytest.approx([0.1, 0.5, 1, 2, 4, 8, 16, 30, 30, 30])
    assert bench.life.restarts == 10


def test_jitter_adds_a_tenth_at_most() -> None:
    bench = Bench(jitter=lambda: 1.0).started()
    bench.die(Exit(signal=signal.SIGKILL))
    assert bench.life.next_start_s == pytest.approx(0.11)


def test_ten_seconds_of_work_make_the_next_death_a_first_one() -> None:
    bench = Bench().started()
    for _ in range(4):
        bench.die(Exit(code=1))
        bench.respawn(State.RUNNING)
    bench.clock.advance(9.9)
    bench.die(Exit(code=1))
    assert bench.respawn(State.RUNNING) == pytest.approx(4), "9.9 s are not enough"
    bench.clock.advance(10)
    bench.die(Exit(code=1))
    assert bench.respawn() == pytest.approx(0.1)


def test_time_without_work_does_not_make_the_next_death_a_first_one() -> None:
    bench = Bench().started()
    bench.die(Exit(code=1))
    bench.respawn(State.STARTING)
    bench.clock.advance(60)
    bench.die(Exit(code=1))
    assert bench.respawn() == pytest.approx(0.5)


@pytest.mark.parametrize(
    "how", [Exit(code=1), Exit(code=0), Exit(signal=signal.SIGSEGV), Exit(signal=signal.SIGABRT)]
)
@pytest.mark.parametrize("reached", [State.STARTING, State.RUNNING, State.DEGRADED])
def test_five_early_ends_of_its_own_are_a_failure(how: Exit, reached: State) -> None:
    bench = Bench().started(reached)
    for _ in range(4):
        bench.die(how)
        bench.respawn(reached)
        bench.clock.advance(0.9)
    bench.die(how)
    assert bench.life.state is State.FAILED
    assert str(how) in bench.life.detail
    assert bench.life.next_ns() is None


def test_ends_after_a_second_of_work_never_fail_it() -> None:
    bench = Bench().started()
    for _ in range(20):
        bench.clock.advance(1)
        bench.die(Exit(code=1))
        bench.respawn(State.RUNNING)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_signals_from_outside_never_fail_it(number: signal.Signals) -> None:
    bench = Bench().started(None)
    for _ in range(20):
        bench.die(Exit(signal=number))
        assert bench.life.state is State.BACKOFF
        bench.respawn()


def test_a_signal_from_outside_breaks_the_row_of_failures() -> None:
    bench = Bench().started(None)
    for how in [Exit(code=1)] * 4 + [Exit(signal=signal.SIGKILL)] + [Exit(code=1)] * 4:
        bench.die(how)
        bench.respawn()
    bench.die(Exit(code=1))
    assert bench.life.state is State.FAILED


def test_a_process_that_cannot_be_started_is_tried_again() -> None:
    bench = Bench()
    bench.life.start()
    for _ in range(9):
        assert bench.until_next()[1] == [Do.SPAWN]
        bench.life.spawned()
        bench.life.exited(Exit(reason="could not be started: Too many open files"))
        assert bench.life.state is State.BACKOFF
    assert bench.life.last_error is not None
    assert "Too many open files" in bench.life.last_error.message


def test_what_a_person_must_fix_is_not_tried_again() -> None:
    bench = Bench().started()
    bench.die(Exit(code=3), PERSON)
    assert (bench.life.state, bench.life.detail) == (State.FAILED, "wrong password")
    assert bench.life.next_ns() is None


def test_start_by_a_person_forgets_the_failures() -> None:
    bench = Bench().started(None)
    for _ in range(4):
        bench.die(Exit(code=1))
        bench.respawn()
    bench.die(Exit(code=1))
    bench.started(None)
    bench.die(Exit(code=1))
    assert bench.life.state is State.BACKOFF
    assert bench.life.next_start_s == pytest.approx(0.1)


def test_start_during_backoff_starts_at_once() -> None:
    bench = Bench().started()
    bench.die(Exit(code=1))
    assert bench.life.start() is True
    assert bench.until_next() == (0, [Do.SPAWN])


def test_work_that_is_done_is_idle_and_finished() -> None:
    bench = Bench().started()
    bench.die(Exit(code=0), DONE)
    assert (bench.life.state, bench.life.detail) == (State.IDLE, "finished: 300 frames")
    assert bench.life.last_error is None
    assert bench.life.start() is True


def test_one_that_says_its_end_and_does_not_end_is_helped() -> None:
    bench = Bench().started()
    bench.life.said(DONE)
    assert [bench.until_next() for _ in range(2)] == [(1.5, [Do.TERMINATE]), (1, [Do.KILL])]
    bench.life.exited(Exit(signal=signal.SIGKILL))
    assert bench.life.state is State.IDLE


def test_the_last_error_has_words_traceback_time_and_exit_and_survives_a_good_start() -> None:
    bench = Bench().started()
    bench.die(Exit(code=1), CRASH)
    error = bench.life.last_error
    assert error is not None
    assert error.to_json() == {
        "message": "ValueError: broken",
        "traceback": "Traceback ...",
        "at_utc_ns": bench.clock.utc_ns(),
        "exit": "exit code 1",
    }
    bench.respawn(State.RUNNING)
    bench.clock.advance(4)
    bench.report()
    assert bench.life.last_error == error


@pytest.mark.parametrize(
    ("how", "text"),
    [
        (Exit(code=7), "exit code 7"),
        (Exit(signal=signal.SIGSEGV), "SIGSEGV"),
        (Exit(signal=signal.SIGRTMIN + 3), f"signal {signal.SIGRTMIN + 3}"),
    ],
)
def test_how_an_end_is_told(how: Exit, text: str) -> None:
    bench = Bench().started()
    bench.die(how)
    assert bench.life.last_error is not None
    assert bench.life.last_error.exit == text
    assert text in bench.life.detail


# -- silence and hanging --


def test_a_silent_worker_is_asked_where_it_is_then_killed_then_started() -> None:
    bench = Bench().started()
    bench.clock.advance(4)
    bench.report()
    assert bench.until_next() == (5, [])
    assert bench.until_next() == (0.25, [Do.DUMP]), "looked at twice"
    wait_s, do = bench.until_next()
    assert (wait_s, do) == (pytest.approx(0.3), [Do.KILL])
    bench.life.exited(Exit(signal=signal.SIGKILL), "Thread 0x1 ...")
    assert bench.life.state is State.BACKOFF
    assert bench.life.last_error is not None
    assert bench.life.last_error.exit == "killed: silent for 5 s"
    assert bench.life.last_error.traceback == "Thread 0x1 ..."


def test_a_worker_that_hangs_in_one_piece_of_work_is_killed() -> None:
    bench = Bench(Limits(hang_s=10)).started()
    bench.report(busy_s=10)
    assert bench.life.due() == []
    bench.report(busy_s=10.2)
    assert bench.life.due() == [Do.DUMP]
    assert bench.until_next()[1] == [Do.KILL]
    bench.die(Exit(signal=signal.SIGKILL))
    assert bench.life.last_error is not None
    assert bench.life.last_error.exit == "killed: process() hung for 10 s"


def test_a_condemned_worker_is_killed_though_it_speaks_again() -> None:
    bench = Bench().started()
    bench.fall_silent()
    bench.report()
    bench.life.said(DONE)
    assert bench.until_next()[1] == [Do.KILL]
    bench.die(Exit(code=0))
    assert bench.life.state is State.BACKOFF, "it was no proper end"
    assert bench.life.last_error is not None
    assert bench.life.last_error.exit == "killed: silent for 5 s"


def test_stop_of_a_condemned_worker_does_not_spare_it() -> None:
    bench = Bench().started()
    bench.fall_silent()
    bench.life.stop()
    wait_s, do = bench.until_next()
    assert (wait_s, do) == (pytest.approx(0.3), [Do.KILL])
    bench.die(Exit(signal=signal.SIGKILL))
    assert bench.life.state is State.IDLE


def test_kills_by_the_supervisor_never_fail_it() -> None:
    bench = Bench().started(None)
    for _ in range(12):
        assert bench.until_next() == (30, [])
        assert bench.until_next() == (0.25, [Do.DUMP])
        assert bench.until_next()[1] == [Do.KILL]
        bench.die(Exit(signal=signal.SIGKILL))
        assert bench.life.state is State.BACKOFF
        assert bench.life.last_error is not None
        assert bench.life.last_error.exit == "killed: no sign of life 30 s after its start"
        bench.respawn()


@pytest.mark.parametrize("asleep_s", [4.6, 5.1, 5.4, 8, 60])
def test_a_supervisor_that_slept_itself_blames_nobody(asleep_s: float) -> None:
    bench = Bench().started()
    bench.clock.advance(0.5)
    bench.report()
    bench.clock.advance(asleep_s)
    assert bench.life.due() == [], "what was said meanwhile is read only now"
    bench.report()
    assert bench.life.due() == []
    bench.fall_silent()


def test_a_supervisor_that_falls_asleep_between_two_looks_blames_nobody() -> None:
    bench = Bench().started()
    assert bench.until_next() == (5, [])
    bench.clock.advance(3)
    assert bench.life.due() == []
    bench.report()
    bench.fall_silent()


def test_a_stopping_worker_is_not_blamed_for_silence() -> None:
    bench = Bench(Limits(terminate_s=20, kill_s=30)).started()
    bench.life.stop()
    assert bench.life.due() == [Do.ASK]
    assert bench.until_next() == (20, [Do.TERMINATE])


def test_uptime_is_that_of_the_process() -> None:
    bench = Bench()
    assert bench.life.uptime_s is None
    bench.started()
    bench.clock.advance(4)
    assert bench.life.uptime_s == 4
    bench.die(Exit(code=1))
    assert bench.life.uptime_s is None
