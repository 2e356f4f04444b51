"""A real PostgreSQL in a temporary folder, on a free port of this machine, run by a user without rights."""

from __future__ import annotations

import contextlib
import getpass
import itertools
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

from frameloom.testing.needs import missing

PATIENCE_S = 60.0


class Postgres:
    """One server. `start` and `stop` may be called again and again; `password` stands in every URL."""

    def __init__(self, binaries: Path, folder: Path, user: str) -> None:
        self._binaries, self._folder, self._user = binaries, folder, user
        self._numbers = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self.password = f"secret-{secrets.token_hex(8)}"
        self.port = _free_port()

    def make(self) -> None:
        words = self._folder / "words"
        words.write_text(self.password)
        os.chmod(words, 0o644)
        arguments = [
            "--auth=scram-sha-256",
            f"--pwfile={words}",
            "--username=owner",
            "--no-sync",
            "--no-locale",
        ]
        self._run("initdb", "-D", str(self._data), "--encoding=UTF8", *arguments)

    def start(self) -> None:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "fsync": "off",
            "max_connections": "30",
            "shared_buffers": "16MB",
        }
        options = [each for name, value in settings.items() for each in ("-c", f"{name}={value}")]
        self._process = subprocess.Popen(
            [self._binaries / "postgres", "-D", self._data, *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self._folder,
            **self._as_user,
        )
        deadline_s = time.monotonic() + PATIENCE_S
        while not self._answers():
            assert self._process.poll() is None
            assert time.monotonic() < deadline_s
            time.sleep(0.05)

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGQUIT)  # at once
            process.wait(PATIENCE_S)

    def new_database(self) -> str:
        """The URL of a new and empty one."""
        name = f"frames{next(self._numbers)}"
        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self._url(name)

    def _url(self, database: str) -> str:
        return f"postgresql://owner:{self.password}@127.0.0.1:{self.port}/{database}"

    def _answers(self) -> bool:
        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(self._url("postgres")):
            return True
        return False

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    @property
    def _as_user(self) -> dict[str, object]:
        return {"user": self._user, "group": pwd.getpwnam(self._user).pw_gid} if os.getuid() == 0 else {}

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._binaries / program, *arguments],
            check=True,
            capture_output=True,
            timeout=PATIENCE_S,
            cwd=self._folder,
            **self._as_user,  # type: ignore[call-overload]
        )


@contextlib.contextmanager
def running_postgres() -> Iterator[Postgres]:
    """Gone with all its files at the end of the block."""
    found = shutil.which("initdb") or max(
        map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb")), default=None
    )
    if found is None:
        missing("PostgreSQL is not installed: apt-get install postgresql")
    # It refuses to be run by root.
    user = "nobody" if os.getuid() == 0 else getpass.getuser()
    with tempfile.TemporaryDirectory(prefix="fl-pg-", dir="/tmp") as name:
        folder = Path(name)
        if os.getuid() == 0:
            shutil.chown(folder, user)
        server = Postgres(Path(found).parent, folder, user)
        server.make()
        try:
            server.start()
            yield server
        finally:
            server.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
