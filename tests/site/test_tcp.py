"""`kind: tcp` among the sinks, cameras that come to us, and the ports of both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from frameloom.model.errors import SiteError
from frameloom.model.parameters import declared
from frameloom.model.worker import WorkerSpec
from frameloom.site.load import from_text
from frameloom.site.model import Site, TcpSink
from frameloom.site.save import SiteFile
from frameloom.site.specs import specs
from frameloom.workers.tcp import TcpHost

TEXT = """\
cameras:
  hall: rtsp://10.0.0.5/stream
sinks:
  out: {kind: tcp, stream: hall, port: 9000}    # for the wall
"""


def site_with(sink: str) -> Site:
    return from_text(TEXT.replace("port: 9000", f"port: 9000, {sink}"), "site.yaml", {})


def worker(site: Site) -> WorkerSpec:
    (found,) = (spec for spec in specs(site) if spec.name == "out")
    return found


def wrong(text: str) -> str:
    with pytest.raises(SiteError) as caught:
        from_text(text, "site.yaml", {})
    return str(caught.value)


def test_the_worker_of_a_sink() -> None:
    spec = worker(from_text(TEXT, "site.yaml", {}))
    assert (spec.kind, spec.host, spec.enabled) == ("tcp", "frameloom.workers.tcp:TcpHost", True)
    assert spec.config == {
        "camera": "hall",
        "host": "127.0.0.1",
        "port": 9000,
        "allow": [],
        "format": "mpegts",
        "instead": "hall.live",
    }
    assert spec.params == {"max_clients": 100, "patience_s": 30}
    assert WorkerSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


@pytest.mark.parametrize(
    ("sink", "streams"),
    [
        ("format: mpegts", ("hall.packets", "hall.live")),
        ("annotated: true", ("hall.annotated-live", None)),
        ("format: mjpeg", ("hall.view", None)),
        ("format: mjpeg, annotated: true", ("hall.annotated", None)),
    ],
)
def test_what_it_reads(sink: str, streams: tuple[str, str | None]) -> None:
    spec = worker(site_with(sink))
    assert (*spec.streams, spec.config["instead"]) == streams


def test_its_parameters_are_those_that_its_worker_declares() -> None:
    schema: dict[str, Any] = TcpSink.model_json_schema()["properties"]
    parameters = declared(TcpHost)
    assert list(parameters) == ["max_clients", "patience_s"]
    for name, parameter in parameters.items():
        told = parameter.declaration()
        assert [told[key] for key in ("default", "minimum", "maximum")] == [
            schema[name][key] for key in ("default", "minimum", "maximum")
        ]
        assert schema[name]["description"].removesuffix(", seconds") == told["description"]


def test_what_is_changed_is_written_back(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(TEXT)
    file = SiteFile(path, {})
    file.set_params("out", {"max_clients": 5})
    assert path.read_text() == TEXT.replace("port: 9000", "port: 9000, max_clients: 5")
    with pytest.raises(SiteError, match=r"no parameter 'out.port', allowed: max_clients, patience_s"):
        file.set_params("out", {"port": 9})


def test_an_address_that_others_reach_wants_to_know_who_may_come() -> None:
    said = wrong(TEXT.replace("port: 9000", "port: 9000, host: 0.0.0.0"))
    assert said == (
        "site.yaml:4: sinks.out.allow: missing, 0.0.0.0 can be reached from elsewhere; "
        "allowed: a list of networks such as 192.168.1.0/24, and of addresses"
    )
    assert site_with("host: 0.0.0.0, allow: [192.168.1.0/24, 10.0.0.7]").sinks["out"].enabled
    assert site_with("host: localhost").sinks["out"].enabled
    assert site_with("host: '::1'").sinks["out"].enabled
    assert "did you mean 192.168.1.0/24?" in wrong(
        TEXT.replace("port: 9000", "port: 9000, allow: [192.168.1.5/24]")
    )


def test_a_camera_that_comes_to_us() -> None:
    text = "cameras:\n  gate: {url: 'tcp://0.0.0.0:9100?listen', allow: [10.0.0.0/8], format: raw}\n"
    (spec, *_) = specs(from_text(text, "site.yaml", {}))
    assert spec.config["source"]["allow"] == ["10.0.0.0/8"]
    assert "site.yaml:2: cameras.gate.allow: missing, 0.0.0.0 can be reached" in wrong(
        "cameras:\n  gate: tcp://0.0.0.0:9100?listen\n"
    )


PORTS = """\
server: {{port: 8000}}
rtsp: {{enabled: true, port: 8554}}
cameras:
  hall: x.mp4
  gate: tcp://127.0.0.1:9100?listen
  door: {{url: tcp://127.0.0.1:9101?listen, enabled: false}}
sinks:
  one: {{kind: tcp, stream: hall, port: 9000}}
  two: {{kind: tcp, stream: hall, port: {port}, host: {host}, allow: [10.0.0.0/8], enabled: {enabled}}}
"""


@pytest.mark.parametrize(
    ("port", "host", "owner"),
    [
        (9000, "127.0.0.1", "sinks.one"),
        (9000, "0.0.0.0", "sinks.one"),
        (8000, "0.0.0.0", "server.port"),
        (8554, "127.0.0.1", "rtsp.port"),
    ],
)
def test_two_that_listen_on_one_port(port: int, host: str, owner: str) -> None:
    said = wrong(PORTS.format(port=port, host=host, enabled="true"))
    assert (
        said
        == f"site.yaml:9: sinks.two.port: read {port}, which {owner} listens on, allowed: a port of its own"
    )
    assert from_text(PORTS.format(port=port, host=host, enabled="false"), "site.yaml", {})


def test_a_camera_and_a_sink_on_one_port() -> None:
    said = wrong(PORTS.format(port=9100, host="127.0.0.1", enabled="true"))
    assert "cameras.gate: read 9100, which sinks.two listens on" in said


@pytest.mark.parametrize(
    ("port", "host"), [(9001, "127.0.0.1"), (9000, "10.0.0.1"), (0, "127.0.0.1"), (9101, "::1")]
)
def test_ports_that_do_not_clash(port: int, host: str) -> None:
    assert from_text(PORTS.format(port=port, host=f"'{host}'", enabled="true"), "site.yaml", {})
