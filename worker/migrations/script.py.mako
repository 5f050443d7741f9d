"""${message}."""

import sqlalchemy as sa
from alembic import op

import worker.models

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Expands the schema. The previous version of the program still works with it."""
    ${upgrades if upgrades else "pass"}
