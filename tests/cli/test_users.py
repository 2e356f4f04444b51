"""`frameloom user`, `frameloom token`, `frameloom certificate`; and a first start, which tells a password just once."""

from __future__ import annotations

import contextlib
import json
import os
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner

from frameloom.accounts.secrets import fits
from frameloom.accounts.store import Accounts
from frameloom.cli.app import app
from frameloom.cli.sites import _with_somebody_to_log_in
from frameloom.model.errors import FrameloomError
from frameloom.site.load import from_text
from tests.journey.running import PATIENCE_S, RunningSite, running_site

ONE_TIME = r"[a-z2-9]{4}(?:-[a-z2-9]{4}){3}"


@dataclass(frozen=True)
class Done:
    """What a command printed, and how it ended."""

    returncode: int
    stdout: str
    stderr: str


def frameloom(*arguments: str, cwd: Path, stdin: str = "") -> Done:
    """In this process: a dozen of commands would take a dozen of seconds to load."""
    with contextlib.chdir(cwd):
        done = CliRunner().invoke(app, arguments, input=stdin)
    refused = isinstance(done.exception, FrameloomError)
    return Done(done.exit_code, done.stdout, f"{done.exception}\n" if refused else done.stderr)


@pytest.fixture
def here(state_dir: Path, runtime_dir: Path, tmp_path: Path) -> Path:
    """A folder with a site.yaml of the site 'office'."""
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "site.yaml").write_text("site: office\ncameras:\n  door: rtsp://u:${NOT_SET}@10.0.0.1/\n")
    return folder


def one_time_in(text: str) -> str:
    found = re.search(ONE_TIME, text)
    assert found, text
    return found[0]


def test_users_from_the_keyboard(here: Path) -> None:
    """The site does not run, and its file lacks a variable: it is known by its name."""
    done = frameloom("user", "add", "adam", "--role", "admin", cwd=here)
    assert re.fullmatch(rf"adam: added, admin; one-time password: {ONE_TIME}\n", done.stdout), done
    assert frameloom("user", "add", "eve", "--stdin", cwd=here, stdin="eve's own one\n").stdout == (
        "eve: added, viewer\n"
    )
    users = Accounts("office").book().users
    assert fits(one_time_in(done.stdout), users["adam"].password_hash) and users["adam"].must_change
    assert fits("eve's own one", users["eve"].password_hash) and not users["eve"].must_change
    told = json.loads(frameloom("user", "list", "--json", cwd=here).stdout)
    assert [(one["name"], one["role"]) for one in told] == [("adam", "admin"), ("eve", "viewer")]
    assert "hash" not in json.dumps(told)
    assert "has a one-time password" in frameloom("user", "list", cwd=here).stdout
    assert frameloom("user", "role", "eve", "operator", cwd=here).stdout == "eve: operator\n"
    again = frameloom("user", "passwd", "eve", cwd=here)
    user = Accounts("office").book().users["eve"]
    assert fits(one_time_in(again.stdout), user.password_hash) and user.must_change
    assert frameloom("user", "remove", "eve", cwd=here).stdout == "eve: removed\n"
    assert list(Accounts("office").book().users) == ["adam"]


@pytest.mark.parametrize(
    ("arguments", "stdin", "words"),
    [
        (("user", "add", "adam"), "", "there is a user 'adam' already"),
        (("user", "add", "../x"), "", "allowed: 1 to 48 of a-z"),
        (("user", "add", "x", "--role", "root"), "", "allowed: one of viewer, operator, admin"),
        (("user", "add", "x", "--stdin"), "short\n", "password: allowed are 8 to 200 characters"),
        (("user", "remove", "adam"), "", "the last admin"),
        (("user", "passwd", "nobody"), "", "no user 'nobody'"),
        (("token", "remove", "nothing"), "", "no token 'nothing'"),
        (("token", "add", "x", "--user", "nobody"), "", "no user 'nobody'"),
    ],
)
def test_what_is_refused(here: Path, arguments: tuple[str, ...], stdin: str, words: str) -> None:
    accounts = Accounts("office")
    accounts.change(lambda book: book.add_user("adam", "admin", "hash", 0, must_change=False))
    done = frameloom(*arguments, cwd=here, stdin=stdin)
    assert done.returncode == 1 and words in " ".join(done.stderr.split()) and "Traceback" not in done.stderr
    assert list(accounts.book().users) == ["adam"]


def test_tokens_from_the_keyboard(here: Path) -> None:
    done = frameloom("token", "add", "the wall", "--days", "7", cwd=here)
    assert re.fullmatch(r"flt_[\w-]{43}\n", done.stdout), done
    listed = frameloom("token", "list", cwd=here).stdout
    assert "the wall" in listed and "6 d" in listed and "flt_" not in listed
    [told] = json.loads(frameloom("token", "list", "--json", cwd=here).stdout)
    assert told["role"] == "viewer" and told["user"] is None
    assert frameloom("token", "remove", told["id"], cwd=here).stdout == "the wall: removed\n"
    assert json.loads(frameloom("token", "list", "--json", cwd=here).stdout) == []


