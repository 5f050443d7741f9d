"""Checks that the database has the schema that this program needs."""

import structlog

from worker.domain.errors import SchemaOutdated
from worker.store import schema
from worker.store.database import Database
from worker.store.schema import SchemaState

log = structlog.get_logger()


def check_schema(database: Database) -> None:
    """Raises SchemaOutdated if the schema is missing or older than this program. Logs a warning if it is newer."""
    match database.read(schema.state):
        case SchemaState.MISSING:
            raise SchemaOutdated(f"the database ({database.where}) has no tables yet: run `stockbell migrate`")
        case SchemaState.OLDER:
            raise SchemaOutdated(f"the database ({database.where}) is older than this program: run `stockbell migrate`")
        case SchemaState.NEWER:
            log.warning("schema.newer", database=database.where)
        case SchemaState.CURRENT:
            pass
