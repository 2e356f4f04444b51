"""Verbs for who may use a site: `frameloom user ...`, `frameloom token ...`. They work whether the site runs or not.

No password is an argument, which every user of the machine could see: it is made and told once, or read from standard
input.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from frameloom.accounts import secrets
from frameloom.accounts.book import DAY_NS, Book, check_role
from frameloom.accounts.store import Accounts
from frameloom.control.client import running_sites
from frameloom.model.errors import FrameloomError, NeedsPerson
from frameloom.site.document import parse, read_text

from .output import JsonOption, age, out, print_json

Site = Annotated[
    str | None,
    typer.Option(
        "--site",
        "-S",
        envvar="FRAMELOOM_SITE",
        help="The site's name; else that of ./site.yaml, else the only one that runs.",
    ),
]
Name = Annotated[str, typer.Argument(metavar="NAME")]
RoleOption = Annotated[str, typer.Option("--role", help="viewer, operator or admin.")]
FromStdin = Annotated[
    bool, typer.Option("--stdin", help="Read the password from standard input, instead of making one.")
]

user = typer.Typer(no_args_is_help=True, help="Users of a site: add, list, passwd, role, remove.")
token = typer.Typer(no_args_is_help=True, help="Tokens of programs for a site: add, list, remove.")


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    app.add_typer(user, name="user")
    app.add_typer(token, name="token")


@user.command("add")
def add_user(name: Name, role: RoleOption = "viewer", stdin: FromStdin = False, site: Site = None) -> None:
    """Add a user, and print a one-time password."""
    accounts = accounts_of(site)
    password, hashed = _password(name, stdin)
    accounts.change(
        lambda book: book.add_user(
            name, check_role(role), hashed, accounts.clock.utc_ns(), must_change=not stdin
        )
    )
    out.print(f"{name}: added, {role}{_told(password, stdin)}", markup=False)


@user.command("list")
def list_users(site: Site = None, as_json: JsonOption = False) -> None:
    """Show all users."""
    found = accounts_of(site).book().users
    if as_json:
        print_json([{"name": n, **u.model_dump(exclude={"password_hash"})} for n, u in found.items()])
        return
    table = Table("NAME", "ROLE", "", box=None, pad_edge=False)
    for name, one in sorted(found.items()):
        table.add_row(name, one.role, "has a one-time password" if one.must_change else "")
    out.print(table if found else "No user: nobody can log in.")


@user.command("passwd")
def passwd(name: Name, stdin: FromStdin = False, site: Site = None) -> None:
    """Set a new password: a one-time one is printed. All sessions of that user end."""
    accounts = accounts_of(site)
    accounts.book().user(name)
    password, hashed = _password(name, stdin)
    accounts.change(lambda book: book.set_password(name, hashed, must_change=not stdin))
    out.print(f"{name}: changed{_told(password, stdin)}", markup=False)


@user.command("role")
def set_role(
    name: Name, role: Annotated[str, typer.Argument(help="viewer, operator or admin.")], site: Site = None
) -> None:
    """Change what a user may do."""
    accounts_of(site).change(lambda book: book.set_role(name, check_role(role)))
    out.print(f"{name}: {role}", markup=False)


@user.command("remove")
def remove_user(name: Name, site: Site = None) -> None:
    """Remove a user, with all sessions and tokens."""
    accounts_of(site).change(lambda book: book.remove_user(name))
    out.print(f"{name}: removed", markup=False)


@token.command("add")
def add_token(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is for.")],
    role: RoleOption = "viewer",
    owner: Annotated[str | None, typer.Option("--user", help="Whose it is; the site's, if left out.")] = None,
    days: Annotated[
        float | None, typer.Option("--days", min=0.001, max=36500, help="How long it is good; else for ever.")
    ] = None,
    site: Site = None,
) -> None:
    """Make a token, and print it; it is told this once."""
    accounts = accounts_of(site)
    now_ns = accounts.clock.utc_ns()
    expires_ns = None if days is None else now_ns + int(days * DAY_NS)

    def edit(book: Book) -> str:
        return book.add_token(name, check_role(role), now_ns, user=owner, expires_utc_ns=expires_ns)[0]

    out.print(accounts.change(edit), markup=False)


@token.command("list")
def list_tokens(site: Site = None, as_json: JsonOption = False) -> None:
    """Show all tokens, without their secrets."""
    found = accounts_of(site).book().tokens.values()
    if as_json:
        print_json([one.model_dump() for one in found])
        return
    table = Table("ID", "NAME", "ROLE", "USER", "LAST USED", "EXPIRES IN", box=None, pad_edge=False)
    now_ns = time.time_ns()
    for one in found:
        last = age(one.last_used_utc_ns, now_ns)
        expires = age(now_ns, one.expires_utc_ns) if one.expires_utc_ns else ""
        table.add_row(one.id, one.name.replace("[", "\\["), one.role, one.user or "", last, expires)
    out.print(table if found else "No token.")


@token.command("remove")
def remove_token(id: Annotated[str, typer.Argument(metavar="ID")], site: Site = None) -> None:
    """Remove a token; whoever looks with it is let go."""
    removed = accounts_of(site).change(lambda book: book.remove_token(id))
    out.print(f"{removed.name}: removed", markup=False)


def accounts_of(site: str | None) -> Accounts:
    """The accounts of the site that is meant; raises `NeedsPerson` if that is not clear."""
    return Accounts(site or _site_here() or _only_site())


def _site_here() -> str | None:
    """The name in ./site.yaml, be the rest of it valid or not; 'default' where it says none."""
    file = Path("site.yaml")
    if not file.is_file():
        return None
    with suppress(FrameloomError):
        data = parse(read_text(file, str(file)), str(file)).data
        if isinstance(data, dict):
            return str(data.get("site") or "default")
    return None


def _only_site() -> str:
    sites = running_sites()
    if len(sites) != 1:
        raise NeedsPerson("which site? there is no site.yaml here; say --site NAME")
    return sites[0]


def _password(name: str, stdin: bool) -> tuple[str, str]:
    """A password, and what is kept of it."""
    password = sys.stdin.readline().rstrip("\r\n") if stdin else secrets.one_time_password()
    secrets.check_password(password, name)
    return password, secrets.hash_password(password)


def _told(password: str, stdin: bool) -> str:
    return "" if stdin else f"; one-time password: {password}"
