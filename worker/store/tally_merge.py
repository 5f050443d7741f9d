"""Adds up old counts, so that a year of them is soon read: the writers' rows of a minute, then hours, then days.

Rows are deleted and added to another row in one transaction. So at each moment a reader sees each count once. A writer
of the same minute that comes late waits, and then adds a row anew. Several may do this at the same time.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection

from worker.models import BY_A_WRITER
from worker.store.sql import Sql
from worker.store.tally import DAYS_AFTER, HOURS_AFTER, ONTO

SETTLED_SECONDS: Final = 600.0
"""A minute of this age is added up. Its writers have moved on to others."""
MOST_ROWS: Final = 5000
"""So many rows are added up at once."""
ALL: Final = UUID(int=0)
"""The owner of what was added up."""

_NOT_ON_THE_HOUR: Final = {
    "postgresql": "date_trunc('hour', minute, 'UTC') <> minute",
    "sqlite": "substr(minute, 15, 2) <> '00'",
}
_NOT_ON_THE_DAY: Final = {
    "postgresql": "date_trunc('day', minute, 'UTC') <> minute",
    "sqlite": "substr(minute, 12, 2) || substr(minute, 15, 2) <> '0000'",
}


def _take(condition: str) -> Sql:
    # In the order of the key, as `_put` writes, so that two who do this wait for each other and not in a circle.
    return Sql(
        f"""WITH old AS MATERIALIZED (
            SELECT minute AS at, owner AS by, kind AS what FROM tally
            WHERE minute < stockbell_now(-:age) AND {condition}
            ORDER BY minute, owner, kind LIMIT :most FOR UPDATE SKIP LOCKED)
        DELETE FROM tally WHERE (minute, owner, kind) IN (SELECT at, by, what FROM old)
        RETURNING minute, kind, n, stockbell_now(0) AS now""",
        minute="time",
        now="time",
    )


_TAKE_OWN = {dialect: _take(condition) for dialect, condition in BY_A_WRITER.items()}
_TAKE_MINUTES = {dialect: _take(condition) for dialect, condition in _NOT_ON_THE_HOUR.items()}
_TAKE_HOURS = {dialect: _take(condition) for dialect, condition in _NOT_ON_THE_DAY.items()}
_PUT = Sql(
    f"""INSERT INTO tally (minute, owner, kind, n) SELECT at, :all, kind, n
    FROM ROWS(at timestamptz, kind text, n bigint) WHERE true ORDER BY at, kind {ONTO}"""
)


def merge(c: Connection) -> int:
    """Adds up the writers' rows of past minutes. Returns how many rows these were."""
    return _add_up(c, _TAKE_OWN[c.dialect.name](c, age=SETTLED_SECONDS, most=MOST_ROWS))


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
        _PUT(c, rows=[{"at": at, "kind": kind, "n": n} for (at, kind), n in sorted(counts.items())], all=ALL)
    return len(taken)


def _place(minute: datetime, now: datetime) -> datetime:
    """Returns where counts of a minute belong by now."""
    age = now - minute
    if age > timedelta(seconds=DAYS_AFTER):
        return minute.replace(hour=0, minute=0)
    return minute.replace(minute=0) if age > timedelta(seconds=HOURS_AFTER) else minute
