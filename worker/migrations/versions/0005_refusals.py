"""What the relay has refused since it last took a mail, so that nobody fails for words that may mean us."""

import sqlalchemy as sa
from alembic import op

from worker.models import UtcDateTime

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds columns. Older programs do not write them, and nothing is concluded from a column that is null."""
    op.add_column("request", sa.Column("judged_from", UtcDateTime(timezone=True), nullable=True))
    op.add_column("relay", sa.Column("refusals", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("relay", sa.Column("refused_since", UtcDateTime(timezone=True), nullable=True))
    op.add_column("relay", sa.Column("refusal", sa.Text(), nullable=True))
