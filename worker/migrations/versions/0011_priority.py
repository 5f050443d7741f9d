"""Priority: who of those who may be told goes first."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds a column, and an index that is empty. Older programs go by the date alone."""
    op.add_column("request", sa.Column("priority", sa.SmallInteger(), nullable=False, server_default="0"))
    where = sa.text("priority > 0 AND status = 'RECEIVED' AND not_before IS NULL")
    op.create_index(
        "request_first",
        "request",
        ["waiting_list_id", sa.text("priority DESC"), "created_date", "ordered_at"],
        postgresql_where=where,
        sqlite_where=where,
    )
