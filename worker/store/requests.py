"""Creates, imports, deletes and reads requests, for storefronts and admins."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, Connection, Row, Select, and_, false, func, literal_column, or_, select
from sqlalchemy.orm import aliased
from sqlalchemy.sql.elements import ColumnElement
from sqlmodel import col

from worker.domain.catalog import CatalogReference, Item, Options, compared_options, options_from_text, reference_json
from worker.domain.outcomes import INTERVAL, UNCONFIRMED
from worker.domain.reply_groups import ANYTHING
from worker.domain.tokens import Tokens
from worker.models import (
    ENDED,
    UNRESOLVED,
    Attempt,
    Contact,
    Request,
    Status,
    UtcDateTime,
    WaitingList,
    uuid7,
    uuid7_of,
)
from worker.models import Item as ItemRow
from worker.store import contacts, lists, outbox, quiet_hours, signups, suppression, tally
from worker.store.contacts import Known
from worker.store.sql import Sql, is_one_of
from worker.store.unconfirmed import NEVER

R = aliased(Request, name="r")
W = aliased(WaitingList, name="w")
I = aliased(ItemRow, name="i")  # noqa: E741  # the alias that the fragments of `lists` use


def _reason(quiet: str) -> str:
    return f"""CASE WHEN r.status <> 'RECEIVED' THEN NULL
        WHEN r.failure_code = '{UNCONFIRMED}' THEN 'unconfirmed'
        WHEN {lists.PAUSED} THEN 'paused'
        WHEN r.not_before IS NOT NULL THEN CASE WHEN r.failure_code = '{INTERVAL}' THEN 'interval' ELSE 'backoff' END
        WHEN r.ordered_at IS NULL AND coalesce(w.last_in_stock_at <= r.created_date, true) THEN 'noStock'
        WHEN r.ordered_at IS NULL AND NOT w.in_stock THEN 'soldOut'
        {quiet}
        WHEN r.ordered_at IS NULL AND NOT {lists.HAS_SETTLED} THEN 'settling'
        WHEN r.ordered_at IS NULL AND NOT {lists.HAS_SEAT} THEN 'wave'
        WHEN NOT ({lists.RELAY_UP}) THEN 'relayDown'
        ELSE 'queued' END"""


_REASON, _REASON_IN_QUIET_HOURS = _reason(""), _reason("WHEN true THEN 'quietHours'")
WAITING: ColumnElement[str] = literal_column(_REASON)
"""SQL for the reason why a RECEIVED request is not being sent now, outside quiet hours. NULL for other states."""
_WAITING_IN_QUIET_HOURS: ColumnElement[str] = literal_column(_REASON_IN_QUIET_HOURS)

# In the order of the unique key: two sign-ups of the same people wait for each other and not in a circle.
_ADD_REQUESTS = Sql(
    f"""INSERT INTO request (id, waiting_list_id, contact_id, email, item_url, locale, given, signup, status,
        created_date, priority, claim_no, attempts, unknowns, policy_refusals, rescues, failure_code, failure_reason,
        failed_at)
    SELECT id, list_id, contact_id, email, item_url, locale, given, signup, {suppression.NEW_STATUS}, created,
        coalesce(priority, 0), 0, 0, 0, 0, 0, {suppression.NEW_CODE}, {suppression.NEW_REASON},
        {suppression.NEW_FAILED_AT}
    FROM ROWS(id uuid, list_id uuid, contact_id uuid, email text, item_url text, locale text, given text, signup text,
        created timestamptz, priority int, why text)
    WHERE true ORDER BY contact_id, list_id, created ON CONFLICT DO NOTHING RETURNING id""",
    id="uuid",
)
# A line whose own request is there, in whatever state, was imported before: it says nothing of another one. The
# contacts are named twice so that the planner takes them for few, and uses the index of what is unresolved. The last
# digit of the greatest `said` is the priority that was said last.
_AMEND = Sql(
    """WITH said AS MATERIALIZED (
        SELECT r.id AS request_id, min(rows.created) AS created, max(rows.place * 10 + rows.priority) % 10 AS priority
        FROM ROWS(id uuid, list_id uuid, contact_id uuid, created timestamptz, priority int, place int)
        CROSS JOIN request AS r
        WHERE r.contact_id IN ROWS(contact_id uuid) AND r.contact_id = rows.contact_id
          AND r.waiting_list_id = rows.list_id AND r.status IN ('RECEIVED', 'PROCESSING') AND r.status = 'RECEIVED'
          AND (r.created_date > rows.created OR rows.priority IS NOT NULL)
          AND NOT EXISTS (SELECT 1 FROM request AS same WHERE same.id = rows.id AND same.id <> r.id)
        GROUP BY r.id),
    amended AS MATERIALIZED (
        SELECT said.* FROM said JOIN request AS r ON r.id = said.request_id
        WHERE r.status || '' = 'RECEIVED' AND (r.created_date > said.created OR r.priority <> said.priority)
        ORDER BY r.id FOR NO KEY UPDATE OF r)
    UPDATE request AS r SET priority = coalesce(amended.priority, r.priority),
        created_date = CASE WHEN amended.created < r.created_date THEN amended.created ELSE r.created_date END
    FROM amended WHERE r.id = amended.request_id"""
)
_ANY_UNCONFIRMED = Sql(f"SELECT 1 FROM request WHERE status = 'RECEIVED' AND not_before > {NEVER} LIMIT 1")
_CONFIRM_EQUAL = Sql(
    f"""WITH equal AS MATERIALIZED (
        SELECT r.id AS request_id FROM ROWS(contact_id uuid, list_id uuid) CROSS JOIN request AS r
        WHERE r.contact_id IN ROWS(contact_id uuid) AND r.contact_id = rows.contact_id
          AND r.waiting_list_id = rows.list_id AND r.status IN ('RECEIVED', 'PROCESSING')
          AND r.failure_code = '{UNCONFIRMED}' ORDER BY r.id FOR NO KEY UPDATE OF r)
    UPDATE request SET {lists.BACK_IN_LINE}, failure_code = NULL
    FROM equal WHERE id = equal.request_id AND status || '' = 'RECEIVED'"""
)
_UNRESOLVED_OF = Sql(
    """SELECT r.id FROM request AS r JOIN contact AS c ON c.id = r.contact_id
    WHERE c.address = :address AND r.waiting_list_id = :list_id AND r.status IN ('RECEIVED', 'PROCESSING')""",
    id="uuid",
)

_WAITING_PAIRS = Sql(
    """SELECT contact_id, waiting_list_id FROM request
    WHERE contact_id IN ROWS(contact_id uuid) AND status IN ('RECEIVED', 'PROCESSING')""",
    contact_id="uuid",
    waiting_list_id="uuid",
)
# One partial index for each of the two, which together are all requests.
_OF_CONTACT = Sql(
    f"""SELECT id FROM (
        SELECT id FROM request WHERE contact_id = :contact AND {UNRESOLVED}
        UNION ALL SELECT id FROM request WHERE contact_id = :contact AND {ENDED}) AS each
    ORDER BY id DESC LIMIT :most""",
    id="uuid",
)
_EXISTING = Sql("SELECT id FROM request WHERE id IN ROWS(id uuid)", id="uuid")
_SUPPRESSED = Sql("SELECT count(*) AS n FROM request WHERE id IN ROWS(id uuid) AND status = 'FAILED'")

_ESCAPE = "!"
_REMOVE_ATTEMPTS = Sql("DELETE FROM attempt WHERE request_id IN ROWS(id uuid)")
_REMOVE = Sql("DELETE FROM request WHERE id IN ROWS(id uuid) RETURNING status")


@dataclass(frozen=True, slots=True)
class NewRequest:
    """A new request, validated and canonical. `created_date` is given only for imports."""

    email: str = field(repr=False)
    reference: CatalogReference
    item_url: str | None = None
    locale: str | None = None
    created_date: datetime | None = None
    priority: int | None = None
    """from 0 to 9; None: nothing was said of it"""
    signup: str | None = None
    """how the customer signed up over HTTP, as JSON"""
    is_public: bool = False
    """by a publishable key: the limits of `store.signups` hold"""


@dataclass(frozen=True, slots=True)
class Filter:
    """Selects requests. Every condition that is given must hold."""

    status: Status | None = None
    is_unresolved: bool = False
    """those that are being sent, too: who waits, or is about to be told"""
    lists: Sequence[UUID] | None = None
    email: str | None = field(default=None, repr=False)
    contact: UUID | None = None
    failure_code: str | None = None
    failed_since: datetime | None = None
    """when they ended as FAILED"""
    failed_before: datetime | None = None
    is_dated: bool = False
    """all that failed are known to be dated: an index serves the two times"""
    created_since: datetime | None = None
    created_before: datetime | None = None
    waiting: str | None = None
    """the reason to wait, see `waiting`; with status RECEIVED"""
    is_quiet: bool = False
    """whether it is in quiet hours, which `waiting` depends on"""
    domain: str | None = None
    """of the recipient's address"""
    words: str | None = None
    """a part of the failure's reason; in double quotes the whole; `ANYTHING` stands for any text"""
    locale: str | None = None
    """a language, with or without its regions"""
    ids: Sequence[UUID] | None = None