def test_which_site_is_meant_has_to_be_clear(state_dir: Path, runtime_dir: Path, tmp_path: Path) -> None:
    done = frameloom("user", "list", cwd=tmp_path)
    assert done.returncode == 1 and "--site NAME" in done.stderr
    assert frameloom("user", "list", "--site", "office", cwd=tmp_path).returncode == 0
    assert frameloom("user", "list", "--site", "../office", cwd=tmp_path).returncode == 1


def test_a_certificate_and_what_check_says_of_it(here: Path) -> None:
    (here / "site.yaml").write_text("server:\n  tls:\n    cert: cert.pem\n    key: key.pem\n")
    done = frameloom("check", cwd=here)
    assert done.returncode == 1
    assert re.search(r"site\.yaml:3: server\.tls\.cert: \S*cert\.pem: No such file", done.stderr)
    made = frameloom("certificate", "localhost", "--days", "3", cwd=here)
    assert made.returncode == 0 and "tls: {cert: cert.pem, key: key.pem}" in made.stdout
    done = frameloom("check", cwd=here)
    assert done.returncode == 0 and "the certificate expires on" in done.stderr
    assert frameloom("certificate", cwd=here).returncode == 1, "nothing is written over"
    (here / "site.yaml").write_text("server:\n  tls:\n    cert: cert.pem\n")
    done = frameloom("check", cwd=here)
    assert "server.tls.key: missing" in done.stderr


@pytest.fixture
def guarded(state_dir: Path, runtime_dir: Path, tmp_path: Path) -> Iterator[RunningSite]:
    """A site without a camera that wants a login and speaks https, started for the first time."""
    assert frameloom("certificate", "localhost", "127.0.0.1", cwd=tmp_path).returncode == 0
    (tmp_path / "site.yaml").write_text(
        "site: fresh\nserver:\n  port: 0\n  login: true\n  tls: {cert: cert.pem, key: key.pem}\n"
    )
    with running_site(tmp_path / "site.yaml", name="fresh") as site:
        yield site


def asked(site: RunningSite, cert: Path, path: str, token: str = "", body: Any = None) -> tuple[int, str]:
    """By https, as a program that trusts the certificate."""
    url = site.wait_line(r"is at (https://\S+?)/\s")[1]
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{url}{path}", data)
    request.add_header("Content-Type", "application/json")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    context = ssl.create_default_context(cafile=str(cert))
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S, context=context) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def command_lines() -> str:
    """Of every process of this machine, with what is in the environment of those of this test."""
    found: list[str] = []
    for process in psutil.process_iter():
        with_environment = process.pid != os.getpid()
        try:
            found += process.cmdline()
            found += [f"{k}={v}" for k, v in process.environ().items()] if with_environment else []
        except psutil.Error:
            continue
    return "\n".join(found)


def test_the_first_start_tells_a_password_once(guarded: RunningSite, tmp_path: Path, state_dir: Path) -> None:
    """On the terminal of `frameloom up`; it is in no log, no answer, no list of processes, no file."""
    password = one_time_in(guarded.wait_line(rf"user admin, one-time password {ONE_TIME}")[0])
    cert = tmp_path / "cert.pem"
    assert asked(guarded, cert, "/api/site")[0] == 401
    words = {"user": "admin", "password": password}
    status, me = asked(guarded, cert, "/api/login", body=words)
    assert status == 200 and json.loads(me)["must_change_password"] is True
    asked(guarded, cert, "/api/login", body={**words, "password": f"{password}x"})
    token = frameloom(
        "token", "add", "test", "--role", "admin", "--site", "fresh", cwd=tmp_path
    ).stdout.strip()
    assert asked(guarded, cert, "/api/site", token)[0] == 200
    said = [
        *(
            asked(guarded, cert, path, token)[1]
            for path in ("/api/site", "/api/users", "/api/tokens", "/api/me")
        ),
        *(asked(guarded, cert, f"/api/workers/{name}/logs", token)[1] for name in guarded.pids()),
        *(json.dumps(guarded.call("logs", name=name, lines=500)) for name in guarded.pids()),
        json.dumps(guarded.call("status")),
        command_lines(),
        *(path.read_text(errors="replace") for path in state_dir.rglob("*") if path.is_file()),
    ]
    assert len(said) > 8
    for secret in (password, token):
        assert not any(secret in text for text in said)
    assert guarded.output.count(password) == 1 and token not in guarded.output


def test_a_second_start_makes_nobody(guarded: RunningSite, tmp_path: Path) -> None:
    guarded.wait_line(r"is at https")
    assert guarded.stop() == 0
    with running_site(tmp_path / "site.yaml", name="fresh") as again:
        again.wait_line(r"is at https")
        assert "password" not in again.output


@pytest.mark.parametrize(
    ("server", "said"),
    [
        ("host: 0.0.0.0, login: false", "WARNING: whoever reaches 0.0.0.0 sees and controls everything"),
        ("host: 0.0.0.0", "one-time password"),
        ("host: 127.0.0.1", ""),
        ("host: 0.0.0.0, enabled: false", ""),
    ],
)
def test_what_a_start_says_of_who_may_come(
    server: str, said: str, state_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = from_text(f"server: {{{server}}}\n", "site.yaml", {})
    assert _with_somebody_to_log_in(site) is site
    printed = capsys.readouterr()
    assert said in printed.out + printed.err and bool(said) is bool(printed.out + printed.err)
    assert state_dir.exists() is ("password" in said)
