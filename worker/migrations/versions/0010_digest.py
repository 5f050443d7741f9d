"""Digests and the contact interval: in whose mail a request was told, since when it is in line, and last mails."""

import sqlalchemy as sa
from alembic import op

from worker.models import UtcDateTime

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds three columns, and an index that is empty. Older programs send a mail for each request when it is due."""
    op.add_column("contact", sa.Column("mailed_at", UtcDateTime(timezone=True), nullable=True))
    op.add_column("request", sa.Column("mail_id", sa.Uuid(), nullable=True))
    op.add_column("request", sa.Column("in_line_at", UtcDateTime(timezone=True), nullable=True))
    where = sa.text("mail_id IS NOT NULL")
    op.create_index("request_beside", "request", ["mail_id"], postgresql_where=where, sqlite_where=where)
