"""The workers that a site needs, as the orders that the supervisor takes. The same site gives the same list."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from frameloom.model.names import annotated_live_of, annotated_of, live_of, packets_of, view_of
from frameloom.model.worker import WorkerSpec

from .model import Processor, PushSink, RecordSink, Site, TcpSink, View, ViewSink

CAMERA_HOST = "frameloom.workers.camera:CameraHost"
PROCESSOR_HOST = "frameloom.workers.processor:ProcessorHost"
VIEW_HOST = "frameloom.workers.view:ViewHost"
RECORDER_HOST = "frameloom.workers.recorder:RecorderHost"
PUSH_HOST = "frameloom.workers.push:PushHost"
TCP_HOST = "frameloom.workers.tcp:TcpHost"
RTSP_HOST = "frameloom.workers.rtsp:RtspHost"
RTSP = "rtsp"
SERVER_HOST = "frameloom.server.host:ServerHost"
SERVER = "server"
INDEX_HOST = "frameloom.workers.index:IndexHost"
INDEX = "index"
_SQLITE = "sqlite:///"
WEBRTC_HOST = "frameloom.workers.webrtc.host:WebRtcHost"
WEBRTC = "webrtc"
VIEW_PARAMS = ("quality", "max_width", "max_fps", "max_kbps")
RECORD_PARAMS = ("segment_s", "keep_days", "keep_bytes", "reserve", "pre_roll_s", "post_roll_s")
TCP_PARAMS = ("max_clients", "patience_s")
SINK_PARAMS = {"view": VIEW_PARAMS, "record": RECORD_PARAMS, "tcp": TCP_PARAMS, "push": ()}


def specs(site: Site) -> list[WorkerSpec]:
    """One spec per worker, in the order of the file: cameras, their views, processors, sinks; index, server, WebRTC.

    They hold resolved secrets, so they travel over the supervisor's private sockets only and are never logged.
    Their `site` is left to the supervisor. What is switched off is in the list too, with `enabled` False, so that
    it can be started by command.
    """
    workers = [*_cameras(site), *_views(site), *_processors(site), *_sinks(site)]
    return [*workers, *_index(site), *_rtsp(site), *_server(site), *_webrtc(site)]


def _cameras(site: Site) -> Iterator[WorkerSpec]:
    for name, camera in site.cameras.items():
        config = {"source": camera.source(), "base_dir": str(site.base_dir)}
        yield WorkerSpec(name, "camera", CAMERA_HOST, config, enabled=camera.enabled)


def _views(site: Site) -> Iterator[WorkerSpec]:
    for name, camera in site.cameras.items():
        # The view of a camera that is off waits for it, as any reader does, and shows it as soon as it is started.
        yield _view(view_of(name), name, camera.view, camera.view.enabled, site)


def _view(name: str, stream: str, view: View | ViewSink, enabled: bool, site: Site) -> WorkerSpec:
    params = {name: getattr(view, name) for name in VIEW_PARAMS}
    # Among what changes live, so that a view goes on while processors and recorders come and go.
    names = {"processors": _processors_on(stream, site), "recorders": _recorders_of(stream, site)}
    return WorkerSpec(name, "view", VIEW_HOST, {}, {**params, **names}, (stream,), enabled)


def _processors_on(stream: str, site: Site) -> list[str]:
    return [name for name, processor in site.processors.items() if processor.stream == stream]


def _recorders_of(stream: str, site: Site) -> list[str]:
    return [
        name for name, sink in site.sinks.items() if isinstance(sink, RecordSink) and sink.stream == stream
    ]


def _processors(site: Site) -> Iterator[WorkerSpec]:
    for name, processor in site.processors.items():
        yield WorkerSpec(
            name,
            "processor",
            PROCESSOR_HOST,
            _processor_config(processor, site),
            dict(processor.params),
            (processor.stream,),
            processor.enabled,
        )


def _processor_config(processor: Processor, site: Site) -> dict[str, Any]:
    config = {"use": processor.use, "base_dir": str(site.base_dir), "policy": processor.policy}
    return config if processor.hang_s is None else {**config, "hang_s": processor.hang_s}


def _sinks(site: Site) -> Iterator[WorkerSpec]:
    for name, sink in site.sinks.items():
        if isinstance(sink, RecordSink):
            yield _recorder(name, sink, site)
        elif isinstance(sink, TcpSink):
            yield _tcp(name, sink)
        elif isinstance(sink, PushSink):
            yield _push(name, sink)
        else:
            yield _view(name, sink.stream, sink, sink.enabled, site)


def _recorder(name: str, sink: RecordSink, site: Site) -> WorkerSpec:
    folder = str(site.base_dir / sink.folder)
    stream, *instead = _recorded_by(sink)
    config = {"camera": sink.stream, "folder": folder, "mode": sink.mode, "on": sink.on}
    config["instead"] = instead[0] if instead else None
    params = {name: getattr(sink, name) for name in RECORD_PARAMS}
    params["results"] = _results(sink, site)
    streams = (stream, *([sink.on] if sink.on else []))
    return WorkerSpec(name, "recorder", RECORDER_HOST, config, params, streams, sink.enabled)


def _recorded_by(sink: RecordSink) -> tuple[str, ...]:
    """The stream that it reads, and the one it reads instead where that has packets which are not recorded."""
    if sink.annotated:
        return (annotated_live_of(sink.stream),)
    return (packets_of(sink.stream),) if sink.as_sent else (packets_of(sink.stream), live_of(sink.stream))


def _results(sink: RecordSink, site: Site) -> list[str]:
    if isinstance(sink.results, list):
        return list(sink.results)
    return _processors_on(sink.stream, site) if sink.results else []


def _tcp(name: str, sink: TcpSink) -> WorkerSpec:
    config = {"camera": sink.stream, "host": sink.host, "port": sink.port, "allow": list(sink.allow)}
    stream, instead = _sent(sink)
    config |= {"format": sink.format, "instead": instead}
    params = {name: getattr(sink, name) for name in TCP_PARAMS}
    return WorkerSpec(name, "tcp", TCP_HOST, config, params, (stream,), sink.enabled)


def _push(name: str, sink: PushSink) -> WorkerSpec:
    stream = annotated_live_of(sink.stream) if sink.annotated else packets_of(sink.stream)
    instead = None if sink.annotated else live_of(sink.stream)
    config = {"camera": sink.stream, "url": sink.url, "transport": sink.transport, "instead": instead}
    return WorkerSpec(name, "push", PUSH_HOST, config, {}, (stream,), sink.enabled)


def _sent(sink: TcpSink) -> tuple[str, str | None]:
    """The stream that it reads, and the one it reads instead where that has packets which do not fit."""
    if sink.format == "mjpeg":
        return (annotated_of if sink.annotated else view_of)(sink.stream), None
    if sink.annotated:
        return annotated_live_of(sink.stream), None
    return packets_of(sink.stream), live_of(sink.stream)


def _index(site: Site) -> Iterator[WorkerSpec]:
    """Only where something is recorded."""
    recorded = [sink for sink in site.sinks.values() if isinstance(sink, RecordSink)]
    if not recorded:
        return
    folders = list(dict.fromkeys(str(site.base_dir / sink.folder) for sink in recorded))
    seen = {name: camera_of(name, site) for name in site.processors}
    config = {"database": database_of(site), "folders": folders, "events": seen}
    yield WorkerSpec(INDEX, "index", INDEX_HOST, config, streams=tuple(seen))


def camera_of(processor: str, site: Site) -> str:
    """The camera that a processor looks at in the end."""
    name = processor
    while name in site.processors:
        name = site.processors[name].stream
    return name


def database_of(site: Site) -> str | None:
    """The URL of the index's database; None: the site's own file. A relative path starts beside the site file."""
    url = site.database
    if url is None or not url.startswith(_SQLITE):
        return url
    return f"{_SQLITE}{site.base_dir / url.removeprefix(_SQLITE)}"


def _rtsp(site: Site) -> Iterator[WorkerSpec]:
    if site.rtsp.enabled:
        config = {"host": site.rtsp.host, "port": site.rtsp.port, "users": dict(site.rtsp.users)}
        yield WorkerSpec(RTSP, "rtsp", RTSP_HOST, config)


def _server(site: Site) -> Iterator[WorkerSpec]:
    server = site.server
    config: dict[str, Any] = {"host": server.host, "port": server.port, "site": site.name}
    if site.database is not None:
        config["database"] = database_of(site)
    if server.login != "auto":
        config["login"] = server.login
    if server.tls.cert and server.tls.key:
        config["tls"] = {
            "cert": str(site.base_dir / server.tls.cert),
            "key": str(site.base_dir / server.tls.key),
        }
    yield WorkerSpec(SERVER, "server", SERVER_HOST, config, enabled=server.enabled)


def _webrtc(site: Site) -> Iterator[WorkerSpec]:
    """It belongs to the server, whose page sends viewers there; it is small until the first of them comes."""
    config = {"host": site.server.host, "port": site.server.port}
    is_on = site.server.enabled and site.server.webrtc
    yield WorkerSpec(WEBRTC, "webrtc", WEBRTC_HOST, config, enabled=is_on)
