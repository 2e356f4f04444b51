"""Films as cameras: the RTSP service of `frameloom.rtsp` with mounts that play films, and fail as their script says."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

from frameloom.rtsp.messages import Request
from frameloom.rtsp.sessions import RtspService as Service
from frameloom.rtsp.sessions import Settings
from frameloom.testing._rtsp_play import Clocks, Mount
from frameloom.testing._timeline import EncodedFilm, Timeline

__all__ = ["RtspService", "Settings"]


class RtspService(Service):
    """Mounts by name."""

    def __init__(self, settings: Settings, wall_s: Callable[[], float] = time.time) -> None:
        super().__init__(settings)
        self.mounts: dict[str, Mount] = {}
        self._wall_s = wall_s

    def add(self, name: str, film: EncodedFilm, on_players: Callable[[], None] = lambda: None) -> Mount:
        """Serve a film under a name, from now on, looped for ever."""
        clocks = Clocks(asyncio.get_running_loop().time, self._wall_s)
        timeline = Timeline(film, clocks.now_s())
        rng = random.Random(self.rng.random())
        mount = Mount(name, timeline, clocks, rng, self.settings.report_interval_s, on_players)
        self.mounts[name] = mount
        return mount

    def find(self, request: Request) -> Mount | None:
        return self.mounts.get(request.path)

    def objection(self, request: Request, has_session: bool) -> int | None:
        """By script: those who play already are left alone."""
        mount = self.mounts.get(request.path)
        if mount is None or has_session:
            return None
        if mount.script.refusing:
            raise ConnectionAbortedError("this camera takes nobody at the moment")
        return mount.script.status
