"""What `site.yaml` says, as types: `Site` and its parts. Every key, its default, what is allowed and what it means.

What goes across the parts (names, who reads whom) is checked by `rules.py`; texts and positions are `load.py`'s.
A key that has nothing after it has its default.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PlainValidator,
    PrivateAttr,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError

from frameloom.listening import NETWORKS_ALLOWED, check_reach, is_loopback
from frameloom.model.names import ALLOWED as NAME_ALLOWED
from frameloom.sinks.sizes import SHARE_ALLOWED, SIZE_ALLOWED, reserve_bytes, size_bytes, written
from frameloom.sources.settings import SourceSettings

from .document import Document

USE_ALLOWED = "a built-in processor, package.module:Class, or path/to/file.py:Class"
USE_PATTERN = r"^([a-z][a-z0-9_]*|([A-Za-z_]\w*\.)*[A-Za-z_]\w*:[A-Za-z_]\w*|[^:]+\.py:[A-Za-z_]\w*)$"
DATABASE_PATTERN = (
    r"^(sqlite:///.+|[a-rt-z][a-z0-9]*(\+[a-z0-9_]+)?://.+|s[a-pr-z][a-z0-9]*(\+[a-z0-9_]+)?://.+)$"
)
DATABASE_ALLOWED = "a URL such as sqlite:///index.sqlite or postgresql://USER:PASSWORD@HOST/NAME"
HOST_PATTERN = r"^[0-9A-Za-z.:_-]{1,253}$"


def _no_bool(value: Any) -> Any:
    """Python counts True as 1; a person who writes `port: true` means something else."""
    if isinstance(value, bool):
        raise PydanticCustomError("not_a_number", "a number is wanted, not true or false")
    return value


Whole = Annotated[int, BeforeValidator(_no_bool)]
Real = Annotated[float, BeforeValidator(_no_bool), Field(allow_inf_nan=False)]
Wait = Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False), BeforeValidator(_no_bool)]
Hang = Annotated[float, Field(ge=1, le=3600, allow_inf_nan=False), BeforeValidator(_no_bool)]


def _size(text: str) -> str:
    size_bytes(text)
    return text


def _share(text: str) -> str:
    reserve_bytes(text, 0)
    return text


def _all_none_or_some(value: Any) -> Any:
    """At once, for a union would tell what is wrong once for each of its types."""
    if isinstance(value, bool) or (isinstance(value, list) and all(isinstance(name, str) for name in value)):
        return value
    raise ValueError(f"read {value!r}, allowed: {RESULTS_ALLOWED}")


RESULTS_ALLOWED = "true, false, or a list of names of processors"
_RESULTS_SCHEMA = {"anyOf": [{"type": "boolean"}, {"type": "array", "items": {"type": "string"}}]}
Results = Annotated[bool | list[str], PlainValidator(_all_none_or_some), WithJsonSchema(_RESULTS_SCHEMA)]
SizeText = Annotated[str, BeforeValidator(written), AfterValidator(_size)]
ShareText = Annotated[str, BeforeValidator(written), AfterValidator(_share)]


def _allowed(words: str) -> dict[str, Any]:
    return {"allowed": words}


class Entry(BaseModel):
    """One mapping of the file: unknown keys are refused, keys without a value are left to their defaults."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nothings(cls, data: Any) -> Any:
        return without_nothings(data)


def without_nothings(data: Any) -> Any:
    """`data` without the keys that have nothing after them; an entry that is itself nothing is an empty one."""
    if data is None:
        return {}
    return {k: v for k, v in data.items() if v is not None} if isinstance(data, dict) else data


