"""What Alembic runs to migrate. The connection comes from `frameloom.catalog.database`, and there is no alembic.ini."""

from __future__ import annotations

from alembic import context

from frameloom.catalog.tables import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
)
with context.begin_transaction():
    context.run_migrations()
