"""The workers that a site needs, as the orders that the supervisor takes. The same site gives the same list."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from frameloom.model.names import packets_of, view_of
from frameloom.model.worker import WorkerSpec

from .model import Processor, RecordSink, Site, View, ViewSink

CAMERA_HOST = "frameloom.workers.camera:CameraHost"
PROCESSOR_HOST = "frameloom.workers.processor:ProcessorHost"
VIEW_HOST = "frameloom.workers.view:ViewHost"
RECORDER_HOST = "frameloom.workers.recorder:RecorderHost"
SERVER_HOST = "frameloom.server.host:ServerHost"
SERVER = "server"
VIEW_PARAMS = ("quality", "max_width", "max_fps", "max_kbps")
RECORD_PARAMS = ("segment_s", "keep_days", "keep_bytes", "reserve", "pre_roll_s", "post_roll_s")
SINK_PARAMS = {"view": VIEW_PARAMS, "record": RECORD_PARAMS}


def specs(site: Site) -> list[WorkerSpec]:
    """One spec per worker, in the order of the file: cameras, their views, processors, sinks, server.

    They hold resolved secrets, so they travel over the supervisor's private sockets only and are never logged.
    Their `site` is left to the supervisor. What is switched off is in the list too, with `enabled` False, so that
    it can be started by command.
    """
    return [*_cameras(site), *_views(site), *_processors(site), *_sinks(site), *_server(site)]


def _cameras(site: Site) -> Iterator[WorkerSpec]:
    for name, camera in site.cameras.items():
        config = {"source": camera.source(), "base_dir": str(site.base_dir)}
        yield WorkerSpec(name, "camera", CAMERA_HOST, config, enabled=camera.enabled)


def _views(site: Site) -> Iterator[WorkerSpec]:
    for name, camera in site.cameras.items():
        # The view of a camera that is off waits for it, as any reader does, and shows it as soon as it is started.
        yield _view(view_of(name), name, camera.view, camera.view.enabled)


def _view(name: str, stream: str, view: View | ViewSink, enabled: bool) -> WorkerSpec:
    params = {name: getattr(view, name) for name in VIEW_PARAMS}
    return WorkerSpec(name, "view", VIEW_HOST, {}, params, (stream,), enabled)


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
        else:
            yield _view(name, sink.stream, sink, sink.enabled)


def _recorder(name: str, sink: RecordSink, site: Site) -> WorkerSpec:
    folder = str(site.base_dir / sink.folder)
    config = {"camera": sink.stream, "folder": folder, "mode": sink.mode, "on": sink.on}
    params = {name: getattr(sink, name) for name in RECORD_PARAMS}
    streams = (packets_of(sink.stream), *([sink.on] if sink.on else []))
    return WorkerSpec(name, "recorder", RECORDER_HOST, config, params, streams, sink.enabled)


def _server(site: Site) -> Iterator[WorkerSpec]:
    config = {"host": site.server.host, "port": site.server.port, "site": site.name}
    yield WorkerSpec(SERVER, "server", SERVER_HOST, config, enabled=site.server.enabled)
