"""Retention: deletes requests that ended long ago, and forgets whose they were. For sweeps; see `docs/policies.md`.

A pass goes over all requests by their ids, which begin with the time of sign-up: so no index is needed, and what is too
young is not looked at. How far it has come is a place. Whoever signed up long ago and was told yesterday stays.

Nobody is told of it, unlike of other deletions: it is no wish of the customer, and receivers have rules of their own.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection

from worker.models import ENDED, UNRESOLVED, ids_of
from worker.store import clock, places, tally
from worker.store.contacts import ERASED
from worker.store.sql import Sql

PLACE: Final = "retention of requests"
"""How far a pass has come is kept under this name."""
MOST_LOOKED: Final = 5000
"""One step looks at so many requests."""
MOST_DELETED: Final = 400
"""One step deletes so many of them, so that it stays short."""
_START: Final = UUID(int=0)
_NEVER: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""Nothing was told before."""

_LAST = Sql(
    "SELECT r.id FROM request AS r WHERE r.id > :after AND r.id < :before ORDER BY r.id LIMIT 1 OFFSET :most - 1",
    id="uuid",
)
# `|| ''`: found by the primary key, and not by the indexes on the status. What failed without a date did so under a
# program from before 0008, see `foreseeing`.
_OVER = Sql(
    """SELECT r.id, r.contact_id FROM request AS r WHERE r.id > :after AND r.id <= :last
      AND (r.status || '' = 'NOTIFICATION_SENT' AND coalesce(r.notified_date, r.created_date) < :told
        OR r.status || '' = 'FAILED' AND coalesce(r.failed_at, r.created_date) < :failed)
    ORDER BY r.id LIMIT :most FOR UPDATE SKIP LOCKED""",
    id="uuid",
    contact_id="uuid",
)
# A report that is still open is tried again, and may be held by whoever does.
_DELETE_WITH = (
    Sql("DELETE FROM attempt WHERE request_id IN ROWS(id uuid)"),
    Sql("DELETE FROM action_request WHERE request_id IN ROWS(id uuid)"),
    Sql("DELETE FROM report WHERE request_id IN ROWS(id uuid) AND open_until IS NULL"),
)
_DELETE = Sql("DELETE FROM request WHERE id IN ROWS(id uuid) RETURNING status")
_IS_UNUSED = f"""s.suppressed_at IS NULL AND NOT s.address LIKE '{ERASED}%'
    AND NOT EXISTS (SELECT 1 FROM request WHERE contact_id = s.id AND {UNRESOLVED})
    AND NOT EXISTS (SELECT 1 FROM request WHERE contact_id = s.id AND {ENDED})
    AND NOT EXISTS (SELECT 1 FROM confirmation AS k WHERE k.contact_id = s.id)"""
# Whoever signs up at this moment holds the contact, and is passed over.
_LOCK_UNUSED = Sql(
    f"""SELECT s.id FROM contact AS s WHERE s.id IN ROWS(contact_id uuid) AND {_IS_UNUSED}
    ORDER BY s.id FOR UPDATE OF s SKIP LOCKED""",
    id="uuid",
)
# Asked again: a sign-up may have been committed between the statement's beginning and the lock. The row stays, because
# to delete it PostgreSQL would read all requests: no index has all of a contact.
_FORGET = Sql(
    f"""UPDATE contact AS s SET address = rows.new_address, confirmed_at = NULL, signed_up_at = NULL, refused_at = NULL
    FROM ROWS(contact_id uuid, new_address text) WHERE s.id = rows.contact_id AND {_IS_UNUSED}"""
)


@dataclass(frozen=True, slots=True)
class Forgotten:
    """How many requests were deleted, how many contacts lost their address, and whether the pass has ended."""

    requests: int
    contacts: int
    is_end: bool


def forget(c: Connection, told_days: int | None, failed_days: int | None) -> Forgotten:
    """Goes on with the pass: deletes what was told, or has failed, more than so many days ago. None keeps for ever."""
    now = clock.now(c)
    told, failed = (now - timedelta(days=days) if days else _NEVER for days in (told_days, failed_days))
    before, _ = ids_of(max(told, failed))
    after = UUID(places.read(c, PLACE) or str(_START))
    last = next((row.id for row in _LAST(c, after=after, before=before, most=MOST_LOOKED)), None)
    over = _OVER(c, after=after, last=last or before, told=told, failed=failed, most=MOST_DELETED)
    then = over[-1].id if len(over) == MOST_DELETED else last
    deleted = _delete(c, over)
    contacts = _forget_contacts(c, {row.contact_id for row in over})
    places.keep(c, PLACE, str(then or _START))  # last, so that nobody who waits for it holds what is wanted here
    return Forgotten(deleted, contacts, is_end=then is None)


def _delete(c: Connection, over: Sequence[Any]) -> int:
    if not over:
        return 0
    rows = [{"id": row.id} for row in over]
    for statement in _DELETE_WITH:
        statement(c, rows=rows)
    states = Counter(f"deleted:{row.status}" for row in _DELETE(c, rows=rows))
    tally.add(c, states)
    return states.total()


def _forget_contacts(c: Connection, ids: set[UUID]) -> int:
    unused = [row.id for row in _LOCK_UNUSED(c, rows=[{"contact_id": id_} for id_ in sorted(ids)])] if ids else []
    rows = [{"contact_id": id_, "new_address": f"{ERASED}{id_}"} for id_ in unused]
    return _FORGET.count(c, rows=rows) if rows else 0
