"""The worker that keeps the index of recordings, and its database as the site file names it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from frameloom.model.errors import SiteError
from frameloom.site.load import from_text
from frameloom.site.save import SiteFile
from frameloom.site.specs import specs

CAMERAS = "cameras: {hall: films/tank.mp4, yard: films/tank.mp4}\n"
PROCESSORS = "processors: {a: {use: motion, stream: hall}, b: {use: motion, stream: a}}\n"
SINKS = """\
sinks:
  hall-rec: {kind: record, stream: hall}
  yard-rec: {kind: record, stream: yard, folder: /tapes, enabled: false}
  more: {kind: record, stream: yard}
"""


def config_of(text: str, kind: str = "index") -> dict[str, Any] | None:
    found = [spec for spec in specs(from_text(text, "/srv/site.yaml", {})) if spec.kind == kind]
    return found[0].config if found else None


def test_only_where_something_is_recorded() -> None:
    assert config_of(CAMERAS + PROCESSORS) is None
    assert config_of(CAMERAS + "sinks: {small: {kind: view, stream: hall}}\n") is None
    assert config_of(CAMERAS + PROCESSORS + SINKS) == {
        "database": None,
        "folders": ["/srv/recordings", "/tapes"],
        "events": {"a": "hall", "b": "hall"},
    }


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("sqlite:///index.sqlite", "sqlite:////srv/index.sqlite"),
        ("sqlite:////var/lib/index.sqlite", "sqlite:////var/lib/index.sqlite"),
        ("postgresql://me:pw@db/x", "postgresql://me:pw@db/x"),
        ("postgresql+psycopg://me:pw@db/x", "postgresql+psycopg://me:pw@db/x"),
    ],
)
def test_its_database(written: str, read: str) -> None:
    """The server reads the same as the index writes."""
    text = f"database: {written}\n{CAMERAS}{SINKS}"
    for kind in ("index", "server"):
        config = config_of(text, kind)
        assert config is not None
        assert config["database"] == read


@pytest.mark.parametrize(
    "written", ["index.sqlite", "'sqlite://'", "'sqlite:///'", "://x", "7", "postgresql:s3cret"]
)
def test_what_is_no_database(written: str) -> None:
    with pytest.raises(
        SiteError, match=r"database: read (a text|7|a number).*, allowed: a URL such as"
    ) as caught:
        from_text(f"database: {written}\n{CAMERAS}", "site.yaml", {})
    assert "s3cret" not in str(caught.value)


def test_its_name_is_taken() -> None:
    with pytest.raises(SiteError, match="the name is taken by the index of recordings"):
        from_text("cameras: {index: films/tank.mp4}\n", "site.yaml", {})


def test_a_recorder_is_added(tmp_path: Path) -> None:
    file = SiteFile(tmp_path / "site.yaml", {})
    file.path.write_text(
        f"# mine\n{CAMERAS}sinks:\n  yard-rec: {{kind: view, stream: yard}}   # not a recorder\n"
    )
    assert file.add_recorder("hall") == "hall-rec"
    assert file.add_recorder("yard") == "yard-rec-2"
    assert file.add_recorder("hall") == "hall-rec", (
        "one that is there is enough, whoever asks at the same time"
    )
    text = file.path.read_text()
    assert text.startswith("# mine\n")
    assert text.count("hall-rec") == 1
    assert "# not a recorder" in text
    sink = file.load().sinks["yard-rec-2"]
    assert (sink.kind, sink.stream, sink.mode) == ("record", "yard", "command")  # type: ignore[union-attr]


def test_a_recorder_of_a_camera_with_a_long_name(tmp_path: Path) -> None:
    file = SiteFile(tmp_path / "site.yaml", {})
    name = "a" * 48
    file.path.write_text(f"cameras: {{{name}: films/tank.mp4}}\n")
    assert file.add_recorder(name) == "a" * 40 + "-rec"
