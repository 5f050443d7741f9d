"""Requests that wait until their customers confirm (double opt-in).

An unconfirmed request is RECEIVED with `not_before` in the far future, so that the indexes of what may be claimed leave
it out, and has the code UNCONFIRMED. How far in the future tells when it was made: thus those that nobody has confirmed
in time are found by the index of `not_before`. One that ends because its customer wants no mail keeps that time: if
she takes it up again, she still has to confirm.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection

from worker.domain.outcomes import UNCONFIRMED, FailureCode
from worker.models import ids_of
from worker.store import outbox, suppression, tally
from worker.store.lists import BACK_IN_LINE
from worker.store.outbox import NEWS
from worker.store.sql import Sql

DAY: Final = 86_400.0
KEEP_SECONDS: Final = 7 * DAY
"""Who has not confirmed after this time is forgotten."""
MOST_ITEMS: Final = 20
"""A mail and a page name no more items than that."""
MOST_ROWS: Final = 5000
"""One sweep forgets no more rows than that."""

FAR_SECONDS: Final = 7900 * 365.25 * DAY
"""How much later than its sign-up an unconfirmed request would be due."""
NEVER: Final = suppression.NEVER

_HOLD = Sql(
    f"""UPDATE request SET not_before = stockbell_now(:far),
        failure_code = CASE WHEN status = 'RECEIVED' THEN '{UNCONFIRMED}' ELSE failure_code END
    WHERE id = :id AND (status || '' = 'RECEIVED' OR failure_code = '{FailureCode.SUPPRESSED.value}')
      AND (:always OR EXISTS (
        SELECT 1 FROM contact AS s WHERE s.id = request.contact_id AND s.confirmed_at IS NULL))"""
)
# Whoever signs up writes the options. A mail by us must not carry their words to others: only events are believed.
_OPTIONS = """coalesce((SELECT max(k.options) FROM stock AS k
    WHERE k.item_id = w.item_id AND k.options IN (w.options, w.options_key)), '{}') AS options"""
_COLUMNS = f"r.id, r.waiting_list_id, r.email, r.locale, i.catalog_item_id, i.app_id, i.name, {_OPTIONS}"
_HELD = """r.contact_id = :contact_id AND r.status IN ('RECEIVED', 'PROCESSING') AND r.status = 'RECEIVED'"""
_IS_UNCONFIRMED = f"r.failure_code = '{UNCONFIRMED}'"
# Those that were made since the customer is suppressed have ids of that time (`requests.create`).
_MADE_MEANWHILE = f"""r.id BETWEEN :low AND :high AND r.contact_id = :contact_id
    AND r.status || '' = 'FAILED' AND r.failure_code = '{FailureCode.SUPPRESSED.value}' AND r.auto_notified IS NULL"""


def _items(condition: str) -> Sql:
    return Sql(
        f"""SELECT {_COLUMNS} FROM request AS r JOIN waiting_list AS w ON w.id = r.waiting_list_id
        JOIN item AS i ON i.id = w.item_id WHERE {condition} ORDER BY r.created_date DESC, r.id DESC LIMIT :most""",
        id="uuid",
        waiting_list_id="uuid",
    )


_UNCONFIRMED_OF = _items(f"{_HELD} AND {_IS_UNCONFIRMED}")
_MEANWHILE_OF = _items(_MADE_MEANWHILE)
_WAITING_OF = _items(f"{_HELD} AND coalesce(r.failure_code, '') <> '{UNCONFIRMED}'")
_RELEASE = Sql(
    f"""WITH held AS MATERIALIZED (
        SELECT r.id AS request_id FROM request AS r WHERE {_HELD} AND {_IS_UNCONFIRMED}
        ORDER BY r.id FOR NO KEY UPDATE)
    UPDATE request SET {BACK_IN_LINE}, failure_code = NULL
    FROM held WHERE id = held.request_id AND status || '' = 'RECEIVED' RETURNING waiting_list_id""",
    waiting_list_id="uuid",
)
_RELEASE_THESE = Sql(
    f"""UPDATE request SET {BACK_IN_LINE}, failure_code = NULL
    FROM ROWS(request_id uuid) WHERE id = rows.request_id AND status || '' = 'RECEIVED'
      AND failure_code = '{UNCONFIRMED}' RETURNING id""",
    id="uuid",
)
_REVIVE = Sql(
    f"""WITH ended AS MATERIALIZED (
        SELECT r.id AS request_id FROM request AS r WHERE {_MADE_MEANWHILE} AND NOT EXISTS (
            SELECT 1 FROM request AS same WHERE same.contact_id = r.contact_id
              AND same.waiting_list_id = r.waiting_list_id AND same.status IN ('RECEIVED', 'PROCESSING'))
        ORDER BY r.id FOR NO KEY UPDATE)
    UPDATE request SET status = 'RECEIVED', {BACK_IN_LINE}, failure_code = NULL, failure_reason = NULL,
        failed_at = NULL, {NEWS}
    FROM ended WHERE id = ended.request_id AND status || '' = 'FAILED' RETURNING waiting_list_id""",
    waiting_list_id="uuid",
)
_EXPIRED = Sql(
    f"""SELECT r.id FROM request AS r
    WHERE r.status = 'RECEIVED' AND r.not_before > {NEVER} AND r.not_before < stockbell_now(:far)
    ORDER BY r.not_before LIMIT :most FOR UPDATE SKIP LOCKED""",
    id="uuid",
)
_FORGET = Sql(f"DELETE FROM request WHERE id IN ROWS(id uuid) AND failure_code = '{UNCONFIRMED}'")
_COUNT = Sql(f"SELECT count(*) AS n FROM request WHERE status = 'RECEIVED' AND not_before > {NEVER}")


def hold(c: Connection, request_id: UUID, *, always: bool) -> None:
    """Makes a request that was just made an unconfirmed one. If not `always`, only if its customer never confirmed."""
    _HOLD(c, id=request_id, far=FAR_SECONDS, always=always)


def release(c: Connection, request_ids: Sequence[UUID]) -> list[UUID]:
    """Lets those of these requests wait for their item that were unconfirmed, and returns them."""
    released = [row.id for row in _RELEASE_THESE(c, rows=[{"request_id": id_} for id_ in request_ids])]
    tally.add(c, {"confirmed": len(released)})
    return released


def release_all(c: Connection, contact_id: UUID) -> list[UUID]:
    """Lets all requests of a customer wait for their items. Returns the waiting lists of those that were held."""
    released = [row.waiting_list_id for row in _RELEASE(c, contact_id=contact_id)]
    tally.add(c, {"confirmed": len(released)})
    return released


def revive(c: Connection, contact: Any) -> list[UUID]:
    """Lets those requests wait that a customer made while she was suppressed. Returns their waiting lists.

    `contact` is her row from then.
    """
    revived = [row.waiting_list_id for row in _REVIVE(c, **_meanwhile(contact))]
    tally.add(c, {"retried": len(revived)})
    return revived


def pending(c: Connection, contact: Any) -> Sequence[Any]:
    """Returns what a customer has to confirm: what is unconfirmed, or what ended since she is suppressed."""
    if contact.suppressed_at is None:
        return _UNCONFIRMED_OF(c, contact_id=contact.id, most=MOST_ITEMS)
    if contact.suppressed_why in suppression.STRONG:
        return ()
    return _MEANWHILE_OF(c, most=MOST_ITEMS, **_meanwhile(contact))


def confirmed(c: Connection, contact_id: UUID) -> Sequence[Any]:
    """Returns what a customer waits for."""
    return _WAITING_OF(c, contact_id=contact_id, most=MOST_ITEMS)


def count(c: Connection) -> int:
    """Returns how many requests are unconfirmed."""
    n: int = _COUNT(c)[0].n
    return n


def expire(c: Connection) -> int:
    """Deletes requests that nobody has confirmed in time. Returns how many."""
    ids = [row.id for row in _EXPIRED(c, far=FAR_SECONDS - KEEP_SECONDS, most=MOST_ROWS)]
    outbox.tell_deleted(c, ids)
    deleted = _FORGET.count(c, rows=[{"id": id_} for id_ in ids]) if ids else 0
    tally.add(c, {"deleted:RECEIVED": deleted})
    return deleted


def _meanwhile(contact: Any) -> Mapping[str, object]:
    low, high = ids_of(contact.suppressed_at)
    return {"contact_id": contact.id, "low": low, "high": high}
