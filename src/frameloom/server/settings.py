"""The site's file as a resource: its text without secrets, what a changed text would do, and putting it there.

The supervisor reads and writes the file; here is only the way to it. For admins (`frameloom.server.auth`).
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from frameloom.model.errors import CommandError

from .errors import Reason, may_fail
from .site import SiteView

router = APIRouter()

LONGEST_S = (
    40.0  # for processors that were never seen before: they are loaded, elsewhere, to hear what they declare
)

Text = Annotated[
    str, Field(max_length=400_000, description="All that site.yaml is to say; `***` stands for secrets")
]


class Wrong(BaseModel):
    """One thing that is wrong with a text."""

    line: int = Field(description="From 1; 0 where the text as a whole is meant")
    column: int = Field(description="From 1; 0 where the line as a whole is meant")
    path: str = Field(description="Which value it is, as in cameras.hall.url")
    message: str


class WorkerChange(BaseModel):
    """What happens to one worker."""

    worker: str
    kind: str
    does: str = Field(description="starts, ends, restarts, changes (its parameters, while it runs) or stays")
    why: str


class SettingsText(BaseModel):
    """The file as it is now."""

    file: str | None = Field(description="Its path; null where the site has none")
    text: str = Field(description="With `***` for every secret; `${NAME}` is none")
    version: str = Field(description="For the change: of the file as it is now")
    writable: bool
    schema_: dict[str, Any] | None = Field(alias="schema", description="JSON schema of the file's data")


class Draft(BaseModel):
    """A text that may become the file's."""

    model_config = ConfigDict(extra="forbid")

    text: Text


class Replacement(Draft):
    """A text that is to be the file's, if that is still of this version."""

    version: Annotated[str, Field(min_length=1, max_length=100)]


class Preview(BaseModel):
    """What a text would do."""

    problems: list[Wrong]
    changes: list[WorkerChange] = Field(description="Of every worker; empty where there are problems")
    notes: list[str] = Field(description="What would not be in effect at once")


class Applied(BaseModel):
    """What a change did."""

    version: str = Field(description="Of the file as it is now")
    changes: list[WorkerChange]
    refused: dict[str, str] = Field(description="Workers that did not take their new parameters, and why")
    notes: list[str]


class Refused(BaseModel):
    """Nothing was changed."""

    error: Reason
    problems: list[Wrong]


@router.get(
    "/api/settings",
    summary="The text of site.yaml, without its secrets",
    response_model=None,
    responses={200: {"model": SettingsText, "description": "As it is now"}, **may_fail(422, 503, 504)},
)
async def show_settings(request: Request) -> dict[str, Any]:
    """A site that has no file (one that a program runs) says so: `file` is null."""
    try:
        return await site_of(request).command("settings")
    except CommandError as error:
        if error.code != "unsupported":
            raise
    return {"file": None, "text": "", "version": "", "writable": False, "schema": None}


@router.post(
    "/api/settings/preview",
    summary="What a text would do in the place of site.yaml",
    response_model=None,
    responses={
        200: {"model": Preview, "description": "All that is wrong, or what each worker would do"},
        **may_fail(409, 413, 422, 503, 504),
    },
)
async def preview_settings(draft: Draft, request: Request) -> dict[str, Any]:
    """Changes nothing."""
    return await site_of(request).command("preview", timeout_s=LONGEST_S, text=draft.text)


@router.put(
    "/api/settings",
    summary="Change site.yaml",
    response_model=None,
    responses={
        200: {"model": Applied, "description": "It is written and applied"},
        **may_fail(409, 413, 503, 504),
        422: {"model": Refused, "description": "It is not valid, and nothing was changed"},
    },
)
async def change_settings(wanted: Replacement, request: Request) -> Any:
    """409 `changed-meanwhile` if the file is not of that version any more. A change of the server itself is answered
    before it is made."""
    answer = await site_of(request).command(
        "save", timeout_s=LONGEST_S, text=wanted.text, version=wanted.version
    )
    if answer.pop("saved"):
        return {key: value for key, value in answer.items() if key != "problems"}
    first = answer["problems"][0]
    place = f"line {first['line']}: " if first["line"] else ""
    message = f"{place}{first['path'] + ': ' if first['path'] else ''}{first['message']}"
    return JSONResponse(
        {"error": {"code": "invalid", "message": message}, "problems": answer["problems"]}, 422
    )


def site_of(request: Request) -> SiteView:
    """The site that this server belongs to."""
    view: SiteView = request.app.state.site
    return view
