"""The page's files, as `tools/web_build.py` builds them from web/.

A browser keeps them and asks each time whether they are still the same: after an update there is never an old script
with a new page.
"""

from __future__ import annotations

import hashlib
import mimetypes
from pathlib import Path

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from frameloom.model.errors import CommandError

router = APIRouter(include_in_schema=False)

_BUILT = Path(__file__).parent.parent / "web" / "built"
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
    if name not in _names():
        raise HTTPException(404)
    data = (_BUILT / name).read_bytes()
    tag = f'"{hashlib.sha256(data).hexdigest()[:20]}"'  # of the content: wheels give all files the same date
    headers = {**_HEADERS, "ETag": tag}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(data, media_type=_type(name), headers=headers)


def _names() -> set[str]:
    """The files that there are; raises `CommandError` where nothing has been built, as in a fresh clone."""
    if not (_BUILT / "index.html").is_file():
        raise CommandError("not-built", "the page has not been built: run `make run`, or tools/web_build.py")
    return {path.name for path in _BUILT.iterdir() if path.is_file()}


def _type(name: str) -> str:
    return _TYPES.get(Path(name).suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
