"""A site whose file is edited through the server: cameras that want a password, in a text with comments."""

from __future__ import annotations

import contextlib
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from frameloom.testing.films import encode, walking_figures
from frameloom.testing.rtsp_server import RtspServer
from tests.journey.running import PATIENCE_S, RunningSite, running_site

PASSWORD = "hunter-2%word"
SITE = """\
# The gate house.   rtsp://old:{password}@10.0.0.1/x is where it was
site: edited
server: {{port: 0}}

cameras:
  hall: {hall}   # by the door
  yard:
    url: {yard}
    username: viewer
    password: '{password}'   # asked for by the maker
    view: {{quality: 60}}

processors:
  motion:   # who comes
    use: motion
    stream: hall
    params:
      threshold: 25   # levels
      token_s: 1
sinks:
  hall-rec: {{kind: record, stream: hall, mode: command, folder: "{folder}"}}
""".replace("      token_s: 1\n", "")


@dataclass(frozen=True)
class Edited:
    """The site, its file, its cameras and their film."""

    site: RunningSite
    file: Path
    cameras: RtspServer
    film: Path

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and JSON of an answer."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.site.url}{path}", data, method=method)
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def get(self, path: str = "/api/settings") -> Any:
        status, answer = self.ask("GET", path)
        assert status == 200, answer
        return answer

    def put(self, old: str, new: str) -> tuple[int, Any]:
        """Replace a part of the text that is shown."""
        shown = self.get()
        assert shown["text"].count(old) == 1, shown["text"]
        text = shown["text"].replace(old, new)
        return self.ask("PUT", "/api/settings", {"text": text, "version": shown["version"]})

    def changed(self, method: str, path: str, body: Any = None, status: int = 200) -> dict[str, str]:
        """What an order did, without what stayed."""
        said, answer = self.ask(method, path, body)
        assert said == status, answer
        return did(answer)

    def refused(self, method: str, path: str, body: Any = None) -> tuple[int, str, str]:
        status, answer = self.ask(method, path, body)
        assert PASSWORD not in json.dumps(answer)
        return status, answer["error"]["code"], answer["error"]["message"]


def did(answer: dict[str, Any]) -> dict[str, str]:
    """What becomes of each worker that does not stay as it is; of what follows others by itself, nothing."""
    return {
        one["worker"]: one["does"]
        for one in answer["changes"]
        if one["does"] != "stays" and one["kind"] not in ("view", "index", "webrtc")
    }


@contextlib.contextmanager
def edited_site(folder: Path, runtime_dir: Path) -> Iterator[Edited]:
    film = folder / "walkers.mp4"
    encode(walking_figures(width=320, height=240, fps=25, frames=100, stamp=True), film, gop=25)
    file = folder / "site.yaml"
    users = {"viewer": PASSWORD}
    mounts = dict.fromkeys(("hall", "yard", "spare"), film)
    with pytest.MonkeyPatch.context() as patch, RtspServer(mounts, users=users) as cameras:
        patch.setenv("FRAMELOOM_RUNTIME_DIR", str(runtime_dir))
        hall, yard = cameras.url("hall", "viewer"), cameras.url("yard")
        file.write_text(SITE.format(hall=hall, yard=yard, password=PASSWORD, folder=folder / "recordings"))
        with running_site(file, name="edited") as site:
            yield Edited(site, file, cameras, film)
