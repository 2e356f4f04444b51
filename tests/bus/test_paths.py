"""Where sockets are, and who may come near them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from frameloom.bus.paths import address, runtime_root, site_dir, stream_path
from frameloom.bus.publisher import FramePublisher
from frameloom.bus.subscriber import Subscription
from frameloom.model.errors import NeedsPerson


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_folders_are_for_their_owner_alone(runtime_dir: Path) -> None:
    path = stream_path("lab", "hall")
    assert path == runtime_dir / "lab" / "hall.sock"
    assert mode_of(path.parent) == mode_of(runtime_dir) == 0o700


def test_the_environment_chooses_the_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("FRAMELOOM_RUNTIME_DIR")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert runtime_root() == tmp_path / "frameloom"
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert runtime_root() == Path(f"/tmp/frameloom-{os.getuid()}")


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
def test_a_folder_that_others_may_enter_is_refused(runtime_dir: Path, mode: int) -> None:
    site_dir("lab").chmod(mode)
    for build in (FramePublisher, Subscription):
        with pytest.raises(
            NeedsPerson, match=r"lab: it must be a folder of user \d+ that nobody else may enter"
        ):
            build("hall", site="lab")


def test_a_link_is_no_folder(runtime_dir: Path, tmp_path: Path) -> None:
    (runtime_dir / "lab").symlink_to(tmp_path)
    with pytest.raises(NeedsPerson, match="remove it or set FRAMELOOM_RUNTIME_DIR"):
        site_dir("lab")


def test_a_folder_that_cannot_be_made_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAMELOOM_RUNTIME_DIR", "/proc/frameloom")
    with pytest.raises(NeedsPerson, match=r"runtime folder /proc/frameloom: .*; set FRAMELOOM_RUNTIME_DIR"):
        FramePublisher("hall")


@pytest.mark.parametrize("name", ["", "Hall", "a/b", "../x", "a.b.c", "a.", ".sock", "x" * 49])
def test_names_that_could_lead_elsewhere_are_refused(name: str) -> None:
    for build in (FramePublisher, Subscription):
        with pytest.raises(NeedsPerson, match="stream name"):
            build(name)
        with pytest.raises(NeedsPerson, match="site name"):
            build("hall", site=name or "..")


def test_a_long_path_goes_through_the_open_folder() -> None:
    assert address(Path("/run/x/hall.sock"), 7) == "/run/x/hall.sock"
    assert address(Path("/run") / ("x" * 100) / "hall.sock", 7) == "/proc/self/fd/7/hall.sock"
