"""When an in-stock event about an item last woke nobody, though people wait for it under other options."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds two columns and an index for `status`. Older programs do not write the columns."""
    op.add_column("item", sa.Column("unheard_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("item", sa.Column("unheard_options", sa.Text(), nullable=True))
    where = sa.text("unheard_at IS NOT NULL")
    op.create_index("item_unheard", "item", ["unheard_at"], postgresql_where=where, sqlite_where=where)
