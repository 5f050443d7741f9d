"""What changes of requests are still to be told to others. The row is its own outbox.

Every arrow sets `NEWS` in its own UPDATE, so that a change and the wish to tell it are one write, and none at all while
nobody wants to be told. `hand_out` turns flagged rows into deliveries, one for each endpoint, with the facts as they
are then; so several quick changes are told as one. A sign-up and a deletion write their deliveries themselves.

PROCESSING is not told: `claim` sets no flag, and a row that is being sent is left until that has ended. So a release,
after which the state is again what others know, tells nothing either. See *outbox* in `docs/decisions/0024-outbox.md`.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection

from worker.domain.catalog import options_from_text
from worker.domain.webhooks import Kind, timestamp
from worker.models import Status, uuid7
from worker.store.contacts import ERASED
from worker.store.deliveries import LEASE_SECONDS
from worker.store.sql import Sql

MOST_ROWS: Final = 500
"""So many rows are handed out in one transaction."""

# The planner evaluates this once for a statement, and not at all if no row is changed.
WANTED: Final = "EXISTS (SELECT 1 FROM webhook_endpoint WHERE disabled_at IS NULL)"
NEWS: Final = f"version = version + 1, news = {WANTED}"
"""The SQL that every change of a request's state sets (in an UPDATE of `request`)."""


def news_if(condition: str) -> str:
    """Like `NEWS`, for an arrow whose end is news only under this condition (SQL)."""
    return f"""version = version + CASE WHEN {condition} THEN 1 ELSE 0 END,
        news = CASE WHEN {condition} THEN {WANTED} ELSE news END"""


_ENDPOINTS = Sql("SELECT id FROM webhook_endpoint WHERE disabled_at IS NULL ORDER BY id", id="uuid")
_FLAGGED = Sql(
    """SELECT r.id FROM request AS r WHERE r.news AND r.status || '' <> 'PROCESSING'
    ORDER BY r.id LIMIT :most FOR NO KEY UPDATE SKIP LOCKED""",
    id="uuid",
)
_TOLD = Sql("UPDATE request SET news = false WHERE id IN ROWS(id uuid)")
_BUMPED = Sql("UPDATE request SET version = version + 1, news = false WHERE id IN ROWS(id uuid)")
_FACTS = Sql(
    f"""SELECT r.id, r.version, r.status, r.auto_notified, r.contact_id, r.created_date, r.given,
        w.options, i.app_id, i.catalog_item_id, CASE WHEN r.email LIKE '{ERASED}%' THEN 1 ELSE 0 END AS is_erased
    FROM request AS r JOIN waiting_list AS w ON w.id = r.waiting_list_id JOIN item AS i ON i.id = w.item_id
    WHERE r.id IN ROWS(id uuid) ORDER BY r.id""",
    id="uuid",
    contact_id="uuid",
    created_date="time",
    auto_notified="bool",
)
# A request's next change waits as long as the one before, so that few rows are due that can't be sent yet.
_ADD = Sql(
    """INSERT INTO webhook_delivery (id, endpoint_id, request_id, version, kind, body, created_date, due_at, tries)
    SELECT rows.id, rows.endpoint_id, rows.request_id, rows.version, rows.kind, rows.body, stockbell_now(0),
        coalesce((SELECT max(before.due_at) FROM webhook_delivery AS before
            WHERE before.endpoint_id = rows.endpoint_id AND before.request_id = rows.request_id
              AND before.due_at IS NOT NULL), stockbell_now(0)), 0
    FROM ROWS(id uuid, endpoint_id uuid, request_id uuid, version int, kind text, body text)
    WHERE true ON CONFLICT DO NOTHING"""
)
_AGAIN = Sql(
    """INSERT INTO webhook_delivery (id, endpoint_id, request_id, version, kind, body, created_date, due_at, tries)
    SELECT id, endpoint_id, request_id, version, kind, body, stockbell_now(0), stockbell_now(0), 0
    FROM ROWS(id uuid, endpoint_id uuid, request_id uuid, version int, kind text, body text)
    WHERE true ON CONFLICT (endpoint_id, request_id, version) DO UPDATE SET
        kind = excluded.kind, body = excluded.body, created_date = excluded.created_date, due_at = excluded.due_at,
        tries = 0, status = NULL, why = NULL, done_at = NULL"""
)
# An erasure begins with its contact. So it deletes what is written here, or is seen here.
_LOCK_CONTACTS = Sql(
    """SELECT s.id FROM contact AS s WHERE s.id IN (SELECT r.contact_id FROM request AS r WHERE r.id IN ROWS(id uuid))
    ORDER BY s.id FOR NO KEY UPDATE""",
    id="uuid",
)
_OF_THESE = "endpoint_id IN (SELECT e.id FROM webhook_endpoint AS e) AND request_id IN ROWS(id uuid)"
# A request with a date has the same id if it is imported again after it was deleted.
_GO_ON = Sql(
    """UPDATE request SET version = told.number FROM (
        SELECT d.request_id AS which, max(d.version) AS number FROM webhook_delivery AS d
        WHERE d.endpoint_id IN (SELECT e.id FROM webhook_endpoint AS e) AND d.request_id IN ROWS(id uuid)
        GROUP BY d.request_id) AS told
    WHERE id = told.which"""
)
# What a customer wrote may be in the reference as it was given.
_FORGET = Sql(
    f"""DELETE FROM webhook_delivery WHERE {_OF_THESE}
      AND version <= (SELECT r.version FROM request AS r WHERE r.id = webhook_delivery.request_id)"""
)
# One that was forgotten may be under way until then, and must not arrive later.
_HASTEN = Sql(
    f"UPDATE webhook_delivery SET due_at = stockbell_now(:lease) WHERE {_OF_THESE} AND due_at > stockbell_now(:lease)"
)
# Whoever may have changed since: signed up, told, failed or ended since; who waits again after having failed; who left
# an item, and who was erased, of which there is no date.
_SINCE = Sql(
    f"""SELECT r.id FROM request AS r JOIN contact AS s ON s.id = r.contact_id
    WHERE r.id > :after AND (r.created_date >= :since OR r.notified_date >= :since
        OR r.status IN ('RECEIVED', 'PROCESSING') AND r.version > 0
        OR r.email LIKE '{ERASED}%' OR r.status = 'FAILED' AND (s.suppressed_at >= :since
            OR r.failure_code = 'SUPPRESSED' AND s.suppressed_at IS NULL
            OR EXISTS (SELECT 1 FROM attempt AS a WHERE a.request_id = r.id AND a.at >= :since)
            OR EXISTS (SELECT 1 FROM report AS p WHERE p.request_id = r.id AND p.at >= :since)))
    ORDER BY r.id LIMIT :most""",
    id="uuid",
)


