"""The changes that a sweep makes: it rescues the claims of dead workers and makes deferred requests due again."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection

from worker.domain.outcomes import FailureCode
from worker.models import uuid7
from worker.store import lists, resting, seats, suppression, tally
from worker.store.outbox import news_if
from worker.store.sql import Sql

MOST_RESCUES = 5
"""After this many rescues the next one ends the request as FAILED: it may be the cause of the worker crashes."""
MOST_ROWS = 5000
"""One sweep moves at most this many rows, so that it stays short."""
CLAIM_SECONDS = 900.0
"""The age at which a claim is rescued even if its owner is alive."""

# A heartbeat in the future means that the clock was set back. Every live owner renews its heartbeat before `stamp`
# allows a rescue.
GONE = """(o.id IS NULL OR NOT o.seen_at BETWEEN stockbell_now(-:lease) AND stockbell_now(:lease)
    OR r.claimed_at < stockbell_now(-:claim_seconds))"""

_IS_FRESH = "swept_at BETWEEN stockbell_now(-:fresh) AND stockbell_now(:fresh)"
_STAMP = Sql(
    f"""UPDATE sweep SET
        rescue_from = CASE WHEN {_IS_FRESH} AND rescue_from <= stockbell_now(:lease) THEN rescue_from
            ELSE stockbell_now(:lease) END,
        swept_at = stockbell_now(0) WHERE id = 1
    RETURNING CASE WHEN rescue_from <= stockbell_now(0) THEN 1 ELSE 0 END AS may_rescue"""
)
_LAST = Sql("SELECT swept_at, stockbell_now(0) AS now FROM sweep WHERE id = 1", swept_at="time", now="time")
# The rows are found without a lock, and then locked only if they still have the same claim. In one step PostgreSQL
# would check a row again that was claimed in the meantime, but join it with the old owner, and rescue a live claim.
# Then each must be found by the primary key (`|| ''`): by the index on the status, all would be compared with all.
# The database may have been away since `stamp`, for longer than a lease: the sweep must be recent by this statement's
# clock, by which owners are judged.
_STILL_CLAIMED = "r.status || '' = 'PROCESSING'"
_RESCUE = Sql(
    f"""WITH seen AS MATERIALIZED (
        SELECT r.id AS request_id, r.claim_no AS no FROM request AS r LEFT JOIN owner AS o ON o.id = r.owner
        WHERE r.status = 'PROCESSING' AND {GONE} AND (r.seat IS NULL OR r.id IN ROWS(held_id uuid))
            AND EXISTS (SELECT 1 FROM sweep WHERE {_IS_FRESH} AND rescue_from <= stockbell_now(0)) LIMIT :most),
    gone AS MATERIALIZED (
        SELECT r.id AS request_id, r.handed_at IS NULL AND r.rescues < :most_rescues AS is_unsent,
            {suppression.IS_SUPPRESSED} AS is_unwanted, {suppression.REASON} AS unwanted
        FROM request AS r JOIN seen ON r.id = seen.request_id AND r.claim_no = seen.no
        JOIN {suppression.CONTACT} ON {suppression.ITS_CONTACT}
        WHERE {_STILL_CLAIMED} FOR UPDATE OF r SKIP LOCKED)
    UPDATE request AS r SET
        status = CASE WHEN is_unsent AND NOT is_unwanted THEN 'RECEIVED' ELSE 'FAILED' END,
        auto_notified = CASE WHEN is_unsent AND NOT is_unwanted THEN auto_notified ELSE true END,
        failure_code = CASE WHEN NOT is_unsent THEN 'OUTCOME_UNKNOWN' WHEN is_unwanted THEN 'SUPPRESSED' END,
        failure_reason = CASE WHEN is_unsent THEN unwanted WHEN handed_at IS NULL THEN 'its workers died too often'
            ELSE 'its worker died when the mail may have been handed over' END,
        failed_at = CASE WHEN NOT is_unsent OR is_unwanted THEN stockbell_now(0) END,
        {seats.NO_SEAT}, rescues = r.rescues + 1, owner = NULL, claimed_at = NULL, handed_at = NULL,
        {news_if("NOT is_unsent OR is_unwanted")}
    FROM gone WHERE r.id = gone.request_id AND {_STILL_CLAIMED}
    RETURNING id, claim_no, failure_code""",
    id="uuid",
)
_HELD = seats.held(f"r.status = 'PROCESSING' AND {GONE}", "LEFT JOIN owner AS o ON o.id = r.owner")
_LOG = Sql(
    """INSERT INTO attempt (id, request_id, at, event, reply)
    SELECT id, request_id, stockbell_now(0), 'rescued', 'its worker was gone' FROM ROWS(id uuid, request_id uuid)"""
)
_PUT_IN_LINE = Sql(
    f"""WITH due AS MATERIALIZED (
        SELECT r.id AS request_id FROM request AS r WHERE r.status = 'RECEIVED' AND r.not_before <= stockbell_now(0)
        ORDER BY r.not_before LIMIT :most FOR UPDATE SKIP LOCKED)
    UPDATE request AS r SET {lists.BACK_IN_LINE}, {resting.NOT_HELD}
    FROM due WHERE r.id = due.request_id RETURNING id"""
)


@dataclass(frozen=True, slots=True)
class Rescued:
    """How many rescued requests wait again, and the ids of those that ended as FAILED, OUTCOME_UNKNOWN."""

    back_in_line: int
    failed: Sequence[UUID]
    suppressed: int = 0
    """how many ended as FAILED, SUPPRESSED: their customers want no mail any more"""


def stamp(c: Connection, lease: float, fresh: float) -> bool:
    """Records that a sweep runs. Returns True if it may rescue.

    If the last sweep is older than `fresh` (seconds), the database may have been away, and every owner looks dead.
    Rescue then waits for one `lease` (seconds). It also waits if the clock was set back.
    """
    rows = _STAMP(c, lease=lease, fresh=fresh)
    return bool(rows and rows[0].may_rescue)


def last(c: Connection) -> tuple[datetime | None, datetime]:
    """Returns when the last sweep ran, and the time of the database's clock."""
    row = _LAST(c)[0]
    return row.swept_at, row.now


