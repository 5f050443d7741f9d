"""Sending policies: what an item has of its own, the ledger of seats, and since when a list may be told."""

import sqlalchemy as sa
from alembic import op

from worker.models import UtcDateTime

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds columns. Older programs leave them as they are: they know of no policies, and tell everybody at once."""
    for name, kind in (
        ("min_quantity", sa.BigInteger()),
        ("per_unit", sa.Integer()),
        ("wave_seconds", sa.Float()),
        ("settle_seconds", sa.Float()),
    ):
        op.add_column("item", sa.Column(name, kind, nullable=True))
    for name in ("seats", "seat_limit", "granted"):
        op.add_column("stock", sa.Column(name, sa.BigInteger(), nullable=True))
    op.add_column("stock", sa.Column("said", sa.Boolean(), nullable=True))
    op.add_column("stock", sa.Column("wave", sa.Integer(), nullable=False, server_default="0"))
    _times("stock", "seat_at", "settles_at")
    _times("waiting_list", "opens_at", "settles_at")
    op.add_column("request", sa.Column("seat", sa.Text(), nullable=True))
    op.add_column("request", sa.Column("seat_wave", sa.Integer(), nullable=True))


def _times(table: str, *names: str) -> None:
    for name in names:
        op.add_column(table, sa.Column(name, UtcDateTime(timezone=True), nullable=True))
