"""The life of a claim: claim, hand over, record, defer, release. Every write is fenced by owner and claim number."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row

from worker.errors import OwnerLost
from worker.models import uuid7
from worker.outcomes import Tries
from worker.store import breaker, lists
from worker.store.database import Sql

TEMPLATE_ERROR = "TEMPLATE_ERROR"
"""The failure code of requests that wait because their mail can't be made: our fault, so they never end with it."""
SUSPECT_AT = 2
"""Rescued this often, a request is claimed alone: it may be what kills its workers."""

_COLUMNS = "id, waiting_list_id, claim_no, email, item_url, locale, attempts, unknowns, policy_refusals, created_date"
_TAKE = """status = 'PROCESSING', owner = :owner, claim_no = r.claim_no + 1, claimed_at = stockbell_now(0),
    handed_at = NULL"""


_USUAL = "r.rescues < :suspect_at"
_SUSPECT = "r.rescues >= :suspect_at"
_CLAIMED = {"id": "uuid", "waiting_list_id": "uuid", "created_date": "time"}


def _postgresql_claim(rescued: str, limit: str) -> Sql:
    # One arm per index. The locking select must be materialized: planned as a nested loop it would run, and lock, again
    # for every row of the outer table (FACTS 5.1). And the picked are an array: joined with them, the planner takes
    # them for so many that it reads the whole table.
    def arm(condition: str) -> str:
        return f"""SELECT r.id AS picked_id FROM ready AS w CROSS JOIN LATERAL (
            SELECT r.id FROM request AS r WHERE r.waiting_list_id = w.id AND {condition} AND {rescued}
            ORDER BY r.created_date LIMIT :each FOR UPDATE SKIP LOCKED) AS r"""

    return Sql(
        f"""WITH ready AS MATERIALIZED (
            SELECT w.id, w.in_stock, w.last_in_stock_at FROM waiting_list AS w
            WHERE w.id IN ROWS(list_id uuid) AND {lists.SENDING}),
        ordered AS MATERIALIZED ({arm(lists.ORDERED)}),
        woken AS MATERIALIZED ({arm(lists.WOKEN)}),
        picked AS MATERIALIZED (SELECT picked_id FROM ordered UNION ALL SELECT picked_id FROM woken {limit})
        UPDATE request AS r SET {_TAKE} WHERE r.id = ANY(ARRAY(SELECT picked_id FROM picked)) RETURNING {_COLUMNS}""",
        **_CLAIMED,
    )


def _sqlite_claims(rescued: str) -> tuple[Sql, ...]:
    # SQLite has no LATERAL, and needs none: the statements are calls in this process.
    return tuple(
        Sql(
            f"""UPDATE request AS r SET {_TAKE} WHERE r.id IN (
                SELECT r.id FROM request AS r JOIN waiting_list AS w ON w.id = r.waiting_list_id
                WHERE w.id = :list_id AND {lists.SENDING} AND {condition} AND {rescued}
                ORDER BY r.created_date LIMIT :each) RETURNING {_COLUMNS}""",
            **_CLAIMED,
        )
        for condition in (lists.ORDERED, lists.WOKEN)
    )


_CLAIM, _SQLITE_CLAIMS = _postgresql_claim(_USUAL, ""), _sqlite_claims(_USUAL)
_CLAIM_SUSPECT, _SQLITE_SUSPECTS = _postgresql_claim(_SUSPECT, "LIMIT 1"), _sqlite_claims(_SUSPECT)

_ITEMS = Sql(
    """SELECT w.id, w.options, i.catalog_item_id, i.app_id, i.name, i.price, i.currency, i.image_url, i.url
    FROM waiting_list AS w JOIN item AS i ON i.id = w.item_id WHERE w.id IN ROWS(list_id uuid)""",
    id="uuid",
)

_CLAIMS = "ROWS(request_id uuid, no int, owner uuid)"
# Found by their key and nothing else: `|| ''` hides the status from the partial indexes, which the planner takes for
# small, and which are full of dead entries just when there is much to do.
_BY_KEY = "r.id IN ROWS(request_id uuid) AND r.id = rows.request_id AND r.claim_no = rows.no"
_OWNED = "r.status || '' = 'PROCESSING' AND r.owner = rows.owner"
_MINE = f"{_BY_KEY} AND {_OWNED}"
_LET_GO = "owner = NULL, claimed_at = NULL, handed_at = NULL"
_HAND_OVER = Sql(
    f"UPDATE request AS r SET handed_at = stockbell_now(0) FROM {_CLAIMS} WHERE {_MINE} RETURNING id",
    id="uuid",
)
# A late answer may still find its row rescued but not claimed again: recording it saves a second mail.
_TOLD = Sql(
    f"""UPDATE request AS r SET status = 'NOTIFICATION_SENT', auto_notified = true, notified_date = stockbell_now(0),
        not_before = NULL, failure_code = NULL, failure_reason = NULL, {_LET_GO}
    FROM {_CLAIMS} WHERE {_BY_KEY} AND (r.status || '' = 'RECEIVED' OR {_OWNED}) RETURNING id""",
    id="uuid",
)
_TRIES = """attempts = rows.attempts, unknowns = rows.unknowns, policy_refusals = rows.policy_refusals,
    failure_code = rows.code, failure_reason = rows.reason"""
