"""Makes and releases claims. Every write to a claimed row is fenced: it names the owner and the claim number.

See *claim* and *fence* in `docs/glossary.md`.
"""

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection

from worker.domain.policies import NO_POLICIES, Policies
from worker.domain.verdicts import Tries
from worker.store import lists, owners, restocks, suppression, tally
from worker.store.restocks import WOKEN_AT, Restock
from worker.store.sql import Sql

SUSPECT_AT = 2
"""After this many rescues a request is claimed alone, because it may be the cause of the worker crashes."""

LISTS_TRIED, REQUESTS_TRIED = 50, 20
"""From so many lists, and so many requests of each, those are chosen with which the relay is tried."""
AMONG = 500
"""They are picked at random among so many of the oldest and the newest of a list: the relay may refuse its head."""

_NO_TRIES = Tries()
_COLUMNS = """id, waiting_list_id, claim_no, contact_id, email, item_url, locale, attempts, unknowns, policy_refusals,
    created_date, judged_from < (SELECT worked_at FROM relay WHERE id = 1) AS took_others, extras,
    ordered_at"""
_SET_CLAIMED = """status = 'PROCESSING', owner = :owner, claim_no = r.claim_no + 1, claimed_at = stockbell_now(0),
    handed_at = NULL"""
_NOT_SUSPECT = "r.rescues < :suspect_at"
_SUSPECT = "r.rescues >= :suspect_at"
_COLUMN_TYPES = {
    "id": "uuid",
    "waiting_list_id": "uuid",
    "contact_id": "uuid",
    "created_date": "time",
    "ordered_at": "time",
}


