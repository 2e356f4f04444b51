"""The page's files. A browser keeps them and asks each time whether they are still the same: after an update there is
never an old script with a new page."""

from __future__ import annotations

import hashlib
import mimetypes
from pathlib import Path

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

router = APIRouter(include_in_schema=False)

_STATIC = Path(__file__).parent.parent / "web" / "static"
_HEADERS = {"Cache-Control": "no-cache"}
_TYPES = {".js": "text/javascript", ".svg": "image/svg+xml"}  # the machine's own table may say something else


@router.get("/")
def index(request: Request) -> Response:
    """The page."""
    return _answer(request, "index.html")


@router.get("/static/{name}")
def static(name: str, request: Request) -> Response:
    """A script, a style, a picture of the page."""
    return _answer(request, name)


def _answer(request: Request, name: str) -> Response:
    if name not in {path.name for path in _STATIC.iterdir() if path.is_file()}:
        raise HTTPException(404)
    data = (_STATIC / name).read_bytes()
    tag = f'"{hashlib.sha256(data).hexdigest()[:20]}"'  # of the content: wheels give all files the same date
    headers = {**_HEADERS, "ETag": tag}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(data, media_type=_type(name), headers=headers)


def _type(name: str) -> str:
    return _TYPES.get(Path(name).suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
