"""Alembic's entry: runs on the connection that `upgrade` hands over."""

from alembic import context

from assistant.backend import access_tables, call_tables  # noqa: F401  (they fill the metadata)
from assistant.backend.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    transactional_ddl=False,  # the caller's transaction is the one
)
context.run_migrations()
