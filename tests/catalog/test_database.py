"""The database of the index: its tables, their steps, and what happens when it is lost, damaged or away."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from frameloom.catalog.database import Database, IndexUnavailable
from frameloom.catalog.index import Index
from frameloom.catalog.rows import EventRow
from frameloom.catalog.tables import VERSION_TABLE, metadata
from frameloom.model.errors import NeedsPerson

from .parts import database_at
from .postgres import Postgres, running_postgres

EVENT = EventRow("hall", "bell", "1", 10**18, None, "ring", {"loud": True})


@pytest.fixture
def database(url: str) -> Database:
    made = database_at(url)
    made.prepare()
    return made


def noted(database: Database, *events: EventRow) -> list[EventRow]:
    """Note these, and give all that are there."""
    index = Index(database, "demo")
    for event in events:
        index.store_events(event.camera, Path("/tapes"), event.day, [event], 10, anew=False)
    return index.events()[0]


def test_the_steps_lead_to_the_tables(database: Database) -> None:
    """What is migrated is what `tables` says: nothing is missing, and nothing is of another type."""
    with database.transaction() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": VERSION_TABLE, "compare_type": True}
        )
        assert compare_metadata(context, metadata) == []
        assert sa.inspect(connection).has_table("frameloom_segments")


def test_preparing_again_keeps_what_is_there(database: Database) -> None:
    assert noted(database, EVENT) == [EVENT]
    database.prepare()
    assert noted(database) == [EVENT]


def test_tables_of_another_version_are_made_anew(database: Database) -> None:
    """Also if they are not at all like ours."""
    noted(database, EVENT)
    with database.transaction() as connection:
        connection.exec_driver_sql(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
        connection.exec_driver_sql("DROP TABLE frameloom_segments")
        connection.exec_driver_sql("CREATE TABLE frameloom_segments (something INTEGER)")
    database.prepare()
    assert noted(database) == []
    assert Index(database, "demo").summaries() == []


def test_tables_that_are_gone(database: Database) -> None:
    with database.transaction() as connection:
        metadata.drop_all(connection)
    with pytest.raises(IndexUnavailable) as caught:
        noted(database)
    assert caught.value.is_lost


def test_the_sites_own_file(state_dir: Path) -> None:
    database = database_at(None)
    assert database.path == state_dir / "demo" / "index.sqlite"
    assert not database.is_there
    database.prepare()
    assert database.is_there
    assert database.path.parent.stat().st_mode & 0o777 == 0o700


def test_a_file_that_is_removed_is_made_again(state_dir: Path) -> None:
    database = database_at(None)
    database.prepare()
    noted(database, EVENT)
    assert database.path is not None
    for path in database.path.parent.iterdir():
        path.unlink()
    assert not database.is_there
    database.prepare()
    assert noted(database) == []


@pytest.mark.parametrize("damage", ["all", "a page"])
def test_a_damaged_file_is_put_aside(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "index.sqlite"
    database = database_at(f"sqlite:///{path}")
    database.prepare()
    noted(database, *(EventRow("hall", "bell", str(n), n, None, "ring", {}) for n in range(200)))
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    data = bytearray(path.read_bytes())
    data[:] = b"nothing" * 1000 if damage == "all" else data[:4096] + b"\7" * 8192 + data[12288:]
    path.write_bytes(data)
    database.prepare()
    assert noted(database, EVENT) == [EVENT]
    assert Path(f"{path}.damaged").read_bytes() == data


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nothing at all", "database: the URL cannot be read, allowed: as in sqlite:///FILE"),
        ("postgresql://me:s3cret@host:port/x", "database: the URL cannot be read"),
        ("oracle://me:s3cret@host/x", r"database: the driver of that URL is not installed \("),
        ("strange://me:s3cret@host/x", r"database: the driver of that URL is not installed \(of that kind\)"),
    ],
)
def test_a_url_that_is_none(url: str, words: str) -> None:
    with pytest.raises(NeedsPerson, match=words) as caught:
        Database(url, "demo")
    assert "s3cret" not in str(caught.value)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(IndexUnavailable, match="No such file or directory"):
        database_at(f"sqlite:///{tmp_path}/no/such/index.sqlite").prepare()


def test_a_server_that_is_away_and_returns() -> None:
    """The password is in no message."""
    with running_postgres() as server:
        database = database_at(server.new_database())
        database.prepare()
        noted(database, EVENT)
        server.stop()
        for _ in range(2):
            with pytest.raises(IndexUnavailable, match="the index's database: ") as caught:
                noted(database)
            assert not caught.value.is_lost
            assert server.password not in str(caught.value)
        server.start()
        assert noted(database) == [EVENT]


def test_a_wrong_password(postgres: Postgres) -> None:
    url = postgres.new_database().replace(postgres.password, "wr0ng")
    with pytest.raises(IndexUnavailable, match="password authentication failed") as caught:
        database_at(url).prepare()
    assert "wr0ng" not in str(caught.value)