class Fate(Enum):
    """What `create` does with a request."""

    CREATED = auto()
    DUPLICATE = auto()
    SUPPRESSED = auto()


def create(c: Connection, new: Sequence[NewRequest], tokens: Tokens | None = None) -> list[UUID]:
    """Adds requests and returns the ids of the added ones, in no order.

    A request is skipped if an unresolved one has the same contact and waiting list. Of several equal requests the
    oldest is added. A request with a date is added only once, even if it has ended since: its id is derived from its
    date, contact and waiting list. The address is not used, since it could be guessed from an id in a log. If a skipped
    request is older than the equal one that waits, that one takes its date: it may be due now. It takes the priority
    that was said last, too. Nothing remembers a skipped request itself: once the equal one has ended, it can be added.

    A request of a suppressed contact is added as FAILED, SUPPRESSED: one for each time that the contact was suppressed,
    if it has no date. `tokens` recognise erased addresses; BadSetting is raised if they are needed and None.

    A public request is skipped too if its address has had enough of them, see `signups`.
    """
    return [id_ for id_ in create_each(c, new, tokens) if id_]


def create_each(c: Connection, new: Sequence[NewRequest], tokens: Tokens | None = None) -> list[UUID | None]:
    """Does what `create` does, and returns for each request its id, or None if it was skipped."""
    waiting = lists.with_spelling(c, (request.reference for request in new))
    is_even = any(request.is_public for request in new)
    people = contacts.recognised(c, {request.email.lower() for request in new}, tokens, is_even=is_even)
    # Sign-ups of one batch keep their order: each is one microsecond later than the one before. None is later than now,
    # whatever the clock of another shop said, because the next event would not wake it.
    order = sorted(range(len(new)), key=lambda place: new[place].created_date or people.now)
    rows = [
        _row(
            request := new[place],
            waiting[request.reference],
            people.contacts[request.email.lower()],
            people.now - timedelta(microseconds=len(new) - number),
        )
        | {"place": place}
        for number, place in enumerate(order)
    ]
    places = {row["id"]: place for row, place in zip(reversed(rows), reversed(order), strict=True)}
    rows = signups.within_limits(c, rows)
    added = [row.id for row in _ADD_REQUESTS(c, rows=rows)]
    _count(c, len(new), rows, set(added))
    is_lasting = {row["id"] for row in rows if row["is_dated"] or row["why"]}
    outbox.tell_created(c, added, [id_ for id_ in added if id_ in is_lasting], is_even=is_even)
    if is_even or len(added) < len(rows):
        _amend(c, rows)
    ids: list[UUID | None] = [None] * len(new)
    for id_ in added:
        ids[places[id_]] = id_
    return ids


