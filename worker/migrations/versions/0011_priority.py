"""Priority: who of those who may be told goes first."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_IN_LINE = "status = 'RECEIVED' AND not_before IS NULL"


def upgrade() -> None:
    """Adds a column, and two indexes that are empty. Older programs go by the date alone."""
    op.add_column("request", sa.Column("priority", sa.SmallInteger(), nullable=False, server_default="0"))
    for name, state in (("woken", "ordered_at IS NULL"), ("ordered", "ordered_at IS NOT NULL")):
        where = sa.text(f"{_IN_LINE} AND {state} AND priority > 0")
        op.create_index(
            f"request_{name}_first",
            "request",
            ["waiting_list_id", sa.text("priority DESC"), "created_date"],
            postgresql_where=where,
            sqlite_where=where,
        )
