"""Requests as storefronts and admins see them: created, imported, deleted, read."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, Connection, Row, Select, delete, func, literal_column, select
from sqlalchemy.orm import aliased
from sqlalchemy.sql.elements import ColumnElement
from sqlmodel import col

from worker.domain.catalog import CatalogReference, Item, Options, options_from_text
from worker.models import Attempt, Contact, Request, Status, WaitingList, uuid7, uuid7_of
from worker.models import Item as ItemRow
from worker.store import lists
from worker.store.sql import Sql

R = aliased(Request, name="r")
W = aliased(WaitingList, name="w")
I = aliased(ItemRow, name="i")  # noqa: E741  # the alias that the fragments of `lists` use

WAITING: ColumnElement[str] = literal_column(
    f"""CASE WHEN r.status <> 'RECEIVED' THEN NULL
        WHEN {lists.PAUSED} THEN 'paused'
        WHEN r.not_before IS NOT NULL THEN 'backoff'
        WHEN r.ordered_at IS NULL AND coalesce(w.last_in_stock_at <= r.created_date, true) THEN 'noStock'
        WHEN r.ordered_at IS NULL AND NOT w.in_stock THEN 'soldOut'
        WHEN NOT ({lists.RELAY_UP}) THEN 'relayDown'
        ELSE 'queued' END"""
)
"""Why a RECEIVED request is not being sent right now; null for the others."""

_NOW = Sql("SELECT stockbell_now(0) AS now", now="time")
_ADD_CONTACTS = Sql(
    """INSERT INTO contact (id, address, created_date) SELECT id, address, :now
    FROM ROWS(id uuid, address text) WHERE true ON CONFLICT DO NOTHING"""
)
_CONTACTS = Sql("SELECT id, address FROM contact WHERE address IN ROWS(address text)", id="uuid")
_ADD_REQUESTS = Sql(
    """INSERT INTO request (id, waiting_list_id, contact_id, email, item_url, locale, status, created_date,
        claim_no, attempts, unknowns, policy_refusals, rescues)
    SELECT id, list_id, contact_id, email, item_url, locale, 'RECEIVED', created, 0, 0, 0, 0, 0
    FROM ROWS(id uuid, list_id uuid, contact_id uuid, email text, item_url text, locale text, created timestamptz)
    WHERE true ORDER BY created ON CONFLICT DO NOTHING RETURNING id""",
    id="uuid",
)
_UNRESOLVED_OF = Sql(
    """SELECT r.id FROM request AS r JOIN contact AS c ON c.id = r.contact_id
    WHERE c.address = :address AND r.waiting_list_id = :list_id AND r.status IN ('RECEIVED', 'PROCESSING')""",
    id="uuid",
)


@dataclass(frozen=True, slots=True)
class NewRequest:
    """A wish to be told, checked and canonical; `created_date` only if it was made elsewhere, and is imported."""

    email: str = field(repr=False)
    reference: CatalogReference
    item_url: str | None = None
    locale: str | None = None
    created_date: datetime | None = None


@dataclass(frozen=True, slots=True)
class Filter:
    """Which requests: every part that is given must hold."""

    status: Status | None = None
    lists: Sequence[UUID] | None = None
    email: str | None = None
    failure_code: str | None = None
    failed_since: datetime | None = None
    """by the last try that did not succeed; by the sign-up where there was none (no link, no usable address)"""
    ids: Sequence[UUID] | None = None


def create(c: Connection, new: Sequence[NewRequest]) -> list[UUID]:
    """Adds requests and returns the ids of those added, in no order; one whose like is unresolved is left out.

    Of several alike the oldest is added. One with a date is added only once, whatever became of it: its id is made of
    what it is. Not of the address itself, which could be guessed from an id in a log.
    """
    waiting = lists.find_or_add(c, (request.reference for request in new))
    now = _NOW(c)[0].now
    contacts = _contacts(c, {request.email.lower() for request in new}, now)
    # Sign-ups of one batch keep their order: each is a microsecond younger than the one before. None is younger than
    # now, whatever the clock of another shop said, or the next event would not wake it.
    rows = [
        _row(
            request,
            waiting[request.reference],
            contacts[request.email.lower()],
            now - timedelta(microseconds=len(new) - place),
        )
        for place, request in enumerate(sorted(new, key=lambda request: request.created_date or now))
    ]
    return [row.id for row in _ADD_REQUESTS(c, rows=rows)]


def _row(request: NewRequest, list_id: UUID, contact_id: UUID, latest: datetime) -> dict[str, object]:
    date = request.created_date
    return {
        "id": uuid7_of(date, contact_id, list_id) if date else uuid7(),
        "list_id": list_id,
        "contact_id": contact_id,
        "email": request.email,
        "item_url": request.item_url,
        "locale": request.locale,
        "created": min(date, latest) if date else latest,
    }


def _contacts(c: Connection, addresses: Iterable[str], now: datetime) -> dict[str, UUID]:
    """The contact of each of these normalised addresses; made if need be.

    They are looked up by themselves: a join with a thousand rows is reason enough to read a table of half a million.
    """
    contacts = {address: uuid7() for address in sorted(addresses)}
    rows = [{"id": id_, "address": address} for address, id_ in contacts.items()]
    if _ADD_CONTACTS.count(c, rows=rows, now=now) < len(rows):
        contacts |= {row.address: row.id for row in _CONTACTS(c, rows=rows)}
    return contacts


def unresolved(c: Connection, email: str, reference: CatalogReference) -> UUID | None:
    """The request of this person for this (item, options) that still waits, if there is one."""
    waiting = lists.find_or_add(c, [reference])[reference]
    found = _UNRESOLVED_OF(c, address=email.lower(), list_id=waiting)
    return found[0].id if found else None


def remove(c: Connection, request_id: UUID) -> bool:
    """Deletes a request and its attempts, in any state; False if there is none."""
    c.execute(delete(Attempt).where(col(Attempt.request_id) == request_id))
    return c.execute(delete(Request).where(col(Request.id) == request_id)).rowcount > 0


def find(c: Connection, which: Filter, limit: int = 0, *, newest_first: bool = False) -> Iterator[Row[Any]]:
    """The matching requests with their catalog reference, oldest first; `limit` 0 means all.

    Rows are streamed, and whoever reads them may take any time over it.
    """
    if c.dialect.name == "postgresql":
        c.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
    order = (col(R.created_date), col(R.id)) if not newest_first else (col(R.created_date).desc(), col(R.id).desc())
    query = _matching(which).order_by(*order).limit(limit or None)
    yield from c.execute(query, execution_options={"yield_per": 1000})


def attempts(c: Connection, request_id: UUID) -> Sequence[Row[Any]]:
    """The tries for a request that did not succeed, oldest first."""
    query = select(Attempt).where(col(Attempt.request_id) == request_id).order_by(col(Attempt.at), col(Attempt.id))
    return c.execute(query).all()


def lists_of(c: Connection, item: Item, options: Options = ()) -> list[UUID]:
    """The waiting lists of an item; with options only those that have them."""
    query = select(col(W.id), col(W.options)).join(I, col(I.id) == col(W.item_id)).where(*_is_item(item))
    return [row.id for row in c.execute(query) if set(options) <= set(options_from_text(row.options))]


def _matching(which: Filter) -> Select[*tuple[Any, ...]]:
    return (
        select(
            R,
            col(W.item_id),
            col(W.options),
            col(I.app_id),
            col(I.catalog_item_id),
            WAITING.label("waiting"),
        )
        .join(W, col(W.id) == col(R.waiting_list_id))
        .join(I, col(I.id) == col(W.item_id))
        .where(*_conditions(which))
    )


def _conditions(which: Filter) -> Iterator[ColumnElement[bool]]:
    if which.status:
        # A literal, as the partial indexes have it.
        yield literal_column(f"r.status = '{which.status.value}'", Boolean())
    if which.lists is not None:
        yield col(R.waiting_list_id).in_(which.lists)
    if which.email:
        yield col(R.contact_id).in_(select(col(Contact.id)).where(col(Contact.address) == which.email.lower()))
    if which.failure_code:
        yield col(R.failure_code) == which.failure_code
    if which.failed_since:
        yield _failed_at() >= which.failed_since
    if which.ids is not None:
        yield col(R.id).in_(which.ids)


def _failed_at() -> ColumnElement[datetime]:
    last_try = select(func.max(col(Attempt.at))).where(col(Attempt.request_id) == col(R.id)).scalar_subquery()
    return func.coalesce(last_try, col(R.created_date))


def _is_item(item: Item) -> tuple[ColumnElement[bool], ...]:
    return col(I.app_id) == item.app_id, col(I.catalog_item_id) == item.catalog_item_id
