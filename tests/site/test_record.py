"""`kind: record` among the sinks: its worker, its parameters, and how they are written back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from frameloom.model.errors import SiteError
from frameloom.model.parameters import declared
from frameloom.model.worker import WorkerSpec
from frameloom.site.load import from_text
from frameloom.site.model import RecordSink, Site, ViewSink
from frameloom.site.save import SiteFile
from frameloom.site.specs import specs
from frameloom.workers.recorder import RecorderHost

TEXT = """\
site: demo
cameras:
  hall: films/tank.mp4
sinks:
  small: {kind: view, stream: hall}
  hall-rec: {kind: record, stream: hall, keep_bytes: 50GB}   # the tape
"""


@pytest.fixture
def file(tmp_path: Path) -> SiteFile:
    (tmp_path / "site.yaml").write_text(TEXT)
    return SiteFile(tmp_path / "site.yaml", {})


def recorder(site: Site) -> WorkerSpec:
    return next(spec for spec in specs(site) if spec.name == "hall-rec")


def test_kinds_side_by_side(file: SiteFile) -> None:
    sinks = file.load().sinks
    assert (type(sinks["small"]), type(sinks["hall-rec"])) == (ViewSink, RecordSink)


def test_its_worker(file: SiteFile, tmp_path: Path) -> None:
    spec = recorder(file.load())
    assert (spec.kind, spec.host) == ("recorder", "frameloom.workers.recorder:RecorderHost")
    assert (spec.streams, spec.enabled) == (("hall.packets",), True)
    folder = str(tmp_path / "recordings")
    config = {"camera": "hall", "folder": folder, "mode": "continuous", "on": None}
    assert spec.config == {**config, "instead": "hall.live"}
    assert spec.params == {
        "segment_s": 60,
        "keep_days": 0,
        "keep_bytes": "50GB",
        "reserve": "1GB",
        "pre_roll_s": 20,
        "post_roll_s": 10,
        "results": [],
    }
    assert WorkerSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_a_folder_elsewhere(tmp_path: Path) -> None:
    text = TEXT.replace("50GB", "50GB, folder: /srv/tapes, mode: command, enabled: false")
    spec = recorder(from_text(text, str(tmp_path / "site.yaml"), {}))
    assert (spec.config["folder"], spec.config["mode"], spec.enabled) == ("/srv/tapes", "command", False)


def test_its_parameters_are_those_that_its_worker_declares() -> None:
    schema = RecordSink.model_json_schema()["properties"]
    parameters = declared(RecorderHost)
    assert list(parameters) == [
        "segment_s",
        "keep_days",
        "keep_bytes",
        "reserve",
        "pre_roll_s",
        "post_roll_s",
    ]
    for name, parameter in parameters.items():
        told = parameter.declaration()
        assert told["default"] == schema[name]["default"]
        assert [told.get(limit) for limit in ("minimum", "maximum")] == [
            schema[name].get(limit) for limit in ("minimum", "maximum")
        ]
        assert schema[name]["description"].removesuffix(", seconds") == told["description"]
        if "allowed" in schema[name]:
            assert schema[name]["allowed"] == parameter.allowed()


@pytest.mark.parametrize(
    ("keep_bytes", "read"), [("50000", "50000"), ("1.5TiB", "1.5TiB"), ("'7 GB'", "7 GB"), ("0", "0")]
)
def test_sizes_as_people_write_them(keep_bytes: str, read: str) -> None:
    site = from_text(TEXT.replace("50GB", keep_bytes), "site.yaml", {})
    assert recorder(site).params["keep_bytes"] == read


@pytest.mark.parametrize(
    ("values", "old", "new"),
    [
        ({"keep_bytes": "50GB", "reserve": None}, "", ""),
        ({"keep_bytes": "60GB"}, "50GB", '"60GB"'),
        ({"segment_s": 30.0}, "50GB", "50GB, segment_s: 30"),
        ({"reserve": "5%"}, "50GB", '50GB, reserve: "5%"'),
        ({"keep_bytes": None}, ", keep_bytes: 50GB", ""),
    ],
)
def test_what_is_changed_is_written_back(
    file: SiteFile, values: dict[str, object], old: str, new: str
) -> None:
    file.set_params("hall-rec", values)
    assert file.path.read_text() == (TEXT.replace(old, new) if old else TEXT)


def test_what_does_not_fit_is_not_written(file: SiteFile) -> None:
    with pytest.raises(SiteError, match="keep_bytes: read 'lots', allowed: a size such as"):
        file.set_params("hall-rec", {"keep_bytes": "lots"})
    with pytest.raises(SiteError, match=r"no parameter 'hall-rec.folder', allowed: segment_s, keep_days"):
        file.set_params("hall-rec", {"folder": "/"})
    assert file.path.read_text() == TEXT


def test_switched_off_and_removed(file: SiteFile) -> None:
    assert not file.set_enabled("hall-rec", False).sinks["hall-rec"].enabled
    assert "hall-rec" not in file.remove("hall-rec").sinks


# --- results, and what is drawn or encoded ---

SEEN = """\
cameras:
  hall: films/tank.mp4
  yard: {url: films/tank.mp4, view: false}
