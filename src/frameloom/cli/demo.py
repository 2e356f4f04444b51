"""What `frameloom up --demo` and `--source` run: site files of our own, kept where caches are kept."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from rich.progress import Progress, TaskID

from frameloom.model.errors import FrameloomError
from frameloom.model.worker import WorkerSpec
from frameloom.site.save import SiteFile
from frameloom.sources import v4l2
from frameloom.testing.demo import PORT_VARIABLE, SITE_YAML, demo_worker

from .output import problems

_SOURCE_VARIABLE = "FRAMELOOM_SOURCE"
_SOURCE_YAML = """\
# One camera or film, as given by --source; its address is not written down, since it may hold a password.
site: camera

cameras:
  camera: {settings}

processors:
  motion:
    use: motion
    stream: camera
"""


def prepare() -> tuple[Path, list[WorkerSpec]]:
    """The demo's site file and the worker that serves its cameras; renders the films where that was not done yet."""
    folder = _cache()
    films = folder / "films"
    _render(films)
    file = folder / "site.yaml"
    if not file.exists():
        file.write_text(SITE_YAML, encoding="utf-8")
    port = _free_port()
    os.environ[PORT_VARIABLE] = str(port)
    _add_webcams(SiteFile(file))
    return file, [demo_worker(port, films)]


def source_site(source: str) -> Path:
    """A site file for one source. A film is shown over and over."""
    os.environ[_SOURCE_VARIABLE] = str(Path(source).absolute()) if Path(source).is_file() else source
    settings = "${FRAMELOOM_SOURCE}"
    if Path(source).is_file():
        settings = "{url: '${FRAMELOOM_SOURCE}', loop: true}"
    file = _cache() / "source.yaml"
    file.write_text(_SOURCE_YAML.format(settings=settings), encoding="utf-8")
    return file


def _cache() -> Path:
    """$XDG_CACHE_HOME/frameloom/demo, made where missing."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "frameloom" / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _render(films: Path) -> None:
    """In a process of its own: this one loads no codec."""
    command = [sys.executable, "-m", "frameloom.testing.demo", str(films)]
    # A session of its own: Ctrl-C is for us, and we end it.
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as child:
        try:
            _show_progress(child.stdout or ())
        except BaseException:
            child.kill()
            raise
    if child.returncode:
        raise FrameloomError("the demo's films could not be rendered; see above")


def _show_progress(lines: Iterable[str]) -> None:
    with Progress(console=problems, transient=True) as progress:
        tasks: dict[str, TaskID] = {}
        for line in lines:
            name, done, total = line.split()
            if name not in tasks:
                tasks[name] = progress.add_task(f"rendering the film '{name}' (once)", total=int(total))
            progress.update(tasks[name], completed=int(done))


def _add_webcams(file: SiteFile) -> None:
    site = file.load()
    known = {camera.url for camera in site.cameras.values()}
    for device in v4l2.list_devices():
        name = f"webcam{device.path.removeprefix('/dev/video')}"
        if device.capture and not device.problem and device.path not in known and name not in site.cameras:
            file.add_camera(name, device.path)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
