"""Whether the database has the tables that this program works with."""

import structlog

from worker.domain.errors import SchemaOutdated
from worker.store import schema
from worker.store.database import Database
from worker.store.schema import SchemaState

log = structlog.get_logger()


def check_schema(database: Database) -> None:
    """Raises SchemaOutdated unless the tables are those that this program knows (newer ones are only warned about)."""
    match database.read(schema.state):
        case SchemaState.MISSING:
            raise SchemaOutdated(f"the database ({database.where}) has no tables yet: run `stockbell migrate`")
        case SchemaState.OLDER:
            raise SchemaOutdated(f"the database ({database.where}) is older than this program: run `stockbell migrate`")
        case SchemaState.NEWER:
            log.warning("schema.newer", database=database.where)
        case SchemaState.CURRENT:
            pass
