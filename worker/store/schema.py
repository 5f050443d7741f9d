"""Whether the database's tables are those that this program knows."""

from enum import StrEnum

from sqlalchemy import Connection, inspect

from worker.models import SCHEMA
from worker.store.sql import Sql

_REVISION = Sql("SELECT version_num FROM alembic_version")


class SchemaState(StrEnum):
    """How the database's schema compares with this program's."""

    MISSING = "missing"
    OLDER = "older"
    CURRENT = "current"
    NEWER = "newer"


def revision(c: Connection) -> str | None:
    """The schema revision of the database; None if it was never migrated."""
    if not inspect(c).has_table("alembic_version"):
        return None
    rows = _REVISION(c)
    return str(rows[0].version_num) if rows else None


def state(c: Connection) -> SchemaState:
    """Compares; revisions are numbers with leading zeros, so they sort."""
    found = revision(c)
    if found is None:
        return SchemaState.MISSING
    if found == SCHEMA:
        return SchemaState.CURRENT
    return SchemaState.OLDER if found < SCHEMA else SchemaState.NEWER
