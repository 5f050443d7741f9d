"""What is being mailed, and how far it has come. Each statement reads entries of indexes, and never the whole table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection

from worker.domain.catalog import Options, options_from_text
from worker.store import lists
from worker.store.sql import Sql

MOST_LISTS: Final = 10
"""So many are shown: those with the most left."""
RATE_SECONDS: Final = 10.0
"""The rate is that of so many seconds."""
MOST_FAILED: Final = 50_000
"""Of the failures of the last hour no more than these are counted by their codes."""

# Lists with a wake-up whose end no claim has reached, and those of which somebody is being sent (by an order, too).
_LISTS = Sql(
    f"""WITH busy AS MATERIALIZED (
        SELECT waiting_list_id AS list_id, count(*) AS n FROM request WHERE status = 'PROCESSING'
        GROUP BY waiting_list_id),
    ordered AS MATERIALIZED (
        SELECT r.waiting_list_id AS list_id, count(*) AS n, min(r.ordered_at) AS since FROM request AS r
        WHERE {lists.ORDERED} GROUP BY r.waiting_list_id),
    found AS MATERIALIZED (
        SELECT w.id, w.item_id, w.options, w.options_key, coalesce(w.woken_at, ordered.since) AS since,
            coalesce(busy.n, 0) AS sending,
            coalesce(ordered.n, 0)
                + (SELECT count(*) FROM request AS r WHERE r.waiting_list_id = w.id AND {lists.WOKEN}) AS due
        FROM waiting_list AS w LEFT JOIN busy ON busy.list_id = w.id LEFT JOIN ordered ON ordered.list_id = w.id
        WHERE (w.in_stock AND w.woken_at IS NOT NULL) OR busy.n > 0 OR ordered.n > 0)
    SELECT w.id, i.app_id, i.catalog_item_id, i.name, w.options, w.since, w.sending, w.due,
        {lists.PAUSED} AS is_paused, stockbell_now(0) AS now
    FROM found AS w JOIN item AS i ON i.id = w.item_id
    WHERE w.due + w.sending > 0 ORDER BY w.due + w.sending DESC, w.id LIMIT :most""",
    id="uuid",
    since="time",
    is_paused="bool",
    now="time",
)
_TOLD = Sql(
    """SELECT list_id, n AS place, (SELECT count(*) FROM request AS r WHERE r.waiting_list_id = rows.list_id
        AND r.status = 'NOTIFICATION_SENT' AND r.notified_date > rows.after AND r.notified_date <= rows.upto) AS told
    FROM ROWS(list_id uuid, n int, after timestamptz, upto timestamptz)""",
    list_id="uuid",
)
_FAILED = Sql(
    """SELECT code, count(*) AS n FROM (
        SELECT coalesce(failure_code, '') AS code FROM request
        WHERE status = 'FAILED' AND failed_at > stockbell_now(-:seconds) ORDER BY failed_at DESC LIMIT :most) AS recent
    GROUP BY code ORDER BY n DESC, code"""
)
_SWEPT = Sql("SELECT swept_at, stockbell_now(0) AS now FROM sweep", swept_at="time", now="time")
_WORKERS = Sql(
    """SELECT host, count(*) AS n, min(started_at) AS started_at, max(seen_at) AS seen_at FROM owner
    WHERE seen_at > stockbell_now(-:lease) GROUP BY host ORDER BY host LIMIT 50""",
    started_at="time",
    seen_at="time",
)
_ANYBODY = Sql("SELECT 1 FROM request LIMIT 1")


@dataclass(frozen=True, slots=True)
class Settled:
    """How many of a list were told from a wake-up until a time. It is not counted again."""

    since: datetime
    until: datetime
    told: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the mails of one waiting list have come."""

    list_id: UUID
    app_id: str
    catalog_item_id: str
    name: str | None
    options: Options
    since: datetime
    """the restock, or the order"""
    told: int
    """since then"""
    due: int
    sending: int
    rate: float
    """mails a second, over the last ten"""
    is_paused: bool

    @property
    def left(self) -> int:
        """How many are still to be told."""
        return self.due + self.sending

    @property
    def seconds_left(self) -> float | None:
        """How long that takes at this rate."""
        return self.left / self.rate if self.rate else None


@dataclass(frozen=True, slots=True)
class Host:
    """The worker processes of one machine."""

    name: str
    workers: int
    started_at: datetime
    seen_at: datetime


def of_lists(c: Connection, settled: dict[UUID, Settled]) -> Sequence[Progress]:
    """Returns what is being mailed, the oldest wake-up first, so that rows keep their places.

    `settled` is what the last call has counted; it is brought up to date, so that the next one counts only what is new.
    """
    found = _LISTS(c, most=MOST_LISTS)
    if not found:
        settled.clear()
        return []
    now: datetime = found[0].now
    since = {row.id: row.since or _known(settled, row.id) or now for row in found}
    settled_until = now - timedelta(seconds=RATE_SECONDS)
    told = _told(c, since, settled, settled_until, now)
    rows = [
        Progress(
            row.id,
            row.app_id,
            row.catalog_item_id,
            row.name,
            options_from_text(row.options),
            since[row.id],
            settled[row.id].told + told[row.id],
            row.due,
            row.sending,
            told[row.id] / max(1.0, min(RATE_SECONDS, (now - since[row.id]).total_seconds())),
            bool(row.is_paused),
        )
        for row in found
    ]
    return sorted(rows, key=lambda row: (row.since, row.list_id))


def failed_by_code(c: Connection, seconds: float) -> Mapping[str, int]:
    """Returns how many have failed within the last `seconds`, by their codes, most first."""
    return {row.code: row.n for row in _FAILED(c, seconds=seconds, most=MOST_FAILED)}


def sweep_seconds(c: Connection) -> float | None:
    """Returns the age of the last sweep. None: there was none."""
    rows = _SWEPT(c)
    return max(0.0, (rows[0].now - rows[0].swept_at).total_seconds()) if rows and rows[0].swept_at else None


def hosts(c: Connection, lease: float) -> Sequence[Host]:
    """Returns the workers whose heartbeat is younger than `lease` (seconds), by their machines."""
    return [Host(row.host, row.n, row.started_at, row.seen_at) for row in _WORKERS(c, lease=lease)]


def is_anybody(c: Connection) -> bool:
    """Whether there is any request."""
    return bool(_ANYBODY(c))


def _known(settled: Mapping[UUID, Settled], list_id: UUID) -> datetime | None:
    return settled[list_id].since if list_id in settled else None


def _told(
    c: Connection, since: Mapping[UUID, datetime], settled: dict[UUID, Settled], until: datetime, now: datetime
) -> dict[UUID, int]:
    """Returns how many were told lately, by the list. Adds to `settled` who was told before."""
    for gone in settled.keys() - since.keys():
        del settled[gone]
    begun = {
        id_: settled[id_] if id_ in settled and settled[id_].since == at else Settled(at, at, 0)
        for id_, at in since.items()
    }
    ends = {id_: max(until, each.until) for id_, each in begun.items()}
    spans: list[dict[str, Any]] = []
    for id_, each in begun.items():
        spans.append({"list_id": id_, "n": 0, "after": each.until, "upto": ends[id_]})
        spans.append({"list_id": id_, "n": 1, "after": ends[id_], "upto": now})
    told = {(row.list_id, row.place): row.told for row in _TOLD(c, rows=spans)}
    for id_, each in begun.items():
        settled[id_] = Settled(each.since, ends[id_], each.told + told[id_, 0])
    return {id_: told[id_, 1] for id_ in begun}
