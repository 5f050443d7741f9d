"""Alembic's entry point. Runs the revisions on the connection that `migrate` passes in."""

from alembic import context
from sqlmodel import SQLModel

import worker.models  # noqa: F401  # fills the metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=SQLModel.metadata)
context.run_migrations()
