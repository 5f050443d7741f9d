"""What a process makes sure of before it begins: that the database is there and has the right tables."""

import structlog

from worker.errors import DatabaseAway, SchemaOutdated
from worker.stop import Stop
from worker.store import schema
from worker.store.database import Database
from worker.store.schema import SchemaState

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
"""Seconds between tries to reach the database."""

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


def wait_for_database(database: Database, stop: Stop) -> bool:
    """Waits until the database is there, saying once that it is not; False if the process shall end meanwhile.

    Raises SchemaOutdated.
    """
    pause = FIRST_PAUSE
    while not stop.is_set():
        try:
            check_schema(database)
            return True
        except DatabaseAway as away:
            if pause == FIRST_PAUSE:
                log.warning("database.away", database=database.where, reason=str(away))
            stop.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
    return False
