"""Who holds claims: each worker process is an owner, and its heartbeat a row."""

from uuid import UUID

from sqlalchemy import Connection

from worker.domain.errors import OwnerLost
from worker.store.sql import Sql

_SEEN = Sql("UPDATE owner SET seen_at = stockbell_now(0) WHERE id = :owner AND seen_at > stockbell_now(-:lease)")
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


def forget(c: Connection, older_than: float) -> int:
    """Removes the heartbeats of processes that are long gone (seconds) and hold nothing."""
    return _FORGET.count(c, forget=older_than)
