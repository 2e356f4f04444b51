"""The workers of a site."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from frameloom.control.lifecycle import Limits as LifecycleLimits
from frameloom.model.names import check_stream
from frameloom.model.worker import WorkerSpec
from frameloom.site.load import from_text, load
from frameloom.site.model import Limits, Site, View
from frameloom.site.specs import specs
from frameloom.sources.settings import SourceSettings
from frameloom.workers.view import ViewHost

TEXT = """\
site: demo
server: {port: 9000}
sinks:
  small: {kind: view, stream: hall, max_width: 320}
processors:
  motion: {use: motion, stream: hall, params: {threshold: 25}, policy: every}
  slow: {use: slow.py:Slow, stream: motion, hang_s: 90, enabled: false}
cameras:
  hall: {url: films/tank.mp4, loop: true, view: {quality: 60}}
  yard: {url: "rtsp://10.0.0.6/x", password: "${PW}", enabled: false}
  door: {url: "rtsp://10.0.0.7/x", view: false}
"""


@pytest.fixture
def site(tmp_path: Path) -> Site:
    (tmp_path / "site.yaml").write_text(TEXT)
    return load(tmp_path / "site.yaml", {"PW": "hunter2"})


@pytest.fixture
def by_name(site: Site) -> dict[str, WorkerSpec]:
    return {spec.name: spec for spec in specs(site)}


def test_the_order_is_that_of_the_kinds_and_then_of_the_file(site: Site) -> None:
    assert [spec.name for spec in specs(site)] == [
        "hall", "yard", "door", "hall.view", "yard.view", "door.view", "motion", "slow", "small", "server", "webrtc",
    ]  # fmt: skip
    assert specs(site) == specs(site)


def test_names_are_names_of_streams_and_unique(site: Site) -> None:
    names = [check_stream(spec.name) for spec in specs(site)]
    assert len(set(names)) == len(names)


def test_a_camera_takes_its_settings_with_its_secrets(by_name: dict[str, WorkerSpec], tmp_path: Path) -> None:
    hall, yard = by_name["hall"], by_name["yard"]
    assert (hall.kind, hall.host) == ("camera", "frameloom.workers.camera:CameraHost")
    assert hall.config["base_dir"] == str(tmp_path)
    film = {"url": "films/tank.mp4", "loop": True}
    assert SourceSettings.model_validate(hall.config["source"]) == SourceSettings.model_validate(film)
    assert yard.config["source"]["password"] == "hunter2"
    assert (hall.enabled, yard.enabled) == (True, False)


def test_a_view_waits_for_its_camera_even_if_that_is_off(by_name: dict[str, WorkerSpec]) -> None:
    view = by_name["hall.view"]
    assert (view.kind, view.host, view.streams) == ("view", "frameloom.workers.view:ViewHost", ("hall",))
    set_by_people = {"quality": 60, "max_width": 1280, "max_fps": 30, "max_kbps": 4000}
    assert view.params == {**set_by_people, "processors": ["motion"], "recorders": []}
    assert [by_name[f"{name}.view"].enabled for name in ("hall", "yard", "door")] == [True, True, False]


def test_a_processor(by_name: dict[str, WorkerSpec], tmp_path: Path) -> None:
    motion = by_name["motion"]
    assert (motion.kind, motion.host) == ("processor", "frameloom.workers.processor:ProcessorHost")
    assert motion.config == {"use": "motion", "base_dir": str(tmp_path), "policy": "every"}
    assert (motion.params, motion.streams, motion.enabled) == ({"threshold": 25}, ("hall",), True)
    assert by_name["slow"].config["hang_s"] == 90
    assert not by_name["slow"].enabled


def test_a_sink_is_one_more_view(by_name: dict[str, WorkerSpec]) -> None:
    small = by_name["small"]
    assert (small.kind, small.host, small.streams) == ("view", "frameloom.workers.view:ViewHost", ("hall",))
    assert small.params["max_width"] == 320


def test_webrtc_goes_with_the_server(by_name: dict[str, WorkerSpec]) -> None:
    webrtc = by_name["webrtc"]
    assert (webrtc.kind, webrtc.host) == ("webrtc", "frameloom.workers.webrtc.host:WebRtcHost")
    assert (webrtc.config, webrtc.enabled) == ({"host": "127.0.0.1", "port": 9000}, True)
    for text in ("server: {webrtc: false}", "server: {enabled: false}"):
        (spec,) = (spec for spec in specs(from_text(text, "site.yaml")) if spec.name == "webrtc")
        assert not spec.enabled


def test_the_server(by_name: dict[str, WorkerSpec]) -> None:
    server = by_name["server"]
    assert (server.kind, server.host) == ("server", "frameloom.server.host:ServerHost")
    assert server.config == {"host": "127.0.0.1", "port": 9000, "site": "demo"}


def test_all_of_it_travels_as_json(site: Site) -> None:
    for spec in specs(site):
        assert WorkerSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_the_parameters_of_a_view_are_those_that_its_worker_declares() -> None:
    schema = View.model_json_schema()["properties"]
    for name in ("quality", "max_width", "max_fps", "max_kbps"):
        declared = getattr(ViewHost, name)
        ours = (schema[name]["minimum"], schema[name]["maximum"], schema[name]["default"])
        assert ours == (declared.minimum, declared.maximum, declared.default)


def test_the_limits_are_those_of_the_supervisor() -> None:
    defaults = Limits().model_dump()
    ours = LifecycleLimits(**{**defaults, "backoff_s": tuple(defaults["backoff_s"])})
    assert ours == LifecycleLimits()
