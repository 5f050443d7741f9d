"""Makes and releases claims. Every write to a claimed row is fenced: it names the owner and the claim number.

See *claim* and *fence* in `docs/glossary.md`.
"""

import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import Connection

from worker.domain.catalog import Item
from worker.domain.policies import MOST_ITEMS, NO_POLICIES, Policies
from worker.domain.send_window import SendWindow
from worker.domain.verdicts import Tries
from worker.store import contact_intervals, digests, lists, owners, restocks, seat_claims, seats, suppression, tally
from worker.store.claim_sql import COLUMN_TYPES, COLUMNS, DUE, NOT_SUSPECT, SET_CLAIMED, SUSPECT, InTurn, turn
from worker.store.contact_intervals import Gate
from worker.store.restocks import WOKEN_AT, Restock
from worker.store.seats import Ledger, Seat
from worker.store.sql import Sql

LISTS_TRIED, REQUESTS_TRIED = 50, 20
"""From so many lists, and so many requests of each, those are chosen with which the relay is tried."""
AMONG = 500
"""They are picked at random among so many of the oldest and the newest of a list: the relay may refuse its head."""

_NO_TRIES = Tries()


_CLAIM_SUSPECT = InTurn(lists.ORDERED, lists.WOKEN, rescued=SUSPECT, alone=True)
# Who is ordered needs no seat.
_CLAIM_ORDERED = InTurn(lists.ORDERED)
_CLAIM_ORDERED_SUSPECT = InTurn(lists.ORDERED, rescued=SUSPECT, alone=True)

# While the breaker is open nobody else claims, so these statements need no lock and no order.
_WITH_WORK = Sql(
    f"""SELECT w.id FROM waiting_list AS w WHERE NOT {lists.PAUSED} AND {lists.HAS_WORK}
    ORDER BY random() LIMIT :most""",
    id="uuid",
)


def _some(condition: str, direction: str) -> str:
    return f"""SELECT id, email FROM (
        SELECT r.id, r.email FROM request AS r JOIN waiting_list AS w ON w.id = r.waiting_list_id
        WHERE w.id = :list_id AND {condition} AND {NOT_SUSPECT}
        ORDER BY r.created_date {direction} LIMIT :among) AS {direction.lower()}_"""


_CANDIDATES = tuple(
    Sql(
        f"""SELECT id, email FROM ({_some(condition, "ASC")} UNION {_some(condition, "DESC")}) AS picked
        ORDER BY random() LIMIT :most""",
        id="uuid",
    )
    for condition in (lists.ORDERED, lists.WOKEN)
)
_LISTS_OF = Sql(
    "SELECT id, waiting_list_id FROM request WHERE id IN ROWS(request_id uuid)", id="uuid", waiting_list_id="uuid"
)
_CLAIM_THESE, _CLAIM_THESE_ORDERED = (
    Sql(
        f"""UPDATE request AS r SET {SET_CLAIMED} WHERE r.id IN ROWS(request_id uuid) AND {condition}
        RETURNING {COLUMNS}""",
        **COLUMN_TYPES,
    )
    for condition in (lists.IN_LINE, lists.ORDERED)
)

