"""Brings the database to the newest schema. Only `stockbell migrate` does so; nothing else imports this.

A revision expands (new tables, nullable columns, indexes) and never takes away what the version before it uses,
so that a rolling restart needs no pause; what is no longer used goes in a later revision.
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
"""The advisory lock of PostgreSQL that lets one migration run at a time ("STOCBELL")."""
LOCK_MS = 100
"""How long a migration waits for one table: far less than PostgreSQL waits until it looks for a deadlock."""
PAUSE = 0.5
"""Seconds until it tries again; meanwhile those who work get on."""

log = structlog.get_logger()


def migrate(url: str) -> tuple[str | None, str | None]:
    """Migrates the database at `url`; returns the revisions before and after. Safe to run at once from anywhere.

    One that a newer program has migrated is left as it is: the older one can work with it.

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
    """All at once, and before anything is changed: nobody who works then waits for us while we wait for them.

    Whoever waits for a table that is long in use bars it for everybody who comes after, so we don't wait long.
    """
    there = set(inspect(c).get_table_names())
    tables = ", ".join(table.name for table in SQLModel.metadata.sorted_tables if table.name in there)
    has_said = False
    c.execute(text(f"SET LOCAL lock_timeout = {LOCK_MS}"))
    while tables:
        try:
            with c.begin_nested():
                c.execute(text(f"LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE"))
            break
        except OperationalError as error:
            if getattr(error.orig, "sqlstate", None) != "55P03":
                raise
        if not has_said:
            log.info("migration.waits", reason="the tables are in use")
        has_said = True
        time.sleep(random.uniform(0.5, 1) * PAUSE)
    c.execute(text("SET LOCAL lock_timeout = 0"))
