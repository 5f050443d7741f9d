"""The web process: keys, hooks, collecting on and off, double opt-in, and events about requests to others."""

import sqlalchemy as sa
from alembic import op

from worker.models import UtcDateTime

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds columns, tables and small indexes. Older programs do not write them, and tell nobody of their changes."""
    _time("contact", "confirmed_at")
    _time("contact", "signed_up_at")
    op.add_column("request", sa.Column("signup", sa.Text(), nullable=True))
    op.add_column("request", sa.Column("extras", sa.Text(), nullable=True))
    op.add_column("request", sa.Column("version", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("request", sa.Column("news", sa.Boolean(), nullable=False, server_default=sa.text("false")))
    _partial_index("request_news", "request", "news", "id")
    _partial_index("request_unwanted", "request", "failure_code = 'SUPPRESSED'", "contact_id")
    op.create_table(
        "api_key",
        sa.Column("id", sa.Text(), primary_key=True),
        *_texts("name", "scope", "digest"),
        sa.Column("origins", sa.Text(), nullable=False),
        sa.Column("url_hosts", sa.Text(), nullable=False),
        *_life(),
    )
    op.create_table(
        "hook",
        sa.Column("id", sa.Text(), primary_key=True),
        *_texts("kind", "name"),
        sa.Column("secret", sa.Text(), nullable=True),
        sa.Column("options", sa.Text(), nullable=False),
        *_life(),
    )
    op.create_table(
        "collection",
        sa.Column("app_id", sa.Text(), primary_key=True),
        sa.Column("collecting", sa.Boolean(), nullable=False),
        sa.Column("changed_at", UtcDateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "confirmation",
        sa.Column("contact_id", sa.Uuid(), sa.ForeignKey("contact.id"), primary_key=True),
        sa.Column("asked_at", UtcDateTime(timezone=True), nullable=False),
        sa.Column("locale", sa.Text(), nullable=True),
        sa.Column("due_at", UtcDateTime(timezone=True), nullable=True),
        sa.Column("sent_at", UtcDateTime(timezone=True), nullable=True),
        sa.Column("expires_at", UtcDateTime(timezone=True), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("why", sa.Text(), nullable=True),
    )
    op.create_index("ix_confirmation_due_at", "confirmation", ["due_at"])
    op.create_index("ix_confirmation_expires_at", "confirmation", ["expires_at"])
    op.create_table(
        "webhook_endpoint",
        sa.Column("id", sa.Uuid(), primary_key=True),
        *_texts("url", "format"),
        sa.Column("is_full", sa.Boolean(), nullable=False),
        sa.Column("allows_private", sa.Boolean(), nullable=False),
        sa.Column("secrets", sa.Text(), nullable=False),
        sa.Column("created_date", UtcDateTime(timezone=True), nullable=False),
        sa.Column("succeeded_at", UtcDateTime(timezone=True), nullable=True),
        sa.Column("failing_since", UtcDateTime(timezone=True), nullable=True),
        sa.Column("slow_until", UtcDateTime(timezone=True), nullable=True),
        sa.Column("disabled_at", UtcDateTime(timezone=True), nullable=True),
        sa.Column("disabled_why", sa.Text(), nullable=True),
    )
    op.create_table(
        "webhook_delivery",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("endpoint_id", sa.Uuid(), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        *_texts("kind", "body"),
        sa.Column("created_date", UtcDateTime(timezone=True), nullable=False),
        sa.Column("due_at", UtcDateTime(timezone=True), nullable=True),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("why", sa.Text(), nullable=True),
        sa.Column("done_at", UtcDateTime(timezone=True), nullable=True),
        sa.UniqueConstraint("endpoint_id", "request_id", "version"),
    )
    _partial_index("webhook_delivery_due", "webhook_delivery", "due_at IS NOT NULL", "endpoint_id", "due_at")
    _partial_index("webhook_delivery_done", "webhook_delivery", "done_at IS NOT NULL", "done_at")
    op.create_table(
        "webhook_key",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("private_pem", sa.Text(), nullable=False),
        sa.Column("created_date", UtcDateTime(timezone=True), nullable=False),
    )


def _time(table: str, column: str) -> None:
    op.add_column(table, sa.Column(column, UtcDateTime(timezone=True), nullable=True))


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text(), nullable=False) for name in names]


def _life() -> list[sa.Column[object]]:
    """The times of what is made, used and revoked."""
    return [
        sa.Column("created_date", UtcDateTime(timezone=True), nullable=False),
        sa.Column("used_at", UtcDateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", UtcDateTime(timezone=True), nullable=True),
    ]


def _partial_index(name: str, table: str, where: str, *columns: str) -> None:
    condition = sa.text(where)
    op.create_index(name, table, list(columns), postgresql_where=condition, sqlite_where=condition)