def _count(c: Connection, asked: int, rows: Sequence[Mapping[str, Any]], added: set[UUID]) -> None:
    """Counts what became of sign-ups, of which `rows` were within the limits: by one statement, whatever it is."""
    suppressed = len(added.intersection(row["id"] for row in rows if row["why"] is not None))  # equal ones have one id
    results = {
        "created": len(added) - suppressed,
        "suppressed": suppressed,
        "duplicate": len(rows) - len(added),
        "limited": asked - len(rows),
    }
    tally.add(c, {f"signup:{result}": n for result, n in results.items()})


def confirm_equal(c: Connection, new: Sequence[NewRequest]) -> None:
    """Makes unconfirmed requests that are equal to these confirmed ones. Costs little where nobody has to confirm."""
    if not _ANY_UNCONFIRMED(c):
        return
    people = contacts.find(c, {request.email.lower() for request in new})
    places = lists.find(c, {request.reference for request in new})
    pairs = {
        (people[email].id, places[request.reference][0])
        for request in new
        if (email := request.email.lower()) in people and request.reference in places
    }
    _CONFIRM_EQUAL(c, rows=[{"contact_id": contact, "list_id": list_id} for contact, list_id in pairs])


def suppressed(c: Connection, added: Sequence[UUID]) -> int:
    """Returns how many of the requests that `create` has just added are of suppressed contacts."""
    found: int = _SUPPRESSED(c, rows=[{"id": id_} for id_ in added])[0].n
    return found