_TRIES_ROWS = """ROWS(request_id uuid, no int, owner uuid, attempts int, unknowns int, policy_refusals int,
    code text, reason text, delay float8)"""
_FAILED = Sql(
    f"""UPDATE request AS r SET status = 'FAILED', auto_notified = true, not_before = NULL, {_TRIES}, {_LET_GO}
    FROM {_TRIES_ROWS} WHERE {_MINE} RETURNING id""",
    id="uuid",
)
_DEFER = Sql(
    f"""UPDATE request AS r SET status = 'RECEIVED', not_before = stockbell_now(rows.delay), {_TRIES}, {_LET_GO}
    FROM {_TRIES_ROWS} WHERE {_MINE} RETURNING id""",
    id="uuid",
)
_RELEASE = Sql(
    f"UPDATE request AS r SET status = 'RECEIVED', {_LET_GO} FROM {_CLAIMS} WHERE {_MINE} RETURNING id",
    id="uuid",
)
# Those that were handed over may have been told: they are left to `rescue`, which fails them.
_RELEASE_ALL = Sql(
    f"""UPDATE request SET status = 'RECEIVED', {_LET_GO}
    WHERE status = 'PROCESSING' AND owner = :owner AND handed_at IS NULL"""
)
_LOG = Sql(
    """INSERT INTO attempt (id, request_id, at, owner, event, smtp_code, enhanced_code, reply)
    SELECT id, request_id, stockbell_now(0), owner, event, smtp_code, enhanced_code, reply
    FROM ROWS(id uuid, request_id uuid, owner uuid, event text, smtp_code int, enhanced_code text, reply text)"""
)

_SEEN = Sql("UPDATE owner SET seen_at = stockbell_now(0) WHERE id = :owner AND seen_at > stockbell_now(-:lease)")
_REGISTER = Sql(
    """INSERT INTO owner (id, seen_at, started_at, host)
    VALUES (:owner, stockbell_now(0), stockbell_now(0), :host) ON CONFLICT (id) DO NOTHING"""
)
_SIGN_OFF = Sql(
    """DELETE FROM owner WHERE id = :owner
    AND NOT EXISTS (SELECT 1 FROM request WHERE status = 'PROCESSING' AND request.owner = :owner)"""
)


@dataclass(frozen=True, slots=True)
class Claim:
    """A request that this process may send now."""

    id: UUID
    claim_no: int
    owner: UUID
    list_id: UUID
    email: str
    item_url: str | None
    locale: str | None
    tries: Tries


@dataclass(frozen=True, slots=True)
class Claimed:
    """What one claim got, oldest first, and on which lists there may be more."""

    claims: Sequence[Claim]
    full: Sequence[UUID]
    items: Mapping[UUID, Row[Any]]
    """per list: its options, and the item's details"""
    is_suspect: bool = False
    """It is one that may have killed its workers: nothing else may be held beside it."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What `record` and `defer` write: which claim, the tries it has spent, why, and for `defer` how long to wait."""

    claim: Claim
    tries: Tries
    code: str | None
    reason: str
    delay: float = 0.0
    """seconds"""


@dataclass(slots=True)
class Ends:
    """How a batch of claims ended: what `record` writes in one transaction."""

    told: list[Claim] = field(default_factory=list)
    """PROCESSING -> NOTIFICATION_SENT"""
    failed: list[Ended] = field(default_factory=list)
    """PROCESSING -> FAILED"""
    deferred: list[Ended] = field(default_factory=list)
    """PROCESSING -> RECEIVED, to be tried again after a delay"""
    released: list[Claim] = field(default_factory=list)
    """PROCESSING -> RECEIVED as if it had never been claimed"""
    log: list["Try"] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Try:
    """A line of the attempt log."""

    claim: Claim
    event: str
    smtp_code: int | None
    enhanced_code: str | None
    reply: str


def register(c: Connection, owner: UUID, host: str) -> None:
    """A new owner begins its first lease."""
    _REGISTER(c, owner=owner, host=host)


def renew(c: Connection, owner: UUID, lease: float) -> None:
    """The owner lives: its lease (seconds) begins anew. Raises OwnerLost if it had ended."""
    if not _SEEN.count(c, owner=owner, lease=lease):
        raise OwnerLost("the lease ended")


def sign_off(c: Connection, owner: UUID) -> None:
    """The owner leaves, unless it still holds something."""
    _SIGN_OFF(c, owner=owner)


