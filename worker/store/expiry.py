"""Expiry: ends requests that have waited for longer than the shop lets them. For sweeps; see `docs/policies.md`.

Who is in line and not woken expires. Who is due is told instead, so the list's row is locked while its requests are
ended: an event that comes meanwhile waits, and finds only those that are left. Nothing here waits for others.

What has ended before and was put back, by an admin or by the customer, is still wanted and does not expire: it would
end again before anybody could make use of it. `version` tells, since it grows with each state that others see.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection

from worker.domain.outcomes import FailureCode
from worker.store import lists, tally
from worker.store.outbox import NEWS
from worker.store.sql import Sql

DAY: Final = 86_400.0
MOST_LISTS: Final = 1000
"""One step looks at so many lists, with one look into the index each."""
MOST_OLD_LISTS: Final = 25
"""One step ends requests of at most so many lists."""
MOST_ROWS: Final = 500
"""One step ends at most so many requests, so that it stays short."""

_START: Final = UUID(int=0)
_EVER: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_CODE: Final = FailureCode.EXPIRED.value

_BEFORE = Sql("SELECT stockbell_now(-:age) AS before", before="time")
_LAST = Sql(
    "SELECT w.id FROM waiting_list AS w WHERE w.id > :after ORDER BY w.id LIMIT 1 OFFSET :others",
    id="uuid",
)
# The oldest of a list that is not woken, by its index alone: those that are woken are passed over at once.
_WOKEN_UNTIL = "CASE WHEN w.in_stock THEN w.last_in_stock_at END"
_NOT_ORDERED = f"{lists.IN_LINE} AND r.ordered_at IS NULL AND r.created_date < :before"
_LOOK = Sql(
    f"""SELECT w.id FROM (SELECT w.* FROM waiting_list AS w WHERE w.id > :after ORDER BY w.id LIMIT :most) AS w
    WHERE (SELECT r.created_date FROM request AS r WHERE r.waiting_list_id = w.id AND {_NOT_ORDERED}
        AND r.created_date >= coalesce({_WOKEN_UNTIL}, :ever) ORDER BY r.created_date LIMIT 1) IS NOT NULL
    ORDER BY w.id""",
    id="uuid",
)
_LOCK_LISTS = Sql(
    f"""SELECT w.id, {_WOKEN_UNTIL} AS woken_until FROM waiting_list AS w WHERE w.id IN ROWS(list_id uuid)
    ORDER BY w.id FOR NO KEY UPDATE SKIP LOCKED""",
    id="uuid",
    woken_until="time",
)
_OLD = Sql(
    f"""SELECT r.id, r.created_date, r.version FROM request AS r WHERE r.waiting_list_id = :list_id
      AND {_NOT_ORDERED} AND r.created_date >= :since
    ORDER BY r.created_date LIMIT :most FOR NO KEY UPDATE SKIP LOCKED""",
    id="uuid",
    created_date="time",
)
_EXPIRE = Sql(
    f"""UPDATE request SET status = 'FAILED', failure_code = '{_CODE}', failure_reason = :reason,
        failed_at = stockbell_now(0), {NEWS}
    WHERE id IN ROWS(request_id uuid) AND status || '' = 'RECEIVED' RETURNING id""",
    id="uuid",
)


@dataclass(frozen=True, slots=True)
class Place:
    """How far a pass over all lists has come."""

    after: UUID = _START
    """The lists up to this one are done."""
    since: datetime | None = None
    """But this one is not: its requests from this time on are left."""


@dataclass(frozen=True, slots=True)
class Looked:
    """Lists where somebody may have waited for too long, and where to look next (None: that was the end)."""

    lists: Sequence[UUID]
    then: Place | None


@dataclass(frozen=True, slots=True)
class Expired:
    """How many requests have ended, and where to go on if not all could be looked at."""

    requests: int
    rest: Place | None


def oldest(c: Connection, days: int) -> datetime:
    """Returns the time, by the database's clock, before which a request was made that has waited for so many days."""
    before: datetime = _BEFORE(c, age=days * DAY)[0].before
    return before


def look(c: Connection, days: int, place: Place) -> Looked:
    """Finds the next lists that have old requests. It only reads."""
    last = _LAST(c, after=place.after, others=MOST_LISTS - 1)
    rows = _LOOK(c, after=place.after, before=oldest(c, days), ever=_EVER, most=MOST_LISTS)
    old = [*([place.after] if place.since else ()), *(row.id for row in rows)]
    if len(old) > MOST_OLD_LISTS:
        return Looked(old[:MOST_OLD_LISTS], Place(old[MOST_OLD_LISTS - 1]))
    return Looked(old, Place(last[0].id) if last else None)


def expire(c: Connection, days: int, list_ids: Sequence[UUID], place: Place) -> Expired:
    """Ends what has waited on these lists for more than so many days. Lists and requests that others hold are left."""
    before, left, rest = oldest(c, days), MOST_ROWS, None
    ended: list[UUID] = []
    woken_until = {row.id: row.woken_until for row in _LOCK_LISTS(c, rows=[{"list_id": id_} for id_ in list_ids])}
    for list_id in sorted(woken_until, key=list_ids.index):
        done_until = place.since if list_id == place.after else None
        since = max(woken_until[list_id] or _EVER, done_until or _EVER)
        rows = _OLD(c, list_id=list_id, before=before, since=since, most=left)
        ended += [row.id for row in rows if not row.version]
        left -= len(rows)
        if left == 0:
            rest = Place(list_id, _next(rows) or since)
            break
    if ended:
        reason = f"waited for more than {days} days"
        ended = [row.id for row in _EXPIRE(c, rows=[{"request_id": id_} for id_ in ended], reason=reason)]
        tally.add(c, {f"failed:{_CODE}": len(ended)})
    return Expired(len(ended), rest)


def _next(rows: Sequence[Any]) -> datetime | None:
    """Returns the time after the last of these requests that stays as it is, so that it is not looked at again."""
    staying = [row.created_date for row in rows if row.version]
    return max(staying) + _MICROSECOND if staying else None
