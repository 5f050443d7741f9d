"""How many requests are in each state, without reading a large table as a whole."""

from collections import Counter
from typing import Final

from sqlalchemy import Connection

from worker.models import Status
from worker.store.sql import Sql

MANY: Final = 5_000_000
"""In a table of more requests those that were told are not counted: that would read the whole table."""
UNENDED: Final = {
    "status = 'RECEIVED' AND not_before IS NULL AND ordered_at IS NULL": Status.RECEIVED,
    "status = 'RECEIVED' AND not_before IS NULL AND ordered_at IS NOT NULL": Status.RECEIVED,
    "status = 'RECEIVED' AND not_before IS NOT NULL": Status.RECEIVED,
    "status = 'PROCESSING'": Status.PROCESSING,
    "status = 'FAILED'": Status.FAILED,
}
"""All states but told. Each condition is that of a partial index, so PostgreSQL counts index entries and reads no rows.
"""

_BY_STATUS = Sql("SELECT status, count(*) AS n FROM request GROUP BY status")
_BY_INDEX = Sql(
    " UNION ALL ".join(
        f"SELECT '{status.value}' AS status, count(*) AS n FROM request WHERE {where}"
        for where, status in UNENDED.items()
    )
)
# PostgreSQL's own counts. The first is lost when it crashes, the second is only as new as the last vacuum.
_ALL_ROWS = Sql(
    """SELECT CAST(greatest(pg_stat_get_live_tuples(oid), reltuples) AS bigint) AS n FROM pg_class
    WHERE oid = 'request'::regclass"""
)


def estimate(c: Connection) -> int:
    """Returns how many requests PostgreSQL thinks that there are; 0 on SQLite, which does not know."""
    return int(_ALL_ROWS(c)[0].n) if c.dialect.name == "postgresql" else 0


def count(c: Connection) -> dict[str, int]:
    """Counts the requests in each state. Reads them all."""
    return {status.value: 0 for status in Status} | {row.status: row.n for row in _BY_STATUS(c)}


def count_large(c: Connection, all_rows: int) -> dict[str, int]:
    """Does so in a large table. Takes those for told that are not in another state."""
    counts = Counter({status.value: 0 for status in Status})
    for row in _BY_INDEX(c):
        counts[row.status] += row.n
    counts[Status.NOTIFICATION_SENT.value] = max(0, all_rows - counts.total())
    return dict(counts)
