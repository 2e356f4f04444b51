"""How often passwords may be tried; time is given."""

from __future__ import annotations

import pytest

from frameloom.server.auth.attempts import REFILL_S, TRIES, Attempts, Tries, network_of


def test_tries_are_used_up_and_come_back() -> None:
    tries = Tries()
    assert [tries.take("a", 0.0) for _ in range(TRIES)] == [0.0] * TRIES
    assert tries.take("a", 0.0) == REFILL_S
    assert tries.take("b", 0.0) == 0.0
    assert tries.take("a", 0.4 * REFILL_S) == pytest.approx(0.6 * REFILL_S)
    assert tries.take("a", REFILL_S) == 0.0
    assert tries.take("a", REFILL_S) > 0
    assert [tries.take("a", 1e9) for _ in range(TRIES)] == [0.0] * TRIES
    assert tries.take("a", 1e9) > 0, "no more than that come back"


def test_what_is_remembered_is_bounded_and_who_is_tried_is_not_forgotten() -> None:
    tries = Tries(most=100)
    for number in range(10_000):
        tries.take(f"user-{number}", 0.0)
        tries.take("admin", 0.0)
    assert len(tries) == 100 and tries.take("admin", 0.0) > 0


def test_one_address_is_limited_whatever_names_it_tries() -> None:
    attempts = Attempts()
    assert [attempts.wait_s(f"user-{n}", "10.0.0.1", 0.0) for n in range(TRIES)] == [0.0] * TRIES
    assert attempts.wait_s("another", "10.0.0.1", 0.0) > 0
    assert attempts.wait_s("another", "10.0.0.2", 0.0) == 0.0


def test_one_user_is_limited_from_wherever_it_is_tried() -> None:
    attempts = Attempts()
    assert [attempts.wait_s("eve", f"10.0.0.{n}", 0.0) for n in range(TRIES)] == [0.0] * TRIES
    assert attempts.wait_s("eve", "10.0.1.1", 0.0) > 0
    assert attempts.wait_s("adam", "10.0.1.1", 0.0) == 0.0


def test_who_logged_in_before_is_not_kept_out_by_others() -> None:
    attempts = Attempts()
    assert attempts.wait_s("eve", "192.168.0.9", 0.0) == 0.0
    attempts.was_good("eve", "192.168.0.9", 0.0)
    for n in range(50):
        attempts.wait_s("eve", f"10.0.0.{n}", 0.0)
    assert attempts.wait_s("eve", "10.0.1.1", 0.0) > 0
    assert attempts.wait_s("eve", "192.168.0.9", 0.0) == 0.0


def test_good_passwords_do_not_count() -> None:
    attempts = Attempts()
    for _ in range(5 * TRIES):
        assert attempts.wait_s("eve", "10.0.0.1", 0.0) == 0.0
        attempts.was_good("eve", "10.0.0.1", 0.0)


def test_addresses_of_one_customer_are_one() -> None:
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:2") != network_of("2001:db8:0:1::1")
    assert network_of("fe80::1%eth0") == network_of("fe80::2")
    assert network_of("::ffff:10.0.0.1") == network_of("10.0.0.1") != network_of("10.0.0.2")
    assert network_of("") == "" and len(network_of("x" * 1000)) == 64
