"""The first schema: requests, contacts, waiting lists, stock, items, owners, breaker, pauses, attempts."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates all tables."""
    _tables()
    op.execute("INSERT INTO relay (id, state) VALUES (1, 'closed')")
    op.execute("INSERT INTO sweep (id) VALUES (1)")
    if op.get_bind().dialect.name == "postgresql":
        _postgresql()


def _postgresql() -> None:
    # STABLE lets comparisons with this function use an index. SQLite gets the same function at every connect.
    op.execute(
        """CREATE FUNCTION stockbell_now(seconds double precision) RETURNS timestamptz LANGUAGE sql STABLE
        AS $$ SELECT statement_timestamp() + make_interval(secs => seconds) $$"""
    )
    # Most requests are updated twice and then never again.
    op.execute("ALTER TABLE request SET (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02)")
    op.execute("ALTER TABLE owner SET (fillfactor = 50)")
    op.execute("ALTER TABLE waiting_list SET (fillfactor = 70)")
    op.execute("ALTER TABLE stock SET (fillfactor = 70)")


def _tables() -> None:
    op.create_table(
        "contact",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("created_date", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("address"),
    )
    op.create_table(
        "item",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("app_id", sa.Text(), nullable=False),
        sa.Column("catalog_item_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("price", sa.Text(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("image_url", sa.Text(), nullable=True),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("out_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("out_entry", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("app_id", "catalog_item_id"),
    )
    op.create_table(
        "owner",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "relay",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("scope", sa.String(), nullable=True),
        sa.Column("probe_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("worked_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("id = 1"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "sweep",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("swept_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("rescue_from", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("id = 1"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "pause",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("item_id", sa.Uuid(), nullable=True),
        sa.Column("options", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["item_id"],
            ["item.id"],
        ),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_table(
        "stock",
        sa.Column("item_id", sa.Uuid(), nullable=False),
        sa.Column("options", sa.Text(), nullable=False),
        sa.Column("in_stock", sa.Boolean(), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=True),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("entry_id", sa.Text(), nullable=False),
        sa.Column("last_in_stock_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["item_id"],
            ["item.id"],
        ),
        sa.PrimaryKeyConstraint("item_id", "options"),
    )
    op.create_table(
        "waiting_list",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("item_id", sa.Uuid(), nullable=False),
        sa.Column("options", sa.Text(), nullable=False),
        sa.Column("in_stock", sa.Boolean(), nullable=False),
        sa.Column("last_in_stock_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("woken_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("bell_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["item_id"],
            ["item.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("item_id", "options"),
    )
    op.create_table(
        "request",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("waiting_list_id", sa.Uuid(), nullable=False),
        sa.Column("contact_id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("item_url", sa.Text(), nullable=True),
        sa.Column("locale", sa.Text(), nullable=True),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("auto_notified", sa.Boolean(), nullable=True),
        sa.Column("created_date", sa.DateTime(timezone=True), nullable=False),
        sa.Column("notified_date", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ordered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column("claim_no", sa.Integer(), nullable=False),
        sa.Column("owner", sa.Uuid(), nullable=True),
        sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("handed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("unknowns", sa.Integer(), nullable=False),
        sa.Column("policy_refusals", sa.Integer(), nullable=False),
        sa.Column("rescues", sa.Integer(), nullable=False),
        sa.Column("failure_code", sa.Text(), nullable=True),
        sa.Column("failure_reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["contact_id"],
            ["contact.id"],
        ),
        sa.ForeignKeyConstraint(
            ["waiting_list_id"],
            ["waiting_list.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "request_backoff",
        "request",
        ["not_before"],
        unique=False,
        postgresql_where=sa.text("status = 'RECEIVED' AND not_before IS NOT NULL"),
        sqlite_where=sa.text("status = 'RECEIVED' AND not_before IS NOT NULL"),
    )
    op.create_index(
        "request_failed",
        "request",
        ["waiting_list_id"],
        unique=False,
        postgresql_where=sa.text("status = 'FAILED'"),
        sqlite_where=sa.text("status = 'FAILED'"),
    )
    op.create_index(
        "request_ordered",
        "request",
        ["waiting_list_id", "created_date"],
        unique=False,
        postgresql_where=sa.text("status = 'RECEIVED' AND not_before IS NULL AND ordered_at IS NOT NULL"),
        sqlite_where=sa.text("status = 'RECEIVED' AND not_before IS NULL AND ordered_at IS NOT NULL"),
    )
    op.create_index(
        "request_processing",
        "request",
        ["owner"],
        unique=False,
        postgresql_where=sa.text("status = 'PROCESSING'"),
        sqlite_where=sa.text("status = 'PROCESSING'"),
    )
    op.create_index(
        "request_unresolved",
        "request",
        ["contact_id", "waiting_list_id"],
        unique=True,
        postgresql_where=sa.text("status IN ('RECEIVED', 'PROCESSING')"),
        sqlite_where=sa.text("status IN ('RECEIVED', 'PROCESSING')"),
    )
    op.create_index(
        "request_woken",
        "request",
        ["waiting_list_id", "created_date"],
        unique=False,
        postgresql_where=sa.text("status = 'RECEIVED' AND not_before IS NULL AND ordered_at IS NULL"),
        sqlite_where=sa.text("status = 'RECEIVED' AND not_before IS NULL AND ordered_at IS NULL"),
    )
    op.create_table(
        "attempt",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("owner", sa.Uuid(), nullable=True),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("smtp_code", sa.Integer(), nullable=True),
        sa.Column("enhanced_code", sa.Text(), nullable=True),
        sa.Column("reply", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["request_id"], ["request.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_attempt_request_id"), "attempt", ["request_id"], unique=False)