_ITEMS = Sql(
    f"""SELECT w.options, i.catalog_item_id, i.app_id, i.name, i.price, i.currency, i.image_url, i.url, w.id,
        {WOKEN_AT} AS woken_at, stockbell_now(0) AS now,
        CASE WHEN w.begun_at >= {WOKEN_AT} THEN 0 ELSE 1 END AS is_new, w.item_id,
        w.opens_at, w.settles_at
    FROM waiting_list AS w JOIN item AS i ON i.id = w.item_id WHERE w.id IN ROWS(list_id uuid)""",
    id="uuid",
    woken_at="time",
    now="time",
    item_id="uuid",
    opens_at="time",
    settles_at="time",
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
      AND NOT r.id IN ROWS(request_id uuid) AND {suppression.ITS_CONTACT} RETURNING id, claim_no, status""",
    id="uuid",
)
_HELD = seats.held("r.status = 'PROCESSING' AND r.owner = :owner")


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
    seat: Seat | None = None
    """The seat that it holds, if its item tells only so many."""
    mail_id: UUID | None = None
    """The request in whose mail it goes, if that is not its own."""
    created: datetime | None = None
    """When the customer asked."""
    others: tuple["Claim", ...] = ()
    """The claims of the same customer that go in its mail, oldest first."""

    @property
    def together(self) -> tuple["Claim", ...]:
        """All claims that its mail is for, the oldest first."""
        return (self, *self.others)


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
    """The requests of one claim in their turn, one for each mail, and the lists that may have more (`full`)."""

    claims: Sequence[Claim]
    full: Sequence[UUID]
    items: Mapping[UUID, Any]
    """the options and item details of each list: `About`"""
    is_suspect: bool = False
    """The claim is one request that may have crashed its workers. The process must hold no other claim beside it."""
    closes_in: float | None = None
    """In how many seconds the send window closes. None: never, or it is closed."""

    @property
    def one_by_one(self) -> list[Claim]:
        """The claims of all requests, also of those that go in the mail of another one."""
        return [each for claim in self.claims for each in claim.together]


_NOBODY: Final = Claimed((), (), {})


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
    """Claims about `most` requests: an equal share of each list, at least one, in their turn.

    With a digest it also claims what else their customers can be told of, and returns one claim for each mail.

    `first` is True for the first claim of a task. It clears the bells of these lists; and if no other request is due,
    it claims one suspect request alone. While the send window is closed nobody is claimed. Raises OwnerLost.
    """
    now = owners.renew(c, owner, lease)
    if not policies.is_open(now):  # the lists are not drained: those in line stay woken
        if first:
            lists.take_bells(c, list_ids)
        return _NOBODY
    limited = seats.limited(c, list_ids, policies)
    # With an interval contacts are locked, too. Whoever waits for them may hold one of these lists.
    locks_lists = bool(limited) or (policies.digest and policies.contact_interval is not None)
    ledgers = seats.lock(c, dict(limited.values()), list_ids) if locks_lists else {}
    if first:
        lists.take_bells(c, list_ids)
    each, gate = max(1, most // len(list_ids)), contact_intervals.gate_of(policies)
    found = _claim(c, owner, list_ids, each, limited, ledgers, gate)
    rows = found.rows
    suspects = _claim_suspect(c, owner, list_ids, limited, ledgers, gate) if first and not rows else []
    if policies.digest and rows:
        own = () if locks_lists or first else list_ids
        rows = sorted([*rows, *digests.claim_beside(c, owner, rows, ledgers, policies, own)], key=turn)
    full, short = _left(found, limited, ledgers)
    if suspects:
        rows, full = suspects, [row.waiting_list_id for row in suspects]
    drained, begins = set(list_ids) - set(full) - set(short), list_ids if policies.digest else None
    claimed = _claimed(c, owner, rows, full, begins=begins, drained=drained, is_suspect=bool(suspects))
    seats.write(c, ledgers.values())
    lists.drained(c, drained)
    claimed = _in_window(claimed, policies.window, now)
    return replace(claimed, claims=_in_mails(claimed.claims, rows)) if policies.digest else claimed


@dataclass(frozen=True, slots=True)
class Candidate:
    """A request with which the relay can be tried."""

    request_id: UUID
    list_id: UUID
    domain: str


def candidates(c: Connection, policies: Policies = NO_POLICIES) -> list[Candidate]:
    """Returns some of the requests that could be claimed if the breaker were closed, picked at random."""
    if lists.is_closed(c, policies):
        return []
    return [
        Candidate(request.id, row.id, request.email.rpartition("@")[2].lower())
        for row in _WITH_WORK(c, most=LISTS_TRIED)
        for arm in _CANDIDATES
        for request in arm(c, list_id=row.id, most=REQUESTS_TRIED, among=AMONG)
    ]


def claim_these(
    c: Connection, owner: UUID, lease: float, request_ids: Sequence[UUID], policies: Policies = NO_POLICIES
) -> Claimed:
    """Claims these requests although the breaker is open, in their order. Raises OwnerLost."""
    now = owners.renew(c, owner, lease)
    if not policies.is_open(now):
        return _NOBODY
    of_lists = _lists_of(c, request_ids)
    limited = seats.limited(c, set(of_lists.values()), policies)
    ledgers = seats.lock(c, dict(limited.values()), set(of_lists.values())) if limited else {}
    place = {request_id: number for number, request_id in enumerate(request_ids)}
    if gate := contact_intervals.gate_of(policies):
        request_ids = [id_ for id_ in gate.sift(c, request_ids, len(request_ids)).ready if gate.admits(id_)]
    seated = [request_id for request_id in request_ids if of_lists.get(request_id) in limited]
    free = [{"request_id": request_id} for request_id in request_ids if request_id not in seated]
    rows = list(_CLAIM_THESE(c, owner=owner, rows=free)) if free else []
    for item, ledger in ledgers.items():
        its = [request_id for request_id in seated if limited[of_lists[request_id]][0] == item]
        ordered = _CLAIM_THESE_ORDERED(c, owner=owner, rows=[{"request_id": request_id} for request_id in its])
        done = {row.id for row in ordered}
        left = [(request_id, of_lists[request_id]) for request_id in its if request_id not in done]
        rows += [*ordered, *seat_claims.claim_these(c, owner, ledger, left, len(left)).rows]
    claimed = _claimed(c, owner, sorted(rows, key=lambda row: place[row.id]), ())
    seats.write(c, ledgers.values())
    return _in_window(claimed, policies.window, now)


def _in_window(claimed: Claimed, window: SendWindow | None, now: datetime) -> Claimed:
    """Notes when whoever sends has to stop. Quiet hours do not count for how long it took to tell somebody."""
    closing = window.closes_at(now) if window and claimed.claims else None
    if window is None or closing is None:
        return claimed
    opened = _opening_before(window, closing)
    could_since = time.monotonic() - (now - opened).total_seconds() if opened else float("-inf")
    claims = [
        replace(each, since=could_since) if each.since is not None and each.since < could_since else each
        for each in claimed.claims
    ]
    return replace(claimed, claims=claims, closes_in=(closing - now).total_seconds())


@lru_cache(maxsize=4)
def _opening_before(window: SendWindow, closing: datetime) -> datetime | None:
    return window.opened_at(closing - timedelta(microseconds=1))


class _Found(NamedTuple):
    """What a claim has found."""

    rows: list[Any]
    full: list[UUID]
    """the lists that may have more"""
    more: Collection[Item] = ()
    """the items that may have more, as far as they have seats"""
    short: Collection[UUID] = ()
    """the lists that have somebody who can't be told at this moment"""


_Limited = Mapping[UUID, tuple[Item, Policies]]


def _claim(
    c: Connection,
    owner: UUID,
    list_ids: Sequence[UUID],
    each: int,
    limited: _Limited,
    ledgers: Mapping[Item, Ledger],
    gate: Gate | None,
) -> _Found:
    if not limited:
        return _claim_free(c, DUE, owner, list_ids, each, gate)
    free = _claim_free(c, DUE, owner, [list_id for list_id in list_ids if list_id not in limited], each, gate)
    ordered = _claim_free(c, _CLAIM_ORDERED, owner, list(limited), each, gate)
    rows, more, short = free.rows + ordered.rows, list[Item](), {*free.short, *ordered.short}
    for item, ledger in ledgers.items():
        its_lists = [list_id for list_id, (whose, _) in limited.items() if whose == item]
        room = each * len(its_lists) - sum(row.waiting_list_id in its_lists for row in ordered.rows)
        taken = seat_claims.claim(c, owner, ledger, room, gate=gate)
        rows += taken.rows
        short.update(taken.passed_over)
        if not taken.are_all:
            more.append(item)
    return _Found(_by_turn(rows), free.full + ordered.full, more, short)


def _left(found: _Found, limited: _Limited, ledgers: Mapping[Item, Ledger]) -> tuple[list[UUID], set[UUID]]:
    """Returns the lists that may have more, and those that have somebody left who can't be told now, or no seats."""
    taking = {list_id: ledgers[item].taking for list_id, (item, _) in limited.items()}
    seated = [list_id for list_id in limited if limited[list_id][0] in found.more and taking[list_id].has_seat(list_id)]
    short = {*found.short, *(list_id for list_id in limited if taking[list_id].is_short(list_id))}
    return list(dict.fromkeys([*found.full, *seated])), short


def _claim_free(
    c: Connection, how: InTurn, owner: UUID, list_ids: Sequence[UUID], each: int, gate: Gate | None
) -> _Found:
    if gate is not None:
        taken = gate.claim(c, how, owner, list_ids, each)
        return _Found(list(taken.rows), list(taken.full), short=taken.short)
    rows = how(c, list_ids, owner=owner, each=each)
    counts = Counter([row.waiting_list_id.int for row in rows])
    return _Found(_by_turn(rows), [list_id for list_id in list_ids if counts[list_id.int] >= each])


def _claim_suspect(
    c: Connection,
    owner: UUID,
    list_ids: Sequence[UUID],
    limited: _Limited,
    ledgers: Mapping[Item, Ledger],
    gate: Gate | None,
) -> list[Any]:
    free = [list_id for list_id in list_ids if list_id not in limited]
    for how, which in ((_CLAIM_SUSPECT, free), (_CLAIM_ORDERED_SUSPECT, list(limited))):
        rows = gate.claim(c, how, owner, which, 1, alone=True).rows if gate else how(c, which, owner=owner, each=1)
        if rows:
            return list(rows)
    found = (seat_claims.claim(c, owner, ledger, 1, suspects=True, gate=gate).rows for ledger in ledgers.values())
    return list(next(filter(None, found), []))


def _by_turn(rows: Iterable[Any]) -> list[Any]:
    """Sorts by priority and age. Takes a third of the time that `turn` takes, which orders equal dates too."""
    found = sorted(rows, key=attrgetter("created_date"))
    found.sort(key=attrgetter("priority"), reverse=True)
    return found


def _lists_of(c: Connection, request_ids: Sequence[UUID]) -> dict[UUID, UUID]:
    rows = _LISTS_OF(c, rows=[{"request_id": request_id} for request_id in request_ids])
    return {row.id: row.waiting_list_id for row in rows}


def joined(claims: Sequence[Claim]) -> Claim:
    """Returns the first of these claims of one customer, with the others in its mail.

    A mail has the id of its first request, and a receiver may drop one whose id it has seen. So what may have been told
    before, and is tried again, is the first only if nothing is new.
    """
    first = next((each for each in claims if not each.tries.unknowns), claims[0])
    others = (replace(each, mail_id=first.id, others=()) for each in claims if each is not first)
    return replace(first, mail_id=None, others=tuple(others))


def _in_mails(claims: Sequence[Claim], rows: Sequence[Any]) -> list[Claim]:
    """Puts the claims of each customer, which were made of these rows, into as few mails as possible, in their turn.

    In a mail the oldest comes first: a repeated mail must be that of the same request, and a priority may change.
    """
    mails: list[list[tuple[Claim, Any]]] = []
    latest: dict[int, list[tuple[Claim, Any]]] = {}
    for each in zip(claims, rows, strict=True):
        key = each[0].contact_id.int
        mail = latest.get(key)
        if mail is None or len(mail) == MOST_ITEMS:
            mail = latest[key] = []
            mails.append(mail)
        mail.append(each)
    return [mail[0][0] if len(mail) == 1 else joined(_oldest_first(mail)) for mail in mails]


def _oldest_first(mail: Iterable[tuple[Claim, Any]]) -> list[Claim]:
    # Imports have equal dates.
    return [claim_ for claim_, _ in sorted(mail, key=lambda each: (each[1].created_date, each[1].id.int))]


def _claimed(
    c: Connection,
    owner: UUID,
    rows: Sequence[Any],
    full: Sequence[UUID],
    *,
    begins: Collection[UUID] | None = None,
    drained: Collection[UUID] = (),
    is_suspect: bool = False,
) -> Claimed:
    """Returns the claims of these rows. Restocks of the lists `begins` may begin with them; None: of all.

    To begin one waits for whoever holds its list, who may wait for the lists of this claim. So those that are `drained`
    are locked together with it.
    """
    # A UUID's hash is computed in Python, which shows in the mails per second. That of its number is not.
    ids = {row.waiting_list_id.int: row.waiting_list_id for row in rows}
    woken = Counter([row.waiting_list_id.int for row in rows if row.ordered_at is None])
    found, clock = _ITEMS(c, rows=lists.rows_of(ids.values())), time.monotonic()
    new = {about.id: woken[about.id.int] for about in found if about.is_new and about.woken_at and woken[about.id.int]}
    if begins is not None:
        new = {list_id: n for list_id, n in new.items() if list_id in begins}
    begun = restocks.begin(c, new, drained) if new else {}
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
    item_id: UUID

    def at(self, time_: datetime) -> float:
        """Returns this time on the monotonic clock; a later one is now."""
        return self.clock - max(0.0, (self.now - time_).total_seconds())


def _start_of(about: Any, clock: float, restock: Restock | None) -> _Start:
    start = _Start(about.id, about.now, clock, about.woken_at, None, restock, about.item_id)
    if not about.woken_at:
        return start
    # Nobody could be told before the door opened.
    return replace(start, since=max(start.at(at) for at in (about.woken_at, about.opens_at, about.settles_at) if at))


def _claim_of(row: Any, owner: UUID, start: _Start) -> Claim:
    id_, _, claim_no, contact_id, email, url, locale, attempts, unknowns, refusals, created, took, extras, *rest = row
    ordered, seat, wave, _ = rest
    tries = Tries(attempts, unknowns, refusals) if attempts or unknowns or refusals else _NO_TRIES
    since, restock = start.since, start.restock
    if ordered:
        since, restock = start.at(ordered), None
    elif start.woken_at and created > start.woken_at:  # the item was there when they asked
        since = start.at(created)
    return Claim(
        id_,
        claim_no,
        owner,
        start.list_id,
        contact_id,
        email,
        url,
        locale,
        tries,
        bool(took),
        extras,
        since,
        restock,
        None if seat is None else Seat(start.item_id, seat, wave),
        None,
        created,
    )


def hand_over(c: Connection, claims: Sequence[Claim]) -> set[UUID]:
    """Records that these mails are about to be written to the relay. Returns the ids whose claim still holds."""
    return fenced(c, _HAND_OVER, claims)


def still_wanted(c: Connection, claims: Sequence[Claim]) -> set[UUID]:
    """Returns the ids whose claim still holds and which could be claimed again now. Ignores the breaker."""
    return fenced(c, _STILL_WANTED, claims)


def release_all(c: Connection, owner: UUID, but: Sequence[UUID] = ()) -> int:
    """Releases all requests that this owner still holds, except those in `but`. Returns how many."""
    held = seats.by_claim(_HELD(c, owner=owner))
    seats.lock_for(c, held.values())
    rows = _RELEASE_ALL(c, owner=owner, rows=[{"request_id": request_id} for request_id in but])
    seats.give_back_of(c, held, rows)
    tally.add(c, Counter(tally.back(row.status) for row in rows))
    return len(rows)


def fenced(c: Connection, statement: Sql, claims: Sequence[Claim]) -> set[UUID]:
    """Runs a fenced statement on these claims. Returns the ids of the rows that it changed or found."""
    if not claims:
        return set()
    rows = [{"request_id": claim_.id, "no": claim_.claim_no, "owner": claim_.owner} for claim_ in claims]
    return {row.id for row in statement(c, rows=rows)}
