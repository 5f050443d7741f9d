"""Migrates the database to the newest schema. Only `stockbell migrate` does this; nothing else imports this package.

A revision only expands the schema (new tables, nullable columns, indexes). It never removes what the version before it
uses, so a rolling restart needs no pause. A later revision removes what is no longer used.
"""

import random
import time
from pathlib import Path

import structlog
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import OperationalError
from sqlmodel import SQLModel

from worker.models import SCHEMA
from worker.store.database import Database

_LOCK = 0x570CBE11
"""The PostgreSQL advisory lock that lets only one migration run at a time ("STOCBELL")."""
LOCK_MS = 100
"""Milliseconds that a migration waits for the table locks. PostgreSQL looks for deadlocks only after a longer wait."""
PAUSE = 0.5
"""Seconds until the next try for the locks. In between the other processes continue to work."""

log = structlog.get_logger()


def migrate(url: str) -> tuple[str | None, str | None]:
    """Migrates the database at `url`. Returns the revisions before and after (None: no schema).

    Several migrations may run at the same time. A newer schema is left as it is, since this program can work with it.
    Raises DatabaseAway.
    """
    database = Database(url, is_patient=True)
    try:
        return database.write(_upgrade)
    finally:
        database.close()


def _upgrade(c: Connection) -> tuple[str | None, str | None]:
    if c.dialect.name == "postgresql":
        # SQLite needs no such lock: only one transaction writes at a time.
        c.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    before = MigrationContext.configure(c).get_current_revision()
    if before is not None and before >= SCHEMA:
        return before, before
    if c.dialect.name == "postgresql":
        _lock_tables(c)
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = c
    command.upgrade(config, "head")
    return before, MigrationContext.configure(c).get_current_revision()


def _lock_tables(c: Connection) -> None:
    """Locks all tables at once before anything is changed, so that no deadlock with working processes is possible.

    Each try is short: while it waits for a table in use, all later users of that table wait behind it.
    """
    existing = set(inspect(c).get_table_names())
    tables = ", ".join(table.name for table in SQLModel.metadata.sorted_tables if table.name in existing)
    is_logged = False
    c.execute(text(f"SET LOCAL lock_timeout = {LOCK_MS}"))
    while tables:
        try:
            with c.begin_nested():
                c.execute(text(f"LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE"))
            break
        except OperationalError as error:
            if getattr(error.orig, "sqlstate", None) != "55P03":
                raise
        if not is_logged:
            log.info("migration.waits", reason="the tables are in use")
        is_logged = True
        time.sleep(random.uniform(0.5, 1) * PAUSE)
    c.execute(text("SET LOCAL lock_timeout = 0"))
