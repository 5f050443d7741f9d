"""The pages for admins: users, sessions, actions; what happened and how often; when a request failed."""

import sqlalchemy as sa
from alembic import op

from worker.models import ENDED, UtcDateTime

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


_BASELINE = {
    "postgresql": """INSERT INTO tally (minute, kind, n)
        SELECT date_trunc('minute', stockbell_now(0), 'UTC'), 'before:' || status, count(*)
        FROM request GROUP BY status""",
    "sqlite": """INSERT INTO tally (minute, kind, n)
        SELECT substr(stockbell_now(0), 1, 17) || '00.000000', 'before:' || status, count(*)
        FROM request GROUP BY status""",
}


def upgrade() -> None:
    """Adds columns, tables and indexes. Older programs do not write them: what they do is not counted."""
    op.add_column("request", _time("failed_at", nullable=True))
    op.add_column("waiting_list", _time("begun_at", nullable=True))
    op.execute(
        """UPDATE request SET failed_at = coalesce(
            (SELECT max(p.at) FROM report AS p WHERE p.request_id = request.id AND request.failure_code = 'BOUNCED'),
            (SELECT max(a.at) FROM attempt AS a WHERE a.request_id = request.id), created_date)
        WHERE status = 'FAILED'"""
    )
    _partial_index("request_failed_at", "request", "status = 'FAILED'", "failed_at", "id", "failure_code")
    _partial_index("request_told", "request", "status = 'NOTIFICATION_SENT'", "waiting_list_id", "notified_date")
    _partial_index("request_ended", "request", ENDED, "contact_id")
    op.create_table(
        "tally",
        sa.Column("minute", UtcDateTime(timezone=True), primary_key=True),
        sa.Column("kind", sa.Text(), primary_key=True),
        sa.Column("n", sa.BigInteger(), nullable=False),
    )
    op.create_table("tally_entry", _time("minute"), *_texts("kind"), sa.Column("n", sa.BigInteger(), nullable=False))
    # What is there before anything is counted, so that the books balance. The table is locked by now.
    op.execute(_BASELINE[op.get_bind().dialect.name])
    if op.get_bind().dialect.name == "postgresql":
        # All of its rows are deleted again and again.
        op.execute("ALTER TABLE tally_entry SET (autovacuum_vacuum_scale_factor = 0.02)")
    op.create_table(
        "stock_event",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("item_id", sa.Uuid(), nullable=False),
        sa.Column("options", sa.Text(), nullable=False),
        _time("at"),
        _time("occurred_at"),
        sa.Column("entry_id", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=True),
        sa.Column("in_stock", sa.Boolean(), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=True),
        sa.Column("woke", sa.Integer(), nullable=False),
    )
    op.create_index("stock_event_item", "stock_event", ["item_id", "at"])
    op.create_table(
        "admin_user",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("name", sa.Text(), nullable=False, unique=True),
        *_texts("role", "password"),
        _time("created_date"),
        _time("changed_at"),
        _time("used_at", nullable=True),
        _time("removed_at", nullable=True),
    )
    op.create_table(
        "admin_session",
        sa.Column("digest", sa.Text(), primary_key=True),
        *_texts("name", "role"),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("browser", sa.Text(), nullable=True),
        _time("created_date"),
        _time("seen_at"),
        _time("ends_at"),
    )
    op.create_index("ix_admin_session_user_id", "admin_session", ["user_id"])
    op.create_index("ix_admin_session_ends_at", "admin_session", ["ends_at"])
    op.create_table(
        "admin_guess",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("subject", sa.Text(), nullable=False),
        _time("at"),
    )
    op.create_index("admin_guess_subject", "admin_guess", ["subject", "at"])
    op.create_table(
        "action",
        sa.Column("id", sa.Uuid(), primary_key=True),
        _time("at"),
        *_texts("who", "verb", "state", "about", "options"),
        sa.Column("command", sa.Text(), nullable=True),
        _time("as_of", nullable=True),
        sa.Column("foreseen", sa.Text(), nullable=True),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("place", sa.Text(), nullable=True),
        sa.Column("changed", sa.Integer(), nullable=False),
        sa.Column("refused", sa.Integer(), nullable=False),
        sa.Column("contact_id", sa.Uuid(), nullable=True),
        _time("confirmed_at", nullable=True),
        sa.Column("owner", sa.Uuid(), nullable=True),
        _time("lease_until", nullable=True),
        _time("undo_until", nullable=True),
        _time("ended_at", nullable=True),
    )
    op.create_index("ix_action_contact_id", "action", ["contact_id"])
    _partial_index("action_open", "action", "state IN ('confirmed', 'running')", "state")
    op.create_table(
        "action_request",
        sa.Column("action_id", sa.Uuid(), sa.ForeignKey("action.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("request_id", sa.Uuid(), primary_key=True),
        sa.Column("refusal", sa.Text(), nullable=True),
        sa.Column("before", sa.Text(), nullable=True),
        _time("undone_at", nullable=True),
    )
    op.create_index("ix_action_request_request_id", "action_request", ["request_id"])


def _time(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, UtcDateTime(timezone=True), nullable=nullable)


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text(), nullable=False) for name in names]


def _partial_index(name: str, table: str, where: str, *columns: str) -> None:
    condition = sa.text(where)
    op.create_index(name, table, list(columns), postgresql_where=condition, sqlite_where=condition)