def age(c: Connection) -> float | None:
    """Returns the age of the last sweep in seconds, or None if there was none."""
    swept_at, now = last(c)
    return None if swept_at is None else max(0.0, (now - swept_at).total_seconds())


def rescue(c: Connection, lease: float, fresh: float) -> Rescued:
    """Moves requests from PROCESSING to RECEIVED if their owner was not seen for a lease (seconds) or the claim is old.

    Does nothing if the last `stamp` (by anybody) is older than `fresh` (seconds), or said that nobody may rescue.
    They end as FAILED, OUTCOME_UNKNOWN, if they were rescued too often, or if the mail may have been handed over; else
    as FAILED, SUPPRESSED, if the contact is suppressed meanwhile.
    """
    # Whose owner is found to be gone only now that their items are not locked, is left to the next sweep.
    held = seats.by_claim(_HELD(c, lease=lease, claim_seconds=CLAIM_SECONDS))
    seats.lock_for(c, held.values())
    rows = _RESCUE(
        c,
        rows=[{"held_id": request_id} for request_id, _ in held],
        lease=lease,
        fresh=fresh,
        claim_seconds=CLAIM_SECONDS,
        most=MOST_ROWS,
        most_rescues=MOST_RESCUES,
    )
    # Whose outcome is unknown may have been told.
    seats.give_back_of(c, held, [row for row in rows if row.failure_code != FailureCode.OUTCOME_UNKNOWN])
    if rows:
        _LOG(c, rows=[{"id": uuid7(), "request_id": row.id} for row in rows])
    codes = Counter(row.failure_code for row in rows)
    tally.add(c, {f"failed:{code}" if code else "rescued": n for code, n in codes.items()})
    failed = [row.id for row in rows if row.failure_code == FailureCode.OUTCOME_UNKNOWN]
    return Rescued(codes[None], failed, codes[FailureCode.SUPPRESSED])


def put_in_line(c: Connection) -> int:
    """Makes requests due whose backoff, or whose customers' rest, is over. Returns how many."""
    return len(_PUT_IN_LINE(c, most=MOST_ROWS))
