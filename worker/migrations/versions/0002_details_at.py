"""Which event last set each of an item's details, so that a late, older one does not overwrite newer ones."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds two columns. Details without them are older than any event. Older programs do not write the columns."""
    op.add_column("item", sa.Column("details_at", sa.Text(), nullable=True))
    op.add_column("stock", sa.Column("details", sa.Text(), nullable=True))
