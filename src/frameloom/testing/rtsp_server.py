"""A small RTSP 1.0 server that serves encoded films as cameras, without re-encoding, with failures on command.

    with RtspServer({"tank": Path("tank.mp4")}) as server:
        av.open(server.url("tank"))
        server["tank"].stall()

H.264, H.265 and MJPEG over TCP (interleaved) and UDP, any number of clients. Every mount is a live camera: its film
runs for ever, with growing time stamps, whether or not somebody looks. A client over TCP begins at the newest key
frame, one over UDP at the next. Also a program: `python -m frameloom.testing.rtsp_server --port 8554 tank=tank.mp4`.

Films are held in memory, so this is for minutes of video, not hours.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import quote

from frameloom.rtsp.messages import AuthScheme
from frameloom.testing._loop_thread import LoopThread
from frameloom.testing._rtsp_play import Garbage, Mount
from frameloom.testing._rtsp_service import RtspService, Settings
from frameloom.testing._timeline import EncodedFilm, load

__all__ = ["MountControl", "RtspServer", "RtspService", "Settings", "load", "main"]


class RtspServer:
    """Serves films in a background thread, from `with` to the end of the block. Methods may be called anywhere.

    `films` maps mount names to files (.mp4, .mkv, .ts, .h264, .h265; see `load` for what raises). `port` 0 takes
    a free one. `users` maps names to passwords: with it, clients must authenticate by `auth`. `transports` that
    are not named are answered 461. See `Settings` for the rest.
    """

    def __init__(
        self,
        films: Mapping[str, Path],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        users: Mapping[str, str] | None = None,
        auth: AuthScheme = "digest",
        transports: Iterable[Literal["udp", "tcp"]] = ("udp", "tcp"),
        session_timeout_s: float = 60.0,
        report_interval_s: float = 5.0,
        buffer_bytes: int = 1 << 20,
        seed: int | None = None,
    ) -> None:
        self._settings = Settings(
            host,
            port,
            dict(users or {}),
            auth,
            tuple(transports),
            session_timeout_s,
            report_interval_s,
            buffer_bytes,
            seed,
        )
        self._films = {name.strip("/"): load(path) for name, path in films.items()}
        self._controls: dict[str, MountControl] = {}

    def __enter__(self) -> Self:
        self._thread = LoopThread("rtsp-server")
        try:
            self._service = RtspService(self._settings)
            self._thread.run(self._service.listen())
            for name, film in self._films.items():
                self._controls[name] = MountControl(self._thread, self._service, name, film)
        except BaseException:
            self._thread.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.run(self._service.close())
        self._thread.close()

    def __getitem__(self, name: str) -> MountControl:
        """The switches of one mount."""
        return self._controls[name]

    @property
    def port(self) -> int:
        return self._service.port

    def url(self, name: str, user: str | None = None) -> str:
        """The address of a mount; with `user`, that user's name and password are in it."""
        login = ""
        if user is not None:
            login = f"{quote(user, safe='')}:{quote(self._settings.users[user], safe='')}@"
        return f"rtsp://{login}{self._settings.host}:{self.port}/{quote(name)}"

    def refuse(self) -> None:
        """Stop listening: connecting fails as with a camera that is switched off. Open connections stay."""
        self._thread.call(self._service.deafen)

    def accept(self) -> None:
        """Listen again, on the same port."""
        self._thread.run(self._service.listen())


