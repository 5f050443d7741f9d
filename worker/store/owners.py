"""Owners of claims. Each worker process is one owner, with one heartbeat row."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from worker.domain.errors import OwnerLost
from worker.store.sql import Sql

_SEEN = Sql(
    """UPDATE owner SET seen_at = stockbell_now(0) WHERE id = :owner AND seen_at > stockbell_now(-:lease)
    RETURNING seen_at""",
    seen_at="time",
)
_REGISTER = Sql(
    """INSERT INTO owner (id, seen_at, started_at, host)
    VALUES (:owner, stockbell_now(0), stockbell_now(0), :host) ON CONFLICT (id) DO NOTHING"""
)
_SIGN_OFF = Sql(
    """DELETE FROM owner WHERE id = :owner
    AND NOT EXISTS (SELECT 1 FROM request WHERE status = 'PROCESSING' AND request.owner = :owner)"""
)

_FORGET = Sql(
    """DELETE FROM owner WHERE seen_at < stockbell_now(-:forget)
    AND NOT EXISTS (SELECT 1 FROM request AS r WHERE r.status = 'PROCESSING' AND r.owner = owner.id)"""
)
_EACH = Sql(
    """SELECT o.id, o.host, o.started_at, o.seen_at,
        CASE WHEN stockbell_now(-:lease) < o.seen_at THEN 1 ELSE 0 END AS is_alive, coalesce(held.n, 0) AS claims
    FROM owner AS o LEFT JOIN (SELECT owner, count(*) AS n FROM request WHERE status = 'PROCESSING' GROUP BY owner)
        AS held ON held.owner = o.id
    ORDER BY is_alive DESC, o.host, o.started_at, o.id LIMIT :most""",
    id="uuid",
    started_at="time",
    seen_at="time",
    is_alive="bool",
)


def register(c: Connection, owner: UUID, host: str) -> None:
    """Registers a new owner. Its first lease starts now."""
    _REGISTER(c, owner=owner, host=host)


def renew(c: Connection, owner: UUID, lease: float) -> datetime:
    """Renews the owner's lease (seconds) and returns the time. Raises OwnerLost if the lease has ended already."""
    rows = _SEEN(c, owner=owner, lease=lease)
    if not rows:
        raise OwnerLost("the lease ended")
    now: datetime = rows[0].seen_at
    return now


def sign_off(c: Connection, owner: UUID) -> None:
    """Removes the owner, unless it still holds claims."""
    _SIGN_OFF(c, owner=owner)


def forget(c: Connection, older_than: float) -> int:
    """Removes owners that were last seen more than `older_than` seconds ago and hold no claims. Returns how many."""
    return _FORGET.count(c, forget=older_than)


def each(c: Connection, lease: float, most: int) -> Sequence[Any]:
    """Returns the owners, those that are alive first, with the number of their `claims`.

    One is alive if its heartbeat is younger than `lease` (seconds).
    """
    return _EACH(c, lease=lease, most=most)
