"""Brings the database to the newest schema. Only `stockbell migrate` does so; nothing else imports this.

A revision expands (new tables, nullable columns, indexes) and never takes away what the version before it uses,
so that a rolling restart needs no pause; what is no longer used goes in a later revision.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text

from worker.store.database import Database

_LOCK = 0x570CBE11
"""The advisory lock of PostgreSQL that lets one migration run at a time ("STOCBELL")."""


def migrate(url: str) -> tuple[str | None, str | None]:
    """Migrates the database at `url`; returns the revisions before and after. Safe to run at once from anywhere.

    Raises DatabaseAway.
    """
    database = Database(url, is_patient=True)
    try:
        return database.write(_upgrade)
    finally:
        database.close()


def _upgrade(c: Connection) -> tuple[str | None, str | None]:
    if c.dialect.name == "postgresql":
        # SQLite needs no lock: a transaction that writes is alone.
        c.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    before = MigrationContext.configure(c).get_current_revision()
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = c
    command.upgrade(config, "head")
    return before, MigrationContext.configure(c).get_current_revision()
