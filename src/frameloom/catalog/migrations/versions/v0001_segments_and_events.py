"""Segments, events, and the files that events were read from."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    _segments()
    _events()
    op.create_table(
        "frameloom_event_files",
        sa.Column("site", sa.String(48), primary_key=True),
        sa.Column("camera", sa.String(48), primary_key=True),
        sa.Column("place", sa.String(16), primary_key=True),
        sa.Column("day", sa.String(10), primary_key=True),
        sa.Column("bytes", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    """Drop them: they can be made again from the files."""
    for name in ("segments", "events", "event_files"):
        op.drop_table(f"frameloom_{name}")


def _segments() -> None:
    op.create_table(
        "frameloom_segments",
        sa.Column("site", sa.String(48), primary_key=True),
        sa.Column("camera", sa.String(48), primary_key=True),
        sa.Column("id", sa.String(120), primary_key=True),
        sa.Column("place", sa.String(16), primary_key=True),
        sa.Column("folder", sa.Text, nullable=False),
        sa.Column("begin_ns", sa.BigInteger, nullable=False),
        sa.Column("end_ns", sa.BigInteger, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("frames", sa.BigInteger, nullable=False),
        sa.Column("codec", sa.String(16), nullable=False),
        sa.Column("mime", sa.String(120), nullable=False),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("height", sa.Integer, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("has_results", sa.Boolean, nullable=False),
    )
    by_time = ["site", "camera", "begin_ns", "end_ns", "bytes"]
    op.create_index("frameloom_segments_by_time", "frameloom_segments", by_time)


def _events() -> None:
    op.create_table(
        "frameloom_events",
        sa.Column("site", sa.String(48), primary_key=True),
        sa.Column("camera", sa.String(48), primary_key=True),
        sa.Column("processor", sa.String(48), primary_key=True),
        sa.Column("at_ns", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("id", sa.String(200), primary_key=True),
        sa.Column("end_ns", sa.BigInteger, nullable=True),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("place", sa.String(16), nullable=False),
        sa.Column("day", sa.String(10), nullable=False),
    )
    op.create_index("frameloom_events_by_time", "frameloom_events", ["site", "at_ns"])
