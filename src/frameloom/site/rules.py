"""What holds across the entries of a site: names are unique and well formed, streams exist, nobody waits in a circle.

Looks at plain data, not at the model, so that these troubles are told together with all others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from frameloom.model.errors import NeedsPerson
from frameloom.model.names import ALLOWED, RESERVED, check_name
from frameloom.sources.settings import Kind, SourceSettings, kind_of

from .problems import Path, shown
from .words import meant

SECTIONS = {"cameras": "camera", "processors": "processor", "sinks": "sink"}
HOST, PORT, RTSP_PORT = "127.0.0.1", 8080, 8554  # where they are not said, as in `model.py`
OWNERS = {
    "server": "the web server",
    "webrtc": "the web server",
    "rtsp": "the RTSP server",
    "index": "the index of recordings",
    **dict.fromkeys(RESERVED, "the site itself"),
}

Trouble = tuple[Path, str]
Data = Mapping[str, Any]


def check(data: Data, raw: Data) -> Iterator[Trouble]:
    """All that is wrong across entries, as (place, message). `raw` is what may be repeated: `data` holds secrets."""
    yield from _names(data)
    yield from _streams(data, raw)
    yield from _events(data, raw)
    yield from _results(data, raw)
    yield from _annotated(data)
    yield from _circles(data)
    yield from _ports(data)


def _names(data: Data) -> Iterator[Trouble]:
    owners = dict(OWNERS)
    for section, what in SECTIONS.items():
        for name in _section(data, section):
            if name in owners:
                yield (section, name), f"the name is taken by {owners[name]}, allowed: a name of its own"
            elif not _fits(name, what):
                yield (section, name), f"{what} name: read {shown(name)}, allowed: {ALLOWED}"
            owners.setdefault(name, f"{section}.{name}")


def _fits(name: str, what: str) -> bool:
    try:
        check_name(name, what)
    except NeedsPerson:
        return False
    return True


def _streams(data: Data, raw: Data) -> Iterator[Trouble]:
    cameras, processors = _section(data, "cameras"), _section(data, "processors")
    for section, known in (("processors", {**cameras, **processors}), ("sinks", cameras)):
        for name, entry in _section(data, section).items():
            stream = entry.get("stream") if isinstance(entry, dict) else None
            if isinstance(stream, str) and stream not in known:
                written = _section(raw, section)[name]["stream"]
                yield (section, name, "stream"), _unknown_stream(written, known)


def _events(data: Data, raw: Data) -> Iterator[Trouble]:
    """Events tell media times, which are those of one camera: that one has to be recorded."""
    processors = _section(data, "processors")
    for name, entry in _section(data, "sinks").items():
        on = entry.get("on") if isinstance(entry, dict) else None
        if not isinstance(on, str):
            continue
        fit = [one for one in processors if _seen_by(one, processors) == entry.get("stream")]
        if on not in fit:
            names = ", ".join(fit) or "none, since no processor looks at that camera"
            written = _section(raw, "sinks")[name]["on"]
            yield (
                ("sinks", name, "on"),
                f"read {shown(written)}{meant(str(written), fit) or ','} allowed: {names}",
            )


def _results(data: Data, raw: Data) -> Iterator[Trouble]:
    """A recording holds what was said of its own pictures only."""
    processors = _section(data, "processors")
    for sink, entry in _section(data, "sinks").items():
        results = entry.get("results") if isinstance(entry, dict) else None
        if not isinstance(results, list):
            continue
        fit = [name for name in processors if _reads(processors[name], entry.get("stream"))]
        for place, name in enumerate(results):
            if isinstance(name, str) and name not in fit:
                names = ", ".join(fit) or "none, since no processor looks at that camera"
                written = _section(raw, "sinks")[sink]["results"][place]
                yield (
                    ("sinks", sink, "results", place),
                    f"read {shown(written)}{meant(str(written), fit) or ','} allowed: {names}",
                )


def _reads(entry: Any, stream: Any) -> bool:
    return isinstance(entry, dict) and entry.get("stream") == stream


def _annotated(data: Data) -> Iterator[Trouble]:
    """It is the camera's view that draws."""
    for name, entry in _section(data, "sinks").items():
        if not isinstance(entry, dict) or entry.get("annotated") is not True:
            continue
        camera = _section(data, "cameras").get(str(entry.get("stream")))
        view = camera.get("view") if isinstance(camera, dict) else None
        if view is False or (isinstance(view, dict) and view.get("enabled") is False):
            message = (
                "read true, allowed: false, because the camera's view is switched off, and it is what draws"
            )
            yield ("sinks", name, "annotated"), message


