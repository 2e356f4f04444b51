"""Logging in and out, one's own password, and the users and tokens of the site."""

from __future__ import annotations

import math
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Path, Request, Response

from frameloom.accounts import secrets
from frameloom.accounts.book import DAY_NS, SESSION_NS, Book, Token, User
from frameloom.accounts.roles import may
from frameloom.model.clock import NS_PER_S
from frameloom.model.errors import CommandError
from frameloom.server.errors import may_fail, problem

from .access import Access, Caller, caller_of, is_secure
from .logins import Logins, TooMany, wrong_login
from .schema import (
    KnownToken,
    LoginWish,
    MadeToken,
    MadeUser,
    Me,
    NewToken,
    NewUser,
    PasswordWish,
    Somebody,
    Tokens,
    UserChange,
    Users,
)

router = APIRouter()

UserName = Annotated[str, Path(description="Name of a user", max_length=100)]
TokenId = Annotated[str, Path(description="`id` of a token", max_length=100)]


def install(app: FastAPI) -> None:
    """Add the resources, and what is said to those who ask too often."""
    app.include_router(router, tags=["login"])
    app.add_exception_handler(TooMany, _too_many)


@router.get(
    "/api/me",
    summary="Who calls, and what he may",
    responses={200: {"description": "Always, also for nobody"}},
)
async def me(request: Request) -> Me:
    """What a page asks first."""
    return _me(request, caller_of(request))


@router.post(
    "/api/login",
    summary="Log in",
    response_model=Me,
    responses={200: {"description": "As /api/me, with the session's cookie"}, **may_fail(401, 409, 422, 429)},
)
async def login(wish: LoginWish, request: Request, response: Response) -> Me | Response:
    """A session of this browser: 30 days, or until it has not been used for 7."""
    access, user = _access(request), wish.user.strip().lower()
    if not access.login:
        return problem(409, "no-login", "nobody has to log in here")
    secret = await _logins(request).begin(user, wish.password, _address(request))
    _set_cookie(request, response, secret)
    kept = access.accounts.book().users.get(user)
    if kept is None:
        raise wrong_login()
    return _me(request, Caller(kept.role, user, must_change=kept.must_change))


@router.post(
    "/api/logout",
    summary="Log out",
    status_code=204,
    responses={204: {"description": "The session has ended, in the server too"}},
)
async def logout(request: Request) -> Response:
    """Ends this session and its cookie."""
    caller, access = caller_of(request), _access(request)
    if caller.how == "session":
        await access.change(lambda book: book.sessions.pop(caller.key, None))
    answer = Response(status_code=204)
    answer.delete_cookie(access.cookie(request.scope), **_cookie_words(request))
    return answer


@router.post(
    "/api/password",
    summary="Change one's own password",
    response_model=Me,
    responses={
        200: {"description": "Changed: all other sessions have ended, this one has a new cookie"},
        **may_fail(401, 409, 422, 429),
    },
)
async def password(wish: PasswordWish, request: Request, response: Response) -> Me | Response:
    """The old one is asked for, so that an open page is not enough. Tokens stay."""
    caller = caller_of(request)
    if caller.user is None or caller.how != "session":
        return problem(409, "no-login", "whoever has not logged in with a password has none to change")
    secret = await _logins(request).change_password(caller.user, wish.old, wish.new, _address(request))
    _set_cookie(request, response, secret)
    return _me(request, Caller(caller.role, caller.user))


@router.get(
    "/api/users", summary="All users", responses={200: {"description": "By name"}, **may_fail(401, 403)}
)
async def users(request: Request) -> Users:
    """For admins."""
    found = _access(request).accounts.book().users
    return Users(users=[_somebody(name, found[name]) for name in sorted(found)])


@router.post(
    "/api/users",
    summary="Add a user",
    status_code=201,
    responses={
        201: {"description": "Added; the password has to be changed at the first login"},
        **may_fail(401, 403, 409, 422, 429),
    },
)
async def add_user(wish: NewUser, request: Request) -> MadeUser:
    """For admins."""
    name, chosen = wish.name.strip().lower(), wish.password or secrets.one_time_password()
    secrets.check_password(chosen, name)
    hashed, now_ns = await _logins(request).hashed(chosen), _now_ns(request)
    user = await _access(request).change(
        lambda book: book.add_user(name, wish.role, hashed, now_ns, must_change=True)
    )
    told = None if wish.password else chosen
    return MadeUser(**_somebody(name, user).model_dump(), one_time_password=told)


