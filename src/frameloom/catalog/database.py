"""The database of the index: any that SQLAlchemy knows, by default a file of SQLite. Its rows are `index`'s business.

Whatever goes wrong is `IndexUnavailable`, whose message never holds the URL: it may hold a password.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine, make_url
from sqlalchemy.exc import DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from frameloom.accounts.paths import make_private, state_dir
from frameloom.model.errors import NeedsPerson, TryAgain

from .tables import VERSION_TABLE, metadata

BUSY_S = 5.0
"""So long a writer waits for another one, where the database is a file."""

FILE_NAME = "index.sqlite"
_CONNECT_S = 5
_MIGRATIONS = Path(__file__).with_name("migrations")
_BEYOND_REPAIR = ("malformed", "not a database", "disk image", "corrupt")

log = logging.getLogger(__name__)
logging.getLogger("alembic").setLevel(logging.WARNING)  # or it tells of its own plugins


class IndexUnavailable(TryAgain):
    """The database cannot be used now. `is_lost`: what was in it is gone or damaged, it has to be made again."""

    def __init__(self, message: str, *, is_lost: bool = False) -> None:
        super().__init__(message)
        self.is_lost = is_lost


class Database:
    """Connections to the database at `url`, each made when it is wanted. Any thread may use it.

    Without a URL it is a file of SQLite among what `site` keeps. Raises `NeedsPerson` for a URL that is none, or that
    needs a driver which is not installed.
    """

    def __init__(self, url: str | None, site: str) -> None:
        self._own = state_dir(site) / FILE_NAME if url is None else None
        with _refused():
            self._url = make_url(url or f"sqlite:///{self._own}")
            if self._url.drivername == "postgresql":
                self._url = self._url.set(drivername="postgresql+psycopg")
            self._engine = _engine(self._url)

    @property
    def path(self) -> Path | None:
        """The file, where the database is one."""
        is_file = self._url.get_backend_name() == "sqlite" and self._url.database
        return Path(str(self._url.database)) if is_file else None

    @property
    def is_there(self) -> bool:
        """False where it is a file that nobody has made yet."""
        return self.path is None or self.path.exists()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A connection whose changes are kept if the block ends well. Raises `IndexUnavailable`."""
        with _translated(), self._engine.begin() as connection:
            yield connection

    def prepare(self) -> None:
        """Make the tables, or bring them to the present form; a file that is damaged is put aside.

        Tables of a form that is not known here, of a newer version, are made anew. Raises `IndexUnavailable`.
        """
        with _translated():
            self._make_folder()
            if self._is_damaged():
                self._put_aside()
            with self._engine.begin() as connection:
                _migrate(connection)

    def close(self) -> None:
        """Let go of all connections."""
        self._engine.dispose()

    def _make_folder(self) -> None:
        if self._own is not None:
            make_private(self._own.parent)
        elif self.path is not None:
            self.path.parent.mkdir(exist_ok=True)

    def _is_damaged(self) -> bool:
        if self.path is None or not self.path.exists():
            return False
        try:
            with self._engine.connect() as connection:
                return connection.exec_driver_sql("PRAGMA quick_check(1)").scalar() != "ok"
        except DBAPIError as error:
            if _is_lost(error):
                return True
            raise

    def _put_aside(self) -> None:
        """Kept, since it may be a file that somebody named by mistake."""
        assert self.path is not None
        log.error("%s: damaged; it is put aside, and made again from the recordings", self.path)
        os.replace(self.path, f"{self.path}.damaged")
        for rest in ("-wal", "-shm"):
            with suppress(FileNotFoundError):
                os.unlink(f"{self.path}{rest}")


def _engine(url: sa.URL) -> Engine:
    if url.get_backend_name() != "sqlite":
        # `connect_timeout` is what PostgreSQL's and MySQL's drivers call it.
        return sa.create_engine(
            url, pool_pre_ping=True, pool_size=2, connect_args={"connect_timeout": _CONNECT_S}
        )
    # Without a pool: a file that was removed and made again is found at once.
    engine = sa.create_engine(url, poolclass=NullPool, connect_args={"timeout": BUSY_S})
    sa.event.listen(engine, "connect", _set_up_sqlite)
    return engine


def _set_up_sqlite(connection: Any, _: Any) -> None:
    """Readers and a writer side by side. A power cut may cost the last rows, which the files still have."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


def _migrate(connection: Connection) -> None:
    from alembic import command  # not for those that only ask
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    known = {one.revision for one in ScriptDirectory.from_config(config).walk_revisions()}
    present = context.get_current_revision()
    if present is not None and present not in known:
        log.warning(
            "the index was made by another version of Frameloom; it is made again from the recordings"
        )
        metadata.drop_all(connection)
        connection.exec_driver_sql(f"DROP TABLE {VERSION_TABLE}")
    command.upgrade(config, "head")


@contextmanager
def _refused() -> Iterator[None]:
    try:
        yield
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        missing = getattr(error, "name", None) or "of that kind"
        raise NeedsPerson(f"database: the driver of that URL is not installed ({missing})") from None
    except (SQLAlchemyError, ValueError):
        allowed = "sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME"
        raise NeedsPerson(f"database: the URL cannot be read, allowed: as in {allowed}") from None


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except NeedsPerson as error:
        raise IndexUnavailable(f"the index's database: {error}") from None
    except (DBAPIError, OSError, sqlite3.Error) as error:
        raise IndexUnavailable(f"the index's database: {_words(error)}", is_lost=_is_lost(error)) from None
    except SQLAlchemyError as error:
        raise IndexUnavailable(f"the index's database cannot be used ({type(error).__name__})") from None


def _is_lost(error: Exception) -> bool:
    text = str(getattr(error, "orig", error)).lower()
    return (
        "no such table" in text
        or "undefinedtable" in type(getattr(error, "orig", error)).__name__.lower()
        or any(word in text for word in _BEYOND_REPAIR)
    )


def _words(error: Exception) -> str:
    """The first line of what the driver says; it names hosts and users, never passwords."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    text = str(getattr(error, "orig", error) or type(error).__name__)
    return text.strip().splitlines()[0] if text.strip() else type(error).__name__