def hand_out(c: Connection, most: int = MOST_ROWS) -> int:
    """Writes the deliveries of flagged requests, and clears their flags. Returns how many requests these were."""
    rows = [{"id": row.id} for row in _FLAGGED(c, most=most)]
    if rows:
        _tell(c, rows, Kind.UPDATED)
        _TOLD(c, rows=rows)
    return len(rows)


def tell_created(
    c: Connection, request_ids: Sequence[UUID], again: Sequence[UUID] = (), *, is_even: bool = False
) -> None:
    """Writes the deliveries of sign-ups. Those that may be there `again` go on where their deliveries ended.

    With `is_even` none of them takes as many statements as some.
    """
    if (again or is_even) and _ENDPOINTS(c):
        _GO_ON(c, rows=[{"id": id_} for id_ in again])
    _tell(c, [{"id": id_} for id_ in request_ids], Kind.CREATED, is_even=is_even)


def tell_deleted(c: Connection, request_ids: Sequence[UUID], *, by_erasure: bool = False) -> None:
    """Writes the deliveries of requests that are about to be deleted, or whose customer is being erased.

    Then what was told of them before is deleted, whether it has arrived or not.
    """
    rows = [{"id": id_} for id_ in request_ids]
    if rows and (by_erasure or _ENDPOINTS(c)):
        _BUMPED(c, rows=rows)
        _tell(c, rows, Kind.DELETED)
    if by_erasure and rows:
        _FORGET(c, rows=rows)
        _HASTEN(c, rows=rows, lease=LEASE_SECONDS)


def tell_again(c: Connection, endpoint_id: UUID, request_ids: Sequence[UUID]) -> None:
    """Writes deliveries of these requests, as they are now, for one endpoint: also of what it has been told before."""
    rows = [{"id": id_} for id_ in request_ids]
    _LOCK_CONTACTS(c, rows=rows)
    if made := _deliveries([endpoint_id], _FACTS(c, rows=rows), None):
        _AGAIN(c, rows=made)


def changed_since(c: Connection, since: object, after: UUID, most: int) -> list[UUID]:
    """Returns the ids, above `after`, of requests that may have changed since a time, lowest first."""
    return [row.id for row in _SINCE(c, since=since, after=after, most=most)]


def _tell(c: Connection, rows: Sequence[Mapping[str, object]], kind: Kind, *, is_even: bool = False) -> None:
    endpoints = [row.id for row in _ENDPOINTS(c)] if rows or is_even else []
    if endpoints:
        made = _deliveries(endpoints, _FACTS(c, rows=rows), kind)
        if made or is_even:
            _ADD(c, rows=made)


def _deliveries(endpoints: Sequence[UUID], found: Sequence[Any], kind: Kind | None) -> list[dict[str, object]]:
    """Returns the rows for these requests. Without a `kind` the version tells it: what never changed was created.

    Of an erased customer nothing is told but that, again and again.
    """
    return [
        {
            "id": uuid7(),
            "endpoint_id": endpoint_id,
            "request_id": row.id,
            "version": row.version + 1,
            "kind": _kind(row, kind).value,
            "body": json.dumps({"facts": _facts(row), "byErasure": bool(row.is_erased)}, ensure_ascii=False),
        }
        for row in found
        for endpoint_id in endpoints
    ]


def _kind(row: Any, kind: Kind | None) -> Kind:
    if row.is_erased:
        return Kind.DELETED
    return kind or (Kind.UPDATED if row.version else Kind.CREATED)


def _facts(row: Any) -> dict[str, object]:
    told = {} if row.auto_notified is None else {"autoNotified": row.auto_notified}
    return {
        "catalogReference": _reference(row),
        "contactId": str(row.contact_id),
        "status": Status.RECEIVED if row.status == Status.PROCESSING else row.status,
        **told,
        "createdDate": timestamp(row.created_date),
    }


def _reference(row: Any) -> dict[str, object]:
    if row.given is not None:
        given: dict[str, object] = json.loads(row.given)
        return given
    options = dict(options_from_text(row.options))
    reference: dict[str, object] = {"catalogItemId": row.catalog_item_id, "appId": row.app_id}
    return reference | ({"options": options} if options else {})
