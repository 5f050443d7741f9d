"""Which event last said each of an item's details, so that a late, older one does not overwrite newer ones."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the column. Rows without it are older than any event, and a program that does not know it leaves it."""
    op.add_column("item", sa.Column("details_at", sa.Text(), nullable=True))
    if op.get_bind().dialect.name == "postgresql":
        # Every event with details updates its item: in place, where the page has room.
        op.execute("ALTER TABLE item SET (fillfactor = 70)")
