"""The counts that `status` shows."""

from dataclasses import dataclass

from sqlalchemy import Connection

from worker.domain.outcomes import TEMPLATE_ERROR
from worker.models import Status
from worker.store import lists
from worker.store.sql import Sql
from worker.store.sweep import CLAIM_SECONDS, GONE

_BY_STATUS = Sql("SELECT status, count(*) AS n FROM request GROUP BY status")
# The time since which the oldest request is due: when an admin ordered it, or else the later one of the wake-up of its
# list and the sign-up.
_OLDEST_DUE = Sql(
    f"""SELECT min(CASE WHEN r.ordered_at IS NOT NULL THEN r.ordered_at
        WHEN coalesce(w.woken_at, w.last_in_stock_at) > r.created_date THEN coalesce(w.woken_at, w.last_in_stock_at)
        ELSE r.created_date END) AS since, stockbell_now(0) AS now
    FROM request AS r JOIN waiting_list AS w ON w.id = r.waiting_list_id WHERE {lists.DUE}""",
    since="time",
    now="time",
)
_OVERDUE = Sql(
    f"""SELECT count(*) AS n FROM request AS r LEFT JOIN owner AS o ON o.id = r.owner
    WHERE r.status = 'PROCESSING' AND {GONE}"""
)
_WORKERS = Sql("SELECT count(*) AS n FROM owner WHERE seen_at > stockbell_now(-:lease)")
_HELD = Sql(
    """SELECT r.failure_reason AS reason, count(*) AS n FROM request AS r
    WHERE r.status = 'RECEIVED' AND r.not_before IS NOT NULL AND r.failure_code = :code
    GROUP BY r.failure_reason ORDER BY n DESC, reason"""
)


@dataclass(frozen=True, slots=True)
class RequestFigures:
    """Counts of requests, claims and workers."""

    by_status: dict[str, int]
    oldest_due_seconds: float | None
    overdue_claims: int
    workers: int
    held: dict[str, int]
    """for each reason why mails can't be rendered: how many requests wait because of it, most first"""


def read(c: Connection, lease: float) -> RequestFigures:
    """Reads all counts. A worker counts as alive if its heartbeat is younger than `lease` (seconds)."""
    counts = {status.value: 0 for status in Status} | {row.status: row.n for row in _BY_STATUS(c)}
    due = _OLDEST_DUE(c)[0]
    return RequestFigures(
        counts,
        None if due.since is None else max(0.0, (due.now - due.since).total_seconds()),
        _OVERDUE(c, lease=lease, claim_seconds=CLAIM_SECONDS)[0].n,
        _WORKERS(c, lease=lease)[0].n,
        {row.reason: row.n for row in _HELD(c, code=TEMPLATE_ERROR)},
    )
