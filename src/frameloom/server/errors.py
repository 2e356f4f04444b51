"""Errors as HTTP: the one place that knows which status belongs to which."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from frameloom.model.errors import CommandError, FrameloomError, NeedsPerson, TryAgain

_STATUS = {
    "unknown-name": 404,
    "unknown-worker": 404,
    "invalid": 422,
    "refused": 422,
    "not-running": 409,
    "busy": 503,
    "stopping": 503,
    "unreachable": 503,
    "timeout": 504,
}


def problem(status: int, code: str, message: str) -> JSONResponse:
    """The body of every error: {"error": {"code", "message"}}."""
    return JSONResponse({"error": {"code": code, "message": message}}, status)


def install(app: FastAPI) -> None:
    """Translate our errors into answers."""
    app.add_exception_handler(FrameloomError, _answer)


async def _answer(_: Request, error: Exception) -> JSONResponse:
    if isinstance(error, CommandError):
        return problem(_STATUS.get(error.code, 400), error.code, str(error))
    if isinstance(error, NeedsPerson):
        return problem(409, "needs-person", str(error))
    if isinstance(error, TryAgain):
        return problem(503, "try-again", str(error))
    return problem(500, "internal", str(error))
