"""Adds up what was counted, so that a year of it is soon read: entries by the minute, then hours, then days.

Rows are deleted and added to another row in one transaction. So at each moment a reader sees each count once. Several
may do this at the same time.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection

from worker.store.sql import Sql
from worker.store.tally import DAYS_AFTER, HOURS_AFTER

MOST_ROWS: Final = 10_000
"""So many rows are added up at once."""

_NOT_ON_THE_HOUR: Final = {
    "postgresql": "date_trunc('hour', minute, 'UTC') <> minute",
    "sqlite": "substr(minute, 15, 2) <> '00'",
}
_NOT_ON_THE_DAY: Final = {
    "postgresql": "date_trunc('day', minute, 'UTC') <> minute",
    "sqlite": "substr(minute, 12, 2) || substr(minute, 15, 2) <> '0000'",
}
# An entry has no key, only a place. The server adds the entries up, as they are many.
_TAKE_ENTRIES: Final = {
    "postgresql": Sql(
        """WITH taken AS (
            DELETE FROM tally_entry
            WHERE ctid = ANY(ARRAY(SELECT ctid FROM tally_entry LIMIT :most FOR UPDATE SKIP LOCKED))
            RETURNING minute, kind, n)
        SELECT minute, kind, CAST(sum(n) AS bigint) AS n, count(*) AS rows, stockbell_now(0) AS now
        FROM taken GROUP BY minute, kind"""
    ),
    "sqlite": Sql(
        """DELETE FROM tally_entry WHERE rowid IN (SELECT rowid FROM tally_entry LIMIT :most)
        RETURNING minute, kind, n, 1 AS rows, stockbell_now(0) AS now""",
        minute="time",
        now="time",
    ),
}


def _take(condition: str) -> Sql:
    # In the order of the key, as `_PUT` writes, so that two who do this wait for each other and not in a circle.
    return Sql(
        f"""WITH old AS MATERIALIZED (
            SELECT minute AS at, kind AS what FROM tally WHERE minute < stockbell_now(-:age) AND {condition}
            ORDER BY minute, kind LIMIT :most FOR UPDATE SKIP LOCKED)
        DELETE FROM tally WHERE (minute, kind) IN (SELECT at, what FROM old)
        RETURNING minute, kind, n, 1 AS rows, stockbell_now(0) AS now""",
        minute="time",
        now="time",
    )


_TAKE_MINUTES: Final = {dialect: _take(condition) for dialect, condition in _NOT_ON_THE_HOUR.items()}
_TAKE_HOURS: Final = {dialect: _take(condition) for dialect, condition in _NOT_ON_THE_DAY.items()}
_PUT: Final = Sql(
    """INSERT INTO tally (minute, kind, n) SELECT at, kind, n
    FROM ROWS(at timestamptz, kind text, n bigint) WHERE true ORDER BY at, kind
    ON CONFLICT (minute, kind) DO UPDATE SET n = tally.n + excluded.n"""
)


def merge(c: Connection) -> int:
    """Adds up entries, `MOST_ROWS` at most. Returns how many these were."""
    return _add_up(c, _TAKE_ENTRIES[c.dialect.name](c, most=MOST_ROWS))


def merge_old(c: Connection) -> int:
    """Adds up minutes to hours, and hours to days. It reads all that is old: for now and then."""
    minutes = _TAKE_MINUTES[c.dialect.name](c, age=HOURS_AFTER, most=MOST_ROWS)
    hours = _TAKE_HOURS[c.dialect.name](c, age=DAYS_AFTER, most=MOST_ROWS)
    return _add_up(c, [*minutes, *hours])


def _add_up(c: Connection, taken: Sequence[Any]) -> int:
    counts = Counter[tuple[datetime, str]]()
    for row in taken:
        counts[_place(row.minute, row.now), row.kind] += row.n
    if counts:
        _PUT(c, rows=[{"at": at, "kind": kind, "n": n} for (at, kind), n in sorted(counts.items())])
    return sum(row.rows for row in taken)


def _place(minute: datetime, now: datetime) -> datetime:
    """Returns where counts of a minute belong by now."""
    age = now - minute
    if age > timedelta(seconds=DAYS_AFTER):
        return minute.replace(hour=0, minute=0)
    return minute.replace(minute=0) if age > timedelta(seconds=HOURS_AFTER) else minute
