"""The demo site: three rendered films served as real RTSP cameras on loopback, and every webcam that is plugged in.

`python -m frameloom.testing.demo FOLDER` renders the films and says how far it is; `DemoCamerasHost` serves them in a
worker; `demo_site` writes the site file that uses them.
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from frameloom.model.worker import State, WorkerReport, WorkerSpec
from frameloom.workers.host import Host
from frameloom.workers.link import Link

PORT_VARIABLE = "FRAMELOOM_DEMO_PORT"

SITE_YAML = """\
# The demo site: three films that Frameloom renders itself, served as RTSP cameras on this machine.
# Change something while it runs and save: what has changed is applied, everything else goes on.
site: demo

cameras:
  walkers: rtsp://127.0.0.1:${FRAMELOOM_DEMO_PORT}/walkers   # figures that come and go
  tank: rtsp://127.0.0.1:${FRAMELOOM_DEMO_PORT}/tank         # a rotating tank, seen from above
  lights: rtsp://127.0.0.1:${FRAMELOOM_DEMO_PORT}/lights     # coloured lights on smooth curves

processors:
  walkers-motion:
    use: motion
    stream: walkers
  tank-motion:
    use: motion
    stream: tank
"""


def demo_worker(port: int, films: Path) -> WorkerSpec:
    """The worker that serves the demo cameras on `port`, from films in the folder `films`."""
    return WorkerSpec(
        "demo-cameras", "demo", "frameloom.testing.demo:DemoCamerasHost", {"port": port, "films": str(films)}
    )


class DemoCamerasHost(Host):
    """config: `port`, and `films`, the folder where the rendered films are kept."""

    def __init__(self, spec: WorkerSpec, link: Link) -> None:
        super().__init__(spec, link)
        self._serving: list[str] = []
        self._players: Callable[[], int] = lambda: 0

    def run(self) -> None:
        films = import_module("frameloom.testing.films").demo_films(Path(self.spec.config["films"]))
        server_class = import_module("frameloom.testing.rtsp_server").RtspServer
        with server_class(films, port=self.spec.config["port"]) as server:
            self._players = lambda: sum(server[name].players for name in films)
            self._serving = list(films)
            self.link.wake()
            select.select([self.link.stop_fd], [], [])

    def report(self) -> WorkerReport:
        if not self._serving:
            return WorkerReport(State.STARTING, "preparing the films")
        detail = f"serving {', '.join(self._serving)} to {self._players()} clients"
        return WorkerReport(State.RUNNING, detail)


def main(folder: Path) -> None:
    """Render the films; one line 'name done total' for each step, for whoever shows it."""

    def progress(name: str, done: int, total: int) -> None:
        print(name, done, total, flush=True)

    import_module("frameloom.testing.films").demo_films(folder, progress)


if __name__ == "__main__":
    os.nice(5)
    main(Path(sys.argv[1]))