def fates(c: Connection, new: Sequence[NewRequest], tokens: Tokens | None = None) -> list[Fate]:
    """Says of each request what `create` would do with it, because of what is in the database. It only reads."""
    found = lists.find(c, {request.reference for request in new})
    waiting = {reference: list_id for reference, (list_id, _) in found.items()}
    addresses = {request.email.lower() for request in new}
    people = contacts.find(c, addresses)
    unwanted = {address for address, contact in people.items() if contact.why} | set(
        contacts.erased(c, addresses, tokens)
    )
    unresolved_pairs = {
        (row.contact_id, row.waiting_list_id)
        for row in _WAITING_PAIRS(c, rows=[{"contact_id": contact.id} for contact in people.values()])
    }
    keys = [_lasting_id(request, people.get(request.email.lower()), waiting.get(request.reference)) for request in new]
    there = {row.id for row in _EXISTING(c, rows=[{"id": id_} for id_ in keys if id_])}

    def fate(request: NewRequest, id_: UUID | None) -> Fate:
        contact = people.get(request.email.lower())
        if id_ in there:
            return Fate.DUPLICATE
        if request.email.lower() in unwanted:
            return Fate.SUPPRESSED
        pair = contact and contact.id, waiting.get(request.reference)
        return Fate.DUPLICATE if pair in unresolved_pairs else Fate.CREATED

    return [fate(request, id_) for request, id_ in zip(new, keys, strict=True)]


def _lasting_id(request: NewRequest, contact: Known | None, list_id: UUID | None) -> UUID | None:
    """Returns the id that a request has whenever it is added, so that it is added only once.

    That is one with a date, and one of a suppressed contact: the same file may be imported every day.
    """
    if contact is None or list_id is None:
        return None
    at = request.created_date or contact.suppressed_at
    return uuid7_of(at, contact.id, list_id) if at else None