Kind: Any = Field(description="What it does", json_schema_extra=_allowed("one of view, record, tcp, push"))
Quality: Any = Field(default=80, ge=20, le=95, description="JPEG quality in %")
MaxWidth: Any = Field(
    default=1280, ge=160, le=7680, description="Wider pictures are shrunk to this width, in pixels"
)
MaxFps: Any = Field(default=30, ge=0.2, le=120, description="Viewers get at most so many pictures a second")
MaxKbps: Any = Field(
    default=4000,
    ge=100,
    le=16000,
    description="Where H.264 is made for browsers, it takes at most so many kbit/s",
)


class Tls(Entry):
    """The certificate of the web server, which then speaks https and wss only."""

    cert: str | None = Field(
        default=None,
        min_length=1,
        description="The certificate, and those between it and the authority, as PEM; "
        "a relative path starts beside the site file",
        json_schema_extra=_allowed("the path of a file"),
    )
    key: str | None = Field(
        default=None,
        min_length=1,
        description="Its private key, as PEM, without a password",
        json_schema_extra=_allowed("the path of a file"),
    )

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if (self.cert is None) != (self.key is None):
            missing, given = ("cert", "key") if self.cert is None else ("key", "cert")
            raise ValueError(f"{missing}: missing, allowed beside {given}: the path of a file")
        return self


class Server(Entry):
    """The web server. It listens on this machine only, unless `host` says otherwise."""

    host: str = Field(
        default="127.0.0.1",
        pattern=HOST_PATTERN,
        description="Address to listen on; `0.0.0.0` is for other machines, too: one has to log in then",
        json_schema_extra=_allowed("an IP address or the name of this machine"),
    )
    port: Whole = Field(
        default=8080, ge=0, le=65535, description="Port to listen on; 0 takes any that is free"
    )
    login: bool | Literal["auto"] = Field(
        default="auto",
        description="Whether one has to log in; `auto`: where `host` lets others reach it",
        json_schema_extra=_allowed("auto, true or false"),
    )
    tls: Tls = Field(default=Tls(), description="Its certificate, for https; without, it speaks http")
    enabled: bool = Field(default=True, description="Whether there is a web server at all")
    webrtc: bool = Field(
        default=True,
        description="Whether browsers may take video by WebRTC, on the UDP port of the same number if it is free",
    )


class Rtsp(Entry):
    """Every camera of the site at `rtsp://host:port/NAME`, for players and recorders."""

    host: str = Field(
        default="127.0.0.1",
        pattern=HOST_PATTERN,
        description="Address to listen on; any but this machine's own wants `users`",
        json_schema_extra=_allowed("an IP address or the name of this machine"),
    )
    port: Whole = Field(
        default=8554, ge=0, le=65535, description="Port to listen on; 0 takes any that is free"
    )
    users: dict[str, Annotated[str, Field(min_length=1, json_schema_extra={"format": "password"})]] = Field(
        default={},
        repr=False,
        description="Names and passwords of who may watch (digest authentication); without, everybody who can reach it",
        json_schema_extra=_allowed("a mapping of names to passwords, as in viewer: ${RTSP_PASSWORD}"),
    )
    enabled: bool = Field(default=False, description="Whether there is an RTSP server at all")

    @model_validator(mode="after")
    def _known_to_who_is_far(self) -> Self:
        if not self.users and not is_loopback(self.host):
            raise ValueError(
                f"users: missing, {self.host} can be reached from elsewhere; allowed: names and passwords"
            )
        return self


class View(Entry):
    """The pictures that all viewers of a camera share, as JPEG and H.264. Nothing is encoded while nobody looks."""

    enabled: bool = Field(default=True, description="Whether people can watch this camera")
    quality: Whole = Field(default=80, ge=20, le=95, description="Quality in %, as of a JPEG")
    max_width: Whole = MaxWidth
    max_fps: Real = MaxFps
    max_kbps: Whole = MaxKbps