def claim(c: Connection, owner: UUID, lease: float, list_ids: Sequence[UUID], most: int, *, first: bool) -> Claimed:
    """Claims about `most` requests of these lists, each list's oldest first: an equal share of each, at least one.

    `first` says that a task begins with these lists: their bells are taken, and where nobody else is in line, a
    request that was rescued before is claimed, alone. Raises OwnerLost.
    """
    renew(c, owner, lease)
    if first:
        lists.take_bells(c, list_ids)
    each = max(1, most // len(list_ids))
    claims = _claim(c, owner, list_ids, each)
    counts = Counter(claim_.list_id for claim_ in claims)
    full = [list_id for list_id in list_ids if counts[list_id] >= each]
    suspects = _claim_suspect(c, owner, list_ids) if first and not claims else []
    if suspects:
        claims, full = suspects, [claim_.list_id for claim_ in suspects]
    lists.drained(c, set(list_ids) - set(full))
    return Claimed(claims, full, _items(c, {claim_.list_id for claim_ in claims}), is_suspect=bool(suspects))


def _claim(c: Connection, owner: UUID, list_ids: Sequence[UUID], each: int) -> list[Claim]:
    params = {"owner": owner, "each": each, "suspect_at": SUSPECT_AT}
    if c.dialect.name == "sqlite":
        rows = [row for list_id in list_ids for arm in _SQLITE_CLAIMS for row in arm(c, list_id=list_id, **params)]
    else:
        rows = list(_CLAIM(c, rows=[{"list_id": list_id} for list_id in list_ids], **params))
    return [_claim_of(row, owner) for row in sorted(rows, key=lambda row: row.created_date)]


def _claim_suspect(c: Connection, owner: UUID, list_ids: Sequence[UUID]) -> list[Claim]:
    params = {"owner": owner, "each": 1, "suspect_at": SUSPECT_AT}
    if c.dialect.name == "sqlite":
        tries = (arm(c, list_id=list_id, **params) for list_id in list_ids for arm in _SQLITE_SUSPECTS)
        rows = next(filter(None, tries), [])
    else:
        rows = _CLAIM_SUSPECT(c, rows=[{"list_id": list_id} for list_id in list_ids], **params)
    return [_claim_of(row, owner) for row in rows]


def _claim_of(row: Row[Any], owner: UUID) -> Claim:
    tries = Tries(row.attempts, row.unknowns, row.policy_refusals)
    return Claim(row.id, row.claim_no, owner, row.waiting_list_id, row.email, row.item_url, row.locale, tries)


def _items(c: Connection, list_ids: Iterable[UUID]) -> dict[UUID, Row[Any]]:
    return {row.id: row for row in _ITEMS(c, rows=[{"list_id": list_id} for list_id in list_ids])}


def hand_over(c: Connection, claims: Sequence[Claim]) -> set[UUID]:
    """Notes that the bytes of these mails are about to be written; returns whose claim still holds."""
    return _fenced(c, _HAND_OVER, claims)


def record(c: Connection, ends: Ends, *, is_sign_of_life: bool = False) -> set[UUID]:
    """Writes how a batch of claims ended, and the attempt log of it; returns the ids that were written.

    `is_sign_of_life`: notes that the relay works.

    What is missing from the result was fenced off: its row was rescued, deleted or is another owner's by now.
    """
    written = (
        _fenced(c, _TOLD, ends.told)
        | _with_tries(c, _FAILED, ends.failed)
        | _with_tries(c, _DEFER, ends.deferred)
        | _fenced(c, _RELEASE, ends.released)
    )
    _log(c, [entry for entry in ends.log if entry.claim.id in written])
    if is_sign_of_life:
        breaker.note_sign_of_life(c)
    return written


def release_all(c: Connection, owner: UUID) -> int:
    """Releases whatever this owner still holds."""
    return _RELEASE_ALL.count(c, owner=owner)


def _log(c: Connection, tries: Sequence[Try]) -> None:
    if tries:
        _LOG(c, rows=[_log_row(entry) for entry in tries])


def _log_row(entry: Try) -> dict[str, object]:
    return {
        "id": uuid7(),
        "request_id": entry.claim.id,
        "owner": entry.claim.owner,
        "event": entry.event,
        "smtp_code": entry.smtp_code,
        "enhanced_code": entry.enhanced_code,
        "reply": entry.reply,
    }


def _fenced(c: Connection, statement: Sql, claims: Sequence[Claim]) -> set[UUID]:
    if not claims:
        return set()
    rows = [{"request_id": claim_.id, "no": claim_.claim_no, "owner": claim_.owner} for claim_ in claims]
    return {row.id for row in statement(c, rows=rows)}


def _with_tries(c: Connection, statement: Sql, ended: Sequence[Ended]) -> set[UUID]:
    if not ended:
        return set()
    rows = [
        {
            "request_id": end.claim.id,
            "no": end.claim.claim_no,
            "owner": end.claim.owner,
            "attempts": end.tries.attempts,
            "unknowns": end.tries.unknowns,
            "policy_refusals": end.tries.policy_refusals,
            "code": end.code,
            "reason": end.reason,
            "delay": end.delay,
        }
        for end in ended
    ]
    return {row.id for row in statement(c, rows=rows)}