processors:
  motion: {use: motion, stream: hall}
  people: {use: motion, stream: hall}
  after: {use: motion, stream: motion}
  elsewhere: {use: motion, stream: yard}
sinks:
  hall-rec: {kind: record, stream: hall%s}
  yard-rec: {kind: record, stream: yard}
"""


def seen(more: str = "") -> dict[str, WorkerSpec]:
    return {spec.name: spec for spec in specs(from_text(SEEN % more, "site.yaml", {}))}


@pytest.mark.parametrize(
    ("more", "names"),
    [
        ("", ["motion", "people"]),
        (", results: true", ["motion", "people"]),
        (", results: false", []),
        (", results: []", []),
        (", results: [people]", ["people"]),
    ],
)
def test_whose_results_are_written(more: str, names: list[str]) -> None:
    """And a view draws what all processors on its camera say."""
    workers = seen(more)
    assert workers["hall-rec"].params["results"] == names
    assert workers["yard-rec"].params["results"] == ["elsewhere"]
    assert workers["hall.view"].params["processors"] == ["motion", "people"]


@pytest.mark.parametrize(
    ("more", "read", "instead", "recorders"),
    [
        ("", "hall.packets", "hall.live", ["hall-rec"]),
        (", as_sent: true", "hall.packets", None, ["hall-rec"]),
        (", annotated: true", "hall.annotated-live", None, ["hall-rec"]),
        (
            "}\n  two: {kind: record, stream: hall, folder: two",
            "hall.packets",
            "hall.live",
            ["hall-rec", "two"],
        ),
    ],
)
def test_which_stream_is_recorded(more: str, read: str, instead: str | None, recorders: list[str]) -> None:
    """And for whom a view encodes all of the picture."""
    workers = seen(more)
    assert (workers["hall-rec"].streams, workers["hall-rec"].config["instead"]) == ((read,), instead)
    assert workers["hall.view"].params["recorders"] == recorders


def test_what_changes_only_these_names_restarts_no_worker() -> None:
    """A view goes on while processors and recorders come and go: see `frameloom.control.supervisor`."""
    before = seen()
    after = seen(", results: [people]}\n  two: {kind: record, stream: hall, folder: two")
    for name in ("hall.view", "hall-rec"):
        one, other = before[name], after[name]
        assert one.params != other.params
        assert (one.config, one.streams) == (other.config, other.streams)


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (
            ", results: [peopel]",
            "sinks.hall-rec.results[0]: read 'peopel', did you mean 'people'? allowed: motion, people",
        ),
        (", results: [motion, elsewhere]", "read 'elsewhere', allowed: motion, people"),
        (", results: [after]", "read 'after', allowed: motion, people"),
        (
            ", results: 7.5",
            "sinks.hall-rec.results: read 7.5, allowed: true, false, or a list of names of processors",
        ),
        (", annotated: true, as_sent: true", "as_sent: read true, allowed: false where annotated is true"),
    ],
)
def test_what_is_refused(more: str, problem: str) -> None:
    with pytest.raises(SiteError) as caught:
        seen(more)
    assert problem in str(caught.value)


@pytest.mark.parametrize("view", ["false", "{enabled: false}"])
def test_nothing_is_drawn_without_a_view(view: str) -> None:
    text = (
        SEEN.replace("view: false", f"view: {view}").replace(
            "stream: yard}", "stream: yard, annotated: true}"
        )
        % ""
    )
    with pytest.raises(SiteError, match="the camera's view is switched off, and it is what draws"):
        from_text(
            text.replace("elsewhere: {use: motion, stream: yard, annotated: true}", ""), "site.yaml", {}
        )
