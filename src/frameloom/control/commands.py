"""The commands of the control socket, as pydantic models: one line of JSON each way.

    {"id": 1, "command": "set", "name": "motion", "values": {"threshold": 30}, "timeout_s": 5}
    {"id": 1, "ok": true, "result": {...}}
    {"id": 1, "ok": false, "error": {"code": "refused", "message": "threshold: read 300, allowed: ..."}}

What a command does is in `frameloom.control.dispatch`. `docs/control-protocol.md` is the page for people.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from frameloom.model.errors import CommandError

TIMEOUT_S = 5.0
LONGEST_TIMEOUT_S = 60.0

Id = int | Annotated[str, Field(max_length=64)] | None
Name = Annotated[str, Field(min_length=1, max_length=100)]
Text = Annotated[str, Field(max_length=1_000_000)]
SourceValues = Annotated[dict[str, Any], Field(min_length=1, max_length=100)]
Names = Annotated[list[Name], Field(min_length=1, max_length=1000)]


class Request(BaseModel):
    """What all commands have. The answer repeats `id`, and comes within `timeout_s`."""

    model_config = ConfigDict(extra="forbid")

    id: Id = None
    timeout_s: float = Field(TIMEOUT_S, gt=0, le=LONGEST_TIMEOUT_S, allow_inf_nan=False)


class Ping(Request):
    """Is anybody there?"""

    command: Literal["ping"]


class Status(Request):
    """The state of the site now."""

    command: Literal["status"]


class Subscribe(Request):
    """The state of the site now, and every change from now on."""

    command: Literal["subscribe"]


class Start(Request):
    """Run these workers; answered when they are being started."""

    command: Literal["start"]
    names: Names


class Stop(Request):
    """Do not run these workers; answered when they have ended."""

    command: Literal["stop"]
    names: Names


class Restart(Request):
    """End these workers and run them again; answered when they are being started."""

    command: Literal["restart"]
    names: Names


class Clear(Request):
    """Forget the last error of these workers."""

    command: Literal["clear"]
    names: Names


class Set(Request):
    """Change parameters of a worker; answered when they are in effect and stored."""

    command: Literal["set"]
    name: Name
    values: Annotated[dict[str, Any], Field(min_length=1, max_length=1000)]


class Tell(Request):
    """Give a command that only this worker knows."""

    command: Literal["tell"]
    name: Name
    tell: Name
    args: dict[str, Any] = Field(default_factory=dict)


class Logs(Request):
    """The last lines that a worker wrote, of those with a `seq` greater than `after`."""

    command: Literal["logs"]
    name: Name
    lines: int = Field(100, ge=1, le=1000)
    after: int = Field(0, ge=0)


class Reload(Request):
    """Read the site's file again and change what has changed."""

    command: Literal["reload"]


class OfFile(Request):
    """What concerns the site's file, see `frameloom.control.editing`."""


class Settings(OfFile):
    """The site's file as it is now, without its secrets."""

    command: Literal["settings"]


class Preview(OfFile):
    """What this text would mean in the place of the file: all that is wrong with it, or what each worker would do."""

    command: Literal["preview"]
    text: Text


class Save(OfFile):
    """Write this text into the file, if that is still of this version; answered when it is applied."""

    command: Literal["save"]
    text: Text
    version: Name


class Source(OfFile):
    """Settings of a source in which `***` stands for secrets that a camera has, with those in their places."""

    command: Literal["source"]
    name: Name
    settings: SourceValues


class AddCamera(OfFile):
    """Add a camera to the file; answered when it is applied."""

    command: Literal["add-camera"]
    name: Name
    settings: SourceValues


class ChangeCamera(OfFile):
    """Set keys of a camera in the file, null removes one; answered when it is applied."""

    command: Literal["change-camera"]
    name: Name
    settings: SourceValues


class RemoveCamera(OfFile):
    """Remove a camera and all that reads it from the file; answered when it is applied."""

    command: Literal["remove-camera"]
    name: Name
    dry_run: bool = False


class AddRecorder(OfFile):
    """Add a recorder of a camera, which records by command, to the file; answered with its name when it is applied."""

    command: Literal["add-recorder"]
    name: Name


class Shutdown(Request):
    """End the site; answered before it ends."""

    command: Literal["shutdown"]


Edit = Settings | Preview | Save | Source | AddCamera | ChangeCamera | RemoveCamera | AddRecorder
Command = (
    Ping | Status | Subscribe | Start | Stop | Restart | Clear | Set | Tell | Logs | Reload | Shutdown | Edit
)
COMMANDS: TypeAdapter[Command] = TypeAdapter(Annotated[Command, Field(discriminator="command")])
NAMES = tuple(get_args(model.model_fields["command"].annotation)[0] for model in get_args(Command))


def parse(message: dict[str, Any]) -> Command:
    """The command in `message`.

    Raises `CommandError` 'unknown-command', or 'invalid' with what was read and what is allowed.
    """
    if message.get("command") not in NAMES:
        read = repr(message.get("command"))[:100]
        raise CommandError("unknown-command", f"command: read {read}, allowed: {', '.join(NAMES)}")
    try:
        return COMMANDS.validate_python(message)
    except ValidationError as error:
        raise CommandError("invalid", _in_words(error)) from None


def reply_id(message: dict[str, Any]) -> int | str | None:
    """The `id` to repeat in an answer, even if the rest of the message is wrong."""
    found = message.get("id")
    return found if isinstance(found, int | str) and len(str(found)) <= 64 else None


def _in_words(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    command, *place = map(str, first["loc"])
    if first["type"] == "missing":
        return f"{command}: {'.'.join(place)} is missing"
    if first["type"] == "extra_forbidden":
        return f"{command}: {'.'.join(place)[:100]} is not known here"
    if place[:1] in (["text"], ["settings"]):  # they hold passwords
        return f"{command}: {place[0]}: {first['msg']}"
    return f"{command}: {'.'.join(place)}: {first['msg']}, read {repr(first['input'])[:100]}"