class MountControl:
    """The switches of one mount, usable from any thread; when a method returns, its effect has begun."""

    def __init__(self, thread: LoopThread, service: RtspService, name: str, film: EncodedFilm) -> None:
        self._thread = thread
        self._players_changed = threading.Condition()
        self._players = 0
        self._mount: Mount = thread.call(lambda: service.add(name, film, self._count_players))

    @property
    def players(self) -> int:
        """Clients that play at the moment."""
        return self._players

    @property
    def sent_units(self) -> int:
        """Pictures sent, over all clients."""
        return self._mount.sent_units

    @property
    def dropped_units(self) -> int:
        """Pictures that clients missed because they were too slow, over all clients."""
        return self._mount.dropped_units

    def wait_players(self, wanted: Callable[[int], bool], timeout_s: float = 30.0) -> int:
        """Wait until the number of playing clients is as `wanted` says; raises TimeoutError."""
        with self._players_changed:
            if not self._players_changed.wait_for(lambda: wanted(self._players), timeout_s):
                raise TimeoutError(f"mount {self._mount.name!r}: {self._players} players after {timeout_s} s")
            return self._players

    def stall(self) -> None:
        """Keep connections open and send nothing: neither pictures nor reports."""
        self._script(stalled=True)

    def resume(self) -> None:
        """End `stall`, `garbage` and `lose`; after a stall clients go on with the next key frame."""
        self._script(stalled=False, garbage=frozenset(), lost_share=0.0)

    def drop(self) -> None:
        """Close the connections of all who play, at once. They may come back."""
        self._thread.call(self._mount.drop)

    def refuse(self) -> None:
        """Close new connections without an answer as soon as they ask for this mount; those who play stay."""
        self._script(refusing=True)

    def accept(self) -> None:
        """End `refuse`, `unauthorised` and `not_found`."""
        self._script(refusing=False, status=None)

    def unauthorised(self) -> None:
        """Answer new clients 401, whatever they say; those who play stay."""
        self._script(status=401)

    def not_found(self) -> None:
        """Answer new clients 404; those who play stay."""
        self._script(status=404)

    def garbage(self, *kinds: Garbage) -> None:
        """Until `resume`, send nonsense: both kinds where none is named.

        "payload" fills RTP packets with random bytes, "junk" adds bytes that are no packets.
        """
        self._script(garbage=frozenset(kinds or ("payload", "junk")))

    def lose(self, share: float) -> None:
        """Until `resume`: send only some RTP packets, at random; `share` 0..1 of them is lost."""
        if not 0 <= share <= 1:
            raise ValueError(f"the share of lost packets must be 0 to 1, got {share}")
        self._script(lost_share=share)

    def clock_jump(self, jump_s: float, clock: Literal["wall", "media", "both"] = "wall") -> None:
        """Let the camera's clocks jump by so many seconds, and send a sender report at once.

        "wall": the UTC time in sender reports; "media": RTP time stamps. Jumps add up.
        """

        def jump() -> None:
            script = self._mount.script
            script.wall_jump_s += jump_s if clock != "media" else 0
            script.media_jump_s += jump_s if clock != "wall" else 0
            self._mount.report()

        self._thread.call(jump)

    def change(self, path: Path, *, in_band: bool = False) -> None:
        """Go on with another film, from its start.

        As cameras do it: connections close, and a new DESCRIBE tells the new size and codec. `in_band`:
        everyone stays connected, time stamps go on, and the new parameter sets come in the stream; this wants
        the same payload format (ValueError).
        """
        film = load(path)
        if in_band and film.payload_type != self._mount.film.payload_type:
            raise ValueError(f"no change in band from {self._mount.film.codec} to {film.codec}")

        def change() -> None:
            self._mount.replace(film)
            if not in_band:
                self._mount.drop()

        self._thread.call(change)

    def _script(self, **changes: Any) -> None:
        def apply() -> None:
            for name, value in changes.items():
                setattr(self._mount.script, name, value)
            self._mount.wake()

        self._thread.call(apply)

    def _count_players(self) -> None:
        with self._players_changed:
            self._players = len(self._mount.players)
            self._players_changed.notify_all()


def main(arguments: list[str] | None = None) -> int:
    """Serve films until SIGTERM or SIGINT; prints one `name url` line for each when clients may come."""
    parser = argparse.ArgumentParser(prog="python -m frameloom.testing.rtsp_server", description=main.__doc__)
    parser.add_argument("films", nargs="+", metavar="name=file", help="what to serve, and under which name")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8554, help="0 takes a free one (default: %(default)s)")
    parser.add_argument("--user", help="who may watch; the password is in FRAMELOOM_RTSP_PASSWORD")
    options = parser.parse_args(arguments)
    try:
        settings = _settings(options)
        films = {name: load(path) for name, path in map(_named_file, options.films)}
        asyncio.run(_serve(films, settings))
    except (OSError, ValueError) as error:
        print(f"rtsp_server: {error}", file=sys.stderr)
        return 1
    return 0


def _named_file(text: str) -> tuple[str, Path]:
    name, separator, path = text.partition("=")
    if not (name and separator and path):
        raise ValueError(f"want name=file, got {text!r}")
    return name.strip("/"), Path(path)


def _settings(options: argparse.Namespace) -> Settings:
    users = {}
    if options.user is not None:
        if not os.environ.get("FRAMELOOM_RTSP_PASSWORD"):
            raise ValueError("--user wants the password in the environment variable FRAMELOOM_RTSP_PASSWORD")
        users[options.user] = os.environ["FRAMELOOM_RTSP_PASSWORD"]
    return Settings(options.host, options.port, users)


async def _serve(films: Mapping[str, EncodedFilm], settings: Settings) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    service = RtspService(settings)
    for name, film in films.items():
        service.add(name, film)
    await service.listen()
    for name in films:
        print(f"{name} rtsp://{settings.host}:{service.port}/{quote(name)}", flush=True)
    await stopped.wait()
    await service.close()


if __name__ == "__main__":
    sys.exit(main())