class Camera(SourceSettings):
    """One camera, film or device: where its pictures come from, and what is done for everybody who wants them."""

    enabled: bool = Field(default=True, description="Whether it is started with the site")
    view: View = Field(
        default=View(),
        description="Its picture for people: `false` for none, or a mapping",
        json_schema_extra=_allowed(
            "true, false, or a mapping of enabled, quality, max_width, max_fps, max_kbps"
        ),
    )

    @model_validator(mode="before")
    @classmethod
    def _from_short_form(cls, data: Any) -> Any:
        data = without_nothings({"url": data} if isinstance(data, str) else data)
        if isinstance(data, dict) and isinstance(data.get("view"), bool):
            data = {**data, "view": {"enabled": data["view"]}}
        return data

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Says what no type says: the short form, and what a URL may be."""
        schema = handler(core_schema)
        definition = handler.resolve_ref_schema(schema)
        url = definition["properties"]["url"]
        url["allowed"] = SourceSettings.model_fields["url"].description
        url["description"] = "Where its pictures come from; a relative path starts beside the site file"
        definition["allowed"] = "a URL, or a mapping of " + ", ".join(definition["properties"])
        return schema

    def source(self) -> dict[str, Any]:
        """The settings of its source as plain JSON, secrets included."""
        return self.model_dump(mode="json", include=set(SourceSettings.model_fields))


class Processor(Entry):
    """Your code, or ours, on the frames of one stream."""

    use: str = Field(
        pattern=USE_PATTERN,
        description="What runs: a built-in name, `package.module:Class`, or `path/file.py:Class` beside the site file",
        json_schema_extra=_allowed(USE_ALLOWED),
    )
    stream: str = Field(
        description="The camera or processor whose stream it reads",
        json_schema_extra=_allowed("the name of a camera or of another processor"),
    )
    params: dict[str, Any] = Field(
        default={},
        repr=False,
        description="Values of its declared parameters; the others have their defaults",
        json_schema_extra=_allowed("a mapping of parameters to values"),
    )
    policy: Literal["latest", "every"] = Field(
        default="latest",
        description="`latest`: the newest picture, older ones are dropped and counted; `every`: each one",
    )
    hang_s: Hang | None = Field(
        default=None, description="Longest time for one picture, where that of `limits` does not fit"
    )
    enabled: bool = Field(default=True, description="Whether it is started with the site")

    @model_validator(mode="before")
    @classmethod
    def _only_set_params(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("params"), dict):
            return {**data, "params": without_nothings(data["params"])}
        return data


class ViewSink(Entry):
    """One more view of a camera, of another size or quality."""

    kind: Literal["view"] = Kind
    stream: str = Field(
        description="The camera that it shows", json_schema_extra=_allowed("the name of a camera")
    )
    quality: Whole = Quality
    max_width: Whole = MaxWidth
    max_fps: Real = MaxFps
    max_kbps: Whole = MaxKbps
    enabled: bool = Field(default=True, description="Whether it is started with the site")


class RecordSink(Entry):
    """A recording of a camera, as it sends its pictures, with what processors say of them beside it."""

    kind: Literal["record"] = Kind
    stream: str = Field(
        description="The camera that it records", json_schema_extra=_allowed("the name of a camera")
    )
    mode: Literal["continuous", "command", "event"] = Field(
        default="continuous",
        description="`continuous`: all the time; `command`: between the commands start and stop; "
        "`event`: around the events of a processor",
    )
    on: str | None = Field(
        default=None,
        description="The processor whose events are recorded, for `mode: event`",
        json_schema_extra=_allowed("the name of a processor"),
    )
    folder: str = Field(
        default="recordings",
        min_length=1,
        description="Where recordings are, in a folder for each camera; a relative path starts beside the site file",
        json_schema_extra=_allowed("the path of a folder"),
    )
    segment_s: Real = Field(
        default=60,
        ge=1,
        le=3600,
        description="A new file is begun at the first key frame after this time, seconds",
    )
    keep_days: Real = Field(
        default=0, ge=0, le=36500, description="Older recordings are deleted; 0: none is too old"
    )
    keep_bytes: SizeText = Field(
        default="0",
        description="The oldest recordings are deleted when all of this camera take more; 0: no limit",
        json_schema_extra=_allowed(SIZE_ALLOWED),
    )
    reserve: ShareText = Field(
        default="1GB",
        description="Recording stops when less than this is free on the disk",
        json_schema_extra=_allowed(SHARE_ALLOWED),
    )
    pre_roll_s: Real = Field(
        default=20, ge=0, le=300, description="How long before an event its recording begins, seconds"
    )
    post_roll_s: Real = Field(
        default=10, ge=0, le=3600, description="How long after an event its recording ends, seconds"
    )
    annotated: bool = Field(
        default=False,
        description="Whether what processors saw is drawn on the recorded pictures, which are encoded for it",
    )
    as_sent: bool = Field(
        default=False,
        description="Whether a camera that sends JPEG is recorded as JPEG, which takes no work and much space, "
        "and not as H.264",
    )
    results: Results = Field(
        default=True,
        description="Whose results are written beside the recording: `true` for all processors on the camera, "
        "`false` for none, or their names",
        json_schema_extra=_allowed(RESULTS_ALLOWED),
    )
    enabled: bool = Field(default=True, description="Whether it is started with the site")

    @model_validator(mode="after")
    def _on_for_events(self) -> Self:
        if self.mode == "event" and self.on is None:
            raise ValueError("on: missing, allowed for mode event: the name of a processor")
        if self.mode != "event" and self.on is not None:
            raise ValueError(f"on: allowed only for mode event, this is {self.mode}")
        return self

    @model_validator(mode="after")
    def _drawn_or_as_sent(self) -> Self:
        if self.annotated and self.as_sent:
            raise ValueError("as_sent: read true, allowed: false where annotated is true")
        return self


class TcpSink(Entry):
    """A camera's pictures for players and programs that connect to a port."""

    kind: Literal["tcp"] = Kind
    stream: str = Field(
        description="The camera that it sends", json_schema_extra=_allowed("the name of a camera")
    )
    port: Whole = Field(ge=0, le=65535, description="Port to listen on; 0 takes any that is free")
    host: str = Field(
        default="127.0.0.1",
        pattern=HOST_PATTERN,
        description="Address to listen on; any but this machine's own wants `allow`",
        json_schema_extra=_allowed("an IP address or the name of this machine"),
    )
    allow: list[str] = Field(
        default=[],
        max_length=100,
        description="From where clients may come; without it, from this machine only",
        json_schema_extra=_allowed(NETWORKS_ALLOWED),
    )
    format: Literal["mpegts", "mjpeg"] = Field(
        default="mpegts",
        description="`mpegts`: H.264 or H.265 in a transport stream; `mjpeg`: JPEG pictures one after the other",
    )
    annotated: bool = Field(default=False, description="Whether what processors saw is drawn on the pictures")
    max_clients: Whole = Field(
        default=100, ge=1, le=1000, description="So many clients at once; more are turned away"
    )
    patience_s: Real = Field(
        default=30,
        ge=1,
        le=3600,
        description="A client that takes nothing for so long is let go, seconds",
    )
    enabled: bool = Field(default=True, description="Whether it is started with the site")

    @model_validator(mode="after")
    def _known_clients(self) -> Self:
        try:
            check_reach(self.host, self.allow)
        except ValueError as error:
            raise ValueError(f"allow: {error}") from None
        return self


