"""Users of the pages for admins, and their sessions. Only hashes of passwords and of sessions' secrets are stored."""

from collections.abc import Iterable, Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection

from worker.domain.admins import IDLE_SECONDS, SESSION_SECONDS, Role, Visitor, digest, new_secret
from worker.models import uuid7
from worker.store.sql import Sql

_ANY = Sql("SELECT 1 FROM admin_user WHERE removed_at IS NULL LIMIT 1")
_ADD = Sql(
    """INSERT INTO admin_user (id, name, role, password, created_date, changed_at)
    VALUES (:id, :name, :role, :password, stockbell_now(0), stockbell_now(0)) ON CONFLICT DO NOTHING RETURNING id""",
    id="uuid",
)
_TIMES: Final = {"created_date": "time", "changed_at": "time", "used_at": "time", "removed_at": "time"}
_EACH = Sql(
    "SELECT id, name, role, created_date, changed_at, used_at, removed_at FROM admin_user ORDER BY name",
    id="uuid",
    **_TIMES,
)
_OPEN = Sql(
    """INSERT INTO admin_session (digest, name, role, user_id, browser, created_date, seen_at, ends_at)
    VALUES (:digest, :name, :role, :user_id, :browser, stockbell_now(0), stockbell_now(0), stockbell_now(:seconds))"""
)
_SESSION = Sql(
    """SELECT s.name, s.role FROM admin_session AS s LEFT JOIN admin_user AS u ON u.id = s.user_id
    WHERE s.digest = :digest AND s.ends_at > stockbell_now(0) AND s.seen_at > stockbell_now(-:idle)
      AND u.removed_at IS NULL"""
)
_STILL_OPEN = Sql(
    """SELECT s.digest FROM admin_session AS s LEFT JOIN admin_user AS u ON u.id = s.user_id
    WHERE s.digest IN ROWS(digest text) AND s.ends_at > stockbell_now(0) AND s.seen_at > stockbell_now(-:idle)
      AND u.removed_at IS NULL"""
)
_SEEN = Sql(
    "UPDATE admin_session SET seen_at = stockbell_now(0) WHERE digest = :digest AND seen_at < stockbell_now(-60)"
)
_CLOSE = Sql("DELETE FROM admin_session WHERE digest = :digest")


def is_any(c: Connection) -> bool:
    """Whether there is a user at all: without one nobody can log in."""
    return bool(_ANY(c))


def add(c: Connection, name: str, role: Role, password_hash: str) -> UUID | None:
    """Adds a user. Returns None if there is one with this name."""
    added = _ADD(c, id=uuid7(), name=name, role=role.value, password=password_hash)
    return added[0].id if added else None


def each(c: Connection) -> Sequence[Any]:
    """Returns all users by name, also those who were removed."""
    return _EACH(c)


def open_session(c: Connection, name: str, role: Role, user_id: UUID | None = None, browser: str | None = None) -> str:
    """Begins a session and returns its secret, which can't be read again."""
    secret = new_secret()
    about = {"name": name, "role": role.value, "user_id": user_id, "browser": browser}
    _OPEN(c, digest=digest(secret), seconds=SESSION_SECONDS, **about)
    return secret


def session_of(c: Connection, secret: str) -> Visitor | None:
    """Returns whose session this is. None: there is none, or it has ended."""
    found = _SESSION(c, digest=digest(secret), idle=IDLE_SECONDS)
    return Visitor(found[0].name, Role(found[0].role), digest(secret)) if found else None


def still_open(c: Connection, digests: Iterable[str]) -> set[str]:
    """Returns which of these sessions (their digests) have not ended."""
    rows = [{"digest": each} for each in digests]
    return {row.digest for row in _STILL_OPEN(c, rows=rows, idle=IDLE_SECONDS)} if rows else set()


def note_seen(c: Connection, session: str) -> None:
    """Records that a session (its digest) was used, to a minute."""
    _SEEN(c, digest=session)


def close_session(c: Connection, session: str) -> None:
    """Ends a session, by its digest."""
    _CLOSE(c, digest=session)
