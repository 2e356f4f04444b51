"""The tables of the index. A change here needs a step in `migrations/versions` too; a test compares them."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, MetaData, String, Table, Text

VERSION_TABLE = "frameloom_version"

metadata = MetaData()

segments = Table(
    "frameloom_segments",
    metadata,
    Column("site", String(48), primary_key=True),
    Column("camera", String(48), primary_key=True),
    Column("id", String(120), primary_key=True),  # the file's name without .mp4
    Column("place", String(16), primary_key=True),  # of the folder, see `place_of`
    Column("folder", Text, nullable=False),
    Column("begin_ns", BigInteger, nullable=False),
    Column("end_ns", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("frames", BigInteger, nullable=False),
    Column("codec", String(16), nullable=False),
    Column("mime", String(120), nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("has_results", Boolean, nullable=False),
    # With all that a sum over many recordings wants, so that it reads nothing else.
    Index("frameloom_segments_by_time", "site", "camera", "begin_ns", "end_ns", "bytes"),
)

events = Table(
    "frameloom_events",
    metadata,
    Column("site", String(48), primary_key=True),
    Column("camera", String(48), primary_key=True),
    Column("processor", String(48), primary_key=True),
    Column("at_ns", BigInteger, primary_key=True, autoincrement=False),
    Column("id", String(200), primary_key=True),
    Column("end_ns", BigInteger, nullable=True),  # while it goes on, and where nobody told its end
    Column("name", String(200), nullable=False),
    Column("detail", Text, nullable=False),  # its values, JSON
    Column("place", String(16), nullable=False),
    Column("day", String(10), nullable=False),  # of the file that it stands in
    Index("frameloom_events_by_time", "site", "at_ns"),
)

event_files = Table(
    "frameloom_event_files",
    metadata,
    Column("site", String(48), primary_key=True),
    Column("camera", String(48), primary_key=True),
    Column("place", String(16), primary_key=True),
    Column("day", String(10), primary_key=True),
    Column("bytes", BigInteger, nullable=False),  # of the file, when it was read
)
