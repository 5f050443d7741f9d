"""Compares the schema of the database with the one that this program expects."""

from enum import StrEnum

from sqlalchemy import Connection, inspect

from worker.models import SCHEMA
from worker.store.sql import Sql

_REVISION = Sql("SELECT version_num FROM alembic_version")
_SQLITE = Sql("SELECT sqlite_version() AS version")
_POSTGRESQL = Sql("SELECT current_setting('server_version') AS version")


class SchemaState(StrEnum):
    """The schema of the database, compared with this program's."""

    MISSING = "missing"
    OLDER = "older"
    CURRENT = "current"
    NEWER = "newer"


def revision(c: Connection) -> str | None:
    """Returns the schema revision of the database, or None if it was never migrated."""
    if not inspect(c).has_table("alembic_version"):
        return None
    rows = _REVISION(c)
    return str(rows[0].version_num) if rows else None


def state(c: Connection) -> SchemaState:
    """Compares the revisions. They are numbers with leading zeros, so they sort as text."""
    found = revision(c)
    if found is None:
        return SchemaState.MISSING
    if found == SCHEMA:
        return SchemaState.CURRENT
    return SchemaState.OLDER if found < SCHEMA else SchemaState.NEWER


def server(c: Connection) -> str:
    """Returns what the database is, with its version: `PostgreSQL 15.9`."""
    if c.dialect.name == "sqlite":
        return f"SQLite {_SQLITE(c)[0].version}"
    return f"PostgreSQL {str(_POSTGRESQL(c)[0].version).partition(' ')[0]}"
