"""Alembic's entry: runs the revisions on the connection that `migrate` hands over."""

from alembic import context
from sqlmodel import SQLModel

import worker.models  # noqa: F401  # fills the metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=SQLModel.metadata)
context.run_migrations()