@router.patch(
    "/api/users/{name}",
    summary="Change the role or the password of a user",
    responses={
        200: {"description": "Changed; with a new password, all sessions of that user have ended"},
        **may_fail(401, 403, 404, 409, 422, 429),
    },
)
async def change_user(name: UserName, wish: UserChange, request: Request) -> Somebody:
    """For admins. A password that an admin sets has to be changed at the next login."""
    hashed = None
    if wish.password is not None:
        secrets.check_password(wish.password, name)
        hashed = await _logins(request).hashed(wish.password)

    def edit(book: Book) -> User:
        if wish.role is not None:
            book.set_role(name, wish.role)
        if hashed is not None:
            book.set_password(name, hashed, must_change=True)
        return book.user(name)

    return _somebody(name, await _access(request).change(edit))


@router.delete(
    "/api/users/{name}",
    summary="Remove a user",
    status_code=204,
    responses={
        204: {"description": "Removed, with all sessions and tokens"},
        **may_fail(401, 403, 404, 409, 422),
    },
)
async def remove_user(name: UserName, request: Request) -> Response:
    """For admins. The last admin stays."""
    await _access(request).change(lambda book: book.remove_user(name))
    return Response(status_code=204)


@router.get(
    "/api/tokens",
    summary="Tokens of programs",
    responses={200: {"description": "One's own; to an admin, all"}, **may_fail(401, 403)},
)
async def tokens(request: Request) -> Tokens:
    """Their secrets are not kept, and so not told."""
    caller = caller_of(request)
    found = _access(request).accounts.book().tokens.values()
    return Tokens(tokens=[_token(one) for one in found if _is_for(one, caller)])


@router.post(
    "/api/tokens",
    summary="Make a token",
    status_code=201,
    responses={201: {"description": "With its secret, this once"}, **may_fail(401, 403, 422)},
)
async def add_token(wish: NewToken, request: Request) -> MadeToken:
    """It may at most what its maker may, now and later, and goes with him."""
    caller, now_ns = caller_of(request), _now_ns(request)
    if not may(caller.role, wish.role):
        raise CommandError("not-allowed-role", f"role: read {wish.role}, allowed: at most {caller.role}")
    if caller.how == "token" and caller.role != "admin":
        raise CommandError("not-allowed-role", "a token makes no others: log in")
    expires_ns = None if wish.days is None else now_ns + math.ceil(wish.days * DAY_NS)
    secret, token = await _access(request).change(
        lambda book: book.add_token(
            wish.name.strip(), wish.role, now_ns, user=caller.user, expires_utc_ns=expires_ns
        )
    )
    return MadeToken(**_token(token).model_dump(), token=secret)


@router.delete(
    "/api/tokens/{id}",
    summary="Remove a token",
    status_code=204,
    responses={204: {"description": "Whoever looks with it is let go"}, **may_fail(401, 403, 404, 422)},
)
async def remove_token(id: TokenId, request: Request) -> Response:
    """One's own; an admin, any."""
    caller = caller_of(request)

    def edit(book: Book) -> None:
        found = (one for one in book.tokens.values() if one.id == id)
        if not all(_is_for(one, caller) for one in found):
            raise CommandError("unknown-name", f"no token {id[:20]!r}")
        book.remove_token(id)

    await _access(request).change(edit)
    return Response(status_code=204)


def _me(request: Request, caller: Caller) -> Me:
    return Me(
        user=caller.user,
        role=caller.role,
        login=_access(request).login,
        must_change_password=caller.must_change,
    )


def _somebody(name: str, user: User) -> Somebody:
    return Somebody(
        name=name,
        role=user.role,
        must_change_password=user.must_change,
        created_utc_ns=user.created_utc_ns,
    )


def _token(token: Token) -> KnownToken:
    return KnownToken(**token.model_dump())


def _is_for(token: Token, caller: Caller) -> bool:
    return caller.role == "admin" or (caller.user is not None and token.user == caller.user)


def _set_cookie(request: Request, response: Response, secret: str) -> None:
    name = _access(request).cookie(request.scope)
    response.set_cookie(name, secret, max_age=SESSION_NS // NS_PER_S, **_cookie_words(request))


def _cookie_words(request: Request) -> dict[str, Any]:
    """No script reads it, no other site sends it, and where there is TLS nothing else carries it."""
    return {"path": "/", "httponly": True, "samesite": "strict", "secure": is_secure(request.scope)}


async def _too_many(_: Request, error: Exception) -> Response:
    assert isinstance(error, TooMany)
    return problem(429, error.code, str(error), {"Retry-After": str(math.ceil(error.wait_s))})


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


def _now_ns(request: Request) -> int:
    return _access(request).accounts.clock.utc_ns()


def _access(request: Request) -> Access:
    access: Access = request.app.state.access
    return access


def _logins(request: Request) -> Logins:
    logins: Logins = request.app.state.logins
    return logins