def _amend(c: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """What waits takes the oldest date, and the last priority, that these say of its customer and list."""
    said = [
        row if row["is_dated"] else {**row, "created": None}
        for row in rows
        if row["is_dated"] or row["priority"] is not None
    ]
    if said:
        _AMEND(c, rows=said)


def _row(request: NewRequest, place: tuple[UUID, str], contact: Known, latest: datetime) -> dict[str, Any]:
    date = request.created_date
    list_id, spelling = place
    return {
        "id": _lasting_id(request, contact, list_id) or uuid7(),
        "list_id": list_id,
        "contact_id": contact.id,
        "email": request.email,
        "item_url": request.item_url,
        "locale": request.locale,
        "given": request.reference.given or _other_spelling(request.reference, spelling),
        "signup": request.signup,
        "created": min(date, latest) if date else latest,
        "priority": request.priority,
        "why": contact.why,
        "is_public": request.is_public,
        "is_dated": date is not None,
    }


def _other_spelling(reference: CatalogReference, spelling: str) -> str | None:
    """Returns the reference as JSON if its options are spelled otherwise than those of its list."""
    spelled = reference.spelled
    if not spelled or spelled == options_from_text(spelling):
        return None
    return reference_json(reference.item.catalog_item_id, reference.item.app_id, dict(spelled))


def equal(c: Connection, new: NewRequest) -> UUID | None:
    """Returns the request because of which `create` adds no other: an unresolved one, or one with the same id."""
    list_id, address = lists.find_or_add(c, [new.reference])[new.reference], new.email.lower()
    found = _UNRESOLVED_OF(c, address=address, list_id=list_id)
    if not found:
        id_ = _lasting_id(new, contacts.find(c, [address]).get(address), list_id)
        found = _EXISTING(c, rows=[{"id": id_}]) if id_ else found
    return found[0].id if found else None


def remove(c: Connection, request_id: UUID) -> bool:
    """Deletes a request and its attempts, in any state. Returns False if there is no such request."""
    return remove_each(c, [request_id]) > 0


def remove_each(c: Connection, ids: Sequence[UUID]) -> int:
    """Deletes requests and their attempts, in any state. Returns how many there were."""
    outbox.tell_deleted(c, ids)
    rows = [{"id": id_} for id_ in ids]
    _REMOVE_ATTEMPTS(c, rows=rows)
    states = Counter(f"deleted:{row.status}" for row in _REMOVE(c, rows=rows))
    tally.add(c, states)
    return states.total()


def find(c: Connection, which: Filter, limit: int = 0, *, newest_first: bool = False) -> Iterator[Row[Any]]:
    """Yields the matching requests with their catalog reference, oldest first. `limit` 0 means all.

    Rows are streamed. The caller may take any time to read them.
    """
    if c.dialect.name == "postgresql":
        c.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
    query = _matching(c, which, limit, newest_first=newest_first)
    yield from c.execute(query, execution_options={"yield_per": 1000})


def waiting(*, is_quiet: bool) -> ColumnElement[str]:
    """Returns SQL for the reason why a RECEIVED request is not being sent now. NULL for other states."""
    return _WAITING_IN_QUIET_HOURS if is_quiet else WAITING


def waiting_columns(c: Connection) -> tuple[ColumnElement[Any], ...]:
    """Returns that as the column `waiting`, and what tells for how long: the times of the list, and `quiet_until`."""
    until = quiet_hours.quiet_until(c)
    again: ColumnElement[Any] = literal_column(quiet_hours.literal(c, until), UtcDateTime())
    reason = waiting(is_quiet=until is not None).label("waiting")
    of_list = [literal_column(f"w.{name}", UtcDateTime()).label(name) for name in ("settles_at", "opens_at")]
    return reason, again.label("quiet_until"), *of_list


def waiting_words(c: Connection) -> str:
    """Returns the same as text, for a statement in SQL."""
    until = quiet_hours.quiet_until(c)
    reason = _REASON if until is None else _REASON_IN_QUIET_HOURS
    return f"{reason} AS waiting, {quiet_hours.literal(c, until)} AS quiet_until, w.settles_at, w.opens_at"


def of_contact(c: Connection, contact_id: UUID, most: int = 1_000_000) -> list[UUID]:
    """Returns the requests of a customer, newest first, in any state. Reads no others."""
    return [row.id for row in _OF_CONTACT(c, contact=contact_id, most=most)]


def attempts(c: Connection, request_id: UUID) -> Sequence[Row[Any]]:
    """Returns the failed attempts of a request, oldest first."""
    query = select(Attempt).where(col(Attempt.request_id) == request_id).order_by(col(Attempt.at), col(Attempt.id))
    return c.execute(query).all()


def lists_of(c: Connection, item: Item, options: Options = ()) -> list[UUID]:
    """Returns the waiting lists of an item. With options: only the lists whose options include them."""
    query = select(col(W.id), col(W.options)).join(I, col(I.id) == col(W.item_id)).where(*_is_item(item))
    rows, wanted = c.execute(query).all(), set(options)
    # An item may have very many, and the transaction waits for us: only who asks for options compares them.
    return [row.id for row in rows if not wanted or wanted <= set(compared_options(row.options))]


def _matching(c: Connection, which: Filter, limit: int, *, newest_first: bool) -> Select[*tuple[Any, ...]]:
    # The requests are picked first. Else the database would look up the item, and the reason to wait, of all requests
    # before it sorted them and kept a few.
    picked = select(R).where(*conditions(which, c.dialect.name))
    if limit:
        picked = picked.order_by(*_by_date(R, newest_first=newest_first)).limit(limit)
    r = picked.subquery("r")
    return (
        select(
            r,
            col(W.item_id),
            col(W.options),
            col(I.app_id),
            col(I.catalog_item_id),
            *waiting_columns(c),
        )
        .join(W, col(W.id) == r.c.waiting_list_id)
        .join(I, col(I.id) == col(W.item_id))
        .order_by(*_by_date(r.c, newest_first=newest_first))
    )


def _by_date(r: Any, *, newest_first: bool) -> Sequence[ColumnElement[Any]]:
    return (r.created_date.desc(), r.id.desc()) if newest_first else (r.created_date, r.id)


def conditions(which: Filter, dialect: str) -> Iterator[ColumnElement[bool]]:
    """Yields the conditions for a query on `R`."""
    if which.status:
        # The partial indexes are used only if the status is a literal.
        yield literal_column(f"r.status = '{which.status.value}'", Boolean())
    if which.is_unresolved:
        yield literal_column(f"r.{UNRESOLVED}", Boolean())
    if which.lists is not None:
        yield is_one_of("r.waiting_list_id", which.lists, dialect)
    if which.email:
        yield col(R.contact_id).in_(select(col(Contact.id)).where(col(Contact.address) == which.email.lower()))
    if which.failure_code:
        yield col(R.failure_code) == which.failure_code
    if which.contact:
        yield col(R.contact_id) == which.contact
    if which.waiting:
        yield _waits_because(which.waiting, is_quiet=which.is_quiet)
    if which.domain:
        yield _is_like(col(R.email), f"%@{_literally(which.domain)}")
    if which.words:
        yield _is_like(col(R.failure_reason), _pattern(which.words))
    if which.locale:
        tag = which.locale.replace("_", "-")
        tags = func.replace(col(R.locale), "_", "-")
        yield or_(func.lower(tags) == tag.lower(), _is_like(tags, f"{_literally(tag)}-%"))
    yield from _in_time(which)
    if which.ids is not None:
        yield is_one_of("r.id", which.ids, dialect)


def _in_time(which: Filter) -> Iterator[ColumnElement[bool]]:
    # Programs from before 0008 do not say when a request failed.
    is_unknown = false() if which.is_dated else col(R.failed_at).is_(None)
    if which.failed_since:
        unknown = and_(is_unknown, col(R.created_date) >= which.failed_since)
        yield or_(col(R.failed_at) >= which.failed_since, unknown)
    if which.failed_before:
        unknown = and_(is_unknown, col(R.created_date) < which.failed_before)
        yield or_(col(R.failed_at) < which.failed_before, unknown)
    if which.created_since:
        yield col(R.created_date) >= which.created_since
    if which.created_before:
        yield col(R.created_date) < which.created_before


def _waits_because(reason: str, *, is_quiet: bool) -> ColumnElement[bool]:
    its_list: Select[*tuple[Any, ...]] = select(literal_column("1")).select_from(W)
    is_of_it = literal_column("w.id = r.waiting_list_id", Boolean())
    return its_list.where(is_of_it, waiting(is_quiet=is_quiet).is_not_distinct_from(reason)).exists()


def _is_like(value: Any, pattern: str) -> ColumnElement[bool]:
    # Both by the database: it knows other capitals than Python does.
    return func.lower(value).like(func.lower(pattern), escape=_ESCAPE)


def _literally(text: str) -> str:
    return re.sub(r"[!%_]", r"!\g<0>", text)


def _pattern(words: str) -> str:
    is_whole = len(words) > 2 and words[0] == words[-1] == '"'
    pattern = _literally(words[1:-1] if is_whole else words).replace(ANYTHING, "%")
    return pattern if is_whole else f"%{pattern}%"


def _is_item(item: Item) -> tuple[ColumnElement[bool], ...]:
    return col(I.app_id) == item.app_id, col(I.catalog_item_id) == item.catalog_item_id
