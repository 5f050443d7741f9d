"""Migrates the database to the newest schema. Only `stockbell migrate` does this; nothing else imports this package.

A revision only expands the schema (new tables, nullable columns, indexes). It never removes what the version before it
uses, so a rolling restart needs no pause. A later revision removes what is no longer used.
"""

import random
import secrets
import time
from pathlib import Path

import structlog
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import OperationalError
from sqlmodel import SQLModel

from worker.domain.errors import BadSetting, DatabaseAway
from worker.models import SCHEMA
from worker.store import schema
from worker.store.database import Database
from worker.store.pooler import Pooler
from worker.store.schema import SchemaState

_LOCK = 0x570CBE11
"""The PostgreSQL advisory lock that lets only one migration run at a time ("STOCBELL")."""
LOCK_MS = 100
"""Milliseconds that a migration waits for the table locks. PostgreSQL looks for deadlocks only after a longer wait."""
PAUSE = 0.5
"""Seconds until the next try for the locks. In between the other processes continue to work."""

_SIGN = text(
    """SELECT EXISTS (SELECT 1 FROM pg_locks AS l JOIN pg_database AS d ON d.oid = l.database
    WHERE d.datname = current_database() AND l.locktype = 'advisory' AND l.granted
    AND l.classid::bigint = :ours AND l.objid::bigint = :random)"""
)

log = structlog.get_logger()


def migrate(url: str, *, pooler: Pooler = "auto", used_by: Database | None = None) -> tuple[str | None, str | None]:
    """Migrates the database at `url`. Returns the revisions before and after (None: no schema).

    Several migrations may run at the same time. A newer schema is left as it is, since this program can work with it.
    `used_by` is what the other processes use, if they reach the database in another way.

    Raises:
        DatabaseAway: the database can't be reached, or it or a pooler ended the migration, which changed nothing.
        BadSetting: `used_by` is another database, which is noticed before anything changes; or it can't use the tables.
    """
    setting = "STOCKBELL_MIGRATE_URL" if used_by else "DATABASE_URL"
    database = Database(url, is_patient=True, pooler=pooler, setting=setting)
    try:
        done = database.write(_upgrade, used_by)
    except DatabaseAway as away:
        if not database.is_pooled:
            raise
        hint = "there is a pooler in between: STOCKBELL_MIGRATE_URL can name the database's own address"
        raise DatabaseAway(f"{away}; {hint}") from away
    finally:
        database.close()
    if used_by and used_by.read(schema.state) not in {SchemaState.CURRENT, SchemaState.NEWER}:
        raise BadSetting("DATABASE_URL does not see the migrated tables: its user has another search_path")
    return done


def _upgrade(c: Connection, used_by: Database | None) -> tuple[str | None, str | None]:
    if c.dialect.name == "postgresql":
        # SQLite needs no such lock: only one transaction writes at a time.
        c.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    if used_by:
        _check_same(c, used_by)
    before = MigrationContext.configure(c).get_current_revision()
    if before is not None and before >= SCHEMA:
        return before, before
    if c.dialect.name == "postgresql":
        if before is None:  # who works with such a database may go on
            _check_encoding(c)
        _lock_tables(c)
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = c
    command.upgrade(config, "head")
    return before, MigrationContext.configure(c).get_current_revision()


def _check_same(c: Connection, used_by: Database) -> None:
    """Takes a lock that only this transaction has. It is to be seen from the same database, and from no other."""
    sign = {"ours": _LOCK, "random": secrets.randbits(31)}
    c.execute(text("SELECT pg_advisory_xact_lock(:ours, :random)"), sign)
    if not used_by.read(lambda other: other.execute(_SIGN, sign).scalar()):
        raise BadSetting("STOCKBELL_MIGRATE_URL and DATABASE_URL are not the same database: nothing was migrated")


def _check_encoding(c: Connection) -> None:
    """A database of one language lacks characters that names of items and customers may have."""
    encoding = c.exec_driver_sql("SHOW server_encoding").scalar()
    if encoding not in {"UTF8", "SQL_ASCII"}:
        raise BadSetting(f"the database has the encoding {encoding}, but UTF8 is needed: nothing was migrated")


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
