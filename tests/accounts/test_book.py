"""The rules between users, tokens and sessions, with times as they are given."""

from __future__ import annotations

import pytest

from frameloom.accounts.book import _MOST_SESSIONS_EACH, SESSION_IDLE_NS, SESSION_NS, Book, check_role
from frameloom.accounts.roles import ROLES, Role, lesser, may
from frameloom.accounts.secrets import TOKEN_MARK, digest
from frameloom.model.errors import CommandError

NOW_NS = 1_800_000_000 * 10**9


def book(**users: Role) -> Book:
    made = Book()
    for name, role in users.items():
        made.add_user(name, role, "hash", NOW_NS, must_change=False)
    return made


def refusal(error: pytest.ExceptionInfo[CommandError]) -> str:
    return error.value.code


def test_each_role_may_what_those_before_it_may() -> None:
    assert [[may(role, needed) for needed in ROLES] for role in ROLES] == [
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ]
    assert not any(may(None, needed) for needed in ROLES)
    assert lesser("admin", "viewer") == lesser("viewer", "admin") == "viewer"


@pytest.mark.parametrize("name", ["", "Eve", "a b", "-eve", "../x", "a/b", "x" * 49, "é", "eve\n", ".eve"])
def test_names_that_no_user_may_have(name: str) -> None:
    with pytest.raises(CommandError, match=r"allowed: 1 to 48 of a-z"):
        Book().add_user(name, "viewer", "hash", NOW_NS, must_change=False)


def test_a_name_is_had_once() -> None:
    with pytest.raises(CommandError) as error:
        book(eve="viewer").add_user("eve", "viewer", "hash", NOW_NS, must_change=False)
    assert refusal(error) == "name-taken"


def test_the_last_admin_stays() -> None:
    site = book(adam="admin", eve="operator")
    for attempt in (lambda: site.remove_user("adam"), lambda: site.set_role("adam", "operator")):
        with pytest.raises(CommandError) as error:
            attempt()
        assert refusal(error) == "last-admin"
    site.set_role("adam", "admin")
    site.set_role("eve", "admin")
    site.remove_user("adam")
    assert list(site.users) == ["eve"]


def test_who_is_not_there_is_said() -> None:
    site = book(adam="admin")
    for attempt in (
        lambda: site.remove_user("eve"),
        lambda: site.set_role("eve", "viewer"),
        lambda: site.set_password("eve", "hash", must_change=False),
        lambda: site.remove_token("abc"),
        lambda: site.add_session("eve", NOW_NS),
        lambda: site.add_token("x", "viewer", NOW_NS, user="eve", expires_utc_ns=None),
    ):
        with pytest.raises(CommandError) as error:
            attempt()
        assert refusal(error) == "unknown-name"


def test_a_role_is_one_of_three() -> None:
    assert [check_role(role) for role in ROLES] == list(ROLES)
    with pytest.raises(CommandError, match="allowed: one of viewer, operator, admin"):
        check_role("root")


def test_a_session_ends_when_it_is_not_used_and_when_it_is_old() -> None:
    site = book(eve="viewer")
    key = digest(site.add_session("eve", NOW_NS))
    assert site.session(key, NOW_NS + SESSION_IDLE_NS - 1)
    assert site.session(key, NOW_NS + SESSION_IDLE_NS) is None
    site.sessions[key].seen_utc_ns = NOW_NS + SESSION_NS - 10
    assert site.session(key, NOW_NS + SESSION_NS - 1)
    assert site.session(key, NOW_NS + SESSION_NS) is None


def test_a_new_password_and_a_removal_end_sessions() -> None:
    site = book(adam="admin", eve="viewer")
    adams, eves = (digest(site.add_session(name, NOW_NS)) for name in ("adam", "eve"))
    site.set_password("eve", "other", must_change=True)
    assert site.session(eves, NOW_NS) is None and site.session(adams, NOW_NS)
    eves = digest(site.add_session("eve", NOW_NS))
    site.remove_user("eve")
    assert site.session(eves, NOW_NS) is None and site.session(adams, NOW_NS)


def test_of_too_many_sessions_the_one_that_was_used_least_lately_ends() -> None:
    site = book(adam="admin", eve="viewer")
    adams = digest(site.add_session("adam", NOW_NS - 1))
    keys = [digest(site.add_session("eve", NOW_NS + n)) for n in range(_MOST_SESSIONS_EACH)]
    site.sessions[keys[0]].seen_utc_ns = NOW_NS + 999
    newest = digest(site.add_session("eve", NOW_NS + 1000))
    assert set(site.sessions) == {adams, newest, *keys} - {keys[1]}


def test_a_token_may_at_most_what_its_owner_may_now() -> None:
    site = book(adam="admin", eve="operator")
    secret, token = site.add_token("robot", "admin", NOW_NS, user="eve", expires_utc_ns=None)
    key = digest(secret)
    assert secret.startswith(TOKEN_MARK) and token.role == site.token_role(key, NOW_NS) == "operator"
    site.set_role("eve", "viewer")
    assert site.token_role(key, NOW_NS) == "viewer"
    site.set_role("eve", "admin")
    assert site.token_role(key, NOW_NS) == "operator"
    site.remove_user("eve")
    assert site.token_role(key, NOW_NS) is None and not site.tokens


def test_a_token_runs_out() -> None:
    site = book()
    key = digest(site.add_token("robot", "viewer", NOW_NS, user=None, expires_utc_ns=NOW_NS + 5)[0])
    assert site.token_role(key, NOW_NS + 4) == "viewer" and site.token_role(key, NOW_NS + 5) is None
    site.prune(NOW_NS + 4)
    assert site.tokens
    site.prune(NOW_NS + 5)
    assert not site.tokens


def test_what_is_kept_shows_no_secret() -> None:
    site = book(eve="viewer")
    site.users["eve"].password_hash = "$argon2id$secret"
    secrets = [site.add_session("eve", NOW_NS)]
    secrets.append(site.add_token("t", "viewer", NOW_NS, user="eve", expires_utc_ns=None)[0])
    text = site.model_dump_json()
    assert not any(secret in text for secret in secrets)
    assert "argon2" not in repr(site) and digest(secrets[0]) not in repr(site)
