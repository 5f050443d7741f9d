"""The counts that `status` shows."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from worker.domain.catalog import CatalogReference, Item, Options, options_from_text
from worker.domain.outcomes import TEMPLATE_ERROR
from worker.store import lists, quiet_hours, states, unconfirmed
from worker.store.quiet_hours import Hours
from worker.store.sql import Sql
from worker.store.sweep import CLAIM_SECONDS, GONE
from worker.store.unconfirmed import NEVER


def _later(one: str, other: str) -> str:
    """SQL for the later of two times, of which the second may be null."""
    return f"CASE WHEN {other} > {one} THEN {other} ELSE {one} END"


_SINCE = _later(_later("coalesce(w.woken_at, w.last_in_stock_at)", "w.opens_at"), "w.settles_at")
# How many are due, and since when the oldest one: when an admin ordered it, or else the latest of the wake-up of its
# list, the sign-up, and when it came in line again. Only those of lists with somebody due are counted.
_DUE = Sql(
    f"""WITH lists AS MATERIALIZED (
        SELECT w.id, w.in_stock, w.last_in_stock_at, w.opens_at, w.settles_at, {_SINCE} AS woken,
            (SELECT min(r.created_date) FROM request AS r WHERE r.waiting_list_id = w.id AND {lists.WOKEN}) AS oldest,
            (SELECT r.in_line_at FROM request AS r WHERE r.waiting_list_id = w.id AND {lists.WOKEN}
                ORDER BY r.created_date LIMIT 1) AS in_line
        FROM waiting_list AS w WHERE w.in_stock AND NOT {lists.PAUSED}),
    due AS (
        SELECT {_later(_later("oldest", "woken"), "in_line")} AS since,
            (SELECT count(*) FROM request AS r WHERE r.waiting_list_id = w.id AND {lists.WOKEN}) AS n
        FROM lists AS w WHERE oldest IS NOT NULL
        UNION ALL SELECT {_later("r.ordered_at", "r.in_line_at")}, 1
        FROM request AS r JOIN waiting_list AS w ON w.id = r.waiting_list_id
        WHERE {lists.ORDERED} AND NOT {lists.PAUSED})
    SELECT coalesce(sum(n), 0) AS n, min(since) AS since, stockbell_now(0) AS now FROM due""",
    since="time",
    now="time",
)
_OVERDUE = Sql(
    f"""SELECT count(*) AS n FROM request AS r LEFT JOIN owner AS o ON o.id = r.owner
    WHERE r.status = 'PROCESSING' AND {GONE}"""
)
_WORKERS = Sql("SELECT count(*) AS n FROM owner WHERE seen_at > stockbell_now(-:lease)")
_HELD = Sql(
    f"""SELECT r.failure_reason AS reason, count(*) AS n FROM request AS r
    WHERE r.status = 'RECEIVED' AND r.not_before < {NEVER} AND r.failure_code = :code
    GROUP BY r.failure_reason ORDER BY n DESC, reason"""
)
# Who waits for an item although an in-stock event about it woke nobody, and was not woken since.
_PASSED_OVER = f"""FROM item AS i JOIN waiting_list AS w ON w.item_id = i.id
        JOIN request AS r ON r.waiting_list_id = w.id
    WHERE i.unheard_at > stockbell_now(-:recent) AND {lists.IN_LINE} AND r.ordered_at IS NULL AND NOT w.in_stock
      AND r.created_date < i.unheard_at AND coalesce(w.last_in_stock_at < i.unheard_at, true)"""
_UNHEARD = Sql(f"SELECT count(DISTINCT i.id) AS n {_PASSED_OVER}")
_UNHEARD_NEWEST = Sql(
    f"""SELECT i.catalog_item_id, i.app_id, i.unheard_at, i.unheard_options, w.options, count(*) AS n {_PASSED_OVER}
      AND i.unheard_at = (SELECT max(i.unheard_at) {_PASSED_OVER})
    GROUP BY i.catalog_item_id, i.app_id, i.unheard_at, i.unheard_options, w.options
    ORDER BY n DESC, i.catalog_item_id, i.app_id, w.options LIMIT 1""",
    unheard_at="time",
)
UNHEARD_SECONDS = 86_400.0
"""In-stock events that woke nobody are told for this many seconds."""


_PUT_OFF = Sql(
    f"""SELECT count(*) AS n FROM request
    WHERE status = 'RECEIVED' AND not_before < {NEVER} AND judged_from IS NOT NULL"""
)


@dataclass(frozen=True, slots=True)
class Unheard:
    """An in-stock event that woke nobody, and the options under which most people wait for its item."""

    reference: CatalogReference
    """what the event was about"""
    at: datetime
    wanted: Options
    requests: int


@dataclass(frozen=True, slots=True)
class RequestFigures:
    """Counts of requests, claims and workers."""

    by_status: dict[str, int]
    oldest_due_seconds: float | None
    overdue_claims: int
    workers: int
    held: dict[str, int]
    """for each reason why mails can't be rendered: how many requests wait because of it, most first"""
    unheard_items: int = 0
    """items with an in-stock event that woke nobody, though people wait for them under other options"""
    unheard: Unheard | None = None
    """the newest of these events"""
    put_off: int = 0
    """requests that wait for another try because the relay refused them with words that may be about us"""
    due: int = 0
    """requests that could be claimed if the relay took mail and it were not in quiet hours"""
    unconfirmed: int = 0
    """requests whose customers have not confirmed yet; they are RECEIVED"""
    is_estimated: bool = False
    """Whether NOTIFICATION_SENT is what PostgreSQL estimates, since the table is too large to count them."""


def read(c: Connection, lease: float, *, told: bool = True) -> RequestFigures:
    """Reads all counts. A worker counts as alive if its heartbeat is younger than `lease` (seconds).

    Without `told`, NOTIFICATION_SENT is 0: to count those would read the whole table.
    """
    estimate = states.estimate(c) if told else 0
    is_estimated = not told or estimate > states.MANY
    due = _DUE(c)[0]
    return RequestFigures(
        states.count_large(c, estimate) if is_estimated else states.count(c),
        _oldest(due.since, due.now, quiet_hours.read(c)),
        _OVERDUE(c, lease=lease, claim_seconds=CLAIM_SECONDS)[0].n,
        _WORKERS(c, lease=lease)[0].n,
        held(c),
        _UNHEARD(c, recent=UNHEARD_SECONDS)[0].n,
        _unheard(c),
        _PUT_OFF(c)[0].n,
        int(due.n),
        unconfirmed.count(c),
        is_estimated,
    )


def _oldest(since: datetime | None, now: datetime, hours: Hours | None) -> float | None:
    """Returns how long the oldest one could have been sent: quiet hours don't count. None: nobody can be sent now."""
    if since is None or (hours and not hours.is_open):
        return None
    opened = hours.window.opened_at(now) if hours else None
    return max(0.0, (now - max(since, opened or since)).total_seconds())


def held(c: Connection) -> dict[str, int]:
    """Returns how many requests wait because their mail can't be made, for each reason, most first."""
    return {row.reason: row.n for row in _HELD(c, code=TEMPLATE_ERROR)}


def _unheard(c: Connection) -> Unheard | None:
    for row in _UNHEARD_NEWEST(c, recent=UNHEARD_SECONDS):
        about = CatalogReference(Item(row.app_id, row.catalog_item_id), options_from_text(row.unheard_options))
        return Unheard(about, row.unheard_at, options_from_text(row.options), row.n)
    return None