class PushSink(Entry):
    """A camera, as it sends its pictures, sent on to another server, such as mediamtx or go2rtc."""

    kind: Literal["push"] = Kind
    stream: str = Field(
        description="The camera that it sends", json_schema_extra=_allowed("the name of a camera")
    )
    url: str = Field(
        repr=False,
        pattern=r"^(rtsps?|rtmps?)://[^/\s]+/?\S*$",
        description="Where to; the server must take streams that are pushed",
        json_schema_extra=_allowed("rtsp://, rtsps://, rtmp:// or rtmps://, host and path"),
    )
    transport: Literal["tcp", "udp"] = Field(default="tcp", description="How the pictures travel, for RTSP")
    annotated: bool = Field(default=False, description="Whether what processors saw is drawn on the pictures")
    enabled: bool = Field(default=True, description="Whether it is started with the site")


Sink = Annotated[ViewSink | RecordSink | TcpSink | PushSink, Field(discriminator="kind")]


class Limits(Entry):
    """When a worker counts as dead, hung or hopeless. The defaults suit most sites."""

    start_s: Real = Field(
        default=30, ge=1, le=600, description="A worker that has not reported by then is ended"
    )
    silent_s: Real = Field(
        default=5, ge=1, le=600, description="A worker that reports nothing for so long is ended"
    )
    hang_s: Hang = Field(default=30, description="A worker that is so long at one picture is ended")
    backoff_s: list[Wait] = Field(
        default=[0.1, 0.5, 1, 2, 4, 8, 16, 30],
        min_length=1,
        max_length=20,
        description="Waits before a worker is started again after its first, second, ... death in a row; "
        "the last one repeats",
        json_schema_extra=_allowed("a list of 1 to 20 numbers from 0 to 3600"),
    )
    stable_s: Real = Field(
        default=10, ge=1, le=86400, description="After so long at work, the next death is the first again"
    )
    failures: Whole = Field(
        default=5,
        ge=1,
        le=1000,
        description="After so many deaths in a row a worker has failed, and waits for a person",
    )


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a site was read from. All are equal: two sites that say the same are the same."""

    file: str = field(default="", compare=False)
    base_dir: FilePath = field(default=FilePath(), compare=False)
    document: Document = field(default_factory=lambda: Document({}, None), compare=False, repr=False)


class Site(Entry):
    """All that `site.yaml` says, with its references resolved: it holds secrets, and does not show them."""

    model_config = ConfigDict(populate_by_name=True)

    name: str = Field(
        default="default",
        alias="site",
        pattern=r"^[a-z0-9][a-z0-9_-]{0,47}$",
        description="Name of this site; sites of different names run side by side",
        json_schema_extra=_allowed(NAME_ALLOWED),
    )
    server: Server = Field(default=Server(), description="The web server")
    rtsp: Rtsp = Field(default=Rtsp(), description="The RTSP server")
    cameras: dict[str, Camera] = Field(
        default={},
        description="Cameras, films and devices by name",
        json_schema_extra=_allowed("a mapping of names to cameras"),
    )
    processors: dict[str, Processor] = Field(
        default={},
        description="Code that looks at frames, by name",
        json_schema_extra=_allowed("a mapping of names to processors"),
    )
    sinks: dict[str, Sink] = Field(
        default={},
        description="What else is done with streams, by name",
        json_schema_extra=_allowed("a mapping of names to sinks"),
    )
    limits: Limits = Field(default=Limits(), description="When a worker counts as dead, hung or hopeless")
    database: str | None = Field(
        default=None,
        pattern=DATABASE_PATTERN,
        repr=False,
        description="The database of the index of recordings; without it, a file of SQLite that is the site's own",
        json_schema_extra=_allowed(DATABASE_ALLOWED),
    )
    _origin: Origin = PrivateAttr(default_factory=Origin)

    @property
    def file(self) -> str:
        """The file as it was named when the site was read; empty for a site that was made in a program."""
        return self._origin.file

    @property
    def base_dir(self) -> FilePath:
        """The folder that relative paths start from: absolute, the one of the site file."""
        return self._origin.base_dir

    @property
    def document(self) -> Document:
        """What the file says, references unresolved, with places."""
        return self._origin.document

    def at(self, origin: Origin) -> Site:
        """This site, from there. For `load.py`."""
        self._origin = origin
        return self