def _seen_by(name: Any, processors: Data) -> Any:
    """The camera that a processor looks at in the end; nothing where they read each other in a circle."""
    for _ in range(len(processors)):
        entry = processors.get(name) if isinstance(name, str) else None
        if not isinstance(entry, dict):
            return name
        name = entry.get("stream")
    return None if isinstance(name, str) and name in processors else name


def _unknown_stream(written: Any, known: Data) -> str:
    names = ", ".join(shown(name).strip("'") for name in known) or "none, since the site has no camera"
    return f"read {shown(written)}{meant(str(written), known) or ','} allowed: {names}"


def _circles(data: Data) -> Iterator[Trouble]:
    """Each processor reads one stream, so a circle is found by following it; told once, at its first member."""
    cameras, processors = _section(data, "cameras"), _section(data, "processors")
    own = {
        name: entry for name, entry in processors.items() if isinstance(entry, dict) and name not in cameras
    }
    reads = {name: entry.get("stream") for name, entry in own.items()}
    seen: set[str] = set()
    for first in reads:
        trail: list[str] = []
        name: Any = first
        while isinstance(name, str) and name in reads and name not in seen:
            seen.add(name)
            trail.append(name)
            name = reads[name]
        if name in trail:
            yield _circle(trail[trail.index(name) :])


def _circle(members: list[str]) -> Trouble:
    words = ", ".join(f"{a} reads {b}" for a, b in zip(members, [*members[1:], members[0]], strict=True))
    return ("processors", members[0], "stream"), f"a circle that no picture ever enters: {words}"


def _ports(data: Data) -> Iterator[Trouble]:
    """Two that listen on the same port of the same address: the second one could not be started."""
    owners: dict[int, list[tuple[str, str]]] = {}
    for path, host, port in _listeners(data):
        owner = next((owner for owner, at in owners.get(port, []) if _overlap(host, at)), None)
        if owner is not None:
            yield path, f"read {port}, which {owner} listens on, allowed: a port of its own"
        owners.setdefault(port, []).append((".".join(map(str, path[:2])), host))


def _listeners(data: Data) -> Iterator[tuple[Path, str, int]]:
    """The place of each port that is listened on, its address, and the port; not of what is switched off."""
    server = _section(data, "server")
    if server.get("enabled") is not False:
        yield from _listener(("server", "port"), server.get("host", HOST), server.get("port", PORT))
    rtsp = _section(data, "rtsp")
    if rtsp.get("enabled") is True:
        yield from _listener(("rtsp", "port"), rtsp.get("host", HOST), rtsp.get("port", RTSP_PORT))
    for name, entry in _section(data, "sinks").items():
        if isinstance(entry, dict) and entry.get("kind") == "tcp" and entry.get("enabled") is not False:
            yield from _listener(("sinks", name, "port"), entry.get("host", HOST), entry.get("port"))
    for name, entry in _section(data, "cameras").items():
        is_mapping = isinstance(entry, dict)
        url = entry.get("url") if is_mapping else entry
        is_off = is_mapping and entry.get("enabled") is False
        with suppress(ValueError):
            if isinstance(url, str) and not is_off and kind_of(url) is Kind.LISTEN:
                path = ("cameras", name, "url") if is_mapping else ("cameras", name)
                yield from _listener(path, *SourceSettings.model_construct(url=url).listens_on)


def _listener(path: Path, host: Any, port: Any) -> Iterator[tuple[Path, str, int]]:
    if isinstance(host, str) and isinstance(port, int) and port:
        yield path, host, port


def _overlap(one: str, other: str) -> bool:
    return one == other or bool({"0.0.0.0", "::"} & {one, other})


def _section(data: Data, section: str) -> Data:
    entries = data.get(section)
    return entries if isinstance(entries, dict) else {}
