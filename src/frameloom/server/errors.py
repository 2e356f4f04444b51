"""Errors as HTTP: the one place that knows which status belongs to which. Every error has the same body."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from frameloom.model.errors import CommandError, FrameloomError, NeedsPerson, TryAgain

log = logging.getLogger(__name__)

_STATUS = {
    "busy": 503,
    "changed-meanwhile": 409,
    "forbidden": 403,
    "internal": 500,
    "invalid": 422,
    "last-admin": 409,
    "name-taken": 409,
    "no-index": 503,
    "no-picture": 503,
    "not-acceptable": 406,
    "not-allowed-role": 403,
    "not-built": 503,
    "not-running": 409,
    "refused": 422,
    "site-error": 422,
    "stopping": 503,
    "timeout": 504,
    "too-large": 413,
    "unknown-command": 404,
    "unknown-name": 404,
    "unknown-parameters": 409,
    "unknown-worker": 404,
    "unreachable": 503,
    "unsupported": 409,
    "unsupported-media": 415,
    "worker-ended": 503,
    "wrong-login": 401,
}
_WORDS = {404: "not-found", 405: "not-allowed"}
_WANT_OBJECT = 'body: want a JSON object (Content-Type: application/json), such as {"threshold": 30}'


class Reason(BaseModel):
    """`code` is stable and meant for programs, `message` for people."""

    code: str
    message: str


class Problem(BaseModel):
    """The body of every error."""

    error: Reason


def problem(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The answer that says what is wrong."""
    return JSONResponse({"error": {"code": code, "message": message}}, status, headers)


def may_fail(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For the description of a route: the errors that it may answer with."""
    words = {
        401: "Nobody has logged in, or not rightly",
        403: "The role is not enough",
        404: "There is nothing of that name",
        406: "Nothing that is offered can be sent",
        409: "Not in this state",
        413: "Too much was sent",
        415: "The body is of another kind than what is read here",
        422: "A value that is not allowed",
        429: "Too many attempts: `Retry-After` says when again",
        503: "Not at the moment: the camera gives no picture, or the supervisor does not answer",
        504: "It took too long",
    }
    return {status: {"model": Problem, "description": words[status]} for status in statuses}


def install(app: FastAPI) -> None:
    """Translate errors into answers."""
    app.add_exception_handler(FrameloomError, _ours)
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(RequestValidationError, _unfit)
    app.add_exception_handler(Exception, _unexpected)


async def _ours(_: Request, error: Exception) -> JSONResponse:
    if isinstance(error, CommandError):
        return problem(_STATUS.get(error.code, 400), error.code, str(error))
    if isinstance(error, NeedsPerson):
        return problem(409, "needs-person", str(error))
    if isinstance(error, TryAgain):
        return problem(503, "try-again", str(error))
    return problem(500, "internal", str(error))


async def _of_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    status, path = error.status_code, request.url.path[:100]
    if status == 400:  # FastAPI could not read the body at all
        return problem(422, "invalid", _WANT_OBJECT)
    allowed = (error.headers or {}).get("Allow", "")
    words = {
        404: f"there is nothing at {path!r}; the page is at '/', /openapi.json lists the rest",
        405: f"{request.method[:20]} is not possible at {path!r}, allowed: {allowed}",
    }
    message = words.get(status, str(error.detail))
    return problem(status, _WORDS.get(status, "invalid"), message, error.headers)


async def _unfit(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return problem(422, "invalid", _in_words(error.errors()[0]))


def _in_words(first: Mapping[str, Any]) -> str:
    kind, *place = map(str, first["loc"])
    if kind == "body":  # what was read is not repeated: it may be a password
        fields = place if first["type"] != "json_invalid" else []
        return f"{'.'.join(fields)}: {first['msg']}"[:300] if fields else _WANT_OBJECT
    allowed = first["msg"].removeprefix("Input should be ")
    return f"{'.'.join(place)}: read {str(first['input'])[:100]!r}, allowed: {allowed}"


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    return problem(500, "internal", f"the server made a mistake ({type(error).__name__}); its log says more")
