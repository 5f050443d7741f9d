"""What a process waits for before it begins: a database that is there and has the right tables."""

import structlog

from worker.domain.errors import BadSetting, DatabaseAway, DatabaseUnfit
from worker.processes.stop import Stop
from worker.services.schema_check import check_schema
from worker.store.database import Database

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
"""Seconds between tries to reach the database."""

log = structlog.get_logger()


def wait_for_database(database: Database, stop: Stop) -> bool:
    """Waits until the database is there, and logs once that it is not. False: the process shall end.

    Raises SchemaOutdated, and BadSetting if it can't be used as it is set: a later retry would fail too.
    """
    pause = FIRST_PAUSE
    while not stop.is_set():
        try:
            check_schema(database)
            return True
        except DatabaseUnfit as unfit:
            raise BadSetting(str(unfit)) from unfit
        except DatabaseAway as away:
            if pause == FIRST_PAUSE:
                log.warning("database.away", database=database.where, reason=str(away))
            stop.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
    return False
