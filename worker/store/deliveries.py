"""Deliveries: one change of one request for one endpoint. Taken on a lease, in the order of each request's changes.

Whoever takes a delivery moves its `due_at` to the end of a lease, and that time is the fence for what is written later.
A process that dies leaves a delivery that is due again. So each is sent once at least.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection

from worker.domain.webhooks import Kind, News
from worker.store import endpoints
from worker.store.contacts import ERASED
from worker.store.sql import Sql

LEASE_SECONDS: Final = 60.0
"""For so long a delivery belongs to who took it. A try ends much earlier."""
KEEP_SECONDS: Final = 86_400.0
"""So long a delivery is kept that was taken."""
KEEP_FAILED_SECONDS: Final = 30 * 86_400.0
"""So long one is kept that was given up."""
MOST_BEHIND: Final = 1_000_000
"""An endpoint that is further behind is disabled."""
MOST_ROWS: Final = 5000

# `|| ''` would not help here: what is due is found by its index, the changes before by the unique one.
_TAKE = Sql(
    """WITH due AS MATERIALIZED (
        SELECT d.id AS delivery_id FROM webhook_delivery AS d
        WHERE d.endpoint_id = :endpoint_id AND d.due_at <= stockbell_now(0)
          AND NOT EXISTS (SELECT 1 FROM webhook_delivery AS before
            WHERE before.endpoint_id = d.endpoint_id AND before.request_id = d.request_id
              AND before.version < d.version AND before.due_at IS NOT NULL)
        ORDER BY d.due_at, d.id LIMIT :most FOR UPDATE SKIP LOCKED)
    UPDATE webhook_delivery SET due_at = stockbell_now(:lease) FROM due WHERE id = due.delivery_id
    RETURNING id, request_id, version, kind, body, created_date, tries, due_at""",
    id="uuid",
    request_id="uuid",
    created_date="time",
    due_at="time",
)
_PERSONAL = Sql(
    f"SELECT id, email, item_url FROM request WHERE id IN ROWS(id uuid) AND NOT email LIKE '{ERASED}%'", id="uuid"
)
_SETTLE = Sql(
    """UPDATE webhook_delivery AS d SET tries = rows.tries, status = rows.status, why = rows.why,
        due_at = CASE WHEN rows.delay IS NOT NULL THEN stockbell_now(rows.delay) END,
        done_at = CASE WHEN rows.delay IS NULL THEN stockbell_now(0) END
    FROM ROWS(delivery_id uuid, leased timestamptz, tries int, delay float8, status int, why text)
    WHERE d.id = rows.delivery_id AND d.due_at = rows.leased RETURNING id""",
    id="uuid",
)
# What came while one was under way is due when its lease ends.
_PULL = Sql(
    """UPDATE webhook_delivery AS d SET due_at = stockbell_now(0)
    FROM (SELECT endpoint_id AS whose, request_id AS which, version AS number
        FROM webhook_delivery WHERE id IN ROWS(id uuid)) AS before
    WHERE d.endpoint_id = before.whose AND d.request_id = before.which AND d.version > before.number
      AND d.due_at > stockbell_now(0)"""
)
_PUSH = Sql(
    """UPDATE webhook_delivery AS d SET due_at = before.until
    FROM (SELECT endpoint_id AS whose, request_id AS which, version AS number, due_at AS until
        FROM webhook_delivery WHERE id IN ROWS(id uuid)) AS before
    WHERE d.endpoint_id = before.whose AND d.request_id = before.which AND d.version > before.number
      AND d.due_at < before.until"""
)
_BEHIND = Sql(
    """SELECT d.endpoint_id, count(*) AS n, e.id AS enabled FROM webhook_delivery AS d
    LEFT JOIN webhook_endpoint AS e ON e.id = d.endpoint_id AND e.disabled_at IS NULL
    WHERE d.due_at IS NOT NULL GROUP BY d.endpoint_id, e.id""",
    endpoint_id="uuid",
    enabled="uuid",
)
_DROP = Sql(
    """DELETE FROM webhook_delivery WHERE id IN (
        SELECT id FROM webhook_delivery WHERE endpoint_id = :endpoint_id AND due_at IS NOT NULL LIMIT :most)"""
)
_FORGET = Sql(
    """DELETE FROM webhook_delivery WHERE id IN (
        SELECT id FROM webhook_delivery WHERE done_at < stockbell_now(-:keep)
          AND (why IS NULL OR done_at < stockbell_now(-:keep_failed)) ORDER BY done_at LIMIT :most)"""
)
_LAST = Sql(
    """SELECT id, request_id, version, kind, created_date, due_at, tries, status, why, done_at
    FROM webhook_delivery WHERE endpoint_id = :endpoint_id ORDER BY id DESC LIMIT :most""",
    id="uuid",
    request_id="uuid",
    created_date="time",
    due_at="time",
    done_at="time",
)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery that this process may send now."""

    id: UUID
    leased: datetime
    tries: int
    """how often it was tried before"""
    news: News = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a try ended."""

    delivery: Delivery
    tries: int
    delay: float | None
    """seconds until the next try; None: there is none"""
    status: int | None = None
    why: str | None = None
    """None: it was taken"""


@dataclass(frozen=True, slots=True)
class Answers:
    """What the tries of one endpoint in a moment say about it."""

    is_success: bool = False
    slow: float | None = None
    """it asked to be left alone for so many seconds"""
    is_gone: bool = False


def take(c: Connection, endpoint: endpoints.Endpoint, most: int) -> list[Delivery]:
    """Takes up to so many deliveries of an endpoint that are due, in the order in which they became due."""
    rows = _TAKE(c, endpoint_id=endpoint.id, most=most, lease=LEASE_SECONDS)
    personal = _personal(c, [row.request_id for row in rows]) if endpoint.is_full and rows else {}
    return [_delivery(row, personal.get(row.request_id, {})) for row in sorted(rows, key=lambda row: row.id)]


def settle(c: Connection, ended: Sequence[Ended]) -> None:
    """Records how tries ended. One whose lease is over, and which another process has taken, changes nothing."""
    if not ended:
        return
    ours = {row.id for row in _SETTLE(c, rows=[_settled(each) for each in ended])}
    later = [{"id": each.delivery.id} for each in ended if each.delay and each.delivery.id in ours]
    if later:
        _PUSH(c, rows=later)
    done = [{"id": each.delivery.id} for each in ended if each.delay is None and each.delivery.id in ours]
    if done:
        _PULL(c, rows=done)


def settle_endpoint(c: Connection, endpoint_id: UUID, ended: Sequence[Ended], answers: Answers) -> str | None:
    """Records the ends of tries of one endpoint, and what they say about it. Returns why it is disabled now, or None.

    What was given back untried says nothing.
    """
    settle(c, ended)
    if not any(each.tries > each.delivery.tries or each.why for each in ended):
        return None
    return endpoints.note(c, endpoint_id, is_success=answers.is_success, slow=answers.slow, is_gone=answers.is_gone)


def tidy(c: Connection, behind: int = MOST_BEHIND) -> list[UUID]:
    """Deletes old deliveries, and what waits for endpoints that are gone or disabled. Returns whom it has disabled.

    An endpoint is disabled that is so far `behind`.
    """
    disabled = []
    for row in _BEHIND(c):
        if row.enabled and row.n > behind and endpoints.disable(c, row.endpoint_id, endpoints.BEHIND):
            disabled.append(row.endpoint_id)
        elif not row.enabled:
            _DROP(c, endpoint_id=row.endpoint_id, most=MOST_ROWS)
    _FORGET(c, keep=KEEP_SECONDS, keep_failed=KEEP_FAILED_SECONDS, most=MOST_ROWS)
    return disabled


def last(c: Connection, endpoint_id: UUID, most: int) -> Sequence[Any]:
    """Returns the newest deliveries of an endpoint, newest first."""
    return _LAST(c, endpoint_id=endpoint_id, most=most)


def _personal(c: Connection, request_ids: Sequence[UUID]) -> Mapping[UUID, Mapping[str, str]]:
    return {
        row.id: {"email": row.email, **({"itemUrl": row.item_url} if row.item_url else {})}
        for row in _PERSONAL(c, rows=[{"id": id_} for id_ in request_ids])
    }


def _delivery(row: Any, personal: Mapping[str, str]) -> Delivery:
    told, kind = json.loads(row.body), Kind(row.kind)
    shown = {} if kind is Kind.DELETED else personal
    news = News(row.request_id, row.version, kind, row.created_date, told["facts"], told["byErasure"], shown)
    return Delivery(row.id, row.due_at, row.tries, news)


def _settled(ended: Ended) -> dict[str, object]:
    return {
        "delivery_id": ended.delivery.id,
        "leased": ended.delivery.leased,
        "tries": ended.tries,
        "delay": ended.delay,
        "status": ended.status,
        "why": ended.why,
    }