def _postgresql_claim(rescued: str, limit: str) -> Sql:
    # Each arm uses one index. The locking select must be materialized: in a nested loop it would run and lock again for
    # every row of the outer table. The picked ids are an array: for a join the planner expects so many rows
    # that it reads the whole table.
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
        UPDATE request AS r SET {_SET_CLAIMED} WHERE r.id = ANY(ARRAY(SELECT picked_id FROM picked))
        RETURNING {_COLUMNS}""",
        **_COLUMN_TYPES,
    )


def _sqlite_claims(rescued: str) -> tuple[Sql, ...]:
    # SQLite has no LATERAL. One statement per list costs little there, since it needs no round trip.
    return tuple(
        Sql(
            f"""UPDATE request AS r SET {_SET_CLAIMED} WHERE r.id IN (
                SELECT r.id FROM request AS r JOIN waiting_list AS w ON w.id = r.waiting_list_id
                WHERE w.id = :list_id AND {lists.SENDING} AND {condition} AND {rescued}
                ORDER BY r.created_date LIMIT :each) RETURNING {_COLUMNS}""",
            **_COLUMN_TYPES,
        )
        for condition in (lists.ORDERED, lists.WOKEN)
    )


_CLAIM, _SQLITE_CLAIMS = _postgresql_claim(_NOT_SUSPECT, ""), _sqlite_claims(_NOT_SUSPECT)
_CLAIM_SUSPECT, _SQLITE_SUSPECTS = _postgresql_claim(_SUSPECT, "LIMIT 1"), _sqlite_claims(_SUSPECT)

# While the breaker is open nobody else claims, so these statements need no lock and no order.
_WITH_WORK = Sql(
    f"""SELECT w.id FROM waiting_list AS w WHERE NOT {lists.PAUSED}
        AND (w.in_stock AND EXISTS (SELECT 1 FROM request AS r WHERE r.waiting_list_id = w.id AND {lists.WOKEN})
            OR w.id IN (SELECT r.waiting_list_id FROM request AS r WHERE {lists.ORDERED}))
    ORDER BY random() LIMIT :most""",
    id="uuid",
)


def _some(condition: str, direction: str) -> str:
    return f"""SELECT id, email FROM (
        SELECT r.id, r.email FROM request AS r JOIN waiting_list AS w ON w.id = r.waiting_list_id
        WHERE w.id = :list_id AND {condition} AND {_NOT_SUSPECT}
        ORDER BY r.created_date {direction} LIMIT :among) AS {direction.lower()}_"""


_CANDIDATES = tuple(
    Sql(
        f"""SELECT id, email FROM ({_some(condition, "ASC")} UNION {_some(condition, "DESC")}) AS picked
        ORDER BY random() LIMIT :most""",
        id="uuid",
    )
    for condition in (lists.ORDERED, lists.WOKEN)
)
_CLAIM_THESE = Sql(
    f"""UPDATE request AS r SET {_SET_CLAIMED} WHERE r.id IN ROWS(request_id uuid) AND {lists.IN_LINE}
    RETURNING {_COLUMNS}""",
    **_COLUMN_TYPES,
)

_ITEMS = Sql(
    f"""SELECT w.options, i.catalog_item_id, i.app_id, i.name, i.price, i.currency, i.image_url, i.url, w.id,
        {WOKEN_AT} AS woken_at, stockbell_now(0) AS now,
        CASE WHEN w.begun_at >= {WOKEN_AT} THEN 0 ELSE 1 END AS is_new
    FROM waiting_list AS w JOIN item AS i ON i.id = w.item_id WHERE w.id IN ROWS(list_id uuid)""",
    id="uuid",
    woken_at="time",
    now="time",
)
# The fence: the conditions for every update of claimed rows, here and in `recording`.
CLAIMS = "ROWS(request_id uuid, no int, owner uuid)"
# Rows must be found by the primary key, one by one: a plan expects ten of them, and joins any other way are quadratic
# then. `|| ''` keeps the planner from using the partial indexes on status: it thinks that they are small, but under
# load they are full of dead entries.
BY_KEY = "r.id = rows.request_id AND r.claim_no = rows.no"
OWNED = "r.status || '' = 'PROCESSING' AND r.owner = rows.owner"
MINE = f"{BY_KEY} AND {OWNED}"
LET_GO = "owner = NULL, claimed_at = NULL, handed_at = NULL"
_HAND_OVER = Sql(
    f"UPDATE request AS r SET handed_at = stockbell_now(0) FROM {CLAIMS} WHERE {MINE} RETURNING id",
    id="uuid",
)
_STILL_WANTED = Sql(
    f"""SELECT r.id FROM {CLAIMS} CROSS JOIN request AS r JOIN waiting_list AS w ON w.id = r.waiting_list_id
    WHERE {MINE} AND NOT {lists.PAUSED} AND (({lists.IS_WOKEN}) OR {lists.IS_ORDERED})""",
    id="uuid",
)
# Requests that were handed over may have been sent. They are left to `rescue`, which ends them as FAILED.
_RELEASE_ALL = Sql(
    f"""UPDATE request AS r SET {suppression.back("r.failure_code", "r.failure_reason")}, {LET_GO}
    FROM {suppression.CONTACT} WHERE r.status = 'PROCESSING' AND r.owner = :owner AND r.handed_at IS NULL
      AND NOT r.id IN ROWS(request_id uuid) AND {suppression.ITS_CONTACT} RETURNING status"""
)


@dataclass(frozen=True, slots=True)
class Claim:
    """A claimed request, which this process may send now."""

    id: UUID
    claim_no: int
    owner: UUID
    list_id: UUID
    contact_id: UUID
    email: str = field(repr=False)
    item_url: str | None
    locale: str | None
    tries: Tries
    took_others: bool = False
    """Whether the relay has taken other mails since it last refused this one with words that may mean us."""
    extras: str | None = None
    """What the order gave for its mails beside the item, as JSON: names and texts."""
    since: float | None = None
    """Since when it could be sent, on the monotonic clock of this process. None: that is not known."""
    restock: Restock | None = None
    """The restock that its claim was the first of."""


class About(NamedTuple):
    """The options and item details of a waiting list. Equal ones make equal mails."""

    options: str
    catalog_item_id: str
    app_id: str
    name: str | None
    price: str | None
    currency: str | None
    image_url: str | None
    url: str | None


@dataclass(frozen=True, slots=True)
class Claimed:
    """The requests of one claim, oldest first, and the lists that may have more (`full`)."""

    claims: Sequence[Claim]
    full: Sequence[UUID]
    items: Mapping[UUID, Any]
    """the options and item details of each list: `About`"""
    is_suspect: bool = False
    """The claim is one request that may have crashed its workers. The process must hold no other claim beside it."""


def claim(
    c: Connection,
    owner: UUID,
    lease: float,
    list_ids: Sequence[UUID],
    most: int,
    policies: Policies = NO_POLICIES,
    *,
    first: bool,
) -> Claimed:
    """Claims about `most` requests: an equal share of each list, at least one, the oldest first.

    `first` is True for the first claim of a task. It clears the bells of these lists; and if no other request is due,
    it claims one suspect request alone. Raises OwnerLost.
    """
    owners.renew(c, owner, lease)
    if first:
        lists.take_bells(c, list_ids)
    each = max(1, most // len(list_ids))
    rows = _claim(c, owner, list_ids, each)
    counts = Counter([row.waiting_list_id.int for row in rows])
    full = [list_id for list_id in list_ids if counts[list_id.int] >= each]
    suspects = _claim_suspect(c, owner, list_ids) if first and not rows else []
    if suspects:
        rows, full = list(suspects), [row.waiting_list_id for row in suspects]
    claimed = _claimed(c, owner, rows, full, is_suspect=bool(suspects))
    lists.drained(c, set(list_ids) - set(full))
    return claimed


@dataclass(frozen=True, slots=True)
class Candidate:
    """A request with which the relay can be tried."""

    request_id: UUID
    list_id: UUID
    domain: str


def candidates(c: Connection) -> list[Candidate]:
    """Returns some of the requests that could be claimed if the breaker were closed, picked at random."""
    return [
        Candidate(request.id, row.id, request.email.rpartition("@")[2].lower())
        for row in _WITH_WORK(c, most=LISTS_TRIED)
        for arm in _CANDIDATES
        for request in arm(c, list_id=row.id, most=REQUESTS_TRIED, among=AMONG, suspect_at=SUSPECT_AT)
    ]


def claim_these(
    c: Connection, owner: UUID, lease: float, request_ids: Sequence[UUID], policies: Policies = NO_POLICIES
) -> Claimed:
    """Claims these requests although the breaker is open, in their order. Raises OwnerLost."""
    owners.renew(c, owner, lease)
    rows = _CLAIM_THESE(c, owner=owner, rows=[{"request_id": request_id} for request_id in request_ids])
    place = {request_id: number for number, request_id in enumerate(request_ids)}
    return _claimed(c, owner, sorted(rows, key=lambda row: place[row.id]), ())


def _claim(c: Connection, owner: UUID, list_ids: Sequence[UUID], each: int) -> list[Any]:
    params = {"owner": owner, "each": each, "suspect_at": SUSPECT_AT}
    if c.dialect.name == "sqlite":
        rows = [row for list_id in list_ids for arm in _SQLITE_CLAIMS for row in arm(c, list_id=list_id, **params)]
    else:
        rows = list(_CLAIM(c, rows=_lists(list_ids), **params))
    return sorted(rows, key=lambda row: row.created_date)


def _claim_suspect(c: Connection, owner: UUID, list_ids: Sequence[UUID]) -> Sequence[Any]:
    params = {"owner": owner, "each": 1, "suspect_at": SUSPECT_AT}
    if c.dialect.name == "sqlite":
        tries = (arm(c, list_id=list_id, **params) for list_id in list_ids for arm in _SQLITE_SUSPECTS)
        return next(filter(None, tries), [])
    return _CLAIM_SUSPECT(c, rows=_lists(list_ids), **params)


def _claimed(
    c: Connection, owner: UUID, rows: Sequence[Any], full: Sequence[UUID], *, is_suspect: bool = False
) -> Claimed:
    # A UUID's hash is computed in Python, which shows in the mails per second. That of its number is not.
    ids = {row.waiting_list_id.int: row.waiting_list_id for row in rows}
    woken = Counter([row.waiting_list_id.int for row in rows if row.ordered_at is None])
    found, clock = _ITEMS(c, rows=_lists(ids.values())), time.monotonic()
    new = {about.id: woken[about.id.int] for about in found if about.is_new and about.woken_at and woken[about.id.int]}
    begun = restocks.begin(c, new) if new else {}
    starts = {about.id.int: _start_of(about, clock, begun.get(about.id)) for about in found}
    claims = [_claim_of(row, owner, starts[row.waiting_list_id.int]) for row in rows]
    return Claimed(claims, full, {about.id: About(*about[:8]) for about in found}, is_suspect=is_suspect)


@dataclass(frozen=True, slots=True)
class _Start:
    """What the claims of one list have in common."""

    list_id: UUID
    now: datetime
    """of the database"""
    clock: float
    """the monotonic clock at `now`"""
    woken_at: datetime | None
    since: float | None
    """`woken_at` on the monotonic clock"""
    restock: Restock | None
    """if this is its first claim"""

    def at(self, time_: datetime) -> float:
        """Returns this time on the monotonic clock; a later one is now."""
        return self.clock - max(0.0, (self.now - time_).total_seconds())


def _start_of(about: Any, clock: float, restock: Restock | None) -> _Start:
    start = _Start(about.id, about.now, clock, about.woken_at, None, restock)
    return replace(start, since=start.at(about.woken_at)) if about.woken_at else start


def _claim_of(row: Any, owner: UUID, start: _Start) -> Claim:
    id_, _, claim_no, contact_id, email, url, locale, attempts, unknowns, refusals, created, took, extras, ordered = row
    tries = Tries(attempts, unknowns, refusals) if attempts or unknowns or refusals else _NO_TRIES
    since, restock = start.since, start.restock
    if ordered:
        since, restock = start.at(ordered), None
    elif start.woken_at and created > start.woken_at:  # the item was there when they asked
        since = start.at(created)
    return Claim(
        id_, claim_no, owner, start.list_id, contact_id, email, url, locale, tries, bool(took), extras, since, restock
    )


def _lists(list_ids: Iterable[UUID]) -> list[dict[str, UUID]]:
    return [{"list_id": list_id} for list_id in list_ids]


def hand_over(c: Connection, claims: Sequence[Claim]) -> set[UUID]:
    """Records that these mails are about to be written to the relay. Returns the ids whose claim still holds."""
    return fenced(c, _HAND_OVER, claims)


def still_wanted(c: Connection, claims: Sequence[Claim]) -> set[UUID]:
    """Returns the ids whose claim still holds and which could be claimed again now. Ignores the breaker."""
    return fenced(c, _STILL_WANTED, claims)


def release_all(c: Connection, owner: UUID, but: Sequence[UUID] = ()) -> int:
    """Releases all requests that this owner still holds, except those in `but`. Returns how many."""
    rows = _RELEASE_ALL(c, owner=owner, rows=[{"request_id": request_id} for request_id in but])
    tally.add(c, Counter(tally.back(row.status) for row in rows))
    return len(rows)


def fenced(c: Connection, statement: Sql, claims: Sequence[Claim]) -> set[UUID]:
    """Runs a fenced statement on these claims. Returns the ids of the rows that it changed or found."""
    if not claims:
        return set()
    rows = [{"request_id": claim_.id, "no": claim_.claim_no, "owner": claim_.owner} for claim_ in claims]
    return {row.id for row in statement(c, rows=rows)}
