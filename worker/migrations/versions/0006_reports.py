"""What comes back: suppressed contacts, reports, how far mailboxes were read, and the relay's words on success."""

import sqlalchemy as sa
from alembic import op

from worker.models import UtcDateTime

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds columns, tables and small indexes. Older programs do not write them, and ignore suppression."""
    op.add_column("contact", sa.Column("suppressed_at", UtcDateTime(timezone=True), nullable=True))
    op.add_column("contact", sa.Column("suppressed_why", sa.Text(), nullable=True))
    op.add_column("contact", sa.Column("suppressed_by", sa.Text(), nullable=True))
    op.add_column("contact", sa.Column("address_key", sa.Text(), nullable=True))
    op.add_column("request", sa.Column("receipt", sa.Text(), nullable=True))
    _partial_index("contact_suppressed", "contact", "suppressed_at", "suppressed_why")
    _partial_index("contact_erased", "contact", "address_key")
    op.create_table(
        "report",
        sa.Column("key", sa.Text(), primary_key=True),
        sa.Column("at", UtcDateTime(timezone=True), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("code", sa.Integer(), nullable=True),
        sa.Column("status", sa.Text(), nullable=True),
        sa.Column("words", sa.Text(), nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=True),
        sa.Column("contact_id", sa.Uuid(), nullable=True),
        sa.Column("claim_no", sa.Integer(), nullable=True),
        sa.Column("open_until", UtcDateTime(timezone=True), nullable=True),
    )
    for column in ("at", "request_id", "contact_id"):
        op.create_index(f"ix_report_{column}", "report", [column])
    _partial_index("report_open", "report", "open_until")
    passing = sa.text("contact_id IS NULL OR kind IN ('delayed', 'delivered', 'feedback', 'auto_reply', 'other')")
    op.create_index("report_passing", "report", ["at"], postgresql_where=passing, sqlite_where=passing)
    op.create_table(
        "place",
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("position", sa.Text(), nullable=False),
    )


def _partial_index(name: str, table: str, column: str, *more: str) -> None:
    where = sa.text(f"{column} IS NOT NULL")
    op.create_index(name, table, [column, *more], postgresql_where=where, sqlite_where=where)
